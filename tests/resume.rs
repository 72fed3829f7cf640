//! Trials with generations: what is kept when one is cut off, what becomes of it, and what is never gone on from.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde_json::Value;
use support::{MACHINE, SMALL, Study, eventually, json};

/// Long enough to be met while it trains.
const SLOW: &str = "
arms:
  slow:
    train: { steps: 5000, optimizer: { adam: { learning_rate: 0.0001 } } }
    storage: { mode: direct, memory_budget: 64MiB, generations: { every: 50 } }
";

fn slow() -> Study {
    Study::new(&[SMALL, SLOW])
}

fn folder(study: &Study) -> PathBuf {
    study.trials()["slow-s1"].clone()
}

/// The records of the generations that are kept: one, and the next one for the moment in which it takes over.
fn records(study: &Study) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(study).join("state")).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_number = |path: &PathBuf| path.extension().is_some_and(|number| number != "tmp");
    paths
        .filter(|path| path.file_stem().is_some_and(|stem| stem == "generation") && is_number(path))
        .collect()
}

/// The weights of a run that is left alone, trained once.
fn expected() -> Value {
    static WEIGHTS: OnceLock<Value> = OnceLock::new();
    let train = || {
        let study = slow();
        study.spillbench("run", &[]).expect(0, &[]);
        study.summaries()["slow-s1"]["weights_hash"].clone()
    };
    WEIGHTS.get_or_init(train).clone()
}

/// Starts a run and ends it by `signal` when its trial has committed a generation.
fn cut_off(study: &Study, signal: &str) {
    let run = study.start();
    study.wait_until_trains("slow-s1");
    eventually("a generation", || !records(study).is_empty());
    run.signal(signal);
    run.end();
    eventually("its trial ends", || study.children().is_empty());
}

fn events(study: &Study, name: &str) -> usize {
    let log = fs::read_to_string(folder(study).join("events.jsonl")).expect("a log");
    let events = log.lines().map(|line| serde_json::from_str(line).expect("a line is an event"));
    events.filter(|event: &Value| event["event"] == name).count()
}

/// Changes a byte at `offset`.
fn flip(file: &Path, offset: usize) {
    let mut bytes = fs::read(file).expect("a file");
    bytes[offset] ^= 0x40;
    fs::write(file, bytes).expect("written");
}

#[test]
fn an_interrupted_trial_goes_on_from_its_last_generation_and_says_so() {
    let study = slow();
    for (interruptions, signal) in [(1, "INT"), (2, "KILL")] {
        cut_off(&study, signal);
        assert!(!folder(&study).join("failure.json").exists(), "being cut off is no failure");
        assert!(events(&study, "resumed") < interruptions);
    }
    study.spillbench("run", &[]).expect(0, &["slow seed 1: resumed at step ", " of 5000"]);
    let summary = &study.summaries()["slow-s1"];
    assert_eq!((&summary["weights_hash"], &summary["steps"]), (&expected(), &Value::from(5_000)));
    let resumed = summary["resumed"].as_u64().expect("a count");
    assert!((1..=2).contains(&resumed));
    assert_eq!([events(&study, "started"), events(&study, "resumed")], [1, resumed as usize]);
    assert!(!folder(&study).join("state").exists(), "what is finished keeps no state");
}

#[test]
fn a_trial_that_failed_on_something_outside_it_goes_on_when_it_is_run_again() {
    let study = slow();
    let run = study.start();
    study.wait_until_trains("slow-s1");
    eventually("a generation", || !records(&study).is_empty());
    // As the kernel does when memory is short.
    let child = study.processes().into_keys().next().expect("a trial's process");
    assert!(std::process::Command::new("kill").args(["-KILL", &child.to_string()]).status().is_ok());
    run.end().expect(100, &["slow seed 1 failed: ended by signal 9 (SIGKILL)"]);
    assert!(folder(&study).join("failure.json").exists());
    study.spillbench("run", &[]).expect(0, &["resumed at step"]);
    assert_eq!(study.summaries()["slow-s1"]["weights_hash"], expected());
    assert!(!folder(&study).join("failure.json").exists());
}

#[test]
fn a_trial_that_diverged_leaves_no_generation() {
    let arms = SLOW.replace("0.0001", "1e38").replace("every: 50", "every: 1");
    let study = Study::new(&[SMALL, &arms]);
    study.spillbench("run", &[]).expect(0, &["training diverged"]);
    assert!(!folder(&study).join("state").exists());
}

#[test]
fn a_fresh_run_goes_on_from_nothing() {
    let study = slow();
    cut_off(&study, "KILL");
    let said = study.spillbench("run", &["--fresh"]).expect(0, &[]).stderr;
    assert!(!said.contains("resumed"), "{said}");
    assert_eq!(study.summaries()["slow-s1"]["resumed"], 0);
}

#[test]
fn a_trial_goes_on_only_from_one_that_is_equal_in_every_key() {
    let study = slow();
    cut_off(&study, "KILL");
    // As if another configuration had the same hashes.
    let path = folder(&study).join("resolved.yaml");
    let own = fs::read_to_string(&path).expect("a trial");
    fs::write(&path, own.replace("queue_depth: 32", "queue_depth: 31")).expect("written");
    let told = ["resolved.yaml is of another trial: storage.queue_depth is 31 there, and 32 here"];
    study.spillbench("run", &[]).expect(1, &told);
    study.spillbench("run", &["--fresh"]).expect(1, &told);
    fs::write(&path, own).expect("written");
    study.spillbench("run", &[]).expect(0, &["resumed at step"]);
    assert_eq!(study.summaries()["slow-s1"]["weights_hash"], expected());
}

#[test]
fn a_byte_that_changed_on_disk_is_found_and_named_with_what_to_do() {
    let study = slow();
    cut_off(&study, "KILL");
    let extents = folder(&study).join("state/extents");
    let slot = fs::metadata(&extents).expect("extents").len() as usize / 2;
    // The first panel takes two blocks; the second one is in one of two slots.
    for offset in [8192 + 7, slot + 8192 + 7] {
        flip(&extents, offset);
    }
    let words = [
        "state/extents is corrupt: layer 0 panel 1 weights at offset ",
        "it is part of every generation that is kept",
        "`spillbench run --fresh`",
    ];
    for _ in 0..2 {
        study.spillbench("run", &[]).expect(100, &words);
    }
    let failure = json(&folder(&study).join("failure.json")).expect("a failure");
    assert!(failure["message"].to_string().contains("layer 0 panel 1 weights"), "{failure}");
    study.spillbench("run", &["--fresh"]).expect(0, &[]);
    assert_eq!(study.summaries()["slow-s1"]["weights_hash"], expected());
}

#[test]
fn a_trial_that_goes_on_is_planned_as_it_was_begun_whatever_was_measured_since() {
    let study = slow();
    let machine = study.path("results/machine.json");
    let measured = |name: &str| {
        fs::create_dir_all(study.path("results")).expect("a folder");
        fs::write(&machine, MACHINE.replace("a machine by hand", name)).expect("written");
    };
    let planned = |arguments: &[&str]| {
        let plan = study.spillbench("plan", arguments).expect(0, &[]).stdout;
        let plan: Value = serde_json::from_str(&plan).expect("one plan");
        plan["rates"]["machine"].clone()
    };
    assert_eq!(planned(&["--json"]), Value::Null, "the defaults");
    measured("early");
    cut_off(&study, "KILL");
    let predicted = json(&folder(&study).join("predicted.json")).expect("what was said of it");
    measured("late");
    assert_eq!(planned(&["--json"]), "early");
    assert_eq!(planned(&["--json", "--machine", "results/machine.json"]), "late");
    study.spillbench("run", &[]).expect(0, &["resumed at step"]);
    assert_eq!(study.summaries()["slow-s1"]["weights_hash"], expected());
    assert_eq!(study.summaries()["slow-s1"]["predicted"], predicted, "said before its first part");
    let kept = json(&folder(&study).join("rates.json")).expect("what it was planned with");
    assert_eq!((&kept["machine"], &kept["read_bytes_per_s"]), (&"early".into(), &3_000_000_000_u64.into()));
    // What is finished is finished.
    measured("later");
    study.spillbench("run", &[]).expect(0, &[]);
    assert_eq!(json(&folder(&study).join("rates.json")), Some(kept));
}

#[test]
fn a_trial_that_lost_what_it_was_planned_with_is_left_as_it_is() {
    let study = slow();
    cut_off(&study, "KILL");
    let rates = folder(&study).join("rates.json");
    let kept = fs::read(&rates).expect("what it was planned with");
    fs::remove_file(&rates).expect("removed");
    study.spillbench("run", &[]).expect(1, &["rates.json", "`run --fresh`"]);
    fs::write(&rates, kept).expect("written");
    study.spillbench("run", &[]).expect(0, &["resumed at step"]);
    assert_eq!(study.summaries()["slow-s1"]["weights_hash"], expected());
}

#[test]
fn a_torn_record_of_a_generation_is_found() {
    let study = slow();
    cut_off(&study, "KILL");
    for record in records(&study) {
        let bytes = fs::read(&record).expect("a record");
        fs::write(&record, &bytes[..bytes.len() / 2]).expect("written");
    }
    let words =
        ["state/generation.", " is corrupt: the record of the generation", "`spillbench run --fresh`"];
    study.spillbench("run", &[]).expect(100, &words);
}

#[test]
fn a_log_that_lost_its_end_is_named_with_what_to_do() {
    let study = slow();
    cut_off(&study, "KILL");
    let log = folder(&study).join("events.jsonl");
    let bytes = fs::read(&log).expect("a log");
    let told = [
        "/events.jsonl: ",
        "bytes are left, and the last generation was committed after ",
        "`spillbench run --fresh`",
    ];
    fs::write(&log, &bytes[..10]).expect("written");
    study.spillbench("run", &[]).expect(100, &told);
    fs::remove_file(&log).expect("a log");
    study.spillbench("run", &[]).expect(100, &told);
    study.spillbench("run", &["--fresh"]).expect(0, &[]);
}
