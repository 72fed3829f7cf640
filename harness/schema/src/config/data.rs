//! Where samples come from.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::limits;

/// Where the samples come from and how they are split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Which data set.
    pub source: DataSource,
    /// The folder with the files of a data set that has files. Default: `$SPILLBENCH_DATA/<source>`, else
    /// `data/<source>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Samples to train on, from the start of the training set. Default: all that validation leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::SAMPLES))]
    pub train: Option<usize>,
    /// Samples held out of the end of the training set for validation.
    #[serde(default)]
    #[schemars(range(min = 0, max = limits::SAMPLES))]
    pub validation: usize,
    /// Samples to test on, from the start of the test set. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::SAMPLES))]
    pub test: Option<usize>,
}

/// The known data sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataSource {
    /// Digits drawn from a seed under random distortion, in MNIST's shapes and sizes. Needs no files.
    Digits,
    /// The MNIST files (IDX, gzip or raw).
    Mnist,
    /// Noisy class prototypes in the shape of the network's input, for networks whose size is the question.
    /// Needs no files.
    Synthetic,
}

impl DataSource {
    /// The name in scenarios and of the folder under a data root.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Mnist => "mnist",
            Self::Synthetic => "synthetic",
        }
    }
}

impl DataConfig {
    pub(super) fn science(&self) -> Value {
        json!({
            "source": self.source,
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
        })
    }
}
