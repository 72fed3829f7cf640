use super::*;

fn generated(train: Range<usize>, test: usize, features: usize, classes: usize) -> Dataset {
    let split = Split { validation: train.end..train.end + 3, train, test: 0..test };
    generate(&split, features, classes).unwrap()
}

#[test]
fn a_sample_depends_on_its_set_and_its_number_alone() {
    let all = generated(0..40, 20, 101, 7);
    let some = generated(0..10, 5, 101, 7);
    assert_eq!(some.train.pixels(0..10), all.train.pixels(0..10));
    assert_eq!(some.validation.pixels(0..3), all.train.pixels(10..13));
    assert_eq!(some.test.pixels(0..5), all.test.pixels(0..5));
    assert_ne!(all.train.pixels(0..20), all.test.pixels(0..20));
}

#[test]
fn a_larger_image_begins_like_a_smaller_one() {
    let [small, large] = [13, 4096].map(|features| generated(0..5, 1, features, 3));
    for i in 0..5 {
        assert_eq!(small.train.pixels(i..i + 1), &large.train.pixels(i..i + 1)[..13]);
    }
}

#[test]
fn labels_cover_the_classes_as_far_as_a_byte_goes() {
    let check = |classes: usize, expected: usize| {
        let data = generated(0..8000, 1, 1, classes);
        assert_eq!(data.classes, expected);
        let mut labels = data.train.labels().to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), expected, "of {classes} classes");
    };
    check(1, 1);
    check(10, 10);
    check(256, 256);
    check(1000, 256);
}

#[test]
fn bytes_are_mixed_each_on_its_own() {
    let check = |own: u8, other: u8, noise: u8| {
        let [own, other, noise] = [own, other, noise].map(u64::from);
        let expected = (OWN * own + OTHER * other + NOISE * noise) / 256;
        let all = 0x0101_0101_0101_0101;
        assert_eq!(mix(own * all, other * all, noise * all), expected * all);
        assert_eq!(mix(own << 24, other << 24, noise << 24), expected << 24);
    };
    check(0, 0, 0);
    check(255, 255, 255);
    check(255, 0, 0);
    check(17, 203, 99);
}

#[test]
fn no_classes_are_an_error() {
    let split = Split { train: 0..1, validation: 1..1, test: 0..1 };
    assert!(matches!(generate(&split, 4, 0), Err(DataError::NoClasses)));
}

#[test]
fn a_class_is_told_by_the_nearest_mean_of_other_samples() {
    const FEATURES: usize = 256;
    let data = generated(0..400, 200, FEATURES, 4);
    let means: Vec<Vec<f32>> = (0..4).map(|class| mean(&data.train, class)).collect();
    let right = (0..200).filter(|&i| {
        let image = data.test.pixels(i..i + 1);
        let distance = |mean: &[f32]| -> f32 {
            image.iter().zip(mean).map(|(&pixel, mean)| (f32::from(pixel) - mean).powi(2)).sum()
        };
        let nearest = (0..4).min_by(|&a, &b| distance(&means[a]).total_cmp(&distance(&means[b])));
        nearest == Some(usize::from(data.test.labels()[i]))
    });
    assert!(right.count() > 180);
}

fn mean(samples: &Samples, class: u8) -> Vec<f32> {
    let members: Vec<usize> = (0..samples.len()).filter(|&i| samples.labels()[i] == class).collect();
    let pixel = |feature: usize| {
        let sum: f32 = members.iter().map(|&i| f32::from(samples.pixels(i..i + 1)[feature])).sum();
        sum / members.len() as f32
    };
    (0..samples.features()).map(pixel).collect()
}
