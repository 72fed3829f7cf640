//! Fetches the files of a data set from the first mirror that has them whole.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spillbench_schema::config::DataSource;
use tempfile::NamedTempFile;
use ureq::Agent;

use crate::contents::Contents;
use crate::mnist::{FileSet, MNIST, SetFile, find};
use crate::{DataError, MirrorFailure};

/// Where the files of MNIST are kept, each name to be put after the base.
pub const MNIST_MIRRORS: &[&str] = &[
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
];

/// What a fetch is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchProgress<'a> {
    /// The name of the file.
    pub file: &'a str,
    /// What is happening to it.
    pub stage: FetchStage<'a>,
}

/// The stages of fetching a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchStage<'a> {
    /// A good file is there already.
    Kept,
    /// So many bytes are here.
    Receiving {
        /// Bytes received.
        bytes: u64,
        /// Bytes to come in all, if the mirror says.
        of: Option<u64>,
    },
    /// A mirror failed; the next one is asked.
    MirrorFailed {
        /// What was asked for.
        url: &'a str,
        /// What went wrong.
        cause: &'a str,
    },
    /// The file is checked and in its place.
    Done,
}

/// A body larger than this is no file of a known set.
const LARGEST_BODY: u64 = 64 << 20;
const BLOCK: usize = 64 * 1024;

/// Fetches the files of `source` into the folder `into`, each from the first of `mirrors` that gives it, and
/// returns their paths.
///
/// A file is downloaded beside its place, checked against the SHA-256 of its uncompressed contents, and then
/// renamed, so that what carries its name is whole. Good files that are there already are kept.
///
/// # Errors
///
/// When `source` has no files, when no mirror gives a good file (with each one's cause), or when the folder
/// cannot be written.
pub fn fetch(
    source: DataSource,
    into: &Path,
    mirrors: &[&str],
    progress: &mut dyn FnMut(FetchProgress<'_>),
) -> Result<Vec<PathBuf>, DataError> {
    match source {
        DataSource::Mnist => fetch_set(&MNIST, into, mirrors, &agent(), progress),
        DataSource::Digits | DataSource::Synthetic => Err(DataError::NothingToFetch { set: source }),
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .user_agent(concat!("spillbench/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_recv_body(Some(Duration::from_secs(600)))
        .build()
        .into()
}

fn fetch_set(
    set: &FileSet<'_>,
    into: &Path,
    mirrors: &[&str],
    agent: &Agent,
    progress: &mut dyn FnMut(FetchProgress<'_>),
) -> Result<Vec<PathBuf>, DataError> {
    fs::create_dir_all(into).map_err(|cause| io_error("create", into, 0, cause))?;
    set.files().iter().map(|file| fetch_file(file, into, mirrors, agent, progress)).collect()
}

fn fetch_file(
    file: &SetFile<'_>,
    into: &Path,
    mirrors: &[&str],
    agent: &Agent,
    progress: &mut dyn FnMut(FetchProgress<'_>),
) -> Result<PathBuf, DataError> {
    // Compressed and with this name it is what `find` prefers, so it hides a bad file under another name.
    let name = format!("{}.gz", file.name);
    let mut report = |stage: FetchStage<'_>| progress(FetchProgress { file: &name, stage });
    if let Some(path) = find(into, file.name)
        && check(&path, file.sha256).is_ok()
    {
        report(FetchStage::Kept);
        return Ok(path);
    }
    let mut failures = Vec::new();
    for mirror in mirrors {
        let url = format!("{}/{name}", mirror.trim_end_matches('/'));
        match download(&url, file.sha256, into, agent, &mut report) {
            Ok(download) => {
                let path = into.join(&name);
                download.persist(&path).map_err(|e| io_error("rename a download to", &path, 0, e.error))?;
                report(FetchStage::Done);
                return Ok(path);
            }
            Err(Failure::Mirror(cause)) => {
                report(FetchStage::MirrorFailed { url: &url, cause: &cause });
                failures.push(MirrorFailure { url, cause });
            }
            Err(Failure::Here(error)) => return Err(error),
        }
    }
    Err(DataError::Fetch { file: name, into: into.to_owned(), failures })
}

/// Why a download failed: another mirror may help, or it will not.
enum Failure {
    Mirror(String),
    Here(DataError),
}

/// Downloads `url` to a temporary file in `into` and checks it.
fn download(
    url: &str,
    sha256: &str,
    into: &Path,
    agent: &Agent,
    report: &mut dyn FnMut(FetchStage<'_>),
) -> Result<NamedTempFile, Failure> {
    let answer = agent.get(url).call().map_err(|error| Failure::Mirror(error.to_string()))?;
    let body = answer.into_body();
    let of = body.content_length();
    let mut body = body.into_with_config().limit(LARGEST_BODY).reader();
    let mut file = tempfile::Builder::new()
        .prefix(".fetching-")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(into)
        .map_err(|cause| Failure::Here(io_error("create a file in", into, 0, cause)))?;
    let mut block = vec![0; BLOCK];
    let mut bytes = 0;
    loop {
        report(FetchStage::Receiving { bytes, of });
        let read = match body.read(&mut block) {
            Ok(0) => break,
            Ok(read) => read,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(Failure::Mirror(format!("after {bytes} bytes: {cause}"))),
        };
        let written = file.write_all(&block[..read]);
        written.map_err(|cause| Failure::Here(io_error("write", file.path(), bytes, cause)))?;
        bytes += read as u64;
    }
    // A rename must not survive a crash that the contents do not.
    let synced = file.as_file().sync_all();
    synced.map_err(|cause| Failure::Here(io_error("sync", file.path(), bytes, cause)))?;
    match check(file.path(), sha256) {
        Ok(()) => Ok(file),
        Err(DataError::Malformed { offset, expected, found, .. }) => Err(Failure::Mirror(format!(
            "{bytes} bytes that are damaged at offset {offset}: expected {expected}, found {found}"
        ))),
        Err(DataError::Checksum { expected, found, .. }) => {
            Err(Failure::Mirror(format!("another file: expected SHA-256 {expected}, found {found}")))
        }
        Err(error) => Err(Failure::Here(error)),
    }
}

/// Checks that the uncompressed contents of a file have the SHA-256 `expected`.
fn check(path: &Path, expected: &str) -> Result<(), DataError> {
    Contents::open(path)?.check_sum(expected)
}

fn io_error(operation: &'static str, path: &Path, offset: u64, cause: io::Error) -> DataError {
    DataError::Io { operation, path: path.to_owned(), offset, cause }
}

#[cfg(test)]
mod tests;
