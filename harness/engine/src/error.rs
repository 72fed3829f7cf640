//! What can go wrong in a trial.

use std::path::PathBuf;

use spillbench_data::DataError;
use spillbench_schedule::PlanError;
use spillbench_storage::StorageError;
use thiserror::Error;

use crate::generation::Generations;

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
    /// What a store read is not what it wrote, in a run that has committed a generation.
    #[error("{cause} (last generation: after step {step})")]
    Corrupt {
        /// What is corrupt, and which generations are.
        cause: StorageError,
        /// Steps done in the last generation, those left out that are given up.
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
    /// The same error; where it is of a corrupt extent, with the step of the last of these generations.
    pub(crate) fn beside(self, generations: Option<&Generations>) -> Self {
        let step = match (&self, generations) {
            (Self::Storage(StorageError::Corrupt { standing, .. }), Some(generations)) => {
                generations.last_step(*standing)
            }
            _ => None,
        };
        match (self, step) {
            (Self::Storage(cause), Some(step)) => Self::Corrupt { cause, step },
            (error, _) => error,
        }
    }

    /// Whether a run that went on from its last generation would come to the same error again.
    pub const fn is_certain_to_repeat(&self) -> bool {
        matches!(self, Self::Diverged { .. })
    }
}
