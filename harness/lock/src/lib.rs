//! Locks between processes, so that two runs never write one trial and two stores never share one file.
//!
//! The system's lock (flock) is used where the file system has it: it ends with the process, whatever happens. Elsewhere
//! (Lustre, some NFS and FUSE) a file beside the locked one names its holder, and is passed over when the holder is gone.

#![forbid(unsafe_code)]

mod claim;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use claim::Claim;

/// A file that is held. The system's lock ends when the file is closed; a claim ends when this is dropped.
#[derive(Debug)]
pub struct Hold {
    _claim: Option<Claim>,
}

/// Holds an open file against every other holder.
///
/// # Errors
/// [`TryLockError::WouldBlock`] if another holder has it; else why it cannot be locked.
pub fn hold(file: &File, path: &Path) -> Result<Hold, TryLockError> {
    match file.try_lock() {
        Ok(()) => Ok(Hold { _claim: None }),
        Err(TryLockError::Error(error)) if is_without_locks(&error) => {
            Ok(Hold { _claim: Some(Claim::new(path)?) })
        }
        Err(error) => Err(error),
    }
}

/// Whether the error says that this file system has no locks, rather than that this one cannot be had.
fn is_without_locks(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::ENOLCK | libc::EBADF | libc::EINVAL | libc::EPERM)
    )
}

/// A name that is held: an empty file at a path, which goes when this is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
    _hold: Hold,
}

impl Lock {
    /// Takes the lock at `path`, in a folder that exists; `None` if another holder has it.
    ///
    /// # Errors
    /// It can be neither created nor locked.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            let hold = match hold(&file, path) {
                Ok(hold) => hold,
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            };
            // Its last holder may have removed it since it was opened: then others lock another file of this name.
            if is_at(&file, path)? {
                return Ok(Some(Self { path: path.to_owned(), _file: file, _hold: hold }));
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is held. One that stays is empty and hinders nobody.
        let _ = fs::remove_file(&self.path);
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_holder_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trial");
        let held = Lock::take(&path).unwrap();
        assert!(held.is_some());
        assert!(Lock::take(&path).unwrap().is_none());
        drop(held);
        assert!(!path.exists());
        assert!(Lock::take(&path).unwrap().is_some());
    }

    #[test]
    fn a_file_system_without_locks_is_told_from_a_lock_that_fails() {
        for errno in [libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOLCK, libc::EBADF] {
            assert!(is_without_locks(&io::Error::from_raw_os_error(errno)), "{errno}");
        }
        assert!(!is_without_locks(&io::Error::from_raw_os_error(libc::EIO)));
    }
}
