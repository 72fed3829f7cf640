//! Whether a folder's file system has room for a store, asked before anything is made.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::{StorageError, filesystem};

/// That the file system which `dir` lies on, or will lie on, has `bytes` free for a store there. What a store left
/// in `dir` takes is counted as free: it goes when a store is opened.
///
/// # Errors
/// [`StorageError::NoSpace`], with both numbers. A file system that does not say is no error.
pub fn check(dir: &Path, bytes: u64) -> Result<(), StorageError> {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let Some(existing) = absolute.ancestors().find(|ancestor| ancestor.exists()) else { return Ok(()) };
    let left: u64 = fs::read_dir(&absolute)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|file| file.blocks() * 512)
        .sum();
    let Some(free) = filesystem::free_bytes(existing) else { return Ok(()) };
    let free = free.saturating_add(left);
    if bytes > free {
        return Err(StorageError::NoSpace { path: dir.to_owned(), wanted: bytes, free });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::StorageError;

    #[test]
    fn a_folder_that_is_still_to_be_made_has_the_space_of_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("not/yet/made");
        check(&below, 4096).unwrap();
        match check(&below, u64::MAX).unwrap_err() {
            StorageError::NoSpace { wanted, free, path } => {
                assert!(wanted == u64::MAX && free > 4096 && path == below);
            }
            error => panic!("{error}"),
        }
    }
}
