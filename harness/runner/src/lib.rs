//! Runs a study: each trial in a child process, its results in a folder, what is finished skipped.
//!
//! A trial's peak memory is its own process's; a crash or an OOM kill is one failed trial. The runner never sees a
//! tensor: it writes `resolved.yaml`, starts `spillbench trial`, and reads lines of progress.

#![forbid(unsafe_code)]

mod child;
mod clock;
mod display;
mod error;
mod folder;
mod job;
mod program;
mod scratch;
mod signal;
mod study;

pub use child::{ChildLine, watch_parent};
pub use display::{Display, Style};
pub use error::RunnerError;
pub use folder::{StudyFolder, TrialFolder, write_atomically};
pub use job::stop_within;
pub use program::Program;
pub use signal::survive_file_size_limit;
pub use study::{Interrupt, Options, Outcome, run};
