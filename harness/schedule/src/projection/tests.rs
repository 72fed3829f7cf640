//! The replay against what can be worked out by hand.

use serde_json::{Value, json};
use spillbench_schema::{
    Machine, Prediction, Rates, Trial,
    prediction::{Bottleneck, Method},
};

use super::{project, project_within};
use crate::{
    Rank,
    plan::{Plan, SampleCounts},
};

const CORES: usize = 2;

/// A machine whose every thread computes at `gflops` whatever the shape, on memory that takes no time.
fn machine(gflops: f64, disk: &Value) -> Machine {
    serde_json::from_value(json!({
        "version": 1, "name": "by hand", "cores": CORES, "memory": "1TiB",
        "compute": { "products": [{ "threads": 1, "weights": 1, "gflops": { "1": gflops } }] },
        "memory_gb_per_s": { "1": 1e9 },
        "hand_over_us": 0,
        "disk": disk,
    }))
    .expect("a machine")
}

fn disk(read: f64, write: f64) -> Value {
    json!({ "rates": [{ "queue_depth": 32, "chunk": "1MiB", "read_gb_per_s": read, "write_gb_per_s": write }] })
}

/// Layers of `width` units, in panels of 256 KiB, trained for eight steps.
fn trial(width: usize, layers: usize, overrides: &Value) -> Trial {
    let mut config = json!({
        "data": { "source": "synthetic", "train": 1024, "test": 64 },
        "network": {
            "input": [width],
            "layers": [{ "linear": { "units": width, "activation": "relu", "repeat": layers } }],
            "panel": 256 << 10,
        },
        "train": { "optimizer": { "sgd": { "learning_rate": 0.1 } }, "batch_size": 64, "steps": 8 },
    });
    for (section, keys) in overrides.as_object().expect("sections") {
        match (config.get_mut(section), keys) {
            (Some(Value::Object(section)), Value::Object(keys)) if section.len() > 1 => {
                section.extend(keys.clone());
            }
            _ => config[section] = keys.clone(),
        }
    }
    let config = serde_json::from_value(config).expect("a configuration");
    Trial { scenario: "s".into(), arm: "a".into(), factors: [].into(), seed: 1, config }
}

fn plan(trial: &Trial) -> Plan {
    let samples = SampleCounts { train: 1024, validation: 0, test: 64, bytes: 0 };
    Plan::new(trial, samples, CORES, &Rates::default()).expect("a plan")
}

fn predict(trial: &Trial, machine: &Machine) -> (Plan, Prediction) {
    let plan = plan(trial);
    let prediction = project(&plan, &trial.config, machine);
    assert_eq!(prediction.method, Method::Replay);
    (plan, prediction)
}

fn on_disk(budget: &str) -> Value {
    json!({ "storage": { "mode": "direct", "memory_budget": budget } })
}

#[track_caller]
fn near(value: f64, expected: f64, tolerance: f64) {
    assert!((value / expected - 1.0).abs() <= tolerance, "{value} is not {expected} (± {tolerance})");
}

#[test]
fn in_memory_a_step_takes_its_operations_over_their_rate() {
    for (optimizer, threads) in [("sgd", 1_u32), ("adam", 2)] {
        let train = json!({ "optimizer": { optimizer: { "learning_rate": 0.1 } } });
        let trial = trial(512, 4, &json!({ "train": train, "execution": { "threads": threads } }));
        let (plan, prediction) = predict(&trial, &machine(10.0, &disk(1.0, 1.0)));
        near(prediction.step_time_s, plan.flops_per_step() / (10e9 * f64::from(threads)), 1e-3);
        assert_eq!(prediction.bottleneck, Bottleneck::Compute);
        near(prediction.shares.compute, 1.0, 1e-3);
        assert_eq!((prediction.disk_bytes, prediction.bytes_read_per_step), (0, 0));
    }
}

#[test]
fn where_computing_takes_no_time_a_step_takes_its_bytes_over_the_bandwidth() {
    for optimizer in ["sgd", "momentum", "adam"] {
        let train = json!({ "optimizer": { optimizer: { "learning_rate": 0.1 } } });
        let mut overrides = on_disk("15MiB");
        overrides["train"] = train;
        let trial = trial(1024, 8, &overrides);
        let (plan, prediction) = predict(&trial, &machine(1e6, &disk(2.0, 0.5)));
        let traffic = plan.traffic(trial.config.storage.mode);
        let (read, written) = (traffic.train_read as f64 / 8.0, traffic.train_written as f64 / 8.0);
        near(prediction.bytes_read_per_step as f64, read, 0.02);
        near(prediction.bytes_written_per_step as f64, written, 0.02);
        near(prediction.step_time_s, read / 2e9 + written / 0.5e9, 0.03);
        assert_eq!(prediction.bottleneck, Bottleneck::DiskWrite);
        near(prediction.shares.read_wait + prediction.shares.buffer_wait, 1.0, 0.01);
    }
}

#[test]
fn a_measured_mix_of_reads_and_writes_is_what_the_backward_sweep_takes() {
    let trial = trial(1024, 8, &on_disk("15MiB"));
    let mut disk = disk(2.0, 2.0);
    disk["rates"][0]["mixed"] = json!([{ "write_share": 0.5, "gb_per_s": 1.0 }]);
    let (plan, prediction) = predict(&trial, &machine(1e6, &disk));
    let traffic = plan.traffic(trial.config.storage.mode);
    let (read, written) = (traffic.train_read as f64 / 8.0, traffic.train_written as f64 / 8.0);
    // Forward reads alone at 2 GB/s, as much read as written at 1 GB/s.
    near(prediction.step_time_s, (read - written) / 2e9 + 2.0 * written / 1e9, 0.1);
}

#[test]
fn with_room_to_read_ahead_a_step_takes_the_longer_of_the_two() {
    for (gflops, computing_is_longer) in [(4.0, true), (60.0, false)] {
        let trial = trial(1024, 16, &on_disk("20MiB"));
        let (plan, prediction) = predict(&trial, &machine(gflops, &disk(1.0, 1.0)));
        let compute_s = plan.flops_per_step() / (2.0 * gflops * 1e9);
        let io_s = (prediction.bytes_read_per_step + prediction.bytes_written_per_step) as f64 / 1e9;
        assert_eq!(compute_s > io_s, computing_is_longer);
        assert!(prediction.step_time_s >= 0.999 * compute_s.max(io_s));
        assert!(prediction.step_time_s < 0.6 * (compute_s + io_s) + 0.4 * compute_s.max(io_s));
        assert_eq!(prediction.bottleneck == Bottleneck::Compute, computing_is_longer);
    }
}

#[test]
fn while_the_disk_streams_all_cores_keep_their_share_of_the_rate() {
    let trial = trial(1024, 16, &on_disk("20MiB"));
    let mut shared = disk(0.3, 0.3);
    let alone = predict(&trial, &machine(4.0, &shared)).1;
    shared["compute_share_while_streaming"] = json!(0.8);
    let together = predict(&trial, &machine(4.0, &shared)).1;
    let slower = together.step_time_s / alone.step_time_s;
    assert!(slower > 1.0 && slower < 1.26, "{slower}");
}

#[test]
fn a_pipeline_of_two_even_stages_has_the_bubble_of_gpipe() {
    for micro_batches in [1, 2, 4, 8] {
        let trial = trial(
            128,
            64,
            &json!({
                "train": { "micro_batches": micro_batches },
                "parallelism": { "model": { "pipeline": { "ranks": 2 } } },
            }),
        );
        let (plan, prediction) = predict(&trial, &machine(10.0, &disk(1.0, 1.0)));
        // Forward and backward a third each, slower by (p − 1)/m; then the gradients, without a bubble.
        let even_s = plan.flops_per_step() / (2.0 * 10e9);
        let expected = even_s * (2.0 / 3.0 * (1.0 + 1.0 / f64::from(micro_batches)) + 1.0 / 3.0);
        near(prediction.step_time_s, expected, 0.03);
    }
}

#[test]
fn data_parallel_ranks_share_the_work_and_more_ranks_than_cores_share_the_cores() {
    for (ranks, cores_used) in [(2, 2.0), (4, 2.0)] {
        let trial = trial(
            256,
            8,
            &json!({
                "train": { "shards": 4 },
                "parallelism": { "data": { "sync": { "ranks": ranks } } },
            }),
        );
        let (plan, prediction) = predict(&trial, &machine(10.0, &disk(1.0, 1.0)));
        near(prediction.step_time_s, plan.flops_per_step() / (cores_used * 10e9), 0.02);
    }
}

#[test]
fn without_a_replay_the_closed_form_says_much_the_same() {
    for (gflops, budget) in [(4.0, "20MiB"), (1e5, "20MiB"), (1e5, "17MiB")] {
        let trial = trial(1024, 16, &on_disk(budget));
        let machine = machine(gflops, &disk(1.0, 0.7));
        let (plan, replayed) = predict(&trial, &machine);
        let closed = project_within(&plan, &trial.config, &machine, 0);
        assert_eq!(closed.method, Method::ClosedForm);
        near(closed.step_time_s, replayed.step_time_s, 0.15);
        near(closed.bytes_written_per_step as f64, replayed.bytes_written_per_step as f64, 0.1);
        assert_eq!(closed.bottleneck, replayed.bottleneck);
    }
}

#[test]
fn the_whole_run_is_its_steps_with_what_comes_before_and_after() {
    let trial = trial(1024, 8, &on_disk("15MiB"));
    let (plan, prediction) = predict(&trial, &machine(10.0, &disk(1.0, 1.0)));
    let parts = 8.0 * prediction.step_time_s + prediction.set_up_s + prediction.evaluation_s;
    near(prediction.time_to_finish_s, parts, 1e-9);
    assert!(prediction.set_up_s >= plan.disk_bytes() as f64 / 1e9, "everything is written once");
    assert!(prediction.peak_memory_bytes >= plan.memory.total());
    let steps = 8.0 * prediction.bytes_written_per_step as f64;
    near(prediction.bytes_written, steps + prediction.disk_bytes as f64, 1e-6);
}

#[test]
fn generations_that_are_kept_take_their_space_each_and_nothing_else() {
    let machine = machine(10.0, &disk(1.0, 1.0));
    let keeping = |keep: u8| {
        let generations = json!({ "every": 4, "keep": keep });
        let storage = json!({ "mode": "direct", "memory_budget": "15MiB", "generations": generations });
        predict(&trial(1024, 8, &json!({ "storage": storage })), &machine)
    };
    let without = predict(&trial(1024, 8, &on_disk("15MiB")), &machine).1.disk_bytes;
    let (once, first) = keeping(1);
    assert_eq!(first.disk_bytes, 2 * without);
    for keep in 2..4 {
        let (plan, prediction) = keeping(keep);
        assert_eq!(plan.disk_bytes(), (u64::from(keep) + 1) * without);
        let space = prediction.disk_bytes;
        assert_eq!(space, plan.disk_bytes());
        assert_eq!(Prediction { disk_bytes: first.disk_bytes, ..prediction }, first);
        assert!(plan.operations(Rank(0)).eq(once.operations(Rank(0))));
    }
}
