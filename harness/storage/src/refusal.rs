//! Calls that a system may refuse and a store can do without.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use crate::StorageError;

/// What became of a call that a store can do without.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Answer {
    Done,
    /// The file system does not have the call, or a sandbox forbids it.
    Refused,
}

impl Answer {
    /// # Errors
    /// The call is there, and failed.
    pub(crate) fn of(result: io::Result<()>) -> io::Result<Self> {
        match result {
            Ok(()) => Ok(Self::Done),
            Err(error) if is_refusal(&error) => Ok(Self::Refused),
            Err(error) => Err(error),
        }
    }

    /// `note` where the call was refused, for a store's description.
    pub(crate) const fn note(self, note: &'static str) -> &'static str {
        match self {
            Self::Done => "",
            Self::Refused => note,
        }
    }
}

/// Whether the error says that the call is not to be had here, rather than that it went wrong.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL | libc::EPERM | libc::EACCES)
    )
}

/// Makes the names in a folder as they are now survive a power cut, where the file system can.
///
/// # Errors
/// It can, and failed.
pub(crate) fn sync_folder(dir: &Path) -> Result<Answer, StorageError> {
    sync_folder_by(dir, File::sync_all)
}

fn sync_folder_by(dir: &Path, sync: impl FnOnce(&File) -> io::Result<()>) -> Result<Answer, StorageError> {
    let synced = File::open(dir).and_then(|folder| Answer::of(sync(&folder)));
    synced.map_err(|cause| StorageError::File {
        operation: "sync",
        path: dir.to_owned(),
        cause: Arc::new(cause),
    })
}

/// Reserves the first `bytes` of a file.
///
/// # Errors
/// The file system can reserve, and failed.
pub(crate) fn allocate(file: &File, bytes: libc::off_t) -> io::Result<Answer> {
    loop {
        // SAFETY: a plain system call on a descriptor that the caller keeps open.
        let result = match unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
            continue;
        }
        return Answer::of(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_synced_is_done_without_and_one_that_fails_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let synced = |errno: i32| sync_folder_by(dir.path(), |_| Err(io::Error::from_raw_os_error(errno)));
        for errno in [libc::ENOSYS, libc::EOPNOTSUPP, libc::EINVAL, libc::EPERM, libc::EACCES] {
            assert_eq!(synced(errno).unwrap(), Answer::Refused);
        }
        for errno in [libc::EIO, libc::ENOSPC, libc::EBADF, libc::EROFS] {
            let error = synced(errno).unwrap_err();
            let StorageError::File { operation: "sync", path, .. } = error else { panic!("{error}") };
            assert_eq!(path, dir.path());
        }
        assert_eq!(sync_folder(dir.path()).unwrap(), Answer::Done);
    }
}
