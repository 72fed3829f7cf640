//! The store that bypasses the page cache: `O_DIRECT` and `io_uring`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::extent::ExtentTable;
use crate::faulty::Fault;
use crate::file::{self, ExtentFile, Opener};
use crate::file_store::{Checks, Describe, FileStore, MakeDevice, Parts};
use crate::generation::{Records, Recovered};
use crate::refusal::{Answer, sync_folder};
use crate::slots::Slots;
use crate::uring::{self, Uring};
use crate::{ALIGNMENT, ExtentSpec, StorageError, filesystem};

/// A store that keeps at most a given number of bytes in memory, and all extents in a file that the page cache
/// does not see: resident memory is what the panels take, no more.
pub type DirectStore = FileStore<Direct>;

/// Marks a store that uses direct I/O.
#[derive(Copy, Clone, Debug)]
pub enum Direct {}

/// How a [`DirectStore`] works.
#[derive(Copy, Clone, Debug)]
pub struct DirectOptions {
    /// The most bytes of memory for panels, each rounded up to [`ALIGNMENT`].
    pub capacity_bytes: u64,
    /// The most requests in flight, 1 to 1024; half of those asked for are.
    pub queue_depth: usize,
    /// The most bytes of one request: a multiple of [`ALIGNMENT`], at most 1 GiB.
    pub chunk_bytes: u64,
    /// Whether to let the kernel pin each buffer once, instead of in each request. Where too little memory may be
    /// locked the store does without, and says so in its description.
    pub registered_buffers: bool,
    /// Whether to keep a checksum of each extent and verify it when read.
    pub checksums: bool,
    /// How many committed generations to keep; 0: none can be committed. The file has one slot more for each extent.
    /// However many are kept, an extent is written no more often.
    pub generations: u8,
    /// An operation to make fail, for tests.
    pub fault: Option<Fault>,
}

impl DirectOptions {
    /// Requests of 1 MiB, at most 32 in flight, buffers registered, checksums, no generations.
    pub const fn new(capacity_bytes: u64) -> Self {
        Self {
            capacity_bytes,
            queue_depth: 32,
            chunk_bytes: 1 << 20,
            registered_buffers: true,
            checksums: true,
            generations: 0,
            fault: None,
        }
    }

    fn check(&self) -> Result<(), StorageError> {
        if !(1..=1024).contains(&self.queue_depth) {
            return Err(StorageError::InvalidOption {
                field: "queue_depth",
                value: self.queue_depth as u64,
                remedy: "must be 1 to 1024",
            });
        }
        file::check_chunk(self.chunk_bytes)
    }
}

impl DirectStore {
    /// Creates the file `extents` in `dir` (which is created too), reserves its space and starts the I/O thread.
    /// What was in the file, and a generation of it, is lost. Every extent reads as zeros.
    ///
    /// # Errors
    /// [`StorageError::DirectRefused`] if the file system does not do direct I/O, [`StorageError::UringRefused`] if
    /// `io_uring` may not be used, [`StorageError::NoSpace`], [`StorageError::InUse`], [`StorageError::File`],
    /// [`StorageError::InvalidExtent`], [`StorageError::InvalidOption`].
    pub fn open(dir: &Path, extents: &[ExtentSpec], options: DirectOptions) -> Result<Self, StorageError> {
        Self::open_by(dir, extents, options, file::open)
    }

    fn open_by(
        dir: &Path,
        extents: &[ExtentSpec],
        options: DirectOptions,
        opener: Opener,
    ) -> Result<Self, StorageError> {
        options.check()?;
        let extents = ExtentTable::new(extents)?;
        file::create_folder(dir)?;
        let slots = Slots::unwritten(extents.specs().len(), options.generations);
        let records = Records::new(dir, extents.specs(), options.generations);
        let file = ExtentFile::direct(&dir.join(FILE), opener)?;
        records.remove_all()?;
        let bytes = extents.file_bytes() * slots.per_extent();
        let reserved = file.reserve(bytes)?;
        file.check_direct(bytes)?;
        let keeps_generations = options.generations > 0;
        if let (true, Some(parent)) = (keeps_generations, dir.parent()) {
            sync_folder(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        }
        Self::over(file, extents, options, slots, keeps_generations.then_some(records), reserved)
    }

    /// Opens the store in `dir` as its last committed generation left it, and returns it with that one's payload;
    /// `None` if none was committed there.
    ///
    /// # Errors
    /// As for [`DirectStore::open`], and [`StorageError::OtherGeneration`] if it was committed with other extents or
    /// another number was to be kept, [`StorageError::Corrupt`] if its record is not as it was written,
    /// [`StorageError::EndOfFile`] if the file is too short. A corrupt extent is found when it is read. Where an older
    /// generation is without what is corrupt, the store recovers as that one left it from then on.
    pub fn recover(
        dir: &Path,
        extents: &[ExtentSpec],
        options: DirectOptions,
    ) -> Result<Option<(Self, Vec<u8>)>, StorageError> {
        options.check()?;
        let extents = ExtentTable::new(extents)?;
        let records = Records::new(dir, extents.specs(), options.generations);
        if records.is_empty()? {
            return Ok(None);
        }
        let file = ExtentFile::direct(&dir.join(FILE), file::open)?;
        // Only now does nobody else commit.
        let Some(Recovered { kept, payload }) = records.recover()? else { return Ok(None) };
        let bytes = extents.file_bytes() * (u64::from(options.generations) + 1);
        file.check_length(bytes)?;
        file.check_direct(bytes)?;
        let slots = Slots::recovered(kept, options.generations);
        for extent in slots.never_written() {
            // In no generation before either: what was written since is undone.
            file.write_zeros(extents.offsets()[extent], extents.specs()[extent].padded_bytes())?;
        }
        Ok(Some((Self::over(file, extents, options, slots, Some(records), Answer::Done)?, payload)))
    }

    /// Commits a generation: every write begun before, and `payload`, on stable storage; [`DirectStore::recover`]
    /// finds exactly that until the next commit, whatever is written in between. The oldest generation goes where more
    /// are kept than were asked for. Returns the new one's number, counted from 1 since the store was created. Writes
    /// begun during the call wait for it.
    ///
    /// # Errors
    /// [`StorageError::InvalidOption`] if the store was opened without generations, else why a write, the sync or
    /// the record failed.
    pub fn commit(&self, payload: &[u8]) -> Result<u64, StorageError> {
        self.commit_generation(payload)
    }

    fn over(
        file: ExtentFile,
        extents: ExtentTable,
        options: DirectOptions,
        slots: Slots,
        records: Option<Records>,
        reserved: Answer,
    ) -> Result<Self, StorageError> {
        let folder = file.path.parent().filter(|_| records.is_some());
        let synced = folder.map_or(Ok(Answer::Done), sync_folder)?;
        let register = options.registered_buffers && uring::may_lock(options.capacity_bytes);
        let registration = Arc::new(AtomicBool::new(register));
        let description = Box::new(Description {
            alignment: filesystem::direct_alignment(&file.path).unwrap_or(ALIGNMENT as u64),
            registration: Arc::clone(&registration),
            reserved,
            synced,
            options,
        });
        let queue_depth = options.queue_depth as u32;
        let path = file.path;
        let make_device: MakeDevice = Box::new(move |waker| {
            let ring = Uring::new(file.file, waker, queue_depth, registration);
            Ok(Box::new(ring.map_err(uring_refused)?))
        });
        let parts = Parts {
            path: &path,
            extents,
            capacity_bytes: options.capacity_bytes,
            queue_depth: options.queue_depth,
            chunk_bytes: options.chunk_bytes as u32,
            slots,
            records,
            checks: Checks { checksums: options.checksums, fault: options.fault },
            description,
        };
        Self::start(parts, make_device)
    }
}

/// Why there is no ring, in terms of what to change.
fn uring_refused(cause: io::Error) -> StorageError {
    let remedy = match cause.raw_os_error() {
        Some(libc::EPERM) => {
            "allow io_uring_setup in the sandbox, or set the sysctl kernel.io_uring_disabled to 0"
        }
        Some(libc::ENOSYS) => "use a kernel of version 5.6 or later, with io_uring",
        Some(libc::ENOMEM) => "raise the limit on locked memory (ulimit -l)",
        _ => "see io_uring_setup(2)",
    };
    StorageError::UringRefused { cause: Arc::new(cause), remedy }
}

/// Name of the file in the store's folder.
const FILE: &str = "extents";

/// What a store's description says where calls are refused that it can do without.
pub(crate) const UNRESERVED: &str =
    ", space not reserved (fallocate is refused: a full disk is met when writing)";
const UNSYNCED: &str =
    ", folders not synced (fsync of a folder is refused: a power cut may cost generations)";

#[derive(Debug)]
struct Description {
    alignment: u64,
    registration: Arc<AtomicBool>,
    reserved: Answer,
    /// The store's folder.
    synced: Answer,
    options: DirectOptions,
}

impl Describe for Description {
    fn describe(&self) -> String {
        let buffers = match (self.options.registered_buffers, self.registration.load(Ordering::Relaxed)) {
            (true, true) => "registered buffers",
            (true, false) => "plain buffers (too little memory may be locked to register them)",
            (false, _) => "plain buffers",
        };
        format!(
            "direct: O_DIRECT, io_uring, blocks of {ALIGNMENT} bytes (the file needs {}), {buffers}, queue depth {}, chunk {} KiB, {}, {}, capacity {} bytes{}{}",
            self.alignment,
            self.options.queue_depth,
            self.options.chunk_bytes >> 10,
            if self.options.checksums { "checksums" } else { "no checksums" },
            match self.options.generations {
                0 => "no generations".to_owned(),
                1 => "generations".to_owned(),
                keep => format!("the last {keep} generations kept"),
            },
            self.options.capacity_bytes,
            self.reserved.note(UNRESERVED),
            self.synced.note(UNSYNCED),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_by(opener: Opener) -> StorageError {
        let dir = tempfile::tempdir().unwrap();
        let extents = [ExtentSpec { name: "a".to_owned(), bytes: 4 }];
        DirectStore::open_by(dir.path(), &extents, DirectOptions::new(4096), opener).unwrap_err()
    }

    #[test]
    fn a_file_system_that_refuses_direct_io_is_named_and_not_worked_around() {
        for errno in [libc::EINVAL, libc::EOPNOTSUPP] {
            let error = match errno {
                libc::EINVAL => open_by(|_, _| Err(io::Error::from_raw_os_error(libc::EINVAL))),
                _ => open_by(|_, _| Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))),
            };
            let StorageError::DirectRefused { path, remedy, .. } = error else { panic!("{error}") };
            assert!(path.ends_with("extents") && remedy.contains("storage.dir"));
        }
    }

    #[test]
    fn a_file_that_may_not_be_opened_is_another_error() {
        let error = open_by(|_, _| Err(io::Error::from_raw_os_error(libc::EACCES)));
        assert!(matches!(error, StorageError::File { operation: "open", .. }), "{error}");
    }

    #[test]
    fn more_than_the_disk_holds_is_refused_with_the_free_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let extents = [ExtentSpec { name: "a".to_owned(), bytes: 1 << 43 }];
        match DirectStore::open(dir.path(), &extents, DirectOptions::new(4096)).unwrap_err() {
            StorageError::NoSpace { wanted, free, .. } => {
                assert!(wanted == 1 << 43 && free > 0 && free < wanted);
            }
            StorageError::DirectRefused { .. } => {
                eprintln!("skipped: the temporary folder refuses direct I/O");
            }
            error => panic!("{error}"),
        }
    }

    #[test]
    fn a_refused_ring_names_the_way_out() {
        for (errno, remedy) in [
            (libc::EPERM, "io_uring_setup"),
            (libc::ENOSYS, "kernel of version"),
            (libc::ENOMEM, "ulimit -l"),
        ] {
            let message = uring_refused(io::Error::from_raw_os_error(errno)).to_string();
            assert!(message.contains(remedy) && message.contains("storage.mode: memory"), "{message}");
        }
    }

    #[test]
    fn options_that_cannot_work_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let options = DirectOptions { chunk_bytes: 5000, ..DirectOptions::new(4096) };
        let error = DirectStore::open(dir.path(), &[], options).unwrap_err();
        assert!(matches!(error, StorageError::InvalidOption { field: "chunk", value: 5000, .. }));
        let options = DirectOptions { queue_depth: 0, ..DirectOptions::new(4096) };
        let error = DirectStore::open(dir.path(), &[], options).unwrap_err();
        assert!(matches!(error, StorageError::InvalidOption { field: "queue_depth", .. }));
    }
}
