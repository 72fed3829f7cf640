//! The records of the generations that are kept: a small file each, which says where the committed bytes of every extent
//! are, holds the caller's own bytes and ends in a checksum of itself.
//!
//! A record appears as a whole (temporary file, sync, rename, sync of the folder) and is never changed, so that whoever
//! looks finds all of it or nothing, and rot in one costs no other. A generation is gone when its record is.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checksum::checksum;
use crate::refusal::sync_folder;
use crate::slots::{Generation, Version};
use crate::{ExtentSpec, Standing, StorageError};

const MAGIC: &[u8; 8] = b"SPILLGEN";
const FORMAT: u32 = 4;
/// How the names of records begin in the store's folder, before a dot and the generation's number.
const NAME: &str = "generation";
/// Name of the record that is being written.
const TEMPORARY: &str = "generation.tmp";
/// How a version is marked.
const NEVER_WRITTEN: u8 = 0;
const WITHOUT_CHECKSUM: u8 = 1;
const WITH_CHECKSUM: u8 = 2;

/// Where a store keeps its generations.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    dir: PathBuf,
    /// The most that are kept.
    keep: u8,
    /// Of the table of extents and their slots: a record for another table is refused.
    fingerprint: u64,
}

/// What was on record.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// Newest first; at least one.
    pub kept: Vec<Generation>,
    /// Of the newest.
    pub payload: Vec<u8>,
}

/// The payload of the last generation on record in the folder of a [`crate::DirectStore`], which may be open; `None`
/// if there is none. Records that are corrupt are passed over.
///
/// # Errors
/// [`StorageError::File`] if one cannot be read, [`StorageError::OtherGeneration`] if one has the name of another format.
pub fn last_payload(dir: &Path) -> Result<Option<Vec<u8>>, StorageError> {
    for number in numbers(dir)? {
        if let Ok(record) = decode(&read(&path(dir, number))?) {
            return Ok(Some(record.payload));
        }
    }
    Ok(None)
}

impl Records {
    /// For a store that keeps at most `keep` generations.
    pub(crate) fn new(dir: &Path, extents: &[ExtentSpec], keep: u8) -> Self {
        let mut described = vec![keep];
        for spec in extents {
            described.extend_from_slice(&spec.bytes.to_le_bytes());
            described.extend_from_slice(&(spec.name.len() as u64).to_le_bytes());
            described.extend_from_slice(spec.name.as_bytes());
        }
        Self { dir: dir.to_owned(), keep, fingerprint: checksum(&described) }
    }

    /// Whether no generation was committed.
    pub(crate) fn is_empty(&self) -> Result<bool, StorageError> {
        Ok(numbers(&self.dir)?.is_empty())
    }

    /// Records a generation. When this returns it survives a power cut, if the extents' file was synced before and folders can
    /// be synced here.
    pub(crate) fn write(&self, generation: &Generation, payload: &[u8]) -> Result<(), StorageError> {
        let temporary = self.dir.join(TEMPORARY);
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&encode(generation, payload, self.fingerprint))?;
            file.sync_data()
        };
        write().map_err(|cause| failed("write", &temporary, cause))?;
        let path = path(&self.dir, generation.number);
        fs::rename(&temporary, &path).map_err(|cause| failed("create", &path, cause))?;
        sync_folder(&self.dir).map(drop)
    }

    /// Drops a generation. When this returns it does not come back after a power cut.
    pub(crate) fn remove(&self, number: u64) -> Result<(), StorageError> {
        remove_file(&path(&self.dir, number))?;
        sync_folder(&self.dir).map(drop)
    }

    /// Drops the newest generations, of these numbers, newest first, so that what a crash leaves is a state in which the
    /// rest is dropped as well. Returns the error for the `corruption` that is the reason.
    pub(crate) fn give_up(
        &self,
        numbers: &[u64],
        corruption: impl Fn(Standing) -> StorageError,
    ) -> StorageError {
        let generations = numbers.len();
        match numbers.iter().try_for_each(|number| self.remove(*number)) {
            Ok(()) => corruption(Standing::GivenUp { generations }),
            Err(cause) => StorageError::NotGivenUp {
                corruption: Box::new(corruption(Standing::NotGivenUp)),
                cause: Box::new(cause),
            },
        }
    }

    /// Forgets all generations, before the extents' file is overwritten.
    pub(crate) fn remove_all(&self) -> Result<(), StorageError> {
        let files = files(&self.dir)?;
        files.iter().try_for_each(|path| remove_file(path))?;
        if files.is_empty() { Ok(()) } else { sync_folder(&self.dir).map(drop) }
    }

    /// The newest sound generations, no more than are kept; `None` where none was committed. What a crash has left beside
    /// them is removed. Nobody else writes records meanwhile.
    ///
    /// # Errors
    /// If the newest record is corrupt, that, after it was given up for an older one that is sound.
    pub(crate) fn recover(&self) -> Result<Option<Recovered>, StorageError> {
        let mut payload = Vec::new();
        let (mut sound, mut corrupt) = (Vec::new(), Vec::new());
        for number in numbers(&self.dir)? {
            match self.read(number)? {
                Ok(record) if sound.is_empty() => {
                    payload = record.payload;
                    sound.push(record.generation);
                }
                Ok(record) => sound.push(record.generation),
                Err(rot) => corrupt.push((number, rot)),
            }
        }
        let Some(newest) = sound.first().map(|generation| generation.number) else {
            let alone = corrupt.first().map(|(number, rot)| self.corrupt_alone(*number, rot));
            return alone.map_or(Ok(None), Err);
        };
        let lost = corrupt.iter().take_while(|(number, _)| *number > newest).count();
        if let Some((number, rot)) = corrupt[..lost].first() {
            let numbers: Vec<u64> = corrupt[..lost].iter().map(|(number, _)| *number).collect();
            return Err(self.give_up(&numbers, |standing| self.corrupt(*number, rot, standing)));
        }
        // What is about to be removed is not needed only if the name of what came after it survives a power cut.
        sync_folder(&self.dir)?;
        let kept: Vec<Generation> = sound.drain(..sound.len().min(usize::from(self.keep))).collect();
        let beyond = sound.iter().map(|generation| generation.number);
        // Nobody can go back to a corrupt one either.
        beyond.chain(corrupt.iter().map(|(number, _)| *number)).try_for_each(|number| self.remove(number))?;
        let left: Vec<_> = files(&self.dir)?.into_iter().filter(|path| path.ends_with(TEMPORARY)).collect();
        left.iter().try_for_each(|path| remove_file(path))?;
        Ok(Some(Recovered { kept, payload }))
    }

    /// A record, or what is wrong with it; an error if it is of another table of extents.
    fn read(&self, number: u64) -> Result<Result<Record, Rot>, StorageError> {
        let path = path(&self.dir, number);
        match decode(&read(&path)?) {
            Ok(record) if record.fingerprint == self.fingerprint && record.generation.number == number => {
                Ok(Ok(record))
            }
            Ok(_) | Err(Unusable::Other) => Err(StorageError::OtherGeneration { path }),
            Err(Unusable::Rotten(rot)) => Ok(Err(rot)),
        }
    }

    /// The error for a corrupt record without a sound one beside it, from which to tell rot from another format.
    fn corrupt_alone(&self, number: u64, rot: &Rot) -> StorageError {
        if rot.names_other_format {
            StorageError::OtherGeneration { path: path(&self.dir, number) }
        } else {
            self.corrupt(number, rot, Standing::AllHold)
        }
    }

    fn corrupt(&self, number: u64, rot: &Rot, standing: Standing) -> StorageError {
        let (path, extent) = (path(&self.dir, number), "the record of the generation".to_owned());
        StorageError::Corrupt { path, extent, offset: 0, expected: rot.expected, found: rot.found, standing }
    }
}

/// What a file holds.
#[derive(Debug)]
struct Record {
    fingerprint: u64,
    generation: Generation,
    payload: Vec<u8>,
}

/// Why bytes are no record.
#[derive(Debug)]
enum Unusable {
    /// They are intact, and of another format.
    Other,
    Rotten(Rot),
}

/// A checksum that is not that of the bytes before it.
#[derive(Debug)]
struct Rot {
    expected: u64,
    found: u64,
    /// Whether the bytes begin as a record of another format, whose checksum may be another one, too.
    names_other_format: bool,
}

fn encode(generation: &Generation, payload: &[u8], fingerprint: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&fingerprint.to_le_bytes());
    bytes.extend_from_slice(&generation.number.to_le_bytes());
    bytes.extend_from_slice(&(generation.versions.len() as u64).to_le_bytes());
    for version in &generation.versions {
        let (mark, slot, sum) = match version {
            None => (NEVER_WRITTEN, 0, 0),
            Some(Version { slot, checksum: None }) => (WITHOUT_CHECKSUM, *slot, 0),
            Some(Version { slot, checksum: Some(sum) }) => (WITH_CHECKSUM, *slot, *sum),
        };
        bytes.extend_from_slice(&[mark, slot]);
        bytes.extend_from_slice(&sum.to_le_bytes());
    }
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(payload);
    let own = checksum(&bytes);
    bytes.extend_from_slice(&own.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Result<Record, Unusable> {
    let (mut body, own) = bytes.split_at(bytes.len().saturating_sub(8));
    let (expected, found) = (le_u64(own), checksum(body));
    if expected != Some(found) {
        let preamble = bytes.get(..MAGIC.len() + 4);
        let names_other_format =
            preamble.is_some_and(|found| found.starts_with(MAGIC) && !found.ends_with(&FORMAT.to_le_bytes()));
        return Err(Unusable::Rotten(Rot { expected: expected.unwrap_or(0), found, names_other_format }));
    }
    parse(&mut body).filter(|_| body.is_empty()).ok_or(Unusable::Other)
}

/// A record, or `None` if it is of another format.
fn parse(rest: &mut &[u8]) -> Option<Record> {
    let magic = rest.split_off(..MAGIC.len())?;
    let format = rest.split_off(..4)?;
    if magic != MAGIC || format != FORMAT.to_le_bytes() {
        return None;
    }
    let fingerprint = take_u64(rest)?;
    let number = take_u64(rest)?;
    let mut versions = Vec::new();
    for _ in 0..take_u64(rest)? {
        let &[mark, slot] = rest.split_off(..2)? else { return None };
        let sum = take_u64(rest)?;
        let checksum = (mark == WITH_CHECKSUM).then_some(sum);
        versions.push((mark != NEVER_WRITTEN).then_some(Version { slot, checksum }));
    }
    let payload_length = usize::try_from(take_u64(rest)?).ok()?;
    let payload = rest.split_off(..payload_length)?.to_vec();
    Some(Record { fingerprint, generation: Generation { number, versions }, payload })
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    rest.split_off(..8).and_then(le_u64)
}

fn le_u64(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{NAME}.{number}"))
}

/// Of the generations on record, newest first.
fn numbers(dir: &Path) -> Result<Vec<u64>, StorageError> {
    let records = files(dir)?.into_iter().filter(|path| !path.ends_with(TEMPORARY));
    let number = |path: PathBuf| {
        let number = path.extension().and_then(|extension| extension.to_str()?.parse().ok());
        number.ok_or(StorageError::OtherGeneration { path })
    };
    let mut numbers = records.map(number).collect::<Result<Vec<u64>, _>>()?;
    numbers.sort_unstable_by(|older, newer| newer.cmp(older));
    Ok(numbers)
}

/// The files in a folder that are called like records, those of other formats and one half written included.
fn files(dir: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let list = || {
        let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
        entries.collect::<io::Result<Vec<PathBuf>>>()
    };
    let files = match list() {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(cause) => return Err(failed("list", dir, cause)),
    };
    Ok(files.into_iter().filter(|path| path.file_stem().is_some_and(|stem| stem == NAME)).collect())
}

fn read(path: &Path) -> Result<Vec<u8>, StorageError> {
    fs::read(path).map_err(|cause| failed("read", path, cause))
}

fn remove_file(path: &Path) -> Result<(), StorageError> {
    fs::remove_file(path).map_err(|cause| failed("remove", path, cause))
}

fn failed(operation: &'static str, path: &Path, cause: io::Error) -> StorageError {
    StorageError::File { operation, path: path.to_owned(), cause: Arc::new(cause) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents() -> Vec<ExtentSpec> {
        [4, 8, 12].map(|bytes| ExtentSpec { name: format!("{bytes} bytes"), bytes }).to_vec()
    }

    fn records(dir: &Path) -> Records {
        Records::new(dir, &extents(), 2)
    }

    /// Each has written an extent where the one before has another version.
    fn generation(number: u64) -> Generation {
        let in_slot = |slot, checksum| Some(Version { slot, checksum });
        Generation { number, versions: vec![in_slot(number as u8 % 3, Some(number)), None, in_slot(0, None)] }
    }

    fn payload(number: u64) -> Vec<u8> {
        format!("step {number}").into_bytes()
    }

    fn write(dir: &Path, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            records(dir).write(&generation(number), &payload(number)).unwrap();
        }
    }

    fn flip(dir: &Path, number: u64, index: usize) {
        let mut bytes = fs::read(path(dir, number)).unwrap();
        bytes[index] ^= 0x10;
        fs::write(path(dir, number), bytes).unwrap();
    }

    /// That these generations are recovered, that no others are on record then, and that the newest has its payload.
    fn assert_recovered(dir: &Path, expected: &[u64]) {
        let recovered = records(dir).recover().unwrap().unwrap();
        let generations: Vec<_> = expected.iter().map(|number| generation(*number)).collect();
        assert_eq!(recovered.kept, generations);
        assert_eq!(recovered.payload, payload(expected[0]));
        assert_eq!(numbers(dir).unwrap(), expected);
        assert_eq!(last_payload(dir).unwrap(), Some(payload(expected[0])));
    }

    #[test]
    fn generations_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        assert!(records(dir.path()).recover().unwrap().is_none());
        assert_eq!(last_payload(dir.path()).unwrap(), None);
        write(dir.path(), [9, 10]);
        assert_recovered(dir.path(), &[10, 9]);
        records(dir.path()).remove(9).unwrap();
        assert_recovered(dir.path(), &[10]);
        records(dir.path()).remove_all().unwrap();
        assert!(records(dir.path()).is_empty().unwrap());
    }

    #[test]
    fn what_a_crash_left_beside_the_newest_ones_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 3..=6);
        fs::write(dir.path().join(TEMPORARY), b"half a rec").unwrap();
        assert_recovered(dir.path(), &[6, 5]);
        assert_eq!(files(dir.path()).unwrap().len(), 2);
    }

    #[test]
    fn a_corrupt_record_is_passed_over_once_newest_or_not() {
        for older in [vec![4], vec![4, 3]] {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), older.iter().copied().chain([5, 6]));
            (5..=6).for_each(|number| flip(dir.path(), number, 20));
            assert_eq!(last_payload(dir.path()).unwrap(), Some(payload(4)));
            let error = records(dir.path()).recover().unwrap_err();
            let StorageError::Corrupt { path, standing, .. } = error else { panic!("{error}") };
            assert_eq!(path, dir.path().join("generation.6"));
            assert_eq!(standing, Standing::GivenUp { generations: 2 });
            assert_recovered(dir.path(), &older);
            write(dir.path(), [5, 6]);
            flip(dir.path(), 5, 20);
            assert_recovered(dir.path(), &[6, 4]);
        }
    }

    #[test]
    fn generations_are_given_up_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 4..=6);
        fs::remove_file(path(dir.path(), 5)).unwrap();
        fs::create_dir(path(dir.path(), 5)).unwrap();
        let rot = Rot { expected: 1, found: 2, names_other_format: false };
        let corruption = |standing| records(dir.path()).corrupt(6, &rot, standing);
        let error = records(dir.path()).give_up(&[6, 5], corruption);
        let StorageError::NotGivenUp { corruption, .. } = &error else { panic!("{error}") };
        assert!(matches!(**corruption, StorageError::Corrupt { standing: Standing::NotGivenUp, .. }));
        assert_eq!(numbers(dir.path()).unwrap(), [5, 4]);
    }

    #[test]
    fn a_record_with_any_byte_changed_or_cut_is_corrupt() {
        let good = encode(&generation(1), &payload(1), 1);
        assert!(decode(&good).is_ok());
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 0x10;
            for bad in [&bad, &good[..index]] {
                assert!(matches!(decode(bad), Err(Unusable::Rotten(_))), "{index}");
            }
        }
    }

    #[test]
    fn a_corrupt_record_alone_stays_and_may_be_of_another_format() {
        let dir = tempfile::tempdir().unwrap();
        for index in 0..30 {
            write(dir.path(), [1]);
            flip(dir.path(), 1, index);
            let error = records(dir.path()).recover().unwrap_err();
            if (MAGIC.len()..MAGIC.len() + 4).contains(&index) {
                assert!(matches!(error, StorageError::OtherGeneration { .. }), "{error}");
            } else {
                assert!(
                    matches!(error, StorageError::Corrupt { standing: Standing::AllHold, .. }),
                    "{error}"
                );
            }
            assert_eq!(numbers(dir.path()).unwrap(), [1]);
        }
    }

    #[test]
    fn a_record_for_other_extents_or_another_number_of_slots_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), [1, 2]);
        for (extents, keep) in [(&extents()[..2], 2), (&extents()[..], 3)] {
            let error = Records::new(dir.path(), extents, keep).recover().unwrap_err();
            assert!(matches!(error, StorageError::OtherGeneration { .. }), "{error}");
        }
        assert_recovered(dir.path(), &[2, 1]);
    }

    #[test]
    fn a_record_of_a_format_that_was_named_otherwise_is_refused_and_removed_with_the_others() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), b"SPILLGEN").unwrap();
        let error = records(dir.path()).recover().unwrap_err();
        assert!(matches!(error, StorageError::OtherGeneration { .. }), "{error}");
        records(dir.path()).remove_all().unwrap();
        assert!(records(dir.path()).recover().unwrap().is_none());
    }
}
