//! What can go wrong around a trial.

use std::{io, path::PathBuf};

use spillbench_schema::trial::ResolvedError;
use thiserror::Error;

/// Why a study cannot be run.
#[derive(Debug, Error)]
pub enum RunnerError {
    /// A file or folder of the results.
    #[error("cannot {operation} {}: {cause}{}", path.display(), remedy(cause))]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
    /// A folder has the trial's name, and another trial's results.
    #[error(
        "{} is of another trial: {difference}; it was changed, so move the folder away and run again",
        path.display()
    )]
    OtherTrial {
        /// Its `resolved.yaml`.
        path: PathBuf,
        /// The first difference.
        difference: String,
    },
    /// A finished trial's folder does not say of which trial it is.
    #[error("{} is {cause}; move the trial's folder away and run again", path.display())]
    Unresolved {
        /// Its `resolved.yaml`.
        path: PathBuf,
        /// Why not.
        cause: ResolvedError,
    },
    /// A thread cannot be started.
    #[error(
        "cannot start the thread {task}: {cause}; raise the limit of processes and threads (ulimit -u, or pids.max of the \
         control group), or that of memory (ulimit -v)"
    )]
    Thread {
        /// Which, as in "the thread …".
        task: &'static str,
        /// Why it failed.
        cause: io::Error,
    },
    /// Signals cannot be caught.
    #[error("cannot catch signals (rt_sigaction, socketpair, fcntl): {cause}{remedy}", cause = .0, remedy = remedy(.0))]
    Signals(#[source] io::Error),
}

fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; make it writable, or choose another folder with --results"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space, or choose another folder with --results"
        }
        io::ErrorKind::FileTooLarge => "; raise the file size limit: `ulimit -f unlimited`",
        io::ErrorKind::NotADirectory => "; choose another folder with --results, or another storage.dir",
        _ => match cause.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => "; raise the limit of open files (ulimit -n)",
            Some(libc::EAGAIN) => {
                "; raise the limit of processes and threads (ulimit -u, or pids.max of the control group)"
            }
            Some(libc::ENOMEM) => "; raise the limit of memory (ulimit -v, or the control group's)",
            Some(libc::EPERM | libc::ENOSYS) => {
                "; allow the system call in the sandbox, or choose another folder with --results"
            }
            _ => "",
        },
    }
}

/// Names the operation and the path of an I/O error.
pub(crate) trait Context<T> {
    fn context(self, operation: &'static str, path: &std::path::Path) -> Result<T, RunnerError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, operation: &'static str, path: &std::path::Path) -> Result<T, RunnerError> {
        self.map_err(|cause| RunnerError::File { operation, path: path.to_owned(), cause })
    }
}
