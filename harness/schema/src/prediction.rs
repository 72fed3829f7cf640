//! What the cost model says of a trial before it runs. None of these figures is measured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::machine::Speed;

/// What limits a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bottleneck {
    /// Arithmetic.
    Compute,
    /// Memory bandwidth under arithmetic that uses each value little.
    Memory,
    /// Reads from the store.
    DiskRead,
    /// Writes to the store.
    DiskWrite,
    /// Ranks that wait for each other.
    Communication,
}

impl Bottleneck {
    /// As tables name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Memory => "memory bandwidth",
            Self::DiskRead => "disk, reading",
            Self::DiskWrite => "disk, writing",
            Self::Communication => "communication",
        }
    }
}

/// How a prediction was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The schedule's operations were replayed on the machine's description.
    Replay,
    /// Bytes over bandwidth against operations over rate, where a step has too many operations to be replayed.
    ClosedForm,
}

/// Where the ranks' time of a step goes, as shares of it; the mean over ranks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepShares {
    /// Products, activations, updates.
    pub compute: f64,
    /// Waiting for a read.
    pub read_wait: f64,
    /// Waiting for memory to read into, which a write under way has yet to free.
    pub buffer_wait: f64,
    /// Waiting for another rank.
    pub comm_wait: f64,
}

/// What the cost model says of a trial before it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prediction {
    /// Name of the machine it is for.
    pub machine: String,
    /// How fast the machine was just before the trial, from which its rates in the trial are expected ([`Speed::over`]);
    /// none: as it was described.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<Speed>,
    /// How it was made.
    pub method: Method,
    /// Wall time of a step, once warm.
    pub step_time_s: f64,
    /// What limits a step.
    pub bottleneck: Bottleneck,
    /// Where the ranks' time goes.
    pub shares: StepShares,
    /// The most memory: the plan's, and what the program itself takes.
    pub peak_memory_bytes: u64,
    /// Bytes of all extents; 0 where they stay in memory.
    pub disk_bytes: u64,
    /// Bytes a step reads from the store, once warm.
    pub bytes_read_per_step: u64,
    /// Bytes a step writes to the store, once warm.
    pub bytes_written_per_step: u64,
    /// Bytes that the whole run writes, initial weights included. A float: large runs write more than 2⁶⁴.
    pub bytes_written: f64,
    /// Initial weights, what is pinned, and the hash at the end.
    pub set_up_s: f64,
    /// All evaluations together.
    pub evaluation_s: f64,
    /// From start to end.
    pub time_to_finish_s: f64,
}
