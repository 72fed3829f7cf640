//! The file behind a store: opened for direct I/O, reserved in full, its alignment known.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::Block;
use crate::{ALIGNMENT, StorageError};

/// A file of reserved size.
#[derive(Clone, Debug)]
pub(crate) struct ExtentFile {
    pub file: Arc<File>,
    pub path: PathBuf,
}

/// How a file is opened; tests put a refusal here.
pub(crate) type Opener = fn(&OpenOptions, &Path) -> io::Result<File>;

/// The usual [`Opener`].
pub(crate) fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    options.open(path)
}

impl ExtentFile {
    /// Creates `path` anew for direct I/O and reserves `bytes` on disk.
    pub(crate) fn create_direct(path: &Path, bytes: u64, opener: Opener) -> Result<Self, StorageError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).custom_flags(libc::O_DIRECT);
        let file = opener(&options, path).map_err(|error| open_error(path, error))?;
        let file = Self { file: Arc::new(file), path: path.to_owned() };
        file.reserve(bytes)?;
        file.check_alignment()?;
        if bytes > 0 {
            file.probe()?;
        }
        Ok(file)
    }

    fn reserve(&self, bytes: u64) -> Result<(), StorageError> {
        if bytes == 0 {
            return Ok(());
        }
        let failed = |operation, cause| StorageError::File {
            operation,
            path: self.path.clone(),
            cause: Arc::new(cause),
        };
        let free = free_bytes(&self.path);
        if bytes > free {
            // Asked first, because a reservation that fails has filled the disk for everybody.
            return Err(self.no_space(bytes, free));
        }
        let length = libc::off_t::try_from(bytes)
            .map_err(|_| failed("reserve", io::Error::from_raw_os_error(libc::EFBIG)))?;
        loop {
            // SAFETY: a plain system call on a descriptor that `self` keeps open.
            if unsafe { libc::fallocate(self.file.as_raw_fd(), 0, 0, length) } == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::ENOSPC) => return Err(self.no_space(bytes, free)),
                // A file system that cannot reserve: the file has its length, and a full disk is met when writing.
                Some(libc::EOPNOTSUPP) => {
                    return self.file.set_len(bytes).map_err(|cause| failed("resize", cause));
                }
                _ => return Err(failed("reserve", error)),
            }
        }
    }

    fn no_space(&self, wanted: u64, free: u64) -> StorageError {
        // What was reserved before the space ran out is given back.
        let _ = std::fs::remove_file(&self.path);
        StorageError::NoSpace { path: self.path.clone(), wanted, free }
    }

    /// Some file systems accept the flag and refuse the first transfer.
    fn probe(&self) -> Result<(), StorageError> {
        let mut page = Block::map(ALIGNMENT)
            .map_err(|cause| StorageError::OutOfMemory { bytes: ALIGNMENT as u64, cause: Arc::new(cause) })?;
        self.file.read_at(page.bytes_mut(), 0).map(|_| ()).map_err(|error| open_error(&self.path, error))
    }

    fn check_alignment(&self) -> Result<(), StorageError> {
        let needed = direct_alignment(&self.path).unwrap_or(ALIGNMENT as u64);
        if needed == 0 {
            return Err(refused(&self.path));
        }
        if !(ALIGNMENT as u64).is_multiple_of(needed) {
            return Err(StorageError::DirectRefused {
                path: self.path.clone(),
                filesystem: format!("{}, which wants blocks of {needed} bytes", filesystem(&self.path)),
                remedy: format!("set storage.dir to a file system with blocks of at most {ALIGNMENT} bytes"),
            });
        }
        Ok(())
    }
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
        filesystem: filesystem(path),
        remedy: "set storage.dir to a folder on a local disk (ext4, xfs, btrfs), or storage.mode: memory"
            .to_owned(),
    }
}

/// Alignment that direct I/O needs for memory and offsets: what the file says (`statx`), else the block size of its
/// file system. 0: the file cannot do direct I/O. `None`: unknown.
pub(crate) fn direct_alignment(path: &Path) -> Option<u64> {
    let c_path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut answer = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is a C string, the answer has the type the call fills, and zeros are valid for it.
    let (result, answer) = unsafe {
        let result =
            libc::statx(libc::AT_FDCWD, c_path.as_ptr(), 0, libc::STATX_DIOALIGN, answer.as_mut_ptr());
        (result, answer.assume_init())
    };
    if result == 0 && answer.stx_mask & libc::STATX_DIOALIGN != 0 {
        return Some(u64::from(answer.stx_dio_mem_align.max(answer.stx_dio_offset_align)));
    }
    logical_block_bytes(path)
}

/// Logical block size of the device the file lies on.
fn logical_block_bytes(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let device = path.metadata().ok()?.dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    // A partition has no queue of its own; its disk does.
    ["queue", "../queue"].iter().find_map(|queue| {
        let file = format!("/sys/dev/block/{major}:{minor}/{queue}/logical_block_size");
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    })
}

fn free_bytes(path: &Path) -> u64 {
    let Ok(c_path) = CString::new(path.as_os_str().as_bytes()) else { return 0 };
    let mut answer = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path is a C string, the answer has the type the call fills, and zeros are valid for it.
    let answer = unsafe {
        libc::statvfs(c_path.as_ptr(), answer.as_mut_ptr());
        answer.assume_init()
    };
    answer.f_bavail * answer.f_frsize
}

/// Type of the file system that holds `path`, as the kernel numbers it.
fn filesystem(path: &Path) -> String {
    let existing = if path.exists() { path } else { path.parent().unwrap_or(path) };
    let Ok(c_path) = CString::new(existing.as_os_str().as_bytes()) else { return "unknown".to_owned() };
    let mut answer = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path is a C string, the answer has the type the call fills, and zeros are valid for it.
    let answer = unsafe {
        libc::statfs(c_path.as_ptr(), answer.as_mut_ptr());
        answer.assume_init()
    };
    match answer.f_type {
        libc::TMPFS_MAGIC => "tmpfs".to_owned(),
        libc::EXT4_SUPER_MAGIC => "ext4".to_owned(),
        libc::XFS_SUPER_MAGIC => "xfs".to_owned(),
        libc::BTRFS_SUPER_MAGIC => "btrfs".to_owned(),
        libc::OVERLAYFS_SUPER_MAGIC => "overlayfs".to_owned(),
        libc::NFS_SUPER_MAGIC => "nfs".to_owned(),
        libc::FUSE_SUPER_MAGIC => "fuse".to_owned(),
        other => format!("type {other:#x}"),
    }
}
