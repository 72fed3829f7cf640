//! A study from its scenario to its report and verdicts.

mod support;

use std::{fs, time::SystemTime};

use serde_json::Value;
use support::{ENDLESS, SMALL, Study, json};

const TWO_ARMS: &str = "
arms:
  memory: {}
  direct: { storage: { mode: direct, memory_budget: 64MiB } }
";

const ONE_DIVERGES: &str = "
arms:
  first: {}
  diverges: { train: { optimizer: { sgd: { learning_rate: 1e38 } } } }
  last: { execution: { threads: 2 } }
";

/// The middle trial fails: its extents have no place.
const ONE_FAILS: &str = "
arms:
  first: {}
  fails: { storage: { mode: direct, memory_budget: 64MiB, dir: /proc/self } }
  last: { execution: { threads: 2 } }
";

#[test]
fn a_run_prints_a_table_and_writes_a_page_that_needs_no_network() {
    let study = Study::new(&[SMALL, TWO_ARMS]);
    let ended = study.spillbench("run", &[]).expect(0, &["[1/2] memory seed 1", "[2/2] direct seed 1"]);
    for word in ["configuration", "memory", "direct", "report: results/small/report/index.html"] {
        assert!(ended.stdout.contains(word), "`{word}` is not in: {}", ended.stdout);
    }
    let page = fs::read_to_string(study.path("results/small/report/index.html")).expect("a page");
    for outside in ["src=\"http", "href=\"http", "src=\"//", "url(http", "@import", "<link"] {
        assert!(!page.contains(outside), "the page reaches out: {outside}");
    }
    assert!(page.contains("<svg"), "the charts are in the page");
}

#[test]
fn a_second_run_skips_what_is_finished_and_touches_no_summary() {
    let study = Study::new(&[SMALL, TWO_ARMS]);
    let contents = || -> Vec<(Vec<u8>, SystemTime)> {
        let paths = study.trials().into_values().map(|trial| trial.join("summary.json"));
        let of = |path| (fs::read(&path).ok(), fs::metadata(&path).and_then(|meta| meta.modified()).ok());
        paths.map(of).filter_map(|(bytes, time)| bytes.zip(time)).collect()
    };
    study.spillbench("run", &[]).expect(0, &[]);
    let before = contents();
    assert_eq!(before.len(), 2);
    study
        .spillbench("run", &[])
        .expect(0, &["[1/2] finished before: memory-", "[2/2] finished before: direct-"]);
    assert_eq!(contents(), before);
}

#[test]
fn a_trial_whose_summary_is_gone_is_the_only_one_run_again() {
    let study = Study::new(&[SMALL, TWO_ARMS]);
    study.spillbench("run", &[]).expect(0, &[]);
    let before = study.summaries();
    fs::remove_file(study.trials()["direct-s1"].join("summary.json")).expect("it was there");
    study
        .spillbench("run", &[])
        .expect(0, &["finished before: memory-", "[2/2] direct seed 1: test accuracy"]);
    assert_eq!(study.summaries()["memory-s1"], before["memory-s1"]);
    assert_eq!(study.summaries()["direct-s1"]["weights_hash"], before["direct-s1"]["weights_hash"]);
}

#[test]
fn a_diverged_trial_is_a_result_that_is_not_run_again() {
    let study = Study::new(&[SMALL, ONE_DIVERGES]);
    let ended = study.spillbench("run", &[]).expect(0, &["[2/3] diverges seed 1: training diverged at step"]);
    assert!(ended.stdout.contains("✗ diverged at step"), "{}", ended.stdout);
    let folder = study.trials()["diverges-s1"].clone();
    assert!(!folder.join("failure.json").exists());
    let result = json(&folder.join("summary.json")).expect("a result");
    assert_eq!(result["status"], "diverged");
    assert!(result.get("test_accuracy").is_none(), "{result}");
    study.spillbench("run", &[]).expect(0, &["[2/3] diverged before: diverges-"]);
    study.spillbench("run", &["--fresh"]).expect(0, &["[2/3] diverges seed 1: training diverged at step"]);
}

#[test]
fn with_fail_fast_the_first_failed_trial_is_the_last() {
    let study = Study::new(&[SMALL, ONE_FAILS]);
    study.spillbench("run", &["--fail-fast"]).expect(100, &["fails seed 1 failed"]);
    assert_eq!(study.trials().keys().collect::<Vec<_>>(), ["fails-s1", "first-s1"]);
}

#[test]
fn a_trial_that_takes_too_long_is_ended_and_the_next_one_run() {
    let study = Study::new(&[SMALL, "\narms:\n  slow: ", ENDLESS, "\n  quick: {}\n"]);
    let message = "slow seed 1 failed: took longer than the 1 s that --timeout allows";
    study.spillbench("run", &["--timeout", "1"]).expect(100, &[message]);
    assert_eq!(study.children(), Vec::<String>::new());
    assert_eq!(study.summaries().keys().collect::<Vec<_>>(), ["quick-s1"]);
    assert!(study.trials()["slow-s1"].join("failure.json").exists());
}

#[test]
fn each_line_of_json_has_a_reason_and_a_version() {
    let study = Study::new(&[SMALL, ONE_FAILS]);
    let reasons = |command: &str, code| -> Vec<String> {
        let ended = study.spillbench(command, &["--json"]).expect(code, &[]);
        let lines = ended.stdout.lines().map(|line| serde_json::from_str(line).expect("a line is JSON"));
        lines
            .map(|line: Value| {
                assert_eq!(line["version"], 1, "{line}");
                line["reason"].as_str().expect("a reason").to_owned()
            })
            .collect()
    };
    let mut run = reasons("run", 100);
    run.retain(|reason| reason != "trial-progress");
    let [started, finished, failed] = ["trial-started", "trial-finished", "trial-failed"];
    assert_eq!(run, [started, finished, started, failed, started, finished, "report-written"]);
    assert_eq!(reasons("plan", 0), ["plan"; 3]);
    let verdicts = reasons("check", 0);
    assert!(!verdicts.is_empty() && verdicts.iter().all(|reason| reason == "verdict"), "{verdicts:?}");
}

#[test]
fn store_budget_threads_ranks_and_strategy_change_no_bit_of_the_weights() {
    let arms = "
arms:
  memory: {}
  spilled: { storage: { mode: direct, memory_budget: 1KiB } }
  roomy: { storage: { mode: direct, memory_budget: 64MiB } }
  threads: { execution: { threads: 3 } }
  sync: { parallelism: { data: { sync: { ranks: 2 } } } }
  pipeline: { parallelism: { model: { pipeline: { ranks: 3 } } } }
  spilled-pipeline:
    parallelism: { model: { pipeline: { ranks: 2 } } }
    storage: { mode: direct, memory_budget: 2KiB }
matrix: { seeds: 2 }
claims:
  - id: same
    text: Nothing changes.
    equal:
      metric: weights_hash
      arms: [memory, spilled, roomy, threads, sync, pipeline, spilled-pipeline]
";
    let least = Study::new(&[SMALL, arms]).least_budgets();
    let budget = |size: &str| format!("memory_budget: {size} }}");
    let arms = arms
        .replace(&budget("1KiB"), &budget(&least["spilled"]))
        .replace(&budget("2KiB"), &budget(&least["spilled-pipeline"]));
    let study = Study::new(&[SMALL, &arms]);
    study.spillbench("run", &[]).expect(0, &[]);
    let summaries = study.summaries();
    assert_eq!(summaries.len(), 14);
    for (trial, summary) in &summaries {
        let reference = if trial.ends_with("-s1") { "memory-s1" } else { "memory-s2" };
        assert_eq!(summary["weights_hash"], summaries[reference]["weights_hash"], "{trial}");
    }
    assert_ne!(summaries["memory-s1"]["weights_hash"], summaries["memory-s2"]["weights_hash"]);
    for trial in ["spilled-s1", "spilled-pipeline-s1"] {
        assert!(summaries[trial]["bytes_read"].as_u64() > Some(0), "{trial} does not spill");
    }
    let verdicts = study.spillbench("check", &[]).expect(0, &[]).stdout;
    assert!(verdicts.contains("weights_hash is equal in 7 configurations, seed by seed"), "{verdicts}");
}

#[test]
fn a_false_claim_fails_the_check() {
    let study = Study::new(&[
        SMALL,
        "
arms:
  memory: {}
  apart: { parallelism: { layerwise: { exchange: local_loss, interval: 2 } } }
claims:
  - id: same
    text: Local losses change nothing.
    equal: { metric: weights_hash, arms: [memory, apart] }
",
    ]);
    study.spillbench("run", &[]).expect(0, &[]);
    let verdicts = study.spillbench("check", &[]).expect(3, &[]).stdout;
    assert!(verdicts.contains("fail         same: Local losses change nothing."), "{verdicts}");
}

#[test]
fn a_claim_that_one_seed_cannot_decide_is_open_and_says_what_to_do() {
    let study = Study::new(&[
        SMALL,
        "
arms: { memory: {} }
claims:
  - id: learns
    text: It learns a little.
    bound: { metric: test_accuracy, arm: memory, at_least: 1 }
",
    ]);
    study.spillbench("run", &[]).expect(0, &[]);
    let verdicts = study.spillbench("check", &[]).expect(5, &[]).stdout;
    assert!(verdicts.contains("run at least two seeds"), "{verdicts}");
}

#[test]
fn without_a_run_there_is_nothing_to_check() {
    let study = Study::new(&[SMALL, TWO_ARMS]);
    study
        .spillbench("check", &[])
        .expect(4, &["no results in results", "first: spillbench run scenario.yaml"]);
}

#[test]
fn a_report_without_a_finished_trial_says_so_and_lists_what_failed() {
    let study = Study::new(&[
        SMALL,
        "arms: { fails: { storage: { mode: direct, memory_budget: 64MiB, dir: /proc/self } } }\n",
    ]);
    study.spillbench("run", &[]).expect(100, &["cannot create"]);
    let told = ["no trial has finished in results/small; run again: spillbench run scenario.yaml"];
    let ended = study.spillbench("report", &[]).expect(4, &told);
    assert_eq!(ended.stdout, "report: results/small/report/index.html\n");
    let page = fs::read_to_string(study.path("results/small/report/report.md")).expect("a page");
    assert!(page.contains("No trial has finished.") && page.contains("cannot create"), "{page}");
    assert!(!page.contains("seed 0"), "{page}");
}

#[test]
fn a_finished_trial_without_its_log_is_named_with_what_to_do() {
    let study = Study::new(&[SMALL, TWO_ARMS]);
    study.spillbench("run", &[]).expect(0, &[]);
    let folder = study.trials()["memory-s1"].clone();
    fs::remove_file(folder.join("events.jsonl")).expect("a log");
    let told = ["/events.jsonl is missing", "remove the trial's folder and run the scenario again"];
    study.spillbench("report", &[]).expect(1, &told);
    fs::remove_dir_all(folder).expect("a folder");
    study.spillbench("run", &[]).expect(0, &[]);
}

#[test]
fn results_agree_with_the_baseline_saved_of_them_and_not_with_a_better_one() {
    let study = Study::new(&[SMALL, TWO_ARMS, "matrix: { seeds: 2 }\n"]);
    study.spillbench("run", &[]).expect(0, &[]);
    study.spillbench("check", &["--save-baseline", "baseline.json"]).expect(0, &["baseline saved"]);
    study.spillbench("check", &["--baseline", "baseline.json"]).expect(0, &[]);
    let mut baseline = json(&study.path("baseline.json")).expect("a baseline");
    for (seed, accuracy) in [("1", 99.0), ("2", 99.1)] {
        let trial = &mut baseline["configurations"]["memory"][seed];
        trial["weights_hash"] = "of other weights".into();
        trial["test_accuracy"] = accuracy.into();
    }
    fs::write(study.path("baseline.json"), baseline.to_string()).expect("written");
    let verdicts = study.spillbench("check", &["--baseline", "baseline.json"]).expect(3, &[]).stdout;
    assert!(verdicts.contains("fail         baseline.memory"), "{verdicts}");
    assert!(verdicts.contains("pass         baseline.direct"), "{verdicts}");
}

#[test]
fn a_finished_trial_that_was_changed_is_neither_finished_before_nor_reported() {
    let study = Study::new(&[SMALL, TWO_ARMS]);
    study.spillbench("run", &[]).expect(0, &[]);
    let path = study.trials()["direct-s1"].join("resolved.yaml");
    let other = fs::read_to_string(&path).expect("a trial").replace("queue_depth: 32", "queue_depth: 31");
    fs::write(&path, other).expect("written");
    let told =
        ["resolved.yaml is of another trial: storage.queue_depth is 31 there, and 32 here", "move the"];
    for command in ["run", "report", "check"] {
        study.spillbench(command, &[]).expect(1, &told);
    }
    fs::remove_file(&path).expect("removed");
    for command in ["run", "report"] {
        study.spillbench(command, &[]).expect(1, &["resolved.yaml is missing; move the trial's folder away"]);
    }
}

#[test]
fn results_under_names_of_the_first_versions_are_used_for_exactly_their_trial() {
    let study = Study::new(&[SMALL, TWO_ARMS]);
    study.spillbench("run", &[]).expect(0, &[]);
    let folder = study.trials()["direct-s1"].clone();
    let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
    let parts: Vec<&str> = name.split('-').collect();
    let short = folder.with_file_name(format!("direct-{}-{}-s1", &parts[1][..8], &parts[2][..4]));
    fs::rename(&folder, &short).expect("renamed");
    study.spillbench("run", &[]).expect(0, &["[2/2] finished before: direct-"]);
    study.spillbench("report", &[]).expect(0, &[]);
    // Another trial of the same short name.
    let path = short.join("resolved.yaml");
    let other = fs::read_to_string(&path).expect("a trial").replace("queue_depth: 32", "queue_depth: 31");
    fs::write(&path, &other).expect("written");
    let said = study.spillbench("run", &[]).expect(0, &[]).stderr;
    assert!(!said.contains("finished before: direct"), "{said}");
    assert!(folder.join("summary.json").exists());
    assert_eq!(fs::read_to_string(&path).expect("left alone"), other);
}
