//! Who computes what, who talks to whom, how often.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::limits;

/// A strategy for splitting the work among ranks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Parallelism {
    /// One rank computes everything: the reference.
    Single {},
    /// Every rank has the whole network and a part of the samples.
    Data(DataParallel),
    /// Every rank has a part of the network and all samples.
    Model(ModelParallel),
    /// The layer-wise approximate algorithm: groups of layers learn apart and talk once in `interval` steps.
    Layerwise(Layerwise),
}

impl Default for Parallelism {
    fn default() -> Self {
        Self::Single {}
    }
}

/// Every rank has the whole network and a part of the samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DataParallel {
    /// Gradients are averaged at every step.
    Sync(SyncData),
}

/// Synchronous data parallelism: gradients are averaged at every step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncData {
    /// Workers; a power of two that divides `train.shards`.
    #[schemars(range(min = 1, max = limits::RANKS))]
    pub ranks: usize,
}

/// Every rank has a part of the network and all samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelParallel {
    /// Contiguous layers on each rank; micro-batches flow through them.
    Pipeline(Pipeline),
}

/// A pipeline: contiguous layers on each rank; the micro-batches of `train.micro_batches` flow through them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Stages, one on each rank.
    #[schemars(range(min = 1, max = limits::RANKS))]
    pub ranks: usize,
    /// The order of forward and backward passes.
    #[serde(default)]
    pub schedule: PipelineSchedule,
}

/// The order of forward and backward passes in a pipeline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PipelineSchedule {
    /// All micro-batches forward, then all backward (Huang et al. 2019).
    #[default]
    Gpipe,
}

/// The layer-wise approximate algorithm: groups of layers learn apart and talk once in `interval` steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Layerwise {
    /// What the groups exchange.
    pub exchange: Exchange,
    /// Steps between two exchanges, K.
    #[schemars(range(min = 1, max = limits::STEPS))]
    pub interval: u64,
    /// Layers in each group, input to output. Default: one layer a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(inner(range(min = 1, max = limits::LAYERS)))]
    pub groups: Option<Vec<usize>>,
    /// Workers the groups are spread over, in contiguous runs. Default: one a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::RANKS))]
    pub ranks: Option<usize>,
}

/// What groups exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exchange {
    /// Weights: each group trains inside a snapshot of the others.
    Weights,
    /// Activations and errors at the groups' boundaries, for the steps of the coming interval.
    StaleBoundary,
    /// Activations only; each group has a loss of its own (decoupled greedy learning).
    LocalLoss,
}

impl Parallelism {
    /// Ranks of a network that has `layers` layers.
    pub fn ranks(&self, layers: usize) -> usize {
        match self {
            Self::Single {} => 1,
            Self::Data(DataParallel::Sync(sync)) => sync.ranks,
            Self::Model(ModelParallel::Pipeline(pipeline)) => pipeline.ranks,
            Self::Layerwise(layerwise) => {
                layerwise.ranks.unwrap_or_else(|| layerwise.groups.as_ref().map_or(layers, Vec::len))
            }
        }
    }

    /// Steps between two exchanges; 1 for strategies that communicate at every step.
    pub const fn interval(&self) -> u64 {
        match self {
            Self::Layerwise(layerwise) => layerwise.interval,
            _ => 1,
        }
    }

    /// A short name for tables: `single`, `data.sync`, `layerwise.weights`, …
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Single {} => "single",
            Self::Data(DataParallel::Sync(_)) => "data.sync",
            Self::Model(ModelParallel::Pipeline(_)) => "model.pipeline",
            Self::Layerwise(layerwise) => match layerwise.exchange {
                Exchange::Weights => "layerwise.weights",
                Exchange::StaleBoundary => "layerwise.stale_boundary",
                Exchange::LocalLoss => "layerwise.local_loss",
            },
        }
    }

    pub(super) fn science(&self) -> Value {
        match self {
            Self::Single {} | Self::Data(DataParallel::Sync(_)) | Self::Model(ModelParallel::Pipeline(_)) => {
                json!("single")
            }
            Self::Layerwise(Layerwise { exchange, interval, groups, ranks: _ }) => {
                json!({ "exchange": exchange, "interval": interval, "groups": groups })
            }
        }
    }

    pub(super) fn execution(&self) -> Value {
        match self {
            Self::Layerwise(layerwise) => json!({ "layerwise": { "ranks": layerwise.ranks } }),
            other => json!(other),
        }
    }
}
