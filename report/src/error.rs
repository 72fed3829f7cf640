//! What can go wrong between a folder of results and a report.

use std::{io, path::PathBuf};

use plotters::drawing::DrawingAreaErrorKind;
use polars::error::PolarsError;
use spillbench_schema::trial::ResolvedError;

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file system refused.
    #[error("cannot {operation} {}: {source}{}", path.display(), remedy(source))]
    Io {
        /// `read`, `write`, `create`, …
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The system refuses the threads that join tables.
    #[error(
        "cannot start the {threads} threads that make the report: {cause}; raise the limit of processes and threads \
         (ulimit -u, or pids.max of the control group), set POLARS_MAX_THREADS lower, or make it elsewhere with \
         `spillbench report`"
    )]
    Threads {
        /// How many.
        threads: usize,
        /// Why.
        cause: io::Error,
    },
    /// A finished trial has lost its log.
    #[error(
        "{} is missing, and its trial has finished: put it back, or remove the trial's folder and run the scenario \
         again",
        path.display()
    )]
    NoLog {
        /// The file.
        path: PathBuf,
    },
    /// A file of results does not hold what its name promises.
    #[error(
        "{} is not a {expected}: {source}; it was changed, or written by another version: move the trial's folder \
         away and run the scenario again",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// Where and why reading stopped.
        source: serde_json::Error,
    },
    /// A folder has a trial's name, and another trial's results.
    #[error(
        "{} is of another trial: {difference}; it was changed, so move the trial's folder away and run the scenario again",
        path.display()
    )]
    OtherTrial {
        /// Its `resolved.yaml`.
        path: PathBuf,
        /// The first difference.
        difference: String,
    },
    /// A finished trial's folder does not say of which trial it is.
    #[error("{} is {cause}; move the trial's folder away and run the scenario again", path.display())]
    Unresolved {
        /// Its `resolved.yaml`.
        path: PathBuf,
        /// Why not.
        cause: ResolvedError,
    },
    /// Two tables did not fit together; a bug.
    #[error("a table could not be made: {0}")]
    Table(#[from] PolarsError),
    /// A chart could not be drawn; a bug.
    #[error("the chart `{chart}` could not be drawn: {reason}")]
    Chart {
        /// The figure's name.
        chart: String,
        /// What the drawing library said.
        reason: String,
    },
}

fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; make it writable, or copy the results and name their place with --results"
        }
        io::ErrorKind::NotADirectory => "; move away the file that is in the place of a folder",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space",
        _ => "",
    }
}

impl ReportError {
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }
}

/// Inside a chart's code the figure's name is not known; the caller that knows it adds it.
pub(crate) type DrawingError = DrawingAreaErrorKind<io::Error>;
