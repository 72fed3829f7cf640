//! How the program ends: exit codes, and errors that carry one.

use std::{fmt, process::ExitCode};

use crate::output::CLOSED_PIPE;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Fine,
    /// A bug or a machine's failure.
    Internal,
    /// The command line or a scenario is wrong.
    Usage,
    /// A claim or a regression check failed.
    CheckFailed,
    /// Nothing was run or compared.
    Nothing,
    /// A check could not be decided.
    Inconclusive,
    /// Some trial is in the hands of another run.
    Elsewhere,
    /// Some trial failed.
    TrialFailed,
    /// The user interrupted.
    Interrupted,
    /// All is well, and nobody reads it.
    Unread,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Fine => 0,
            Exit::Internal => 1,
            Exit::Usage => 2,
            Exit::CheckFailed => 3,
            Exit::Nothing => 4,
            Exit::Inconclusive => 5,
            Exit::Elsewhere => 6,
            Exit::TrialFailed => 100,
            Exit::Interrupted => 130,
            Exit::Unread => CLOSED_PIPE,
        })
    }
}

/// An error, and how the program ends on it.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong.
    pub error: anyhow::Error,
    /// How the program ends.
    pub exit: Exit,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), exit: Exit::Internal }
    }
}

impl Failure {
    /// The error with its causes, each told once.
    pub fn message(&self) -> String {
        let mut text = String::new();
        for cause in self.error.chain().map(ToString::to_string) {
            if !text.contains(&cause) {
                text.push_str(if text.is_empty() { "" } else { ": " });
                text.push_str(&cause);
            }
        }
        text
    }

    /// An error of whoever wrote the command line or the scenario.
    pub fn usage(error: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Self { error: anyhow::Error::msg(error), exit: Exit::Usage }
    }
}
