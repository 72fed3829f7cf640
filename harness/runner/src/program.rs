//! The program that was started stays the program of all trials.
//!
//! A study runs for hours, in which an upgrade may replace or remove the file it was started from. The runner holds
//! that file open and starts each trial through the open handle, so trials of two versions are never mixed.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{self, Command},
};

use rustix::fs::OFlags;

/// A program, held open.
#[derive(Debug)]
pub struct Program {
    handle: File,
    /// Its name in lists of processes and in errors.
    name: PathBuf,
}

impl Program {
    /// The program of this process.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub fn this() -> io::Result<Self> {
        Self::open(Path::new("/proc/self/exe"), std::env::current_exe()?)
    }

    /// The program at `path`, called `name`.
    fn open(path: &Path, name: PathBuf) -> io::Result<Self> {
        // A path handle needs no right to read, as executing needs none.
        let flags = OFlags::PATH.bits().cast_signed();
        let handle = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        Ok(Self { handle, name })
    }

    /// A command that starts it, whatever its file has become since.
    pub fn command(&self) -> Command {
        // Not `/proc/self`: the handle is closed in the new process, and the path is looked up there.
        let mut command = Command::new(format!("/proc/{}/fd/{}", process::id(), self.handle.as_raw_fd()));
        command.arg0(&self.name);
        command
    }

    /// Its file when it was started.
    pub fn name(&self) -> &Path {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_program_whose_file_was_replaced_or_removed_still_starts() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("program");
        fs::copy("/bin/echo", &path).expect("a copy");
        let program = Program::open(&path, path.clone()).expect("a handle");
        let says = || String::from_utf8(program.command().arg("first").output().expect("it starts").stdout);
        assert_eq!(says().as_deref(), Ok("first\n"));
        fs::remove_file(&path).expect("removed");
        assert_eq!(says().as_deref(), Ok("first\n"));
        fs::copy("/bin/false", &path).expect("replaced");
        assert_eq!(says().as_deref(), Ok("first\n"));
    }
}
