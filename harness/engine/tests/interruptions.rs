//! A run with generations that is cut off at any operation of the device goes on as if nothing had happened, and a run
//! whose device misbehaves ends with an error or with the right weights: never with others, and never not at all.

use std::{
    fs::File,
    io::BufWriter,
    path::Path,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use spillbench_data::DataLocations;
use spillbench_engine::{EngineError, Environment, open_plan, train};
use spillbench_schedule::{Op, Rank};
use spillbench_schema::{Event, Rates, Summary, Trial, config::GenerationsConfig};
use spillbench_storage::{Fault, FaultKind, Standing, StorageError};

/// What no run here takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EINTR: i32 = 4;
const EAGAIN: i32 = 11;

/// Three panels, a last mini-batch that is not full, an evaluation between two generations.
fn trial(optimizer: &Value, parallelism: &Value, storage: &Value) -> Trial {
    let config = json!({
        "data": { "source": "synthetic", "train": 40, "validation": 10, "test": 10 },
        "network": {
            "input": [24],
            "layers": [
                { "linear": { "units": 32, "activation": "relu" } },
                { "linear": { "units": 10 } },
            ],
            "panel": "2KiB",
        },
        "train": {
            "optimizer": optimizer,
            "batch_size": 16,
            "shards": 2,
            "micro_batches": 2,
            "steps": 5,
            "evaluate_every": 2,
            "schedule": { "warmup_steps": 2 },
        },
        "parallelism": parallelism,
        "storage": storage,
        "execution": { "threads": 1 },
    });
    Trial {
        scenario: "interruptions".into(),
        arm: "arm".into(),
        factors: std::collections::BTreeMap::new(),
        seed: 3,
        config: serde_json::from_value(config).expect("the configuration is well formed"),
    }
}

fn adam() -> Value {
    json!({ "adam": { "learning_rate": 0.01, "weight_decay": 0.01 } })
}

/// Direct storage with the least budget plus `spare` KiB, and a generation every `every` steps.
fn with_generations(optimizer: &Value, parallelism: &Value, spare: u64, every: u64) -> Trial {
    let storage =
        |kib: u64| json!({ "mode": "direct", "memory_budget": kib << 10, "generations": { "every": every } });
    let refused = open_plan(&trial(optimizer, parallelism, &storage(1)), &Rates::default())
        .err()
        .expect("one KiB is too small");
    let message = refused.to_string();
    let least = message.split("set it to ").nth(1).and_then(|rest| rest.split("KiB or more").next());
    let least: u64 = least.and_then(|least| least.parse().ok()).expect("the error names the least budget");
    trial(optimizer, parallelism, &storage(least + spare))
}

/// Trains in `dir`, where an earlier part of the run may lie; panics if that does not come to an end.
fn run(trial: &Trial, dir: &Path, fault: Option<Fault>) -> Result<Summary, EngineError> {
    let (done, outcome) = channel();
    let (trial, dir) = (trial.clone(), dir.to_owned());
    thread::spawn(move || {
        let log = File::options().write(true).create(true).truncate(false).open(dir.join("events.jsonl"));
        let environment = Environment {
            state_dir: &dir.join("state"),
            rates: &Rates::default(),
            locations: &DataLocations { root: None },
            events: &mut BufWriter::new(log.expect("a log")),
            progress: &mut |_| {},
            opened: &mut |_| Ok(()),
            fault,
        };
        let _ = done.send(train(&trial, environment));
    });
    match outcome.recv_timeout(DEADLINE) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => panic!("{fault:?}: not at its end within {DEADLINE:?}"),
        Err(RecvTimeoutError::Disconnected) => panic!("{fault:?}: it panicked"),
    }
}

fn whole(trial: &Trial) -> (Summary, Vec<Event>) {
    let dir = tempfile::tempdir().expect("a folder");
    let summary = run(trial, dir.path(), None).unwrap_or_else(|error| panic!("{error}"));
    (summary, log(dir.path()))
}

fn log(dir: &Path) -> Vec<Event> {
    let text = std::fs::read_to_string(dir.join("events.jsonl")).expect("a log");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is an event")).collect()
}

/// What a log says apart from times, memory and interruptions, sorted: what two ranks say may come in any order.
fn told(log: &[Event]) -> Vec<Value> {
    let lasting = log.iter().filter(|event| !matches!(event, Event::Resumed { .. } | Event::Span { .. }));
    let mut told: Vec<Value> = lasting
        .map(|event| {
            let mut event = serde_json::to_value(event).expect("an event is JSON");
            for measured in ["t_s", "train_s", "step_time_s", "rss_bytes"] {
                event[measured] = Value::Null;
            }
            if event["event"] == "resources" {
                // Reads ahead may be under way or complete, and each part brings back what is pinned.
                event["bytes_read"] = Value::Null;
                event["bytes_written"] = Value::Null;
            }
            event
        })
        .collect();
    told.sort_by_key(Value::to_string);
    told
}

/// Operations of the device in a whole run: initial writes, everything the schedule moves, syncs, and the final reads
/// of all weights.
fn device_operations(trial: &Trial) -> u64 {
    let plan = open_plan(trial, &Rates::default()).expect("a plan");
    let mut operations = plan.extents.len() as u64 + u64::from(plan.network.own_panels());
    // After initialisation and at the end.
    operations += 2;
    for rank in 0..plan.ranks() as u16 {
        for op in plan.operations(Rank(rank)) {
            operations += match op {
                Op::Read { .. } | Op::Write { .. } | Op::Flush { .. } | Op::Publish { .. } => 1,
                Op::Generation { .. } if rank == 0 => 2,
                _ => 0,
            };
        }
    }
    operations
}

/// That a run that was cut off and went on has the result of one that was not.
fn assert_same(whole: &(Summary, Vec<Event>), resumed: &Summary, log: &[Event], what: &str) {
    let (reference, events) = whole;
    assert_eq!(resumed.weights_hash, reference.weights_hash, "{what}");
    assert_eq!(
        resumed.bytes_read + resumed.bytes_written,
        resumed.io_planned_bytes,
        "{what}: every byte moved in training was planned"
    );
    let figures = |summary: &Summary| {
        let accuracy = (summary.test_accuracy, summary.validation_accuracy);
        let loss = (summary.train_loss, summary.test_loss);
        (accuracy, loss, summary.bytes_read, summary.bytes_written, summary.bytes_communicated)
    };
    assert_eq!(figures(resumed), figures(reference), "{what}");
    assert_eq!(told(log), told(events), "{what}");
    let resumptions = log.iter().filter(|event| matches!(event, Event::Resumed { .. })).count() as u64;
    assert_eq!(resumptions, resumed.resumed, "{what}");
}

fn strategies() -> Vec<Value> {
    let mut strategies = vec![
        json!({ "single": {} }),
        json!({ "data": { "sync": { "ranks": 2 } } }),
        json!({ "model": { "pipeline": { "ranks": 2 } } }),
    ];
    for exchange in ["weights", "stale_boundary", "local_loss"] {
        strategies.push(json!({ "layerwise": { "exchange": exchange, "interval": 2, "ranks": 2 } }));
    }
    strategies
}

#[test]
fn generations_change_no_result() {
    for strategy in strategies() {
        let memory = whole(&trial(&adam(), &strategy, &json!({})));
        for every in [1, 3] {
            let (summary, _) = whole(&with_generations(&adam(), &strategy, 8, every));
            assert_eq!(summary.weights_hash, memory.0.weights_hash, "{strategy}, every {every} steps");
            assert_eq!(summary.resumed, 0);
        }
    }
}

#[test]
fn a_run_that_is_cut_off_goes_on_as_if_it_had_not_been_under_every_strategy_and_optimizer() {
    let optimizers = [
        json!({ "sgd": { "learning_rate": 0.1 } }),
        json!({ "momentum": { "learning_rate": 0.05 } }),
        adam(),
    ];
    for (number, strategy) in strategies().into_iter().enumerate() {
        // Windows only, and some extents pinned.
        for (spare, optimizer) in [(0, &optimizers[number % 3]), (24, &optimizers[2])] {
            let mut trial = with_generations(optimizer, &strategy, spare, 2);
            trial.config.train.steps = Some(13);
            assert_goes_on_after_cuts(&trial, &strategy.to_string());
        }
    }
}

#[test]
fn spilled_activations_and_parameters_in_bf16_go_on_like_the_rest() {
    use spillbench_schema::config::{ActivationPolicy, Precision};
    for (precision, activations) in [
        (Precision::F32, ActivationPolicy::Spill),
        (Precision::Bf16, ActivationPolicy::Auto),
        (Precision::Bf16Master, ActivationPolicy::Spill),
    ] {
        let mut trial = with_generations(&adam(), &json!({ "single": {} }), 40, 2);
        trial.config.train.steps = Some(13);
        trial.config.train.precision = precision;
        trial.config.storage.activations = activations;
        assert_goes_on_after_cuts(&trial, &format!("{precision:?}, {activations:?}"));
    }
}

#[test]
fn a_run_that_keeps_older_generations_goes_on_from_the_last_one_all_the_same() {
    let mut trial = with_generations(&adam(), &json!({ "model": { "pipeline": { "ranks": 2 } } }), 24, 2);
    trial.config.storage.generations = Some(GenerationsConfig { every: 2, keep: 2 });
    trial.config.train.steps = Some(13);
    assert_goes_on_after_cuts(&trial, "two generations kept");
}

/// What a run cut off twice wrote in its second part is spoiled: each generation of that part is given up in its turn.
#[test]
fn a_run_that_lost_its_last_generations_goes_on_from_an_older_one_as_if_they_had_never_been() {
    let mut back = 0;
    for strategy in strategies() {
        let mut trial = with_generations(&adam(), &strategy, 24, 1);
        trial.config.storage.generations = Some(GenerationsConfig { every: 1, keep: 16 });
        trial.config.train.steps = Some(13);
        let reference = whole(&trial);
        let dir = tempfile::tempdir().expect("a folder");
        let extents = dir.path().join("state/extents");
        let part = |share: u64| {
            let fault = Fault { operation: device_operations(&trial) / share, kind: FaultKind::Errno(EIO) };
            run(&trial, dir.path(), Some(fault)).expect_err("it is cut off");
            std::fs::read(&extents).expect("extents")
        };
        let (first, mut second) = (part(3), part(2));
        for (before, after) in first.chunks(4096).zip(second.chunks_mut(4096)) {
            after[0] ^= u8::from(before != after) << 2;
        }
        std::fs::write(&extents, second).expect("spoiled");
        let mut given_up = Vec::new();
        let summary = loop {
            match run(&trial, dir.path(), None) {
                Ok(summary) => break summary,
                Err(EngineError::Corrupt {
                    cause: StorageError::Corrupt { standing: Standing::GivenUp { .. }, .. },
                    step,
                }) => given_up.push(step),
                Err(error) => panic!("{strategy}: {error}"),
            }
        };
        let newest_first = given_up.is_sorted_by(|newer, older| newer > older);
        assert!(!given_up.is_empty() && newest_first, "{strategy}: back to {given_up:?}");
        back += given_up.len();
        assert_same(&reference, &summary, &log(dir.path()), &strategy.to_string());
    }
    assert!(back > 10, "{back} generations given up");
}

/// Cuts a run off several times and lets it go on, until it ends as one that was not.
fn assert_goes_on_after_cuts(trial: &Trial, what: &str) {
    let reference = whole(trial);
    let operations = device_operations(trial);
    let dir = tempfile::tempdir().expect("a folder");
    let (mut cuts, mut resumed) = (0, 0);
    for part in [7, 4, 3, 2] {
        let fault = Fault { operation: operations / part, kind: FaultKind::Errno(EIO) };
        match run(trial, dir.path(), Some(fault)) {
            Err(EngineError::Storage(_)) => cuts += 1,
            Ok(summary) => {
                // What is left is shorter than the whole, so the fault may be past its end.
                assert_same(&reference, &summary, &log(dir.path()), what);
                resumed = summary.resumed;
                break;
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
    if resumed == 0 {
        let summary = run(trial, dir.path(), None).unwrap_or_else(|error| panic!("{error}"));
        assert_same(&reference, &summary, &log(dir.path()), what);
        resumed = summary.resumed;
    }
    assert!(cuts > 1 && resumed > 0, "{what}: {cuts} cuts, resumed {resumed} times");
}

/// Makes each operation of a run fail in turn, until there are none left; whatever happened, the run that goes on
/// from there ends with the right weights.
fn with_every_fault(
    trial: &Trial,
    kind: FaultKind,
    mut check: impl FnMut(u64, Result<&Summary, &EngineError>),
) {
    let reference = whole(trial);
    for operation in 0..device_operations(trial) {
        let dir = tempfile::tempdir().expect("a folder");
        let outcome = run(trial, dir.path(), Some(Fault { operation, kind }));
        check(operation, outcome.as_ref());
        let summary = outcome.or_else(|_| run(trial, dir.path(), None));
        let summary = summary.unwrap_or_else(|error| panic!("{kind:?} at {operation}, then: {error}"));
        assert_same(&reference, &summary, &log(dir.path()), &format!("{kind:?} at {operation}"));
    }
    let dir = tempfile::tempdir().expect("a folder");
    let past_the_end = Fault { operation: device_operations(trial), kind };
    run(trial, dir.path(), Some(past_the_end)).expect("there are no more operations");
}

#[test]
fn a_device_that_fails_at_any_operation_ends_the_run_with_a_named_error_and_the_next_run_finishes_it() {
    let (single, pipeline) = (json!({ "single": {} }), json!({ "model": { "pipeline": { "ranks": 2 } } }));
    for (errno, strategy, spare, keep) in [(EIO, single, 8, 1), (ENOSPC, pipeline, 0, 2)] {
        let mut trial = with_generations(&adam(), &strategy, spare, 2);
        trial.config.storage.generations = Some(GenerationsConfig { every: 2, keep });
        with_every_fault(&trial, FaultKind::Errno(errno), |operation, outcome| {
            let error = outcome.expect_err("the fault was met").to_string();
            let named = error.contains("extents") && (error.contains("layer") || error.contains("sync"));
            assert!(named, "at {operation}: {error}");
        });
    }
}

#[test]
fn a_device_that_is_interrupted_comes_up_short_or_flips_a_bit_at_any_operation_changes_nothing() {
    let mut trial =
        with_generations(&json!({ "momentum": { "learning_rate": 0.05 } }), &json!({ "single": {} }), 8, 2);
    for (kind, keep) in [
        (FaultKind::Errno(EINTR), 1),
        (FaultKind::Errno(EAGAIN), 2),
        (FaultKind::Short(512), 1),
        (FaultKind::FlippedBit, 2),
    ] {
        trial.config.storage.generations = Some(GenerationsConfig { every: 2, keep });
        with_every_fault(&trial, kind, |operation, outcome| {
            assert!(outcome.is_ok(), "{kind:?} at {operation}: {outcome:?}");
        });
    }
}

#[test]
fn a_device_that_moves_nothing_ends_the_run_with_an_error() {
    let trial = with_generations(&adam(), &json!({ "data": { "sync": { "ranks": 2 } } }), 8, 2);
    let mut errors = 0;
    with_every_fault(&trial, FaultKind::Short(0), |_, outcome| errors += u64::from(outcome.is_err()));
    assert!(errors > 20, "{errors} errors; a sync moves nothing anyway");
}
