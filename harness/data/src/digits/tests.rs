use rayon::ThreadPoolBuilder;
use sha2::{Digest, Sha256};

use super::*;
use crate::contents::hexadecimal;

fn split(train: Range<usize>, validation: Range<usize>, test: Range<usize>) -> Split {
    Split { train, validation, test }
}

#[test]
fn a_sample_depends_on_its_set_and_its_number_alone() {
    let all = generate(&split(0..100, 100..100, 0..50));
    let some = generate(&split(0..10, 60..100, 0..5));
    assert_eq!(some.train.pixels(0..10), all.train.pixels(0..10));
    assert_eq!(some.validation.pixels(0..40), all.train.pixels(60..100));
    assert_eq!(some.validation.labels(), &all.train.labels()[60..100]);
    assert_eq!(some.test.pixels(0..5), all.test.pixels(0..5));
    assert_ne!(all.train.pixels(0..50), all.test.pixels(0..50));
}

#[test]
fn the_data_set_is_the_same_bytes_everywhere() {
    let data = generate(&split(0..1000, 59_900..60_000, 0..100));
    let mut sum = Sha256::new();
    for set in [&data.train, &data.validation, &data.test] {
        sum.update(set.pixels(0..set.len()));
        sum.update(set.labels());
    }
    let sum = hexadecimal(&sum.finalize()[..8]);
    assert_eq!(
        sum, "52565c60b889a44c",
        "a changed drawing is another data set: results before and after do not compare"
    );
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let split = split(0..200, 200..200, 0..1);
    let with = |threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| generate(&split))
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn digits_are_about_equally_frequent() {
    let data = generate(&split(0..10_000, 0..0, 0..0));
    let mut counts = [0; 10];
    data.train.labels().iter().for_each(|&label| counts[usize::from(label)] += 1);
    for (digit, count) in counts.into_iter().enumerate() {
        assert!((900..1100).contains(&count), "{count} of {digit}");
    }
}

#[test]
fn each_drawing_has_ink_inside_a_blank_border() {
    let data = generate(&split(0..2000, 0..0, 0..0));
    let mut border_ink = 0;
    for i in 0..data.train.len() {
        let image = data.train.pixels(i..i + 1);
        let inked = image.iter().filter(|&&pixel| pixel > 100).count();
        assert!((15..350).contains(&inked), "drawing {i} has {inked} dark pixels");
        border_ink += image[..28].iter().chain(&image[27 * 28..]).filter(|&&pixel| pixel > 0).count();
    }
    // A strongly distorted drawing may be cut off; most are not.
    assert!(border_ink < 2 * data.train.len(), "{border_ink} pixels of the top and bottom rows have ink");
}
