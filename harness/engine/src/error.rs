//! What can go wrong in a trial.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use spillbench_data::DataError;
use spillbench_schedule::PlanError;
use spillbench_schema::{
    Trial,
    divergence::{DivergedStatus, Divergence, Sign, write_divergence},
};
use spillbench_storage::{Standing, StorageError};
use thiserror::Error;

use crate::generation::Generation;

/// Where training diverged.
#[derive(Debug, Clone, PartialEq)]
pub struct Diverged {
    /// From 1.
    pub step: u64,
    /// The first number found that is not finite.
    pub sign: Sign,
    /// Mean losses of the last steps before, oldest first.
    pub last_losses: Vec<f64>,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_divergence(f, self.step, self.sign, &self.last_losses)
    }
}

impl Diverged {
    /// The result of `trial`.
    pub fn result(self, trial: &Trial) -> Divergence {
        let Self { step, sign, last_losses } = self;
        Divergence {
            status: DivergedStatus::Diverged,
            trial_id: trial.id(),
            scenario: trial.scenario.clone(),
            arm: trial.arm.clone(),
            factors: trial.factors.clone(),
            seed: trial.seed,
            science_hash: trial.science_hash(),
            step,
            sign,
            last_losses,
        }
    }
}

/// Why a trial did not finish.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The data set cannot be had.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The trial has no schedule.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What a store read is not what it wrote, and the next run goes on from a generation that is without it.
    #[error("{cause} (after step {step})")]
    Corrupt {
        /// What is corrupt, and what it is to the generations.
        cause: StorageError,
        /// Steps done where the next run goes on.
        step: u64,
    },
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The log cannot be written.
    #[error("writing the event log: {0}")]
    Log(#[source] std::io::Error),
    /// Who was told what is used did not accept it.
    #[error(transparent)]
    Opened(Box<dyn std::error::Error + Send + Sync>),
    /// A generation that cannot be gone on from.
    #[error(
        "the generation in {} was committed by another version of this program, on another kind of processor or for \
         another trial; start again from the first step with `spillbench run --fresh`",
        dir.display()
    )]
    OtherGeneration {
        /// The store's folder.
        dir: PathBuf,
    },
    /// A thread or its pool cannot be made.
    #[error(
        "cannot start {threads} {}: {cause}; set execution.threads lower, or raise the limit of processes and threads \
         (ulimit -u, or pids.max of the control group), or that of memory (ulimit -v)",
        if *threads == 1 { "thread" } else { "threads" }
    )]
    Threads {
        /// How many.
        threads: usize,
        /// Why.
        cause: String,
    },
    /// A loss, an output or a weight is no longer finite. This is a result, and its caller records it as one.
    #[error("{0}")]
    Diverged(Diverged),
    /// Another rank failed first; its error is the one to read.
    #[error("rank {rank} stopped because another rank failed")]
    PeerFailed {
        /// Who stopped.
        rank: u16,
    },
}

impl EngineError {
    /// The same error; where it is of something corrupt, with the step after which the next run goes on in `state_dir`.
    pub(crate) fn with_last_step(self, state_dir: &Path) -> Self {
        match self {
            Self::Storage(cause) if leaves_a_generation(&cause) => match Generation::last_step(state_dir) {
                Some(step) => Self::Corrupt { cause, step },
                None => Self::Storage(cause),
            },
            error => error,
        }
    }
}

/// Whether something is corrupt, and no part of the generation that is the last one now.
const fn leaves_a_generation(error: &StorageError) -> bool {
    matches!(error, StorageError::Corrupt { standing: Standing::GivenUp { .. } | Standing::Since, .. })
}
