//! The record of the generations that are kept: a small file that says where the committed bytes of each extent are.
//!
//! It is replaced as a whole (temporary file, sync, rename, sync of the folder), so that whoever looks finds the old
//! record or the new one, and it ends in a checksum of itself.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checksum::checksum;
use crate::slots::{Generation, Version};
use crate::{ExtentSpec, Standing, StorageError};

const MAGIC: &[u8; 8] = b"SPILLGEN";
const FORMAT: u32 = 3;
/// Name of the record in the store's folder.
const NAME: &str = "generation";
/// How a version is marked.
const NEVER_WRITTEN: u8 = 0;
const WITHOUT_CHECKSUM: u8 = 1;
const WITH_CHECKSUM: u8 = 2;

/// Where a store keeps its generations.
#[derive(Clone, Debug)]
pub(crate) struct GenerationFile {
    dir: PathBuf,
    /// Of the table of extents and their slots: a record for another table is refused.
    fingerprint: u64,
}

impl GenerationFile {
    /// For a store that keeps at most `keep` generations.
    pub(crate) fn new(dir: &Path, extents: &[ExtentSpec], keep: u8) -> Self {
        let mut described = vec![keep];
        for spec in extents {
            described.extend_from_slice(&spec.bytes.to_le_bytes());
            described.extend_from_slice(&(spec.name.len() as u64).to_le_bytes());
            described.extend_from_slice(spec.name.as_bytes());
        }
        Self { dir: dir.to_owned(), fingerprint: checksum(&described) }
    }

    /// Replaces the record by one of these generations, newest first. When this returns they survive a power cut, if the
    /// extents' file was synced before.
    pub(crate) fn write(&self, kept: &[Generation]) -> Result<(), StorageError> {
        let temporary = self.dir.join("generation.tmp");
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&encode(kept, self.fingerprint))?;
            file.sync_data()
        };
        write().map_err(|cause| failed("write", &temporary, cause))?;
        fs::rename(&temporary, self.path()).map_err(|cause| failed("replace", &self.path(), cause))?;
        sync_folder(&self.dir)
    }

    /// The generations on record, newest first; none where none was committed.
    pub(crate) fn read(&self) -> Result<Vec<Generation>, StorageError> {
        let path = self.path();
        match fs::read(&path) {
            Ok(bytes) => decode(&bytes, self.fingerprint, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(cause) => Err(failed("read", &path, cause)),
        }
    }

    /// Forgets all generations, before the extents' file is overwritten.
    pub(crate) fn remove(&self) -> Result<(), StorageError> {
        match fs::remove_file(self.path()) {
            Ok(()) => sync_folder(&self.dir),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(cause) => Err(failed("remove", &self.path(), cause)),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(NAME)
    }
}

fn encode(kept: &[Generation], fingerprint: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&fingerprint.to_le_bytes());
    bytes.extend_from_slice(&(kept.len() as u64).to_le_bytes());
    for generation in kept {
        encode_generation(generation, &mut bytes);
    }
    let own = checksum(&bytes);
    bytes.extend_from_slice(&own.to_le_bytes());
    bytes
}

fn encode_generation(generation: &Generation, bytes: &mut Vec<u8>) {
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
    bytes.extend_from_slice(&(generation.payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&generation.payload);
}

fn decode(bytes: &[u8], fingerprint: u64, path: &Path) -> Result<Vec<Generation>, StorageError> {
    let other = || StorageError::OtherGeneration { path: path.to_owned() };
    let preamble = bytes.get(..MAGIC.len() + 4);
    if preamble.is_some_and(|found| found.starts_with(MAGIC) && !found.ends_with(&FORMAT.to_le_bytes())) {
        // Its checksum may be another one, too.
        return Err(other());
    }
    let body_length = bytes.len().saturating_sub(8);
    let (body, own) = bytes.split_at(body_length);
    let (expected, found) = (le_u64(own), checksum(body));
    if expected != Some(found) {
        return Err(StorageError::Corrupt {
            path: path.to_owned(),
            extent: "the record of the generation".to_owned(),
            offset: 0,
            expected: expected.unwrap_or(0),
            found,
            standing: Standing::Part,
        });
    }
    let mut rest = body;
    parse(&mut rest, fingerprint).filter(|_| rest.is_empty()).ok_or_else(other)
}

/// The record's generations, or `None` if it is of another format or another table of extents.
fn parse(rest: &mut &[u8], fingerprint: u64) -> Option<Vec<Generation>> {
    let magic = rest.split_off(..MAGIC.len())?;
    let format = rest.split_off(..4)?;
    if magic != MAGIC || format != FORMAT.to_le_bytes() || take_u64(rest)? != fingerprint {
        return None;
    }
    (0..take_u64(rest)?).map(|_| parse_generation(rest)).collect()
}

fn parse_generation(rest: &mut &[u8]) -> Option<Generation> {
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
    Some(Generation { number, versions, payload })
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    rest.split_off(..8).and_then(le_u64)
}

fn le_u64(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// Makes the names in a folder as they are now survive a power cut.
pub(crate) fn sync_folder(dir: &Path) -> Result<(), StorageError> {
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(|cause| failed("sync", dir, cause))
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

    /// Two, the newer of which has written an extent more and another one elsewhere.
    fn generations() -> Vec<Generation> {
        let in_slot = |slot, checksum| Some(Version { slot, checksum });
        let older = vec![in_slot(1, Some(7)), None, in_slot(0, None)];
        let newer = vec![in_slot(2, Some(8)), in_slot(0, Some(9)), in_slot(0, None)];
        vec![
            Generation { number: 4, versions: newer, payload: b"step 16".to_vec() },
            Generation { number: 3, versions: older, payload: b"step 12, and more".to_vec() },
        ]
    }

    #[test]
    fn generations_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = GenerationFile::new(dir.path(), &extents(), 2);
        assert_eq!(file.read().unwrap(), []);
        for kept in [&generations()[..], &generations()[1..]] {
            file.write(kept).unwrap();
            assert_eq!(file.read().unwrap(), kept);
        }
        file.remove().unwrap();
        assert_eq!(file.read().unwrap(), []);
    }

    #[test]
    fn a_record_with_any_byte_changed_or_cut_is_corrupt_or_of_another_format() {
        let path = Path::new("generation");
        let good = encode(&generations(), 1);
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 0x10;
            let refused = decode(&bad, 1, path).unwrap_err();
            if (MAGIC.len()..MAGIC.len() + 4).contains(&index) {
                assert!(matches!(refused, StorageError::OtherGeneration { .. }), "{refused}");
            } else {
                assert!(matches!(refused, StorageError::Corrupt { .. }), "{refused}");
            }
            assert!(matches!(decode(&good[..index], 1, path), Err(StorageError::Corrupt { .. })));
        }
    }

    #[test]
    fn a_record_for_other_extents_or_another_number_of_slots_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        GenerationFile::new(dir.path(), &extents(), 2).write(&generations()).unwrap();
        for (extents, keep) in [(&extents()[..2], 2), (&extents()[..], 3)] {
            let error = GenerationFile::new(dir.path(), extents, keep).read().unwrap_err();
            assert!(matches!(error, StorageError::OtherGeneration { .. }), "{error}");
        }
    }
}
