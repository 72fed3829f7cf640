//! What can go wrong between a data set's name and its samples.

use std::io;
use std::path::PathBuf;

use spillbench_schema::config::DataSource;

/// Why samples could not be had. Each message ends with the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The network's input does not fit the data set.
    #[error(
        "network.input: {input:?} is {}; {}",
        features.map_or("more values than can be counted".to_owned(), |n| format!("{n} values")),
        if *set == DataSource::Synthetic {
            "give a shape whose sizes are all at least 1".to_owned()
        } else {
            format!("a sample of `{}` has 784: use [784] or [1, 28, 28]", set.name())
        }
    )]
    Input {
        /// The data set.
        set: DataSource,
        /// The shape of the network's input.
        input: Vec<usize>,
        /// Its product, if it is a number.
        features: Option<usize>,
    },
    /// A set has fewer samples than asked for.
    #[error("{field}: {asked} samples asked for, `{}` has {available}{}; lower it", set.name(), also(*held_out))]
    TooMany {
        /// The data set.
        set: DataSource,
        /// The key of the scenario.
        field: &'static str,
        /// What the key says.
        asked: usize,
        /// What the set has.
        available: usize,
        /// Of these, held out for validation.
        held_out: usize,
    },
    /// A count leaves nothing to train or to test on.
    #[error("{field}: {asked} leaves no sample to {purpose}; {remedy}")]
    Nothing {
        /// The key of the scenario.
        field: &'static str,
        /// What the key says.
        asked: usize,
        /// What there is nothing left for.
        purpose: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The samples are more bytes than an address can count.
    #[error(
        "data.train: {samples} samples of {features} values fit in no memory; lower data.train, data.test or network.input"
    )]
    TooLarge {
        /// Samples of all sets.
        samples: usize,
        /// Values of a sample.
        features: usize,
    },
    /// The system refuses the threads that load.
    #[error(
        "cannot start the threads that load samples: {cause}; raise the limit of processes and threads (ulimit -u, or \
         pids.max of the control group), or that of memory (ulimit -v)"
    )]
    Threads {
        /// Why.
        cause: String,
    },
    /// `synthetic` was asked for images without classes.
    #[error("network.layers: the last layer has no units, so there is no class to draw; give it at least 1")]
    NoClasses,
    /// The files are nowhere.
    #[error(
        "data.source: no files of `{}` in {}; run `spillbench data fetch {}`, or use `source: digits`, which needs no files",
        set.name(), places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", nor in "), set.name()
    )]
    Missing {
        /// The data set.
        set: DataSource,
        /// The folders searched, in order.
        places: Vec<PathBuf>,
    },
    /// A folder has some of the files of a data set.
    #[error("data.dir: {} has other files of the data set but no {name} (nor {name}.gz); fetch the set again: `spillbench data fetch mnist`", dir.display())]
    Incomplete {
        /// The folder.
        dir: PathBuf,
        /// The name of the missing file.
        name: String,
    },
    /// An operation on a file failed.
    #[error("cannot {operation} {} at offset {offset}: {cause}", path.display())]
    Io {
        /// What was tried: `open`, `read`, …
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// At which byte (of the uncompressed contents, when reading).
        offset: u64,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// A file is not what its name says.
    #[error("{} at offset {offset}: expected {expected}, found {found}; delete it and fetch it again: `spillbench data fetch mnist`", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Byte of the uncompressed contents.
        offset: u64,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A file is well formed and its contents are not those of the data set.
    #[error("{}: expected SHA-256 {expected} of the uncompressed contents, found {found}; delete it and fetch it again: `spillbench data fetch mnist`", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The known sum.
        expected: String,
        /// The sum of what is there.
        found: String,
    },
    /// A data set without files was to be fetched.
    #[error("`{}` is generated and has no files to fetch; use it as it is", set.name())]
    NothingToFetch {
        /// The data set.
        set: DataSource,
    },
    /// No mirror gave a file.
    #[error(
        "cannot fetch {file}:{}\ncheck the network, name another mirror, or put the file into {} yourself",
        listed(failures), into.display()
    )]
    Fetch {
        /// The name of the file.
        file: String,
        /// The folder it was to be put into.
        into: PathBuf,
        /// What each mirror answered, in the order they were asked.
        failures: Vec<MirrorFailure>,
    },
}

/// Why a mirror did not give a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorFailure {
    /// What was asked for.
    pub url: String,
    /// What went wrong.
    pub cause: String,
}

fn also(held_out: usize) -> String {
    if held_out == 0 { String::new() } else { format!(", {held_out} of them held out for validation") }
}

fn listed(failures: &[MirrorFailure]) -> String {
    if failures.is_empty() {
        return " no mirror is named".to_owned();
    }
    failures.iter().flat_map(|failure| ["\n  ", &failure.url, ": ", &failure.cause]).collect()
}
