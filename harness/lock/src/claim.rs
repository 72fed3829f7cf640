//! Exclusion without the system's locks: a file that only one process can create, and that says who it is.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    process,
};

/// A file that names its holder, removed when this is dropped.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
}

impl Claim {
    /// Claims `path` by a file beside it.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] if its holder lives, or cannot be known to be gone.
    pub fn new(path: &Path) -> Result<Self, TryLockError> {
        Self::of(path, &Holder::this()).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => TryLockError::WouldBlock,
            _ => TryLockError::Error(error),
        })
    }

    fn of(path: &Path, holder: &Holder) -> io::Result<Self> {
        let path = with_suffix(path, ".held");
        match create(&path, holder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && pass_over(&path, holder)? => {
                create(&path, holder)?;
            }
            created => created?,
        }
        Ok(Self { path })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // One that stays names a process that has ended, and is passed over.
        let _ = fs::remove_file(&self.path);
    }
}

fn create(path: &Path, holder: &Holder) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(holder.to_text().as_bytes())
}

/// Removes a claim whose holder is gone; false if it may live.
fn pass_over(path: &Path, us: &Holder) -> io::Result<bool> {
    let Some(found) = read(path)? else { return Ok(true) };
    if !Holder::from_text(&found).is_some_and(|holder| holder.is_gone(us)) {
        return Ok(false);
    }
    // Moved first: of two that pass over one claim, the slower must not remove what the faster has created.
    let aside = with_suffix(path, &format!(".{}", us.process));
    match fs::rename(path, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        moved => moved?,
    }
    let is_stale = read(&aside)?.is_some_and(|moved| moved == found);
    if !is_stale {
        fs::hard_link(&aside, path)?;
    }
    fs::remove_file(&aside)?;
    Ok(is_stale)
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// A process, among all that ever run on any machine that sees the file system.
#[derive(Debug, Clone, PartialEq)]
struct Holder {
    process: u32,
    /// When it started, as the kernel counts: numbers of processes are used again.
    started: String,
    /// The space in which its number counts.
    space: String,
    boot: String,
    host: String,
}

impl Holder {
    fn this() -> Self {
        let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Self {
            process: process::id(),
            started: started(process::id()).unwrap_or_default(),
            space: space.to_string_lossy().into_owned(),
            boot: line("/proc/sys/kernel/random/boot_id"),
            host: line("/proc/sys/kernel/hostname"),
        }
    }

    fn to_text(&self) -> String {
        let Self { process, started, space, boot, host } = self;
        format!("{process}\n{started}\n{space}\n{boot}\n{host}\n")
    }

    fn from_text(text: &str) -> Option<Self> {
        let [process, started, space, boot, host, ""] = text.split('\n').collect::<Vec<_>>()[..] else {
            return None;
        };
        let [started, space, boot, host] = [started, space, boot, host].map(str::to_owned);
        Some(Self { process: process.parse().ok()?, started, space, boot, host })
    }

    /// Whether it is known to have ended. Of another machine, or another space, nothing is known.
    fn is_gone(&self, us: &Self) -> bool {
        if self.host != us.host {
            return false;
        }
        self.boot != us.boot
            || (self.space == us.space && started(self.process).as_ref() != Some(&self.started))
    }
}

/// When a process of this machine started; `None` if there is none.
fn started(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, which may have spaces and parentheses, is the second field.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_has_one_holder_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("extents");
        let held = Claim::new(&path).unwrap();
        assert!(matches!(Claim::new(&path), Err(TryLockError::WouldBlock)));
        drop(held);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_a_holder_that_is_known_to_be_gone_is_passed_over() {
        let us = Holder::this();
        let cases = [
            (us.clone(), false),
            (Holder { started: "1".to_owned(), ..us.clone() }, true),
            (Holder { process: u32::MAX, ..us.clone() }, true),
            (Holder { boot: "an earlier one".to_owned(), ..us.clone() }, true),
            (Holder { host: "another".to_owned(), process: u32::MAX, ..us.clone() }, false),
            (Holder { space: "a container".to_owned(), process: u32::MAX, ..us.clone() }, false),
        ];
        for (holder, is_gone) in cases {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("extents");
            fs::write(with_suffix(&path, ".held"), holder.to_text()).unwrap();
            assert_eq!(Claim::new(&path).is_ok(), is_gone, "{holder:?}");
        }
    }

    #[test]
    fn a_claim_that_was_cut_off_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("extents");
        fs::write(with_suffix(&path, ".held"), "12").unwrap();
        assert!(matches!(Claim::new(&path), Err(TryLockError::WouldBlock)));
    }
}
