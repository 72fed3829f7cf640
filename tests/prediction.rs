//! The cost model from a machine's description to a trial's summary.

mod support;

use std::fs;

use serde_json::Value;
use support::{MACHINE, SMALL, Study, json};

const ARMS: &str = "
arms:
  memory: {}
  direct: { storage: { mode: direct, memory_budget: 64MiB } }
";

#[test]
fn a_plan_predicts_for_the_machine_it_is_given_and_says_how_to_measure_this_one() {
    let study = Study::new(&[SMALL, ARMS]);
    let plan = study.spillbench("plan", &[]).expect(0, &[]).stdout;
    assert!(plan.contains("no machine.json: run `spillbench probe` for times"), "{plan}");
    assert!(!plan.contains("predicted"), "{plan}");
    assert!(plan.contains("150.0 GFLOP/s: the defaults, for a machine that was not probed"), "{plan}");
    fs::write(study.path("server.yaml"), MACHINE).expect("a file");
    let with = ["--machine", "server.yaml", "--endurance", "600"];
    let plan = study.spillbench("plan", &with).expect(0, &[]).stdout;
    for words in [
        "predicted    for a machine by hand",
        "rates        3.00 GB/s read, 1.00 GB/s written, ",
        "GFLOP/s: a machine by hand",
        "limited by",
        "finish",
        "at its peak",
        "written a day",
        "of 600 TB",
    ] {
        assert!(plan.contains(words), "`{words}` is not in: {plan}");
    }
    fs::write(study.path("server.yaml"), MACHINE.replace("cores: 2", "cores: 0")).expect("a file");
    study.spillbench("plan", &with).expect(2, &["server.yaml: cores is 0 but must be at least 1"]);
}

#[test]
fn a_plan_counts_the_cores_of_a_machine_that_is_named_and_else_those_that_are_there() {
    let study = Study::new(&[&SMALL.replace("execution: { threads: 1 }", "")]);
    fs::create_dir(study.path("results")).expect("a folder");
    fs::write(study.path("results/machine.json"), MACHINE.replace("cores: 2", "cores: 4800"))
        .expect("a file");
    let threads = "ranks        1 x 4800 threads";
    let plan = study.spillbench("plan", &["--machine", "results/machine.json"]).expect(0, &[]).stdout;
    assert!(plan.contains(threads), "{plan}");
    let plan = study.spillbench("plan", &[]).expect(0, &[]).stdout;
    assert!(!plan.contains(threads), "this machine has no 4800 cores: {plan}");
}

#[test]
fn a_run_keeps_what_was_predicted_beside_what_was_measured() {
    let study = Study::new(&[SMALL, ARMS]);
    fs::create_dir(study.path("results")).expect("a folder");
    fs::write(study.path("results/machine.json"), MACHINE).expect("a file");
    let ended = study.spillbench("run", &[]).expect(0, &[]);
    assert!(ended.stdout.contains("predicted step"), "{}", ended.stdout);
    for (trial, summary) in study.summaries() {
        let predicted = &summary["predicted"];
        assert_eq!(predicted["machine"], "a machine by hand", "{trial}");
        assert!(predicted["step_time_s"].as_f64().is_some_and(|seconds| seconds > 0.0), "{trial}");
        let speed = |part: &str| predicted["speed"].pointer(part).and_then(Value::as_f64);
        assert!(speed("/compute").is_some_and(|speed| speed > 0.0), "{predicted}");
        assert_eq!(speed("/disk/read").is_some(), trial.starts_with("direct"), "{predicted}");
        let before = json(&study.trials()[&trial].join("predicted.json")).expect("saved before the run");
        assert_eq!(before, *predicted);
    }
    let page = study.path("results/small/report/figures/predicted-against-measured.svg");
    assert!(page.exists());
}

#[test]
fn extents_that_the_disk_does_not_hold_are_refused_with_both_numbers() {
    let huge = "
arms:
  fits: {}
  huge:
    network: { input: [8000000], panel: 1GiB, layers: [ linear: { units: 8000000 }, linear: { units: 10 } ] }
    storage: { mode: direct, memory_budget: 64GiB }
";
    let study = Study::new(&[SMALL, huge]);
    let ended = study.spillbench("run", &[]);
    let ended = ended.expect(2, &["huge: no space for the extents in", "bytes wanted", "free"]);
    assert!(!ended.stderr.contains("fits:"), "{}", ended.stderr);
    assert!(!study.path("results").exists(), "nothing was begun");
    let plan: Vec<Value> = study
        .spillbench("plan", &["--json"])
        .expect(0, &[])
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    let disk = plan.iter().filter_map(|plan| plan["disk_bytes"].as_u64()).max();
    assert!(disk.is_some_and(|bytes| bytes > 4 * 64_000_000_000_000 / 10 * 9), "{disk:?}");
}
