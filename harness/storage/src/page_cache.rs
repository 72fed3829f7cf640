//! The stores that go through the page cache, to show what it does: by calls, and by a mapping.
//!
//! What is synced leaves the cache. So a run begins with a cold one, though it has just written the initial values, and is
//! compared fairly with a store that has none.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::blocking::{BlockingDevice, BlockingFile};
use crate::direct::UNRESERVED;
use crate::extent::ExtentTable;
use crate::file::{self, ExtentFile};
use crate::file_store::{Checks, FileStore, MakeDevice, Parts};
use crate::slots::Slots;
use crate::{ExtentSpec, StorageError};

/// A store on `pread` and `pwrite`: the kernel caches what it likes, in memory that no budget covers.
pub type BufferedStore = FileStore<Buffered>;

/// A store on a shared mapping of its file: a read copies from it, a write into it, and the kernel brings pages in
/// and out as it likes. A disk error there is a signal (`SIGBUS`) that ends the process.
pub type MmapStore = FileStore<Mmap>;

/// Marks a store that uses `pread` and `pwrite`.
#[derive(Copy, Clone, Debug)]
pub enum Buffered {}

/// Marks a store that uses a shared mapping.
#[derive(Copy, Clone, Debug)]
pub enum Mmap {}

/// How a [`BufferedStore`] or an [`MmapStore`] works.
#[derive(Copy, Clone, Debug)]
pub struct PageCacheOptions {
    /// The most bytes of memory for panels. The page cache comes on top.
    pub capacity_bytes: u64,
    /// The most bytes of one call or copy.
    pub chunk_bytes: u64,
    /// Whether to keep a checksum of each extent and verify it when read.
    pub checksums: bool,
}

impl PageCacheOptions {
    /// Calls of 1 MiB, with checksums.
    pub const fn new(capacity_bytes: u64) -> Self {
        Self { capacity_bytes, chunk_bytes: 1 << 20, checksums: true }
    }
}

impl BufferedStore {
    /// Creates the file `extents` in `dir` (which is created too) and starts the I/O thread. What was in the file is
    /// lost. Every extent reads as zeros.
    ///
    /// # Errors
    /// [`StorageError::NoSpace`], [`StorageError::File`], [`StorageError::InUse`], [`StorageError::InvalidExtent`],
    /// [`StorageError::InvalidOption`].
    pub fn open(dir: &Path, extents: &[ExtentSpec], options: PageCacheOptions) -> Result<Self, StorageError> {
        start("buffered: pread and pwrite", dir, extents, options, |file, _| Ok(file))
    }
}

impl MmapStore {
    /// As [`BufferedStore::open`].
    ///
    /// # Errors
    /// As for [`BufferedStore::open`], and [`StorageError::File`] if the file cannot be mapped.
    pub fn open(dir: &Path, extents: &[ExtentSpec], options: PageCacheOptions) -> Result<Self, StorageError> {
        start("mmap: a shared mapping", dir, extents, options, Mapping::new)
    }
}

fn start<M, F: BlockingFile + 'static>(
    how: &str,
    dir: &Path,
    extents: &[ExtentSpec],
    options: PageCacheOptions,
    make_file: impl FnOnce(Arc<File>, u64) -> io::Result<F> + Send + 'static,
) -> Result<FileStore<M>, StorageError> {
    file::check_chunk(options.chunk_bytes)?;
    let extents = ExtentTable::new(extents)?;
    file::create_folder(dir)?;
    let bytes = extents.file_bytes();
    let file = ExtentFile::buffered(&dir.join("extents"))?;
    let reserved = file.reserve(bytes)?;
    let path = file.path.clone();
    let make_device: MakeDevice = Box::new(move |waker| {
        let file = make_file(file.file, bytes).map_err(|cause| StorageError::File {
            operation: "map",
            path: file.path,
            cause: Arc::new(cause),
        })?;
        Ok(Box::new(BlockingDevice::new(file, waker)))
    });
    let checksums = if options.checksums { "checksums" } else { "no checksums" };
    let description = format!(
        "{how}, chunk {} KiB, {checksums}, capacity {} bytes{}",
        options.chunk_bytes >> 10,
        options.capacity_bytes,
        reserved.note(UNRESERVED)
    );
    let parts = Parts {
        path: &path,
        slots: Slots::unwritten(extents.specs().len(), 0),
        extents,
        capacity_bytes: options.capacity_bytes,
        // Each request is done when it is submitted: a second one could only make the first wait for its answer.
        queue_depth: 1,
        chunk_bytes: options.chunk_bytes as u32,
        checks: Checks { checksums: options.checksums, fault: None },
        records: None,
        description: Box::new(description),
    };
    FileStore::start(parts, make_device)
}

impl BlockingFile for Arc<File> {
    fn read_at(&mut self, memory: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&**self, memory, offset)
    }

    fn write_at(&mut self, memory: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(&**self, memory, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()?;
        drop_from_cache(self)
    }
}

/// Takes clean pages of a file that nobody maps out of the page cache.
fn drop_from_cache(file: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: advice about a file that is open; it reads and writes no memory.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// A shared mapping of a whole file.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
    /// Open as long as it is mapped.
    file: Arc<File>,
}

impl Mapping {
    fn new(file: Arc<File>, bytes: u64) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if length == 0 {
            return Ok(Self { start: NonNull::dangling(), length, file });
        }
        // SAFETY: a fresh mapping at an address of the kernel's choice, of a file this process holds open.
        let start = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("mmap does not return address 0 without MAP_FIXED");
        Ok(Self { start, length, file })
    }

    /// Address of `offset`, and how many of `wanted` bytes the mapping has there.
    fn place(&self, offset: u64, wanted: usize) -> (*mut u8, usize) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.length);
        // SAFETY: the offset is within the mapping or at its end.
        (unsafe { self.start.as_ptr().add(offset) }, wanted.min(self.length - offset))
    }
}

impl BlockingFile for Mapping {
    fn read_at(&mut self, memory: &mut [u8], offset: u64) -> io::Result<usize> {
        let (place, length) = self.place(offset, memory.len());
        // SAFETY: `length` bytes at `place` are mapped, and at `memory` are borrowed; a private buffer does not
        // overlap a shared mapping. No reference to mapped bytes exists, so another process may change them.
        unsafe { std::ptr::copy_nonoverlapping(place, memory.as_mut_ptr(), length) };
        Ok(length)
    }

    fn write_at(&mut self, memory: &[u8], offset: u64) -> io::Result<usize> {
        let (place, length) = self.place(offset, memory.len());
        // SAFETY: as for `read_at`, the other way round.
        unsafe { std::ptr::copy_nonoverlapping(memory.as_ptr(), place, length) };
        Ok(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        // Dirty pages of a shared mapping are the file's: syncing the file writes them.
        self.file.sync_data()?;
        if self.length > 0 {
            // SAFETY: the mapping is this one's, and shared: its pages come back from the file. No reference into it exists.
            let unmapped =
                unsafe { libc::madvise(self.start.as_ptr().cast(), self.length, libc::MADV_DONTNEED) };
            if unmapped != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        drop_from_cache(&self.file)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: the mapping made in `new`, unmapped only here; no reference into it exists.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
        }
    }
}
