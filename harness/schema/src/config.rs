//! A resolved configuration: the three axes (network, parallelism, storage) and what they share.
//!
//! Every default is filled when a [`Config`] exists. *Science* keys change the result of training;
//! *execution* keys must not. [`Config::science`] and [`Config::execution`] draw that line, in one place.

mod data;
pub mod limits;
mod network;
mod parallelism;
mod storage;
mod train;

pub use data::{DataConfig, DataSource};
pub use network::{Activation, LayerSpec, Linear, NetworkConfig, panel_rows};
pub use parallelism::{
    DataParallel, Exchange, Layerwise, ModelParallel, Parallelism, Pipeline, PipelineSchedule, SyncData,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
pub use storage::{ActivationPolicy, GenerationsConfig, StorageConfig, StorageMode};
pub use train::{
    Adam, Decay, LearningRateSchedule, Loss, Momentum, OptimizerConfig, Precision, Sgd, TrainConfig, Update,
};

/// Everything that one trial needs to know, apart from its seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the samples come from and how they are split.
    pub data: DataConfig,
    /// The network: its input shape and its layers.
    pub network: NetworkConfig,
    /// Loss, optimizer, batches and duration.
    pub train: TrainConfig,
    /// Who computes what, who talks to whom, how often.
    #[serde(default)]
    pub parallelism: Parallelism,
    /// Where parameters and optimizer state live.
    #[serde(default)]
    pub storage: StorageConfig,
    /// How this machine is used; never changes a result.
    #[serde(default)]
    pub execution: ExecutionConfig,
}

/// How this machine is used. Never changes a result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExecutionConfig {
    /// Compute threads of each rank. Default: the machine's cores divided by the ranks, at least one.
    #[schemars(range(min = 1, max = 1024))]
    pub threads: Option<usize>,
}

impl Config {
    /// The keys that may change the result, as canonical JSON (sorted keys).
    ///
    /// Strategies that are `single` by other means (`data.sync`, `model.pipeline`) have the science of
    /// `single`: trials that agree here and in their seed must end with equal weights.
    pub fn science(&self) -> Value {
        json!({
            "data": self.data.science(),
            "network": self.network,
            "train": self.train.science(),
            "parallelism": self.parallelism.science(),
        })
    }

    /// The keys that must not change the result, as canonical JSON (sorted keys).
    pub fn execution(&self) -> Value {
        json!({
            "data_dir": self.data.dir,
            "parallelism": self.parallelism.execution(),
            "storage": self.storage,
            "execution": self.execution,
        })
    }
}
