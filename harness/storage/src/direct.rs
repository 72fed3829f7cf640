//! The store that bypasses the page cache: `O_DIRECT` and `io_uring`.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::extent::ExtentTable;
use crate::faulty::Fault;
use crate::file::{self, ExtentFile, Opener};
use crate::file_store::{Describe, FileStore, MakeDevice, Parts};
use crate::uring::Uring;
use crate::{ALIGNMENT, ExtentSpec, StorageError};

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
    /// The most requests in flight, 1 to 1024.
    pub queue_depth: usize,
    /// The most bytes of one request: a multiple of [`ALIGNMENT`], at most 1 GiB.
    pub chunk_bytes: u64,
    /// Whether to let the kernel pin each buffer once, instead of in each request. Where too little memory may be
    /// locked the store does without, and says so in its description.
    pub registered_buffers: bool,
    /// An operation to make fail, for tests.
    pub fault: Option<Fault>,
}

impl DirectOptions {
    /// Requests of 1 MiB, 32 in flight, buffers registered.
    pub const fn new(capacity_bytes: u64) -> Self {
        Self { capacity_bytes, queue_depth: 32, chunk_bytes: 1 << 20, registered_buffers: true, fault: None }
    }

    fn check(&self) -> Result<(), StorageError> {
        if !(1..=1024).contains(&self.queue_depth) {
            return Err(StorageError::InvalidOption {
                field: "queue_depth",
                value: self.queue_depth as u64,
                remedy: "must be 1 to 1024",
            });
        }
        let chunk = self.chunk_bytes;
        if chunk == 0 || !chunk.is_multiple_of(ALIGNMENT as u64) || chunk > 1 << 30 {
            return Err(StorageError::InvalidOption {
                field: "chunk",
                value: chunk,
                remedy: "must be a multiple of 4 KiB, at most 1 GiB",
            });
        }
        Ok(())
    }
}

impl DirectStore {
    /// Creates the file `extents` in `dir` (which is created too), reserves its space and starts the I/O thread.
    /// What was in the file is lost. Every extent reads as zeros.
    ///
    /// # Errors
    /// [`StorageError::DirectRefused`] if the file system does not do direct I/O, [`StorageError::UringRefused`] if
    /// `io_uring` may not be used, [`StorageError::NoSpace`], [`StorageError::File`],
    /// [`StorageError::InvalidExtent`], [`StorageError::InvalidOption`].
    pub fn open(dir: &Path, extents: &[ExtentSpec], options: DirectOptions) -> Result<Self, StorageError> {
        Self::open_by(dir, extents, options, file::open)
    }

    pub(crate) fn open_by(
        dir: &Path,
        extents: &[ExtentSpec],
        options: DirectOptions,
        opener: Opener,
    ) -> Result<Self, StorageError> {
        options.check()?;
        let extents = ExtentTable::new(extents)?;
        fs::create_dir_all(dir).map_err(|cause| StorageError::File {
            operation: "create",
            path: dir.to_owned(),
            cause: Arc::new(cause),
        })?;
        let path = dir.join("extents");
        let file = ExtentFile::create_direct(&path, extents.file_bytes(), opener)?;
        let registration = Arc::new(AtomicBool::new(options.registered_buffers));
        let description = Box::new(Description {
            alignment: file::direct_alignment(&path).unwrap_or(ALIGNMENT as u64),
            registration: Arc::clone(&registration),
            options,
        });
        let queue_depth = options.queue_depth as u32;
        let make_device: MakeDevice = Box::new(move |waker| {
            let ring = Uring::new(file.file, waker, queue_depth, registration);
            Ok(Box::new(ring.map_err(|cause| StorageError::UringRefused { cause: Arc::new(cause) })?))
        });
        let parts = Parts {
            path: &path,
            extents,
            capacity_bytes: options.capacity_bytes,
            queue_depth: options.queue_depth,
            chunk_bytes: options.chunk_bytes as u32,
            fault: options.fault,
            description,
        };
        Self::start(parts, make_device)
    }
}

#[derive(Debug)]
struct Description {
    alignment: u64,
    registration: Arc<AtomicBool>,
    options: DirectOptions,
}

impl Describe for Description {
    fn describe(&self) -> String {
        let buffers = match (self.options.registered_buffers, self.registration.load(Ordering::Relaxed)) {
            (true, true) => "registered buffers",
            (true, false) => "plain buffers (the kernel refused to register them)",
            (false, _) => "plain buffers",
        };
        format!(
            "direct: O_DIRECT, io_uring, blocks of {ALIGNMENT} bytes (the file needs {}), {buffers}, queue depth {}, chunk {} KiB, capacity {} bytes",
            self.alignment,
            self.options.queue_depth,
            self.options.chunk_bytes >> 10,
            self.options.capacity_bytes,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::io;

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
