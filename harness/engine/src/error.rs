//! What can go wrong in a trial.

use std::path::{Path, PathBuf};

use spillbench_data::DataError;
use spillbench_schedule::PlanError;
use spillbench_storage::{Standing, StorageError};
use thiserror::Error;

use crate::generation::Generation;

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
    #[error("starting the threads of rank {rank}: {cause}")]
    Threads {
        /// Which.
        rank: u16,
        /// Why.
        cause: String,
    },
    /// The loss is no longer a number.
    #[error("the loss of step {step} is {loss}: training diverged; lower train.optimizer's learning_rate")]
    Diverged {
        /// From 0.
        step: u64,
        /// Not a number, or infinite.
        loss: f64,
    },
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

    /// Whether a run that went on from its last generation would come to the same error again.
    pub const fn is_certain_to_repeat(&self) -> bool {
        matches!(self, Self::Diverged { .. })
    }
}

/// Whether something is corrupt, and no part of the generation that is the last one now.
const fn leaves_a_generation(error: &StorageError) -> bool {
    matches!(error, StorageError::Corrupt { standing: Standing::GivenUp { .. } | Standing::Since, .. })
}
