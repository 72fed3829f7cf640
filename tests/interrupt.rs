//! Runs that are cut off, and what they leave.

mod support;

use support::{ENDLESS, SMALL, Study, eventually};

fn endless() -> Study {
    Study::new(&[
        SMALL,
        "\narms:\n  quick: {}\n  slow: ",
        ENDLESS,
        "\n  last: { execution: { threads: 2 } }\n",
    ])
}

#[test]
fn an_interrupted_run_leaves_no_process_and_no_half_result() {
    let study = endless();
    let run = study.start();
    study.wait_until_trains("slow-s1");
    assert_eq!(study.children().len(), 1, "one trial at a time");
    run.signal("INT");
    run.end().expect(130, &["interrupted; run the same command again"]);
    assert_eq!(study.children(), Vec::<String>::new());
    assert_eq!(study.summaries().keys().collect::<Vec<_>>(), ["quick-s1"]);
    assert_eq!(study.trials().len(), 2, "no trial was begun after the signal");
    assert!(!study.trials()["slow-s1"].join("failure.json").exists(), "being interrupted is no failure");
}

#[test]
fn a_run_after_an_interrupt_finishes_only_what_is_missing() {
    // Long enough to be met while it trains.
    let slow = "{ train: { steps: 12000 } }";
    let study = Study::new(&[SMALL, "\narms:\n  quick: {}\n  slow: ", slow, "\n"]);
    let run = study.start();
    study.wait_until_trains("slow-s1");
    run.signal("TERM");
    run.end().expect(130, &[]);
    study.spillbench("run", &[]).expect(0, &["finished before: quick-", "[2/2] slow seed 1: test accuracy"]);
    assert_eq!(study.summaries()["slow-s1"]["steps"], 12_000);
}

#[test]
fn a_trial_ends_by_itself_when_its_runner_is_killed() {
    let study = endless();
    let run = study.start();
    study.wait_until_trains("slow-s1");
    run.signal("KILL");
    assert_eq!(run.end().code, None);
    eventually("the trial ends", || study.children().is_empty());
    assert_eq!(study.summaries().keys().collect::<Vec<_>>(), ["quick-s1"]);
}

#[test]
fn two_runs_share_a_study_and_each_trial_is_in_the_hands_of_one() {
    let study = endless();
    let first = study.start();
    study.wait_until_trains("slow-s1");
    let told = [
        "finished before: quick-",
        "in the hands of another run: slow-",
        "1 trial is in the hands of another run",
    ];
    study.spillbench("run", &[]).expect(6, &told);
    study.spillbench("run", &["--timeout=1", "--fail-fast", "--results=others"]).expect(100, &[]);
    first.signal("INT");
    first.end().expect(130, &[]);
}

#[test]
fn a_stopped_run_stops_its_trial_and_both_go_on_when_continued() {
    let study = endless();
    let run = study.start();
    study.wait_until_trains("slow-s1");
    run.signal("TSTP");
    let states = || -> Vec<String> {
        let numbers = study.processes().into_keys().chain([run.number()]);
        let state = |number| support::process_state(number).unwrap_or_default();
        numbers.map(state).collect()
    };
    eventually("the trial and its runner stop", || states() == ["T", "T"]);
    run.signal("CONT");
    eventually("both go on", || states().iter().all(|state| state != "T"));
    run.signal("INT");
    run.end().expect(130, &["interrupted"]);
}

#[test]
fn a_trial_ends_when_its_runner_is_killed_while_both_are_stopped() {
    let study = endless();
    let run = study.start();
    study.wait_until_trains("slow-s1");
    run.signal("TSTP");
    let states = || -> Vec<String> {
        let numbers = study.processes().into_keys().chain([run.number()]);
        numbers.map(|number| support::process_state(number).unwrap_or_default()).collect()
    };
    eventually("the trial and its runner stop", || states() == ["T", "T"]);
    run.signal("KILL");
    assert_eq!(run.end().code, None);
    eventually("the trial ends", || study.children().is_empty());
}
