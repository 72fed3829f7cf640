//! Networks four times their budget train within it.

mod support;

use support::Study;

/// The program itself, its stacks and tables: what peak memory may exceed the budget by.
const BEYOND_BUDGET: u64 = 150 << 20;
const BUDGET: u64 = 64 << 20;

#[test]
fn a_network_of_many_layers_four_times_its_budget_trains_within_it() {
    trains_within_its_budget(64, "{ units: 3392, activation: relu, repeat: 7 }");
}

#[test]
fn a_single_layer_four_times_its_budget_trains_within_it() {
    trains_within_its_budget(8192, "{ units: 8192, activation: relu }");
}

fn trains_within_its_budget(inputs: usize, hidden: &str) {
    let study = Study::new(&[&format!(
        "
schema_version: 1
name: small
question: Does a network that does not fit train?
data: {{ source: synthetic, train: 32, test: 16 }}
network:
  input: [{inputs}]
  layers:
    - linear: {hidden}
    - linear: {{ units: 10 }}
  panel: 4MiB
train:
  optimizer: {{ sgd: {{ learning_rate: 0.01 }} }}
  batch_size: 16
  steps: 2
arms:
  memory: {{}}
  direct: {{ storage: {{ mode: direct, memory_budget: {BUDGET} }} }}
"
    )]);
    study.spillbench("run", &[]).expect(0, &[]);
    let summaries = study.summaries();
    let [memory, direct] = ["memory-s1", "direct-s1"].map(|trial| &summaries[trial]);
    let number = |summary: &serde_json::Value, key: &str| summary[key].as_u64().expect("a whole number");
    assert!(4 * number(direct, "parameters") >= 4 * BUDGET, "the network is too small to show anything");
    let limit = BUDGET + BEYOND_BUDGET;
    let peak = number(direct, "peak_rss_bytes");
    assert!(peak <= limit, "{peak} B resident, {limit} B allowed");
    assert!(number(memory, "peak_rss_bytes") > limit, "the limit would be kept without a store");
    assert!(number(direct, "bytes_read") > 2 * BUDGET, "nothing was read back");
    assert_eq!(direct["weights_hash"], memory["weights_hash"]);
}
