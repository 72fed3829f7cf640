//! Outcomes known without running them: which trials must end with the same weights, bit for bit.

mod support;

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use spillbench_engine::EngineError;
use spillbench_schema::{Rates, Summary, Trial};

/// Layers cut into many panels, a last mini-batch that is not full, an evaluation in mid-interval.
fn base() -> Value {
    json!({
        "data": { "source": "synthetic", "train": 150, "validation": 30, "test": 40 },
        "network": {
            "input": [5, 8],
            "layers": [
                { "linear": { "units": 96, "activation": "relu" } },
                { "linear": { "units": 80, "activation": "tanh" } },
                { "linear": { "units": 10 } },
            ],
            "panel": "2KiB",
        },
        "train": {
            "optimizer": { "sgd": { "learning_rate": 0.1 } },
            "batch_size": 16,
            "shards": 4,
            "micro_batches": 2,
            "epochs": 2,
            "evaluate_every": 7,
        },
    })
}

/// `base` with some keys replaced, dotted.
fn with(changes: &[(&str, Value)]) -> Value {
    let mut config = base();
    for (path, value) in changes {
        let pointer = format!("/{}", path.replace('.', "/"));
        let (parent, key) = pointer.rsplit_once('/').expect("a path has a slash");
        let parent = if parent.is_empty() {
            &mut config
        } else {
            if config.pointer(parent).is_none() {
                config[&parent[1..]] = json!({});
            }
            config.pointer_mut(parent).expect("the parent is there")
        };
        parent[key] = value.clone();
    }
    config
}

fn run(config: Value) -> Result<Summary, EngineError> {
    let config = serde_json::from_value(config).expect("the configuration is well formed");
    let trial = Trial {
        scenario: "oracle".into(),
        arm: "arm".into(),
        factors: std::collections::BTreeMap::new(),
        seed: 5,
        config,
    };
    let dir = tempfile::tempdir().expect("a folder for state");
    let summary = support::run(&trial, &Rates::default(), dir.path(), None, &mut std::io::sink())?;
    assert_eq!(
        summary.bytes_read + summary.bytes_written,
        summary.io_planned_bytes,
        "every byte moved in training was planned"
    );
    Ok(summary)
}

fn hash(changes: &[(&str, Value)]) -> String {
    run(with(changes)).unwrap_or_else(|error| panic!("{changes:?}: {error}")).weights_hash
}

/// The reference that most tests compare with, trained once.
fn single() -> String {
    static HASH: Mutex<Option<String>> = Mutex::new(None);
    HASH.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| hash(&[])).clone()
}

fn layerwise(exchange: &str, interval: u64, groups: &[usize], ranks: usize) -> (&'static str, Value) {
    let value = json!({ "exchange": exchange, "interval": interval, "groups": groups, "ranks": ranks });
    ("parallelism", json!({ "layerwise": value }))
}

fn direct(budget: &str) -> (&'static str, Value) {
    ("storage", json!({ "mode": "direct", "memory_budget": budget }))
}

#[test]
fn single_repeats_itself_and_learns() {
    assert_eq!(hash(&[]), single());
    let longer = run(with(&[("train.epochs", json!(40))])).expect("it trains");
    assert_eq!(longer.steps, 400);
    assert!(longer.test_accuracy > 60.0, "{}", longer.test_accuracy);
}

#[test]
fn another_seed_and_other_science_give_other_weights() {
    assert_ne!(hash(&[("train.shards", json!(1)), ("train.micro_batches", json!(1))]), single());
    assert_ne!(hash(&[("train.batch_size", json!(8))]), single());
}

#[test]
fn threads_change_nothing() {
    for threads in [1, 2, 3] {
        assert_eq!(hash(&[("execution", json!({ "threads": threads }))]), single(), "{threads} threads");
    }
}

#[test]
fn synchronous_data_parallelism_is_single_for_every_power_of_two_of_ranks() {
    for ranks in [1, 2, 4] {
        let sync = ("parallelism", json!({ "data": { "sync": { "ranks": ranks } } }));
        assert_eq!(hash(&[sync]), single(), "{ranks} ranks");
    }
}

#[test]
fn a_pipeline_is_single_for_every_number_of_stages() {
    for ranks in [1, 2, 3] {
        let pipeline = ("parallelism", json!({ "model": { "pipeline": { "ranks": ranks } } }));
        assert_eq!(hash(&[pipeline]), single(), "{ranks} stages");
    }
}

#[test]
fn exchanging_weights_or_boundaries_at_every_step_is_single() {
    for exchange in ["weights", "stale_boundary"] {
        for ranks in [1, 2, 3] {
            let arm = layerwise(exchange, 1, &[1, 1, 1], ranks);
            assert_eq!(hash(&[arm]), single(), "{exchange} on {ranks} ranks");
        }
    }
}

#[test]
fn one_group_is_single_for_every_exchange_and_interval() {
    for exchange in ["weights", "stale_boundary", "local_loss"] {
        for interval in [1, 4, 1000] {
            assert_eq!(hash(&[layerwise(exchange, interval, &[3], 1)]), single(), "{exchange} {interval}");
        }
    }
}

#[test]
fn ranks_change_nothing_between_exchanges() {
    for exchange in ["weights", "stale_boundary"] {
        for groups in [&[1, 1, 1][..], &[2, 1], &[1, 2]] {
            let one = hash(&[layerwise(exchange, 6, groups, 1)]);
            assert_ne!(one, single(), "{exchange}: talking less often is another algorithm");
            for ranks in 2..=groups.len() {
                assert_eq!(
                    hash(&[layerwise(exchange, 6, groups, ranks)]),
                    one,
                    "{exchange} {groups:?} {ranks}"
                );
            }
        }
    }
}

#[test]
fn local_losses_give_the_same_bits_for_every_interval_and_number_of_ranks() {
    let reference = hash(&[layerwise("local_loss", 1, &[1, 1, 1], 1)]);
    assert_ne!(reference, single());
    for interval in [1, 10, 1000] {
        for ranks in [1, 2, 3] {
            assert_eq!(
                hash(&[layerwise("local_loss", interval, &[1, 1, 1], ranks)]),
                reference,
                "{interval} on {ranks} ranks"
            );
        }
    }
}

#[test]
fn storage_changes_nothing_for_any_optimizer_and_budget() {
    for optimizer in [
        json!({ "sgd": { "learning_rate": 0.1 } }),
        json!({ "momentum": { "learning_rate": 0.05 } }),
        json!({ "adam": { "learning_rate": 0.01, "weight_decay": 0.01 } }),
    ] {
        let memory = hash(&[("train.optimizer", optimizer.clone())]);
        for budget in [least_budget(&optimizer), "9200KiB".into(), "64MiB".into()] {
            let changes = [("train.optimizer", optimizer.clone()), direct(&budget)];
            assert_eq!(hash(&changes), memory, "{optimizer} in {budget}");
        }
    }
}

fn least_budget(optimizer: &Value) -> String {
    least_budget_of(&[("train.optimizer", optimizer.clone())])
}

/// The least budget of changes, as the error that refuses a smaller one names it.
fn least_budget_of(changes: &[(&str, Value)]) -> String {
    least_of(with(&[changes, &[direct("1KiB")]].concat()))
}

/// The least budget of a configuration whose own is too small.
fn least_of(config: Value) -> String {
    let message = run(config).expect_err("the budget is too small").to_string();
    let least = message.split("set it to ").nth(1).and_then(|rest| rest.split(" or more").next());
    least.expect("the error names the least budget").replace(' ', "")
}

#[test]
fn storage_changes_nothing_for_any_strategy() {
    let adam = ("train.optimizer", json!({ "adam": { "learning_rate": 0.01 } }));
    let strategies = [
        json!({ "data": { "sync": { "ranks": 4 } } }),
        json!({ "model": { "pipeline": { "ranks": 3 } } }),
        json!({ "layerwise": { "exchange": "weights", "interval": 6 } }),
        json!({ "layerwise": { "exchange": "stale_boundary", "interval": 6 } }),
        json!({ "layerwise": { "exchange": "local_loss", "interval": 6 } }),
    ];
    for strategy in strategies {
        let parallelism = ("parallelism", strategy.clone());
        let threads = ("execution", json!({ "threads": 1 }));
        let memory = hash(&[adam.clone(), parallelism.clone(), threads.clone()]);
        let mut config = with(&[adam.clone(), parallelism, threads, direct("1KiB")]);
        config["storage"]["memory_budget"] = json!(least_of(config.clone()));
        let summary = run(config).unwrap_or_else(|error| panic!("{strategy}: {error}"));
        assert_eq!(summary.weights_hash, memory, "{strategy}");
        assert!(summary.bytes_read > 0, "{strategy}: the budget forces reads");
    }
}

#[test]
fn activations_that_need_their_input_keep_every_oracle() {
    let layers = json!([
        { "linear": { "units": 96, "activation": "gelu" } },
        { "linear": { "units": 80, "activation": "silu" } },
        { "linear": { "units": 10 } },
    ]);
    let layers = ("network.layers", layers);
    let reference = hash(std::slice::from_ref(&layers));
    for strategy in [
        json!({ "data": { "sync": { "ranks": 2 } } }),
        json!({ "model": { "pipeline": { "ranks": 2 } } }),
        json!({ "layerwise": { "exchange": "weights", "interval": 1 } }),
        json!({ "layerwise": { "exchange": "stale_boundary", "interval": 1 } }),
    ] {
        assert_eq!(hash(&[layers.clone(), ("parallelism", strategy.clone())]), reference, "{strategy}");
    }
}

#[test]
fn a_folded_update_is_close_to_a_formed_one_and_not_equal() {
    let whole = [("train.shards", json!(1)), ("train.micro_batches", json!(1))];
    let formed = run(with(&whole)).expect("it trains");
    let folded = run(with(&[whole[0].clone(), whole[1].clone(), ("train.update", json!("folded"))]));
    let folded = folded.expect("it trains");
    assert_ne!(formed.weights_hash, folded.weights_hash);
    assert!((formed.train_loss - folded.train_loss).abs() < 1e-3 * formed.train_loss.max(0.1));
}

/// Enough layers for runs of boundaries, of different widths, and one without parameters.
fn deep() -> (&'static str, Value) {
    let linear =
        |units: usize, activation: &str| json!({ "linear": { "units": units, "activation": activation } });
    let layers = json!([
        linear(48, "relu"),
        linear(64, "tanh"),
        linear(64, "gelu"),
        linear(32, "relu"),
        linear(80, "sigmoid"),
        linear(48, "relu"),
        linear(10, "identity"),
    ]);
    ("network.layers", layers)
}

#[test]
fn what_becomes_of_values_between_forward_and_backward_changes_nothing() {
    let cuts = [(1, 1), (2, 3), (4, 1)];
    for (shards, micro_batches) in cuts {
        let cut = [("train.shards", json!(shards)), ("train.micro_batches", json!(micro_batches)), deep()];
        let memory = hash(&cut);
        for ranks in [1, 2].into_iter().filter(|ranks| *ranks <= shards) {
            let parallelism = match ranks {
                1 => json!({ "single": {} }),
                ranks => json!({ "data": { "sync": { "ranks": ranks } } }),
            };
            for (mode, policies) in [
                ("direct", &["auto", "keep", "recompute", "spill"][..]),
                ("buffered", &["spill"]),
                ("mmap", &["spill"]),
                ("memory", &["recompute"]),
            ] {
                for policy in policies {
                    let mut config = with(&cut);
                    config["parallelism"] = parallelism.clone();
                    config["execution"] = json!({ "threads": 1 });
                    for budget in ["least", "64MiB"] {
                        config["storage"] =
                            json!({ "mode": mode, "activations": policy, "memory_budget": "1KiB" });
                        let least = match budget {
                            "least" => least_of(config.clone()),
                            roomy => roomy.to_owned(),
                        };
                        config["storage"]["memory_budget"] = json!(least);
                        let what =
                            format!("{policy} {mode} {ranks} ranks, {shards} x {micro_batches}, {budget}");
                        let summary = run(config.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
                        assert_eq!(summary.weights_hash, memory, "{what}");
                        let spills = *policy == "spill";
                        assert!(!spills || summary.bytes_written > 0, "{what}: nothing was spilled");
                    }
                }
            }
        }
    }
}

#[test]
fn every_store_gives_the_same_bits() {
    let budget = least_budget(&json!({ "sgd": { "learning_rate": 0.1 } }));
    for mode in ["direct", "buffered", "mmap"] {
        let storage = ("storage", json!({ "mode": mode, "memory_budget": budget }));
        assert_eq!(hash(&[storage]), single(), "{mode}");
    }
}

/// bf16 parameters, rounded stochastically or beside a master.
const PRECISIONS: [&str; 2] = ["bf16", "bf16_master"];

fn precision(name: &str) -> (&'static str, Value) {
    ("train.precision", json!(name))
}

fn strategies_that_are_single() -> [Value; 7] {
    let layerwise = |exchange: &str, ranks: u64| json!({ "layerwise": { "exchange": exchange, "interval": 1, "ranks": ranks } });
    [
        json!({ "data": { "sync": { "ranks": 2 } } }),
        json!({ "data": { "sync": { "ranks": 4 } } }),
        json!({ "model": { "pipeline": { "ranks": 2 } } }),
        json!({ "model": { "pipeline": { "ranks": 3 } } }),
        layerwise("weights", 1),
        layerwise("weights", 3),
        layerwise("stale_boundary", 2),
    ]
}

#[test]
fn a_precision_is_science_and_its_rounding_depends_on_the_seed_alone() {
    for name in PRECISIONS {
        let reference = hash(&[precision(name)]);
        assert_ne!(reference, single(), "{name} is not f32");
        for threads in [1, 2, 3] {
            let threads = ("execution", json!({ "threads": threads }));
            assert_eq!(hash(&[precision(name), threads]), reference, "{name}");
        }
        for parallelism in strategies_that_are_single() {
            let arm = [precision(name), ("parallelism", parallelism.clone())];
            assert_eq!(hash(&arm), reference, "{name} {parallelism}");
        }
    }
    assert_ne!(hash(&[precision("bf16")]), hash(&[precision("bf16_master")]));
}

#[test]
fn storage_changes_nothing_at_any_precision() {
    for name in PRECISIONS {
        for optimizer in [
            json!({ "sgd": { "learning_rate": 0.1 } }),
            json!({ "momentum": { "learning_rate": 0.05 } }),
            json!({ "adam": { "learning_rate": 0.01, "weight_decay": 0.01 } }),
        ] {
            let trial = [precision(name), ("train.optimizer", optimizer.clone())];
            let memory = hash(&trial);
            let least = least_budget_of(&trial);
            for (mode, budget) in
                [("direct", &*least), ("direct", "9200KiB"), ("buffered", &least), ("mmap", &least)]
            {
                let storage = ("storage", json!({ "mode": mode, "memory_budget": budget }));
                let summary = run(with(&[trial[0].clone(), trial[1].clone(), storage])).expect("it trains");
                assert_eq!(summary.weights_hash, memory, "{name} {optimizer} {mode} in {budget}");
                assert_eq!(summary.bytes_read > 0, budget == least, "{name} {optimizer} {mode} in {budget}");
            }
        }
    }
}

#[test]
fn snapshots_and_heads_follow_the_precision() {
    for name in PRECISIONS {
        for exchange in ["weights", "stale_boundary", "local_loss"] {
            let arm = |ranks| [precision(name), layerwise(exchange, 6, &[1, 1, 1], ranks)];
            let memory = hash(&arm(1));
            assert_eq!(hash(&arm(3)), memory, "{name} {exchange} on three ranks");
            let [precision, parallelism] = arm(1);
            let storage = direct(&least_budget_of(&[precision.clone(), parallelism.clone()]));
            assert_eq!(hash(&[precision, parallelism, storage]), memory, "{name} {exchange} from disk");
        }
    }
}

#[test]
fn a_network_learns_as_much_at_every_precision() {
    let accuracy = |name: &str| {
        let summary = run(with(&[("train.epochs", json!(40)), precision(name)])).expect("it trains");
        summary.test_accuracy
    };
    let reference = accuracy("f32");
    for name in PRECISIONS {
        let reached = accuracy(name);
        assert!(reached > reference - 10.0, "{name}: {reached} % beside {reference} %");
    }
}

#[test]
fn training_that_diverges_says_so() {
    let error = run(with(&[("train.optimizer", json!({ "sgd": { "learning_rate": 1e38 } }))]))
        .expect_err("the loss overflows");
    assert!(matches!(error, EngineError::Diverged(_)), "{error}");
}

#[test]
fn training_that_diverges_at_its_last_step_says_so() {
    // The update leaves weights that overflow in the next product; no step is left whose loss could tell.
    for loss in ["cross_entropy", "mse"] {
        let error = run(with(&[
            ("train.optimizer", json!({ "sgd": { "learning_rate": 3e38 } })),
            ("network.layers.1.linear.activation", json!("relu")),
            ("train.loss", json!(loss)),
            ("train.epochs", Value::Null),
            ("train.steps", json!(1)),
        ]))
        .expect_err("the network is not finite");
        let EngineError::Diverged(diverged) = error else { panic!("{error}") };
        assert_eq!(diverged.step, 1);
        assert_eq!(diverged.last_losses.len(), 1, "{diverged:?}");
    }
}

#[test]
fn a_rank_that_fails_stops_its_peers() {
    let error = run(with(&[
        ("train.optimizer", json!({ "sgd": { "learning_rate": 1e38 } })),
        ("parallelism", json!({ "model": { "pipeline": { "ranks": 3 } } })),
    ]))
    .expect_err("the loss overflows");
    assert!(matches!(error, EngineError::Diverged(_)), "the first error is told, not a peer's: {error}");
}
