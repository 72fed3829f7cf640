//! What was set: once for all trials, and where arms differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use spillbench_schema::{Bytes, Config, Trial, config::LayerSpec, trial::plain};

use super::{Heading, NOTHING, Table};
use crate::results::Results;

const BUDGET: &str = "storage.memory_budget";

/// Two tables: the settings that all trials share (of storage, only the mode and the budget), and, where arms differ beyond the matrix, a row an arm.
pub fn tables(results: &Results) -> (Table, Option<Table>) {
    let trials = &results.study.trials;
    let settings: Vec<BTreeMap<String, String>> = trials.iter().map(settings).collect();
    let keys: BTreeSet<&String> = settings.iter().flat_map(BTreeMap::keys).collect();
    let varies = |key: &str| settings.iter().any(|of_trial| of_trial.get(key) != settings[0].get(key));
    let (varying, shared): (Vec<&String>, Vec<&String>) = keys.into_iter().partition(|key| varies(key));
    let matters =
        |key: &&&String| !key.starts_with("storage.") || ["storage.mode", BUDGET].contains(&key.as_str());
    let rows =
        shared.iter().filter(matters).map(|key| vec![(*key).clone(), settings[0][*key].clone()]).collect();
    let columns = vec![Heading::words("setting"), Heading::words("value")];
    let shared = Table { columns, rows, notes: Vec::new() };

    let factors: BTreeSet<&String> = trials.iter().flat_map(|trial| trial.factors.keys()).collect();
    let varying: Vec<&String> = varying.into_iter().filter(|key| !factors.contains(*key)).collect();
    if varying.is_empty() {
        return (shared, None);
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (trial, of_trial) in trials.iter().zip(&settings) {
        let cells = varying.iter().map(|key| of_trial.get(*key).map_or(NOTHING, String::as_str).to_owned());
        let row: Vec<String> = [trial.arm.clone()].into_iter().chain(cells).collect();
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let mut columns = vec![Heading::words("arm")];
    columns.extend(varying.into_iter().map(Heading::words));
    (shared, Some(Table { columns, rows, notes: Vec::new() }))
}

/// The settings that a reader asks for, by dotted key; a network is one line.
fn settings(trial: &Trial) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    if let Ok(Value::Object(mut config)) = serde_json::to_value(&trial.config) {
        config.remove("network");
        flatten("", &Value::Object(config), &mut found);
    }
    found.insert("network".to_owned(), network(&trial.config));
    found.insert("parallelism".to_owned(), trial.config.parallelism.name().to_owned());
    for key in [BUDGET, "storage.chunk"] {
        if let Some(value) = found.get_mut(key)
            && let Ok(bytes) = value.parse()
        {
            *value = Bytes(bytes).to_string();
        }
    }
    found
}

/// Adds every leaf below `value` by its dotted key; an empty object is a leaf's absence of settings: `parallelism.single`.
fn flatten(prefix: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) if fields.is_empty() => {
            if let Some((key, name)) = prefix.rsplit_once('.') {
                found.insert(key.to_owned(), name.to_owned());
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, value, found);
            }
        }
        Value::Null => {}
        leaf => {
            found.insert(prefix.to_owned(), plain(leaf));
        }
    }
}

/// `784 → 512 relu ×2 → 10`.
pub fn network(config: &Config) -> String {
    let input: Vec<String> = config.network.input.iter().map(usize::to_string).collect();
    let mut stages = vec![input.join("×")];
    for layer in &config.network.layers {
        let LayerSpec::Linear(linear) = layer;
        let activation = serde_json::to_value(linear.activation).map_or(String::new(), |name| plain(&name));
        let activation = if activation == "identity" { String::new() } else { format!(" {activation}") };
        let repeat = if linear.repeat > 1 { format!(" ×{}", linear.repeat) } else { String::new() };
        stages.push(format!("{}{activation}{repeat}", linear.units));
    }
    stages.join(" → ")
}
