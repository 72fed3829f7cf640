//! The golden record: every scenario of the repository as it was planned and, made small, as it trained.
//!
//! A change that is meant to keep plans and bits is held against it. A change that is meant to alter them rewrites the
//! record with `SPILLBENCH_BLESS=1 cargo test --release -p spillbench-engine --test golden`, and its commit says which
//! lines changed and why.

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use spillbench_engine::open_plan_on;
use spillbench_schedule::{Plan, Rank};
use spillbench_schema::{
    Bytes, Rates, Study, Trial,
    config::{DataSource, LayerSpec, StorageMode},
};

/// Plans are made for a machine of so many cores, whatever machine the test runs on.
const CORES: usize = 2;

/// Operations of each rank that enter the record: several steps of every scenario.
const OPERATIONS: usize = 20_000;

/// Runs of more operations have no counted bytes in the record.
const COUNTED: u64 = 200_000;

#[test]
fn every_scenario_is_planned_as_recorded() {
    let lines = configurations().into_iter().map(|trial| {
        let name = name(&trial);
        match open_plan_on(&trial, &Rates::default(), CORES) {
            Ok(plan) => format!("{name} {}", planned(&plan, trial.config.storage.mode)),
            Err(refusal) => format!("{name} refused: {refusal}"),
        }
    });
    compare("plans.txt", lines);
}

#[test]
fn every_scenario_made_small_trains_to_the_recorded_weights_in_memory_and_from_disk() {
    let mut seen = BTreeSet::new();
    let small = configurations().into_iter().filter_map(|trial| {
        let trial = small(trial);
        seen.insert(trial.science_hash() + &trial.execution_hash()).then_some(trial)
    });
    let small: Vec<Trial> = small.collect();
    compare("weights.txt", small.iter().map(|trial| format!("{} {}", name(trial), trained(trial))));
}

/// One trial of each configuration of each scenario.
fn configurations() -> Vec<Trial> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let entries = fs::read_dir(&folder).expect("the scenarios are there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    let mut trials = Vec::new();
    for file in files {
        let study = Study::load(&file, &[]).unwrap_or_else(|problems| panic!("{problems}"));
        let mut labels = BTreeSet::new();
        trials.extend(study.trials.into_iter().filter(|trial| labels.insert(trial.label())));
    }
    trials
}

fn name(trial: &Trial) -> String {
    format!("{}: {}:", trial.scenario, trial.label())
}

/// Sizes, bytes and a hash of the first operations of all ranks.
fn planned(plan: &Plan, mode: StorageMode) -> String {
    let mut operations = blake3::Hasher::new();
    for rank in 0..plan.ranks() {
        let rank = Rank(u16::try_from(rank).expect("few ranks"));
        for operation in plan.operations(rank).take(OPERATIONS) {
            operations.update(format!("{operation:?}\n").as_bytes());
        }
    }
    let traffic = plan.traffic_within(mode, COUNTED).map_or_else(
        || "not counted".to_owned(),
        |traffic| {
            format!(
                "train {}+{} other {}+{}",
                traffic.train_read, traffic.train_written, traffic.other_read, traffic.other_written
            )
        },
    );
    format!(
        "parameters {} steps {} ranks {} threads {} memory {} pinned {} disk {} floor {} bytes {traffic} operations {}",
        plan.network.parameters(),
        plan.timeline.steps,
        plan.ranks(),
        plan.threads,
        plan.memory.total(),
        plan.memory.pinned,
        plan.disk_bytes(),
        plan.floor_bytes_per_step(mode),
        &operations.finalize().to_hex()[..16],
    )
}

/// The trial with a network, data and a run that take milliseconds; what it is an example of stays.
fn small(mut trial: Trial) -> Trial {
    let config = &mut trial.config;
    for LayerSpec::Linear(linear) in &mut config.network.layers {
        linear.units = linear.units.min(48);
        linear.repeat = linear.repeat.min(3);
    }
    config.network.panel = Bytes(config.network.panel.0.min(8 << 10));
    if config.data.source == DataSource::Synthetic {
        config.network.input = vec![64];
    } else {
        config.data.source = DataSource::Digits;
    }
    config.data.train = Some(130);
    config.data.validation = config.data.validation.min(30);
    config.data.test = Some(40);
    config.train.batch_size = config.train.batch_size.min(16);
    config.train.shards = config.train.shards.min(4);
    config.train.epochs = None;
    config.train.steps = Some(12);
    config.train.evaluate_every = config.train.evaluate_every.map(|_| 5);
    config.storage.dir = None;
    config.storage.generations = None;
    config.storage.mode = StorageMode::Memory;
    config.storage.memory_budget = None;
    config.execution.threads = Some(1);
    trial
}

/// Hash of the weights and the training loss; under `direct` with a small budget they must be the same.
fn trained(trial: &Trial) -> String {
    let run = |trial: &Trial| {
        let dir = tempfile::tempdir().expect("a folder for state");
        let summary = support::run(trial, &Rates::default(), dir.path(), None, &mut std::io::sink())
            .unwrap_or_else(|error| panic!("{}: {error}", name(trial)));
        (summary.weights_hash, format!("{:?}", summary.train_loss))
    };
    let (weights, loss) = run(trial);
    let mut on_disk = trial.clone();
    on_disk.config.storage.mode = StorageMode::Direct;
    on_disk.config.storage.memory_budget = Some(Bytes(32 << 20));
    assert_eq!(run(&on_disk), (weights.clone(), loss.clone()), "{} from disk", name(trial));
    format!("weights {} loss {loss}", &weights[..16])
}

/// Holds lines against a file of the record, or writes it.
fn compare(file: &str, lines: impl Iterator<Item = String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let found: Vec<String> = lines.collect();
    if std::env::var_os("SPILLBENCH_BLESS").is_some() {
        fs::write(&path, found.join("\n") + "\n").expect("the record can be written");
        return;
    }
    let recorded = fs::read_to_string(&path).expect("the record is there");
    let recorded: Vec<&str> = recorded.lines().collect();
    for (found, recorded) in found.iter().zip(&recorded) {
        assert_eq!(found, recorded, "{file} differs from the record");
    }
    assert_eq!(found.len(), recorded.len(), "lines of {file}");
}
