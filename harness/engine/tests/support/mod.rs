//! One small trial, and what it is run with.

#![allow(dead_code, reason = "each file of tests uses a part")]

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};
use spillbench_data::DataLocations;
use spillbench_engine::{EngineError, Environment, EventLog, open_plan, train};
use spillbench_schema::{Rates, Summary, Trial};
use spillbench_storage::Fault;

/// Eight layers of four panels and a head, nine steps of 64 samples.
pub fn trial(parallelism: &Value, micro_batches: usize, storage: &Value) -> Trial {
    let config = json!({
        "data": { "source": "synthetic", "train": 128, "validation": 16, "test": 16 },
        "network": {
            "input": [32],
            "layers": [
                { "linear": { "units": 32, "activation": "relu", "repeat": 8 } },
                { "linear": { "units": 10 } },
            ],
            "panel": "1KiB",
        },
        "train": {
            "optimizer": { "adam": { "learning_rate": 0.01 } },
            "batch_size": 64,
            "micro_batches": micro_batches,
            "steps": 9,
        },
        "parallelism": parallelism,
        "storage": storage,
        "execution": { "threads": 1 },
    });
    let config = serde_json::from_value(config).expect("the configuration is well formed");
    let (scenario, arm) = ("engine".into(), "arm".into());
    Trial { scenario, arm, factors: BTreeMap::new(), seed: 3, config }
}

/// The same on disk, with the least budget that works and `spare` KiB.
pub fn spilled(parallelism: &Value, micro_batches: usize, spare: u64, generations: &Value) -> Trial {
    let storage =
        |kib: u64| json!({ "mode": "direct", "memory_budget": kib << 10, "generations": generations });
    let too_small = trial(parallelism, micro_batches, &storage(1));
    let refused = open_plan(&too_small, &Rates::default()).err().expect("one KiB is too small");
    let message = refused.to_string();
    let least = message.split("set it to ").nth(1).and_then(|rest| rest.split("KiB or more").next());
    let least: u64 = least.and_then(|least| least.parse().ok()).expect("the error names the least budget");
    trial(parallelism, micro_batches, &storage(least + spare))
}

/// Trains in `dir`, where an earlier part of the run may lie.
pub fn run(
    trial: &Trial,
    rates: &Rates,
    dir: &Path,
    fault: Option<Fault>,
    events: &mut dyn EventLog,
) -> Result<Summary, EngineError> {
    train(
        trial,
        Environment {
            rates,
            state_dir: &dir.join("state"),
            locations: &DataLocations { root: None },
            events,
            progress: &mut |_| {},
            opened: &mut |_| Ok(()),
            fault,
        },
    )
}

/// The weights of `trial` in memory.
pub fn in_memory(trial: &Trial) -> String {
    let mut trial = trial.clone();
    trial.config.storage = serde_json::from_value(json!({})).expect("the defaults");
    let dir = tempfile::tempdir().expect("a folder");
    let summary = run(&trial, &Rates::default(), dir.path(), None, &mut std::io::sink());
    summary.expect("it trains").weights_hash
}
