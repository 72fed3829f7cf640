//! Where parameters and optimizer state live.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits;
use crate::units::Bytes;

/// Where parameters and optimizer state live. Never changes a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// The store.
    pub mode: StorageMode,
    /// The most memory for parameters, optimizer state, gradient scratch, activations, data and I/O buffers.
    /// Default: no limit under `memory`; must be given under the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_budget: Option<Bytes>,
    /// What becomes of values between the forward and the backward pass where they do not fit; strategies other than
    /// `single` and `data.sync` keep them.
    pub activations: ActivationPolicy,
    /// The folder for extents. Default: `state/` in the trial's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// The most I/O requests in flight. The device has half of those that are asked for: the rest are next when it
    /// answers.
    #[schemars(range(min = 1, max = 1024))]
    pub queue_depth: usize,
    /// The most bytes of one I/O request; a multiple of 4 KiB.
    pub chunk: Bytes,
    /// When a generation is committed, from which a run that was cut off goes on. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generations: Option<GenerationsConfig>,
}

/// When a generation is committed: everything that a run needs to go on from there, on stable storage. Under `direct`
/// only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerationsConfig {
    /// Training steps from one to the next. Where ranks hold samples or errors of coming steps (`stale_boundary`,
    /// `local_loss`), the next step at which they hold none.
    #[schemars(range(min = 1, max = limits::STEPS))]
    pub every: u64,
    /// The last generations that stay whole on disk. Where one is lost to corruption, the next run goes on from the
    /// newest that is sound. The extents take their space on disk once for each, and once more.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16))]
    pub keep: u8,
}

const fn one() -> u8 {
    1
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            mode: StorageMode::Memory,
            memory_budget: None,
            activations: ActivationPolicy::Auto,
            dir: None,
            queue_depth: 32,
            chunk: Bytes(1 << 20),
            generations: None,
        }
    }
}

/// What becomes of the values at the boundaries between layers until the backward pass needs them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActivationPolicy {
    /// They stay where all fits; else the cheapest way by counted bytes and operations, boundary by boundary.
    #[default]
    Auto,
    /// All stay in memory.
    Keep,
    /// Only some stay, at even distances; those between are computed again from the nearest one below.
    Recompute,
    /// All but the last are written to the store and read back.
    Spill,
}

/// The kinds of store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StorageMode {
    /// Everything in RAM; the reference.
    #[default]
    Memory,
    /// Files opened with `O_DIRECT`, read and written through `io_uring`; RAM holds what the budget allows.
    Direct,
    /// Files read and written through the page cache, which is memory beyond the budget.
    Buffered,
    /// Files mapped into memory; likewise.
    Mmap,
}

impl StorageMode {
    /// The name in scenarios and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Direct => "direct",
            Self::Buffered => "buffered",
            Self::Mmap => "mmap",
        }
    }
}
