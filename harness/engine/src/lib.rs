//! Trains one trial: executes its [schedule](spillbench_schedule) on real tensors, threads and a store.
//!
//! [`train`] is the whole of it. Ranks are threads, each with a rayon pool of its own; a rank executes its operations
//! in order (`rank`), with parameters from a `residency::Domain` and samples in a `workspace::Workspace`.
//! Nothing here decides what is done: that is the schedule's.

#![forbid(unsafe_code)]

mod clock;
mod error;
mod event_log;
mod generation;
mod hash;
mod initial;
mod layer;
mod ledger;
mod machine;
mod order;
mod precision;
mod probe;
mod random;
mod rank;
mod recorder;
mod reduction;
mod residency;
mod team;
mod tensor;
mod threads;
mod trainer;
mod transport;
mod workspace;

pub use clock::stopped_while;
pub use error::{Diverged, EngineError};
pub use event_log::EventLog;
pub use machine::{cores, machine};
pub use probe::{ProbeStage, probe, speed};
pub use recorder::Progress;
pub use trainer::{Environment, Opened, check_space, open_plan, open_plan_on, train};
