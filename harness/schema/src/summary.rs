//! What a finished trial leaves behind, `summary.json`, and what surrounds it, `manifest.json`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::prediction::Prediction;

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It did all its steps.
    Finished,
}

/// A distribution of durations in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Durations {
    /// 50th percentile.
    pub median: f64,
    /// 5th percentile.
    pub p05: f64,
    /// 95th percentile.
    pub p95: f64,
}

/// Where the ranks' time went while training, in seconds, the mean over ranks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimeShares {
    /// Products, activations, updates.
    pub compute: f64,
    /// Waiting for a read.
    pub read_wait: f64,
    /// Waiting for a write to be taken: by the page cache, or at a point where all must be on disk.
    pub write_wait: f64,
    /// Waiting for memory to read into, which a write under way has yet to free.
    #[serde(default)]
    pub buffer_wait: f64,
    /// Waiting for another rank.
    pub comm_wait: f64,
    /// The rest.
    pub idle: f64,
}

/// What a finished trial leaves behind. Written last, by a temporary file and a rename: its presence means finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// How it ended.
    pub status: Status,
    /// The folder's name.
    pub trial_id: String,
    /// The scenario's name.
    pub scenario: String,
    /// The arm's name.
    pub arm: String,
    /// The matrix point: dotted key → value.
    pub factors: BTreeMap<String, Value>,
    /// Root of the random streams.
    pub seed: u64,
    /// Hash of the keys that may change the result.
    pub science_hash: String,
    /// `single`, `data.sync`, …
    pub parallelism: String,
    /// `memory`, `direct`, `buffered` or `mmap`.
    pub storage_mode: String,
    /// Workers.
    pub ranks: usize,
    /// Compute threads of each rank.
    pub threads: usize,
    /// Parameters of the network, auxiliary heads left out.
    pub parameters: u64,
    /// Steps done.
    pub steps: u64,
    /// Percent correct on the test split.
    pub test_accuracy: f64,
    /// Mean loss on the test split.
    pub test_loss: f64,
    /// Percent correct on the validation split at the end, if there is one.
    pub validation_accuracy: Option<f64>,
    /// Mean training loss over the last steps (as many as one line of the log covers).
    pub train_loss: f64,
    /// Times that the trial was cut off and went on from a generation.
    #[serde(default)]
    pub resumed: u64,
    /// Wall time of the whole trial, seconds. Where it was cut off, the sum over its parts: what was done after the last
    /// generation was lost, and is not in it.
    pub wall_s: f64,
    /// Wall time of training alone, seconds.
    pub train_s: f64,
    /// Wall time of one step; where ranks talk once in K steps, the mean over each such interval.
    pub step_time_s: Durations,
    /// Training samples per second of `train_s`.
    pub samples_per_s: f64,
    /// The most resident memory of the trial's process (`VmHWM`).
    pub peak_rss_bytes: u64,
    /// What it was allowed.
    pub memory_budget_bytes: Option<u64>,
    /// Bytes read from the store over the training steps.
    pub bytes_read: u64,
    /// Bytes written to the store over the training steps.
    pub bytes_written: u64,
    /// Bytes the schedule says are read and written over the training steps.
    pub io_planned_bytes: u64,
    /// The least bytes any schedule could move in these steps under this budget.
    pub io_floor_bytes: u64,
    /// Bytes that ranks sent to each other over the training steps.
    pub bytes_communicated: u64,
    /// Where the time went.
    pub time_s: TimeShares,
    /// Hash (BLAKE3) of all parameters in layer order, little-endian f32, auxiliary heads left out.
    pub weights_hash: String,
    /// What the cost model said before the trial ran, where there was a description of the machine. Not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<Prediction>,
}

/// A field of [`Summary`], as claims name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// The field; a field within a field is dotted: `step_time_s.median`.
    pub name: String,
    /// Whether it is a number.
    pub numeric: bool,
}

impl Summary {
    /// The fields that claims may name, sorted. Factors are left out: they are what was set.
    pub fn metrics() -> Vec<Metric> {
        let schema = schemars::schema_for!(Self).to_value();
        let mut metrics = Vec::new();
        collect_metrics(&schema, &schema, "", &mut metrics);
        metrics
    }

    /// The value of a metric: none for an unknown name and for an optional field that is not set.
    pub fn metric(&self, name: &str) -> Option<Value> {
        let summary = serde_json::to_value(self).ok()?;
        let value = name.split('.').try_fold(&summary, |value, part| value.get(part))?;
        (!value.is_null()).then(|| value.clone())
    }
}

fn collect_metrics(root: &Value, schema: &Value, prefix: &str, metrics: &mut Vec<Metric>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    for (key, property) in properties {
        let name = format!("{prefix}{key}");
        // An optional structure is any of its reference and null.
        let reference = property["$ref"].as_str().or_else(|| property["anyOf"][0]["$ref"].as_str());
        let target = reference.and_then(|target| root.pointer(target.trim_start_matches('#')));
        match target {
            Some(target) if target.get("properties").is_some() => {
                collect_metrics(root, target, &format!("{name}."), metrics);
            }
            _ if property.get("additionalProperties").is_some() => {}
            _ => {
                let types = property["type"].to_string();
                metrics.push(Metric { name, numeric: types.contains("number") || types.contains("integer") });
            }
        }
    }
}

/// What surrounds a trial: enough to repeat it. Written when the trial starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The program's version.
    pub version: String,
    /// Git revision of the scenario's folder, with `-dirty` where it was changed; none outside a checkout.
    pub git_revision: Option<String>,
    /// Seconds since the Unix epoch.
    pub started_unix_s: u64,
    /// The machine.
    pub machine: Machine,
    /// Storage as asked for.
    pub storage_requested: String,
    /// Storage as used, with the alignment and buffers it found.
    pub storage_used: String,
    /// The matrix-product kernel of each distinct shape: `forward 64x1024x784` → `gemm`.
    pub kernels: BTreeMap<String, String>,
}

/// A machine, as far as results depend on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Model name of the processor.
    pub cpu: String,
    /// Vector extensions that kernels look for.
    pub cpu_features: Vec<String>,
    /// Cores that this process may use.
    pub cores: usize,
    /// Physical memory.
    pub memory_bytes: u64,
    /// Kernel release.
    pub kernel: String,
}

/// How a trial failed, `failure.json`. Removed when it is run again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The folder's name.
    pub trial_id: String,
    /// What went wrong, with its causes, as the process said it.
    pub message: String,
    /// Exit code, where the process had one.
    pub exit_code: Option<i32>,
    /// The signal that ended it, where one did.
    pub signal: Option<i32>,
}
