//! What can go wrong in a store.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::ExtentId;

/// What a corrupt extent, or record of a generation, is to the generations that are kept.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Standing {
    /// No generation was committed.
    NoGeneration,
    /// All of them hold it.
    AllHold,
    /// The newest ones held it, and have been given up: the one before them is the last now.
    GivenUp {
        /// How many.
        generations: usize,
    },
    /// The newest ones hold it, and could not be given up; see [`StorageError::NotGivenUp`].
    NotGivenUp,
    /// It was written after the last one, which has another slot for it.
    Since,
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Self::NoGeneration => formatter.write_str("check the disk, then run again from the first step"),
            Self::AllHold => formatter.write_str(
                "it is part of every generation that is kept: check the disk, then start again from the first step with \
                 `spillbench run --fresh`",
            ),
            Self::GivenUp { generations } => {
                let (newest, are) = match generations {
                    1 => ("the newest generation".to_owned(), "is"),
                    more => (format!("the newest {more} generations"), "are"),
                };
                write!(
                    formatter,
                    "it was part of {newest}, which {are} given up: check the disk, then run again to go on from the one \
                     before"
                )
            }
            Self::NotGivenUp => {
                formatter.write_str("it is part of the newest generation, but not of the oldest that is kept")
            }
            Self::Since => formatter.write_str(
                "it was written after the last generation, which is intact as far as it was read: check the disk, then \
                 run again to go on from there",
            ),
        }
    }
}

/// A store's failure. Cloneable, because one failed operation ends a store and every later call reports it.
#[derive(Clone, Debug, Error)]
pub enum StorageError {
    /// A read, write or sync failed in the kernel.
    #[error(
        "{operation} of {length} bytes at offset {offset} of {path} ({extent}) failed: {cause}{}",
        remedy(cause)
    )]
    Io {
        /// `read`, `write` or `sync`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Name of the extent.
        extent: String,
        /// Offset in the file, in bytes.
        offset: u64,
        /// Bytes asked for.
        length: u64,
        /// The kernel's reason.
        cause: Arc<io::Error>,
    },
    /// The file ends before the extent does.
    #[error(
        "{path} ends at offset {offset}, inside {extent}: the file was truncated after it was reserved; start again \
         with `spillbench run --fresh`"
    )]
    EndOfFile {
        /// The file.
        path: PathBuf,
        /// Name of the extent.
        extent: String,
        /// Offset at which no more bytes came, in bytes.
        offset: u64,
    },
    /// What is on disk is not what was written: rot, or a torn or misplaced write. An extent was read twice.
    #[error(
        "{path} is corrupt: {extent} at offset {offset} has checksum {found:016x}, and was written with {expected:016x}; \
         {standing}"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Name of the extent.
        extent: String,
        /// Offset of the extent in the file, in bytes.
        offset: u64,
        /// Checksum of what was written.
        expected: u64,
        /// Checksum of what was read.
        found: u64,
        /// Which generations are concerned.
        standing: Standing,
    },
    /// The generations that hold a corrupt extent could not be given up for an older one: the next run meets it again.
    #[error(
        "{corruption}, and going back to an older one failed ({cause}): mend that and check the disk, then run again"
    )]
    NotGivenUp {
        /// What is corrupt.
        corruption: Box<Self>,
        /// Why a record of theirs is still there.
        cause: Box<Self>,
    },
    /// The generation on disk is of another network, or of another version of this program.
    #[error(
        "{path} belongs to another table of extents or another version: start again from the first step with \
         `spillbench run --fresh`, or use another storage.dir"
    )]
    OtherGeneration {
        /// The record of the generation.
        path: PathBuf,
    },
    /// Another store, of this process or another, has the file open.
    #[error("{path} is in use by another store: let it end, or use another storage.dir")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// An operation on a file or folder of the store failed, other than one that moves an extent.
    #[error("cannot {operation} {path}: {cause}{}", remedy(cause))]
    File {
        /// What was attempted, as in "cannot … PATH".
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The kernel's reason.
        cause: Arc<io::Error>,
    },
    /// The file system does not hold the extents.
    #[error(
        "no space for the extents in {path}: {wanted} bytes wanted, {free} free; free some or set storage.dir"
    )]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// Bytes to reserve.
        wanted: u64,
        /// Bytes free on that file system.
        free: u64,
    },
    /// The file system refuses direct I/O.
    #[error("direct I/O is refused for {path} (file system: {filesystem}); {remedy}")]
    DirectRefused {
        /// The file.
        path: PathBuf,
        /// Type of the file system, as far as known.
        filesystem: String,
        /// What to do about it.
        remedy: String,
    },
    /// The kernel, or a sandbox around this process, refuses `io_uring`.
    #[error("io_uring is refused here ({cause}): {remedy}, or set storage.mode: memory")]
    UringRefused {
        /// The kernel's reason.
        cause: Arc<io::Error>,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The I/O thread sleeps and cannot be told that there is work.
    #[error("cannot wake the store's I/O thread (write to an eventfd): {cause}; allow write in the sandbox")]
    Wake {
        /// The kernel's reason.
        cause: Arc<io::Error>,
    },
    /// An option has a value that cannot work.
    #[error("storage option {field} is {value}: {remedy}")]
    InvalidOption {
        /// The option.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it must be.
        remedy: &'static str,
    },
    /// An extent's size is not a positive multiple of 2 bytes.
    #[error("extent {extent} has {bytes} bytes: a payload is a multiple of 2 bytes, and not empty")]
    InvalidExtent {
        /// Name of the extent.
        extent: String,
        /// Its payload, in bytes.
        bytes: u64,
    },
    /// No such extent: a bug of the caller.
    #[error("there is no extent {} in a store of {extents}", extent.0)]
    UnknownExtent {
        /// What was asked for.
        extent: ExtentId,
        /// Extents in the store.
        extents: usize,
    },
    /// An extent was read while an exclusive reader has it: a bug of the schedule.
    #[error("{extent} was read while an exclusive reader has it")]
    ExtentTaken {
        /// Name of the extent.
        extent: String,
    },
    /// A panel of another size was written to an extent: a bug of the caller.
    #[error("a panel of {found} bytes was given back to {extent}, which has {expected}")]
    WrongPanel {
        /// Name of the extent.
        extent: String,
        /// The extent's payload, in bytes.
        expected: u64,
        /// The panel's, in bytes.
        found: u64,
    },
    /// A panel of another store was written: a bug of the caller.
    #[error("a panel of another store was given to {extent}: copy its contents into one of this store's")]
    ForeignPanel {
        /// Name of the extent.
        extent: String,
    },
    /// More memory is needed than the capacity, and no write is in flight that would free some: a bug of the
    /// schedule.
    #[error(
        "{extent} needs {wanted} bytes, but {live} of the capacity of {capacity} are held and no write in flight will free any"
    )]
    CapacityExceeded {
        /// Name of the extent.
        extent: String,
        /// Bytes wanted, padded.
        wanted: u64,
        /// Bytes held by panels.
        live: u64,
        /// The store's capacity, in bytes.
        capacity: u64,
    },
    /// The operating system gave no memory.
    #[error("no memory for a buffer of {bytes} bytes: {cause}{}", limit_remedy(cause))]
    OutOfMemory {
        /// Bytes wanted.
        bytes: u64,
        /// The kernel's reason.
        cause: Arc<io::Error>,
    },
    /// The store was closed, or its I/O thread has died, with this call under way.
    #[error("the store's I/O thread has ended")]
    Closed,
}

fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space there, or choose another storage.dir, and run again"
        }
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
            if cause.raw_os_error() != Some(libc::EPERM) =>
        {
            "; set storage.dir to a folder that can be written"
        }
        io::ErrorKind::FileTooLarge => "; raise the file size limit (`ulimit -f unlimited`) and run again",
        _ => limit_remedy(cause),
    }
}

/// Where the cause is a limit or a sandbox.
fn limit_remedy(cause: &io::Error) -> &'static str {
    match cause.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => "; raise the limit of open files (ulimit -n) and run again",
        // The kernel's own threads for io_uring count, too; without them it cancels what they should do.
        Some(libc::EAGAIN | libc::ECANCELED) => {
            "; raise the limit of processes and threads (ulimit -u, or pids.max of the control group) and run again"
        }
        Some(libc::ENOMEM) => "; raise the limit of memory (ulimit -v, or the control group's) and run again",
        Some(libc::EPERM | libc::ENOSYS) => {
            "; allow the system call in the sandbox, choose another storage.dir, or set storage.mode: memory"
        }
        _ => "",
    }
}
