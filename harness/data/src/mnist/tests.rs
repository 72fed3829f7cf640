use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::contents::hexadecimal;

const TRAIN: usize = 6;
const TEST: usize = 4;

/// A small set in MNIST's format, uncompressed, with its sums.
pub(crate) struct SmallSet {
    pub(crate) contents: [Vec<u8>; 4],
    sums: [String; 4],
}

impl SmallSet {
    pub(crate) fn new() -> Self {
        let contents = [images(TRAIN, 0), labels(TRAIN), images(TEST, 100), labels(TEST)];
        let sums = contents.each_ref().map(|bytes| hexadecimal(&Sha256::digest(bytes)));
        Self { contents, sums }
    }

    /// Its description, which stays that of the contents it was made with.
    pub(crate) fn set(&self) -> FileSet<'_> {
        let file = |i: usize| SetFile { name: MNIST.files()[i].name, sha256: &self.sums[i] };
        FileSet {
            train: Part { images: file(0), labels: file(1), count: TRAIN },
            test: Part { images: file(2), labels: file(3), count: TEST },
        }
    }

    fn write(&self, dir: &Path, name: impl Fn(&str) -> String, encode: impl Fn(&[u8]) -> Vec<u8>) {
        for (file, contents) in self.set().files().iter().zip(&self.contents) {
            fs::write(dir.join(name(file.name)), encode(contents)).unwrap();
        }
    }

    fn load(&self, dir: &Path) -> Result<Dataset, DataError> {
        let split = Split { train: 0..3, validation: 4..6, test: 0..2 };
        load_set(&self.set(), &[dir.to_owned()], &split)
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// All pixels of image `i` are `first + i`.
fn images(count: usize, first: u8) -> Vec<u8> {
    let header = [0x0803, count as u32, 28, 28];
    let pixels = (0..count).flat_map(|i| [first + i as u8; FEATURES]);
    header.into_iter().flat_map(u32::to_be_bytes).chain(pixels).collect()
}

/// The label of sample `i` is `9 - i`.
fn labels(count: usize) -> Vec<u8> {
    let header = [0x0801, count as u32];
    header.into_iter().flat_map(u32::to_be_bytes).chain((0..count).map(|i| 9 - i as u8)).collect()
}

#[test]
fn files_load_raw_or_compressed_under_either_spelling_of_their_names() {
    let small = SmallSet::new();
    let dotted = |name: &str| name.replace("-idx", ".idx");
    let check = |name: &dyn Fn(&str) -> String, encode: &dyn Fn(&[u8]) -> Vec<u8>| {
        let dir = TempDir::new().unwrap();
        small.write(dir.path(), name, encode);
        let data = small.load(dir.path()).unwrap();
        assert_eq!(data.train.labels(), [9, 8, 7]);
        assert_eq!(data.validation.labels(), [5, 4]);
        assert_eq!(data.test.labels(), [9, 8]);
        assert_eq!(data.train.pixels(1..3), [[1; FEATURES], [2; FEATURES]].as_flattened());
        assert_eq!(data.validation.pixels(0..2), [[4; FEATURES], [5; FEATURES]].as_flattened());
        assert_eq!(data.test.pixels(0..2), [[100; FEATURES], [101; FEATURES]].as_flattened());
    };
    check(&|name| format!("{name}.gz"), &gzip);
    check(&|name| format!("{}.gz", dotted(name)), &gzip);
    check(&str::to_owned, &<[u8]>::to_vec);
    check(&dotted, &<[u8]>::to_vec);
    check(&str::to_owned, &gzip);
}

#[test]
fn damaged_contents_are_named_with_offset_and_expectation() {
    let check = |file: usize, damage: fn(&mut Vec<u8>), expected: &str| {
        let mut small = SmallSet::new();
        damage(&mut small.contents[file]);
        for encode in [gzip, <[u8]>::to_vec] {
            let dir = TempDir::new().unwrap();
            small.write(dir.path(), str::to_owned, encode);
            let message = small.load(dir.path()).unwrap_err().to_string();
            let path = dir.path().join(small.set().files()[file].name);
            assert!(message.starts_with(&path.display().to_string()), "{message}");
            assert!(message.contains(expected), "{message}");
            assert!(message.ends_with("`spillbench data fetch mnist`"), "{message}");
        }
    };
    check(
        0,
        |b| b[3] = 1,
        "offset 0: expected the magic number 0x00000803 of an IDX file of images, found 0x00000801",
    );
    check(
        1,
        |b| b[2] = 9,
        "offset 0: expected the magic number 0x00000801 of an IDX file of labels, found 0x00000901",
    );
    check(0, |b| b[7] = 7, "offset 4: expected 6 images, found 7");
    check(2, |b| b[11] = 29, "offset 8: expected 28 rows, found 29");
    check(2, |b| b[15] = 27, "offset 12: expected 28 columns, found 27");
    check(3, |b| b[7] = 5, "offset 4: expected 4 labels, found 5");
    check(1, |b| b[10] = 10, "offset 10: expected a label from 0 to 9, found 10");
    check(
        0,
        |b| b.truncate(16 + 5 * FEATURES),
        "offset 3936: expected 784 bytes more, found the end of the file",
    );
    check(3, |b| b.truncate(6), "offset 6: expected 2 bytes more, found the end of the file");
    check(2, |b| b.push(0), "offset 3152: expected the end of the file, found more bytes");
    check(0, Vec::clear, "offset 0: expected 4 bytes more, found the end of the file");
    // Image 3 lies between training and validation: read past, and yet summed.
    check(0, |b| b[16 + 3 * FEATURES] ^= 1, "expected SHA-256 ");
}

#[test]
fn a_wrong_sum_is_an_error_with_both_sums() {
    let mut small = SmallSet::new();
    small.contents[3][9] = 0;
    let dir = TempDir::new().unwrap();
    small.write(dir.path(), str::to_owned, gzip);
    let found = hexadecimal(&Sha256::digest(&small.contents[3]));
    let message = small.load(dir.path()).unwrap_err().to_string();
    assert!(
        message.contains(&format!("SHA-256 {} of the uncompressed contents, found {found};", small.sums[3]))
    );
}

#[test]
fn a_damaged_gzip_stream_is_named() {
    let check = |damage: fn(&mut Vec<u8>), expected: &str| {
        let small = SmallSet::new();
        let dir = TempDir::new().unwrap();
        small.write(dir.path(), |name| format!("{name}.gz"), gzip);
        let path = dir.path().join(format!("{}.gz", MNIST.test.images.name));
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let message = small.load(dir.path()).unwrap_err().to_string();
        assert!(message.starts_with(&path.display().to_string()) && message.contains(expected), "{message}");
    };
    check(|b| b.truncate(b.len() / 2), "expected a whole gzip stream, found a truncated one");
    check(|b| b.truncate(b.len() - 4), "expected a whole gzip stream, found a truncated one");
    check(|b| *b.iter_mut().nth_back(7).unwrap() ^= 1, "expected a sound gzip stream, found ");
    check(|b| b.extend([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), "expected a sound gzip stream, found ");
}

#[test]
fn missing_files_are_an_error_with_the_places_and_both_ways_out() {
    let dir = TempDir::new().unwrap();
    let places = [dir.path().join("one"), dir.path().join("two")];
    let split = Split { train: 0..1, validation: 1..1, test: 0..1 };
    let message = load(&places, &split).unwrap_err().to_string();
    for part in [
        &places[0].display().to_string(),
        &places[1].display().to_string(),
        "`spillbench data fetch mnist`",
        "`source: digits`",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_folder_with_a_part_of_the_set_is_an_error_with_the_missing_name() {
    let small = SmallSet::new();
    let dir = TempDir::new().unwrap();
    small.write(dir.path(), str::to_owned, gzip);
    fs::remove_file(dir.path().join("t10k-labels-idx1-ubyte")).unwrap();
    let message = small.load(dir.path()).unwrap_err().to_string();
    assert!(message.contains("no t10k-labels-idx1-ubyte"), "{message}");
}

#[test]
fn the_first_place_with_files_is_used() {
    let small = SmallSet::new();
    let [empty, full] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    small.write(full.path(), str::to_owned, gzip);
    let places = [empty.path().to_owned(), full.path().to_owned()];
    let split = Split { train: 0..6, validation: 6..6, test: 0..4 };
    let data = load_set(&small.set(), &places, &split).unwrap();
    assert_eq!((data.train.len(), data.validation.len(), data.test.len()), (6, 0, 4));
}
