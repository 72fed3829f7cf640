//! Networks four times their budget train within it.

mod support;

use support::{Study, end, memory_group::MemoryGroup, skipped};

/// The program itself, its stacks and tables: what peak memory may exceed the budget by.
const BEYOND_BUDGET: u64 = 150 << 20;
const BUDGET: u64 = 64 << 20;

#[test]
fn a_network_of_many_layers_four_times_its_budget_trains_within_it() {
    trains_within_its_budget(64, MANY_LAYERS);
}

#[test]
fn a_single_layer_four_times_its_budget_trains_within_it() {
    trains_within_its_budget(8192, "{ units: 8192, activation: relu }");
}

/// Sixteen thousand samples at once on a network of some hundred thousand parameters: it is the values between
/// layers that do not fit.
#[test]
fn a_mini_batch_whose_activations_are_four_times_the_budget_trains_within_it() {
    let budget = 58 << 20;
    let study = Study::new(&[&format!(
        "
schema_version: 1
name: small
question: Does a mini-batch whose activations do not fit train?
data: {{ source: synthetic, train: 16384, test: 16 }}
network:
  input: [128]
  layers:
    - linear: {{ units: 128, activation: relu, repeat: 32 }}
    - linear: {{ units: 10 }}
train:
  optimizer: {{ sgd: {{ learning_rate: 0.01 }} }}
  batch_size: 16384
  micro_batches: 2
  steps: 2
execution: {{ threads: 1 }}
arms:
  memory: {{}}
  auto:  {{ storage: {{ mode: direct, memory_budget: {budget} }} }}
  spill: {{ storage: {{ mode: direct, memory_budget: {budget}, activations: spill }} }}
"
    )]);
    study.spillbench("run", &[]).expect(0, &[]);
    let summaries = study.summaries();
    let number = |arm: &str, key: &str| summaries[arm][key].as_u64().expect("a whole number");
    let values = 33 * 16384 * 128 * 4;
    assert!(values > 4 * budget, "the activations are too small to show anything");
    let limit = budget + BEYOND_BUDGET;
    assert!(number("memory-s1", "peak_rss_bytes") > limit, "the limit would be kept without a store");
    for arm in ["auto-s1", "spill-s1"] {
        let peak = number(arm, "peak_rss_bytes");
        assert!(peak <= limit, "{arm}: {peak} B resident, {limit} B allowed");
        assert_eq!(summaries[arm]["weights_hash"], summaries["memory-s1"]["weights_hash"], "{arm}");
    }
    let spilled = 2 * 31 * 16384 * 128 * 4;
    assert_eq!((number("spill-s1", "bytes_written"), number("spill-s1", "bytes_read")), (spilled, spilled));
}

/// What resident memory, as the process counts it, cannot show: the kernel itself holds the whole program to its promise.
#[test]
fn a_network_four_times_its_budget_trains_where_the_kernel_kills_whatever_takes_more() {
    let group = match MemoryGroup::new(BUDGET + BEYOND_BUDGET) {
        Ok(group) => group,
        Err(reason) => return skipped(&format!("a memory limit of the kernel's: {reason}")),
    };
    let study = study(64, MANY_LAYERS);
    end(&mut group.around(&study.command("run", &[])))
        .expect(100, &["memory seed 1 failed: ended by signal 9 (SIGKILL)"]);
    assert_eq!(group.killed(), 1, "the arm in memory, and nothing else");
    assert_eq!(study.summaries().keys().collect::<Vec<_>>(), ["direct-s1"], "who finished within the limit");
    // What is missing, without a limit.
    study.spillbench("run", &[]).expect(0, &[]);
    let summaries = study.summaries();
    assert_eq!(summaries["direct-s1"]["weights_hash"], summaries["memory-s1"]["weights_hash"]);
}

const MANY_LAYERS: &str = "{ units: 3392, activation: relu, repeat: 7 }";

fn study(inputs: usize, hidden: &str) -> Study {
    Study::new(&[&format!(
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
    )])
}

fn trains_within_its_budget(inputs: usize, hidden: &str) {
    let study = study(inputs, hidden);
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
