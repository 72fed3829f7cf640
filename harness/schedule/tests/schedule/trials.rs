//! The table of trials: every strategy, with varied batches, optimizers, groups, ranks, intervals and budgets.

use serde_json::{Value, json};
use spillbench_schedule::{BudgetError, Plan, PlanError, SampleCounts};
use spillbench_schema::{
    Bytes, Rates, Trial,
    config::{ActivationPolicy, Config, GenerationsConfig, Parallelism, StorageMode},
};

/// Four full mini-batches and a short one.
pub const TRAIN: usize = 50;
/// Several evaluation chunks, the last one short.
pub const VALIDATION: usize = 1100;
pub const TEST: usize = 600;

const CORES: usize = 4;

/// A trial without its budget.
pub struct Case {
    pub name: String,
    config: Config,
    samples: SampleCounts,
}

/// Says which case it was.
pub struct NameOnFailure(pub String);

impl Drop for NameOnFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed: {}", self.0);
        }
    }
}

/// Every strategy with every way to cut a mini-batch that it allows; optimizers, precisions and validation take turns.
pub fn table() -> Vec<Case> {
    let optimizers = [
        json!({ "sgd": { "learning_rate": 0.1 } }),
        json!({ "momentum": { "learning_rate": 0.1 } }),
        json!({ "adam": { "learning_rate": 0.1 } }),
    ];
    let precisions = ["f32", "bf16", "bf16_master"];
    let mut cases = Vec::new();
    for (number, (parallelism, least_shards)) in strategies().into_iter().enumerate() {
        for (cut, (shards, micro_batches)) in [(1, 1), (1, 3), (4, 2)].into_iter().enumerate() {
            if shards >= least_shards {
                let train = json!({
                    "optimizer": optimizers[(number + cut) % 3], "batch_size": 12, "steps": 8,
                    "precision": precisions[(number / 3 + cut) % 3],
                    "shards": shards, "micro_batches": micro_batches, "evaluate_every": 2,
                });
                let validation = if number % 4 == 3 { 0 } else { VALIDATION };
                cases.push(Case::new(&network(), &train, &parallelism, validation));
            }
        }
    }
    cases.extend(forced());
    cases
}

/// Every way to treat values that do not stay, where the table's own choice would be another.
fn forced() -> Vec<Case> {
    let mut cases = Vec::new();
    for policy in [ActivationPolicy::Keep, ActivationPolicy::Recompute, ActivationPolicy::Spill] {
        for (shards, micro_batches, ranks) in [(1, 1, 1), (4, 2, 1), (4, 1, 2), (4, 2, 4)] {
            let train = json!({
                "optimizer": { "momentum": { "learning_rate": 0.1 } }, "batch_size": 12, "steps": 8,
                "shards": shards, "micro_batches": micro_batches, "evaluate_every": 2,
            });
            let parallelism = match ranks {
                1 => json!({ "single": {} }),
                ranks => json!({ "data": { "sync": { "ranks": ranks } } }),
            };
            let case = Case::new(&network(), &train, &parallelism, VALIDATION).with_policy(policy);
            cases.push(case);
        }
    }
    cases
}

/// Strategies, and the fewest shards that each can do with.
fn strategies() -> Vec<(Value, usize)> {
    let mut strategies = vec![
        (json!({ "single": {} }), 1),
        (json!({ "data": { "sync": { "ranks": 2 } } }), 2),
        (json!({ "data": { "sync": { "ranks": 4 } } }), 4),
        (json!({ "model": { "pipeline": { "ranks": 2 } } }), 1),
        (json!({ "model": { "pipeline": { "ranks": 3 } } }), 1),
    ];
    for exchange in ["weights", "stale_boundary", "local_loss"] {
        for interval in [1, 3, 7, 100] {
            for (groups, ranks) in [
                (json!(null), json!(null)),
                (json!(null), json!(2)),
                (json!([2, 1, 1]), json!(3)),
                (json!([1, 3]), json!(1)),
            ] {
                let layerwise =
                    json!({ "exchange": exchange, "interval": interval, "groups": groups, "ranks": ranks });
                strategies.push((json!({ "layerwise": layerwise }), 1));
            }
        }
    }
    strategies
}

/// Layers of several panels, of one, and one that becomes two layers.
fn network() -> Value {
    json!({
        "input": [96],
        "layers": [
            { "linear": { "units": 40, "activation": "relu", "repeat": 2 } },
            { "linear": { "units": 70, "activation": "gelu" } },
            { "linear": { "units": 10 } },
        ],
        "panel": "6KiB",
    })
}

impl Case {
    fn new(network: &Value, train: &Value, parallelism: &Value, validation: usize) -> Self {
        let config = json!({
            "data": { "source": "synthetic" }, "network": network, "train": train, "parallelism": parallelism,
        });
        Self {
            name: format!("{parallelism} {train}"),
            config: serde_json::from_value(config).expect("a configuration"),
            samples: SampleCounts { train: TRAIN, validation, test: TEST, bytes: 1 << 16 },
        }
    }

    /// With another policy for values between the forward and the backward pass.
    pub fn with_policy(mut self, policy: ActivationPolicy) -> Self {
        self.name = format!("{} {policy:?}", self.name);
        self.config.storage.activations = policy;
        self
    }

    /// The reference, without optimizer state.
    pub fn single_sgd() -> Self {
        let train = json!({ "optimizer": { "sgd": { "learning_rate": 0.1 } }, "batch_size": 12, "steps": 8 });
        Self::new(&network(), &train, &json!({ "single": {} }), 0)
    }

    /// Panels so large that what they are padded to does not show.
    pub fn large_panels(precision: &str, optimizer: &Value) -> Self {
        let network = json!({
            "input": [1024], "layers": [{ "linear": { "units": 1024, "repeat": 16 } }], "panel": "1MiB",
        });
        let train = json!({ "optimizer": optimizer, "batch_size": 12, "steps": 8, "precision": precision });
        Self::new(&network, &train, &json!({ "single": {} }), 0)
    }

    /// One mini-batch of many samples.
    pub fn large_batch(network: &Value, train: &Value) -> Self {
        let mut case = Self::new(network, train, &json!({ "single": {} }), 0);
        case.samples.train = case.config.train.batch_size;
        case
    }

    /// A pipeline of stages of four layers, whose parameters outweigh all else in a small batch.
    pub fn wide_pipeline(stages: usize, batch_size: usize, micro_batches: usize) -> Self {
        let network = json!({
            "input": [512], "layers": [{ "linear": { "units": 512, "repeat": 4 * stages } }], "panel": "1MiB",
        });
        let train = json!({
            "optimizer": { "sgd": { "learning_rate": 0.1 } }, "batch_size": batch_size, "steps": 1,
            "micro_batches": micro_batches,
        });
        Self::new(&network, &train, &json!({ "model": { "pipeline": { "ranks": stages } } }), 0)
    }

    /// With half of the parameters in memory, and what both orders of a pipeline need.
    pub fn with_room_for_half(&self) -> Plan {
        let parameters = self.unlimited().memory.store_capacity();
        let budget = self.unlimited().memory.total() - parameters / 2;
        self.plan(Some(budget)).expect("more than the least")
    }

    /// Whether it is a pipeline.
    pub const fn is_pipeline(&self) -> bool {
        matches!(self.config.parallelism, Parallelism::Model(_))
    }

    /// A pipeline of equal stages of one panel each.
    pub fn even_pipeline(stages: usize, micro_batches: usize) -> Self {
        let network = json!({
            "input": [32], "layers": [{ "linear": { "units": 32, "repeat": stages } }], "panel": "1MiB",
        });
        let train = json!({
            "optimizer": { "sgd": { "learning_rate": 0.1 } }, "batch_size": 8, "steps": 1,
            "micro_batches": micro_batches,
        });
        Self::new(&network, &train, &json!({ "model": { "pipeline": { "ranks": stages } } }), 0)
    }

    /// The configuration that [`Case::plans`] are made of, without its budget.
    pub fn direct(&self) -> Config {
        let mut config = self.config.clone();
        config.storage.mode = StorageMode::Direct;
        config
    }

    fn plan(&self, budget: Option<u64>) -> Result<Plan, PlanError> {
        let mut config = self.direct();
        config.storage.memory_budget = budget.map(Bytes);
        let (scenario, arm) = (String::from("table"), String::from("case"));
        let trial = Trial { scenario, arm, factors: [].into(), seed: 0, config };
        Plan::new(&trial, self.samples, CORES, &Rates::default())
    }

    pub fn least_budget(&self) -> u64 {
        match self.plan(Some(0)) {
            Err(PlanError::Budget(BudgetError::Window { least, .. })) => least.0,
            _ => panic!("nothing fits in no memory"),
        }
    }

    /// With a generation once in so many steps.
    pub fn with_generations(mut self, every: u64) -> Self {
        self.name += &format!(" and a generation every {every} steps");
        self.config.storage.generations = Some(GenerationsConfig { every, keep: 1 });
        self
    }

    /// With the least budget that works.
    pub fn least(&self) -> Plan {
        self.plan(Some(self.least_budget())).expect("the least works")
    }

    /// Without a budget.
    pub fn unlimited(&self) -> Plan {
        self.plan(None).expect("no budget to exceed")
    }

    /// Without a budget, and with budgets from the least that works to all that can be used, rising.
    ///
    /// The steps between are parts of what the budget decides: samples and scratch outweigh this small network, so
    /// multiples of the least would all be resident.
    pub fn plans(&self) -> Vec<(Option<u64>, Plan)> {
        let unlimited = self.unlimited();
        let (least, all) = (self.least_budget(), unlimited.memory.total());
        let part = |eighths: u64| least + all.saturating_sub(least) * eighths / 8;
        let budgets = [0, 1, 3, 5, 8].map(part);
        let mut plans = vec![(None, unlimited)];
        plans.extend(
            budgets.map(|budget| (Some(budget), self.plan(Some(budget)).expect("more than the least"))),
        );
        plans
    }
}
