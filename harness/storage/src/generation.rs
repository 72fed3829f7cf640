//! The record of a generation: a small file that says where each extent's committed bytes are.
//!
//! It is replaced as a whole (temporary file, sync, rename, sync of the folder), so that whoever looks finds the old
//! record or the new one, and it ends in a checksum of itself.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checksum::checksum;
use crate::slots::Version;
use crate::{ExtentSpec, Standing, StorageError};

const MAGIC: &[u8; 8] = b"SPILLGEN";
const FORMAT: u32 = 2;
/// Name of the record in the store's folder.
const NAME: &str = "generation";

/// A committed generation.
#[derive(Clone, Eq, PartialEq, Debug)]
pub(crate) struct Generation {
    /// Counts up from 1.
    pub number: u64,
    /// By extent; `None` if it was never written.
    pub versions: Vec<Option<Version>>,
    /// The caller's own bytes.
    pub payload: Vec<u8>,
}

/// Where a store keeps its generations.
#[derive(Clone, Debug)]
pub(crate) struct GenerationFile {
    dir: PathBuf,
    /// Of the table of extents: a record for another table is refused.
    fingerprint: u64,
}

impl GenerationFile {
    pub(crate) fn new(dir: &Path, extents: &[ExtentSpec]) -> Self {
        let mut described = Vec::new();
        for spec in extents {
            described.extend_from_slice(&spec.bytes.to_le_bytes());
            described.extend_from_slice(&(spec.name.len() as u64).to_le_bytes());
            described.extend_from_slice(spec.name.as_bytes());
        }
        Self { dir: dir.to_owned(), fingerprint: checksum(&described) }
    }

    /// Replaces the record. When this returns the generation survives a power cut, if the extents' file was synced
    /// before.
    pub(crate) fn write(&self, generation: &Generation) -> Result<(), StorageError> {
        let temporary = self.dir.join("generation.tmp");
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&generation.encode(self.fingerprint))?;
            file.sync_data()
        };
        write().map_err(|cause| failed("write", &temporary, cause))?;
        fs::rename(&temporary, self.path()).map_err(|cause| failed("replace", &self.path(), cause))?;
        sync_folder(&self.dir)
    }

    /// The last committed generation, if there is one.
    pub(crate) fn read(&self) -> Result<Option<Generation>, StorageError> {
        let path = self.path();
        match fs::read(&path) {
            Ok(bytes) => Generation::decode(&bytes, self.fingerprint, &path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
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

impl Generation {
    fn encode(&self, fingerprint: u64) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&fingerprint.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&(self.versions.len() as u64).to_le_bytes());
        for version in &self.versions {
            let slot = version.map_or(u8::MAX, |version| version.slot);
            let sum = version.and_then(|version| version.checksum);
            bytes.extend_from_slice(&[slot, u8::from(sum.is_some())]);
            bytes.extend_from_slice(&sum.unwrap_or(0).to_le_bytes());
        }
        bytes.extend_from_slice(&(self.payload.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&self.payload);
        let own = checksum(&bytes);
        bytes.extend_from_slice(&own.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], fingerprint: u64, path: &Path) -> Result<Self, StorageError> {
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
        Self::parse(&mut rest, fingerprint).filter(|_| rest.is_empty()).ok_or_else(other)
    }

    /// The record's fields, or `None` if it is of another format or another table of extents.
    fn parse(rest: &mut &[u8], fingerprint: u64) -> Option<Self> {
        let magic = rest.split_off(..MAGIC.len())?;
        let format = rest.split_off(..4)?;
        if magic != MAGIC || format != FORMAT.to_le_bytes() || take_u64(rest)? != fingerprint {
            return None;
        }
        let number = take_u64(rest)?;
        let extents = take_u64(rest)?;
        let mut versions = Vec::new();
        for _ in 0..extents {
            let &[slot, has_checksum] = rest.split_off(..2)? else { return None };
            let sum = take_u64(rest)?;
            let checksum = (has_checksum != 0).then_some(sum);
            versions.push((slot <= 1).then_some(Version { slot, checksum }));
        }
        let payload_length = usize::try_from(take_u64(rest)?).ok()?;
        let payload = rest.split_off(..payload_length)?.to_vec();
        Some(Self { number, versions, payload })
    }
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

    fn generation() -> Generation {
        let versions = vec![
            Some(Version { slot: 1, checksum: Some(7) }),
            None,
            Some(Version { slot: 0, checksum: None }),
        ];
        Generation { number: 3, versions, payload: b"step 12".to_vec() }
    }

    #[test]
    fn a_generation_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = GenerationFile::new(dir.path(), &extents());
        assert_eq!(file.read().unwrap(), None);
        file.write(&generation()).unwrap();
        assert_eq!(file.read().unwrap(), Some(generation()));
        file.remove().unwrap();
        assert_eq!(file.read().unwrap(), None);
    }

    #[test]
    fn a_record_with_any_byte_changed_or_cut_is_corrupt_or_of_another_format() {
        let path = Path::new("generation");
        let good = generation().encode(1);
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 0x10;
            let refused = Generation::decode(&bad, 1, path).unwrap_err();
            if (MAGIC.len()..MAGIC.len() + 4).contains(&index) {
                assert!(matches!(refused, StorageError::OtherGeneration { .. }), "{refused}");
            } else {
                assert!(matches!(refused, StorageError::Corrupt { .. }), "{refused}");
            }
            assert!(matches!(Generation::decode(&good[..index], 1, path), Err(StorageError::Corrupt { .. })));
        }
    }

    #[test]
    fn a_record_for_another_table_of_extents_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        GenerationFile::new(dir.path(), &extents()).write(&generation()).unwrap();
        let error = GenerationFile::new(dir.path(), &extents()[..2]).read().unwrap_err();
        assert!(matches!(error, StorageError::OtherGeneration { .. }), "{error}");
    }
}
