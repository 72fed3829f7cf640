//! `mnist`: the four files of the MNIST database, gzip or raw, in the IDX format.
//!
//! IDX is big-endian: two zero bytes, the type of an element (8: unsigned byte), the number of dimensions,
//! each dimension as `u32`, then the elements. The set is fixed, so each header, length, label and sum is
//! checked, also of the samples that are not asked for.

use std::ops::Range;
use std::path::{Path, PathBuf};

use spillbench_schema::config::DataSource;

use crate::contents::Contents;
use crate::split::Split;
use crate::{DataError, Dataset, Samples};

/// Rows and columns of an image.
pub(crate) const SIDE: usize = 28;
/// Pixels of an image.
pub(crate) const FEATURES: usize = SIDE * SIDE;
/// Labels are digits.
pub(crate) const CLASSES: usize = 10;

/// A file of the set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SetFile<'a> {
    /// The name at the mirrors, without `.gz`.
    pub(crate) name: &'a str,
    /// SHA-256 of the uncompressed contents.
    pub(crate) sha256: &'a str,
}

/// Images and their labels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) images: SetFile<'a>,
    pub(crate) labels: SetFile<'a>,
    pub(crate) count: usize,
}

/// A set in MNIST's format.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileSet<'a> {
    pub(crate) train: Part<'a>,
    pub(crate) test: Part<'a>,
}

/// The original set.
pub(crate) const MNIST: FileSet<'static> = FileSet {
    train: Part {
        images: SetFile {
            name: "train-images-idx3-ubyte",
            sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        },
        labels: SetFile {
            name: "train-labels-idx1-ubyte",
            sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        },
        count: 60_000,
    },
    test: Part {
        images: SetFile {
            name: "t10k-images-idx3-ubyte",
            sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        },
        labels: SetFile {
            name: "t10k-labels-idx1-ubyte",
            sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        count: 10_000,
    },
};

impl<'a> FileSet<'a> {
    pub(crate) fn files(&self) -> [SetFile<'a>; 4] {
        [self.train.images, self.train.labels, self.test.images, self.test.labels]
    }
}

/// Loads MNIST from the first of `places` that has any of its files.
pub(crate) fn load(places: &[PathBuf], split: &Split) -> Result<Dataset, DataError> {
    load_set(&MNIST, places, split)
}

pub(crate) fn load_set(set: &FileSet<'_>, places: &[PathBuf], split: &Split) -> Result<Dataset, DataError> {
    let dir = places.iter().find(|dir| set.files().iter().any(|file| find(dir, file.name).is_some()));
    let Some(dir) = dir else {
        return Err(DataError::Missing { set: DataSource::Mnist, places: places.to_vec() });
    };
    let (train, test) = rayon::join(
        || read_part(dir, &set.train, &[split.train.clone(), split.validation.clone()]),
        || read_part(dir, &set.test, std::slice::from_ref(&split.test)),
    );
    let [train, validation] = take(train?);
    let [test] = take(test?);
    Ok(Dataset { train, validation, test, classes: CLASSES })
}

/// The file called `name` in `dir`, under any of the names in use: with `.idx` for `-idx`, with `.gz` or not.
pub(crate) fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    [name.to_owned(), name.replace("-idx", ".idx")]
        .into_iter()
        .flat_map(|name| [dir.join(format!("{name}.gz")), dir.join(name)])
        .find(|path| path.is_file())
}

fn take<const N: usize>(parts: Vec<Samples>) -> [Samples; N] {
    parts.try_into().expect("as many sets of samples as ranges")
}

/// Reads the samples in each of `ranges`, which ascend and do not overlap.
fn read_part(dir: &Path, part: &Part<'_>, ranges: &[Range<usize>]) -> Result<Vec<Samples>, DataError> {
    let labels = read_labels(&path_of(dir, part.labels.name)?, part)?;
    let images = read_images(&path_of(dir, part.images.name)?, part, ranges)?;
    let samples = ranges
        .iter()
        .zip(images)
        .map(|(range, pixels)| Samples::new(pixels, labels[range.clone()].to_vec(), FEATURES));
    Ok(samples.collect())
}

fn path_of(dir: &Path, name: &str) -> Result<PathBuf, DataError> {
    find(dir, name).ok_or_else(|| DataError::Incomplete { dir: dir.to_owned(), name: name.to_owned() })
}

fn read_labels(path: &Path, part: &Part<'_>) -> Result<Vec<u8>, DataError> {
    let mut file = Contents::open(path)?;
    read_header(&mut file, &[("labels", part.count)])?;
    let start = file.offset();
    let mut labels = vec![0; part.count];
    file.fill(&mut labels)?;
    if let Some(i) = labels.iter().position(|&label| usize::from(label) >= CLASSES) {
        return Err(file.malformed(start + i as u64, "a label from 0 to 9", labels[i].to_string()));
    }
    file.end(part.labels.sha256)?;
    Ok(labels)
}

fn read_images(path: &Path, part: &Part<'_>, ranges: &[Range<usize>]) -> Result<Vec<Vec<u8>>, DataError> {
    let mut file = Contents::open(path)?;
    read_header(&mut file, &[("images", part.count), ("rows", SIDE), ("columns", SIDE)])?;
    let mut next = 0;
    let mut images = Vec::with_capacity(ranges.len());
    for range in ranges {
        file.skip((range.start - next) * FEATURES)?;
        let mut pixels = vec![0; range.len() * FEATURES];
        file.fill(&mut pixels)?;
        images.push(pixels);
        next = range.end;
    }
    file.skip((part.count - next) * FEATURES)?;
    file.end(part.images.sha256)?;
    Ok(images)
}

/// Checks that the file holds unsigned bytes in these dimensions.
fn read_header(file: &mut Contents<'_>, dimensions: &[(&str, usize)]) -> Result<(), DataError> {
    let magic = read_u32(file)?;
    let expected = 0x0800 + dimensions.len() as u32;
    if magic != expected {
        let expected = format!("the magic number {expected:#010x} of an IDX file of {}", dimensions[0].0);
        return Err(file.malformed(0, expected, format!("{magic:#010x}")));
    }
    for &(what, size) in dimensions {
        let offset = file.offset();
        let found = read_u32(file)?;
        if found as usize != size {
            return Err(file.malformed(offset, format!("{size} {what}"), found.to_string()));
        }
    }
    Ok(())
}

fn read_u32(file: &mut Contents<'_>) -> Result<u32, DataError> {
    let mut bytes = [0; 4];
    file.fill(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

#[cfg(test)]
pub(crate) mod tests;
