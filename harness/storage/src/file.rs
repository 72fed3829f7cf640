//! The file behind a store: reserved in full, locked against other stores, and open for direct I/O if asked.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use spillbench_lock::Hold;

use crate::block::Block;
use crate::refusal::{self, Answer};
use crate::{ALIGNMENT, StorageError, filesystem};

/// How long to wait for the requests of a process that was killed.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// A file that no other store has open.
#[derive(Clone, Debug)]
pub(crate) struct ExtentFile {
    pub file: Arc<File>,
    pub path: PathBuf,
    /// Keeps other stores out.
    hold: Option<Arc<Hold>>,
}

/// How a file is opened; tests put a refusal here.
pub(crate) type Opener = fn(&OpenOptions, &Path) -> io::Result<File>;

/// The usual [`Opener`].
pub(crate) fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    options.open(path)
}

/// Makes the store's folder, and those above it.
pub(crate) fn create_folder(dir: &Path) -> Result<(), StorageError> {
    fs::create_dir_all(dir).map_err(|cause| StorageError::File {
        operation: "create",
        path: dir.to_owned(),
        cause: Arc::new(cause),
    })
}

/// That requests may be as long as `chunk_bytes`.
pub(crate) fn check_chunk(chunk_bytes: u64) -> Result<(), StorageError> {
    if chunk_bytes > 0 && chunk_bytes.is_multiple_of(ALIGNMENT as u64) && chunk_bytes <= 1 << 30 {
        return Ok(());
    }
    Err(StorageError::InvalidOption {
        field: "chunk",
        value: chunk_bytes,
        remedy: "must be a multiple of 4 KiB, at most 1 GiB",
    })
}

impl ExtentFile {
    /// Opens `path`, or makes it, for direct I/O. What is in it stays.
    pub(crate) fn direct(path: &Path, opener: Opener) -> Result<Self, StorageError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).custom_flags(libc::O_DIRECT);
        let file = Self {
            file: Arc::new(opener(&options, path).map_err(|error| open_error(path, error))?),
            path: path.to_owned(),
            hold: None,
        };
        file.lock()
    }

    /// Opens `path`, or makes it, for I/O through the page cache. What is in it stays.
    pub(crate) fn buffered(path: &Path) -> Result<Self, StorageError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = Self {
            file: Arc::new(open(&options, path).map_err(|error| open_error(path, error))?),
            path: path.to_owned(),
            hold: None,
        };
        file.lock()
    }

    /// That the file holds at least `bytes`.
    pub(crate) fn check_length(&self, bytes: u64) -> Result<(), StorageError> {
        let length = self.file.metadata().map_err(|cause| self.failed("look at", cause))?.len();
        if length >= bytes {
            return Ok(());
        }
        let extent = "the committed generation".to_owned();
        Err(StorageError::EndOfFile { path: self.path.clone(), extent, offset: length })
    }

    /// Overwrites a part with zeros; offset and length are aligned.
    pub(crate) fn write_zeros(&self, offset: u64, bytes: u64) -> Result<(), StorageError> {
        const STRIDE: u64 = 1 << 20;
        let mut zeros = aligned_memory(STRIDE.min(bytes) as usize)?;
        let mut written = 0;
        while written < bytes {
            let length = STRIDE.min(bytes - written) as usize;
            self.file
                .write_all_at(&zeros.bytes_mut()[..length], offset + written)
                .map_err(|cause| self.failed("write zeros to", cause))?;
            written += length as u64;
        }
        Ok(())
    }

    /// Keeps other stores out until the file is closed. A process that was killed closes its file only when the
    /// kernel has finished the requests it had in flight, which may be after its parent has seen it end: waiting for
    /// the lock keeps those late writes from landing on ours.
    fn lock(mut self) -> Result<Self, StorageError> {
        let start = Instant::now();
        loop {
            match spillbench_lock::hold(&self.file, &self.path) {
                Ok(hold) => {
                    self.hold = Some(Arc::new(hold));
                    return Ok(self);
                }
                Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_PATIENCE => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => return Err(StorageError::InUse { path: self.path }),
                Err(TryLockError::Error(error)) => return Err(self.failed("lock", error)),
            }
        }
    }

    /// Empties the file and reserves its space, all zeros.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Answer, StorageError> {
        self.reserve_by(bytes, refusal::allocate)
    }

    fn reserve_by(
        &self,
        bytes: u64,
        allocate: impl FnOnce(&File, libc::off_t) -> io::Result<Answer>,
    ) -> Result<Answer, StorageError> {
        self.file.set_len(0).map_err(|cause| self.failed("empty", cause))?;
        if bytes == 0 {
            return Ok(Answer::Done);
        }
        let free = filesystem::free_bytes(&self.path);
        // Asked first, because a reservation that fails has filled the disk for everybody.
        if let Some(free) = free.filter(|free| bytes > *free) {
            return Err(self.no_space(bytes, free));
        }
        let length = libc::off_t::try_from(bytes)
            .map_err(|_| self.failed("reserve", io::Error::from_raw_os_error(libc::EFBIG)))?;
        let answer = allocate(&self.file, length).map_err(|cause| match cause.kind() {
            io::ErrorKind::StorageFull => self.no_space(bytes, free.unwrap_or(0)),
            _ => self.failed("reserve", cause),
        })?;
        if answer == Answer::Refused {
            // The file has its length, and a full disk is met when writing.
            self.file.set_len(bytes).map_err(|cause| self.failed("resize", cause))?;
        }
        Ok(answer)
    }

    fn no_space(&self, wanted: u64, free: u64) -> StorageError {
        // What was reserved before the space ran out is given back.
        let _ = fs::remove_file(&self.path);
        StorageError::NoSpace { path: self.path.clone(), wanted, free }
    }

    /// That direct I/O works at our alignment. Some file systems accept the flag and refuse the first transfer.
    pub(crate) fn check_direct(&self, bytes: u64) -> Result<(), StorageError> {
        let needed = filesystem::direct_alignment(&self.path).unwrap_or(ALIGNMENT as u64);
        if needed == 0 {
            return Err(refused(&self.path));
        }
        if !(ALIGNMENT as u64).is_multiple_of(needed) {
            return Err(StorageError::DirectRefused {
                path: self.path.clone(),
                filesystem: format!("{}, which wants blocks of {needed} bytes", filesystem::kind(&self.path)),
                remedy: format!("set storage.dir to a file system with blocks of at most {ALIGNMENT} bytes"),
            });
        }
        if bytes == 0 {
            return Ok(());
        }
        let mut page = aligned_memory(ALIGNMENT)?;
        self.file.read_at(page.bytes_mut(), 0).map(|_| ()).map_err(|error| open_error(&self.path, error))
    }

    fn failed(&self, operation: &'static str, cause: io::Error) -> StorageError {
        StorageError::File { operation, path: self.path.clone(), cause: Arc::new(cause) }
    }
}

fn aligned_memory(bytes: usize) -> Result<Block, StorageError> {
    Block::map(bytes)
        .map_err(|cause| StorageError::OutOfMemory { bytes: bytes as u64, cause: Arc::new(cause) })
}

fn open_error(path: &Path, error: io::Error) -> StorageError {
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::EOPNOTSUPP) => refused(path),
        _ => StorageError::File { operation: "open", path: path.to_owned(), cause: Arc::new(error) },
    }
}

fn refused(path: &Path) -> StorageError {
    StorageError::DirectRefused {
        path: path.to_owned(),
        filesystem: filesystem::kind(path),
        remedy: "set storage.dir to a folder on a local disk (ext4, xfs, btrfs), or storage.mode: memory"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_space_cannot_be_reserved_the_file_has_its_length_and_where_that_fails_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("extents");
        let file = ExtentFile::buffered(&path).unwrap();
        assert_eq!(file.reserve_by(8192, |_, _| Ok(Answer::Refused)).unwrap(), Answer::Refused);
        assert_eq!(fs::read(&path).unwrap(), vec![0; 8192]);
        let fails =
            |errno: i32| file.reserve_by(8192, |_, _| Err(io::Error::from_raw_os_error(errno))).unwrap_err();
        assert!(matches!(fails(libc::EIO), StorageError::File { operation: "reserve", .. }));
        assert!(matches!(fails(libc::ENOSPC), StorageError::NoSpace { wanted: 8192, .. }));
    }
}
