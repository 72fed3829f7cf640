//! Claims, invariants and baselines are decided from what the trials came to.

use serde_json::{Value, json};
use spillbench_report::{Baseline, Outcome, Results, Verdict, check};
use spillbench_schema::Summary;

use crate::fixture::{self, Fixture, load, summary, trial};

fn results(fixture: &Fixture) -> Results {
    let folder = tempfile::tempdir().unwrap();
    fixture.write(folder.path());
    load(folder.path()).unwrap()
}

fn verdict(fixture: &Fixture, id: &str) -> Verdict {
    let verdicts = check(&results(fixture), None);
    verdicts.iter().find(|verdict| verdict.id == id).unwrap_or_else(|| panic!("{id} in {verdicts:?}")).clone()
}

/// An arm `reference` with these accuracies and an arm `arm` that has lost `lost` at each seed.
fn pair(reference: &[f64], lost: &[f64], claim: Value) -> Fixture {
    let mut fixture = Fixture::new("pair", "?");
    fixture.claim(claim);
    for (index, (accuracy, lost)) in reference.iter().zip(lost).enumerate() {
        for (arm, batch, accuracy) in [("reference", 64, *accuracy), ("arm", 32, accuracy - lost)] {
            let train =
                json!({ "optimizer": { "sgd": { "learning_rate": 0.1 } }, "batch_size": batch, "epochs": 5 });
            let trial = trial("pair", arm, &[], index as u64 + 1, json!({ "train": train }));
            let summary = summary(&trial, accuracy);
            fixture.finished(trial, summary, 0.1);
        }
    }
    fixture
}

fn non_inferior(margin: f64) -> Value {
    json!({ "id": "c", "text": "c", "non_inferior":
        { "metric": "test_accuracy", "margin": margin, "arm": "arm", "to": "reference" } })
}

const SPREAD: [f64; 5] = [90.0, 95.0, 92.0, 99.0, 91.0];

#[test]
fn arms_are_compared_seed_by_seed_so_the_spread_they_share_does_not_count() {
    let fixture = pair(&SPREAD, &[0.4, 0.6, 0.5, 0.4, 0.6], non_inferior(1.0));
    let verdict = verdict(&fixture, "c");
    assert_eq!((verdict.outcome, verdict.n), (Outcome::Pass, 5));
    // 0.5 ± 2.131847 * 0.1 / sqrt(5)
    assert_eq!(
        verdict.measured,
        "arm is worse than reference by 0.50 points (90 % interval 0.40 points to 0.60 points); margin 1.00 points"
    );
}

#[test]
fn an_undecided_claim_says_how_many_seeds_would_help() {
    let verdict = verdict(&pair(&SPREAD, &[0.4, 0.6, 0.5, 0.4, 0.6], non_inferior(0.58)), "c");
    assert_eq!(verdict.outcome, Outcome::Inconclusive);
    assert_eq!(verdict.remedy.as_deref(), Some("about 2 seeds more, should mean and spread stay"));
}

#[test]
fn a_clear_loss_fails_and_one_seed_decides_nothing() {
    assert_eq!(
        verdict(&pair(&SPREAD, &[2.0, 2.1, 1.9, 2.0, 2.0], non_inferior(1.0)), "c").outcome,
        Outcome::Fail
    );
    assert_eq!(verdict(&pair(&SPREAD[..1], &[0.0], non_inferior(1.0)), "c").outcome, Outcome::Inconclusive);
}

#[test]
fn smaller_can_be_better() {
    let claim = |larger: bool| {
        json!({ "id": "c", "text": "c", "non_inferior": { "metric": "test_accuracy", "margin": 0.1,
            "larger_is_better": larger, "arm": "arm", "to": "reference" } })
    };
    let lost = [2.0, 2.1, 1.9, 2.0, 2.0];
    assert_eq!(verdict(&pair(&SPREAD, &lost, claim(true)), "c").outcome, Outcome::Fail);
    assert_eq!(verdict(&pair(&SPREAD, &lost, claim(false)), "c").outcome, Outcome::Pass);
}

#[test]
fn a_claim_about_nothing_that_ran_has_no_data() {
    let mut fixture = Fixture::new("pair", "?");
    fixture.claim(non_inferior(1.0));
    assert_eq!(verdict(&fixture, "c").outcome, Outcome::NoData);
}

#[test]
fn a_pass_waits_for_the_trials_that_did_not_finish() {
    let mut fixture = pair(&SPREAD, &[0.4, 0.6, 0.5, 0.4, 0.6], non_inferior(1.0));
    fixture.unfinished(trial("pair", "arm", &[], 6, json!({})), "out of memory");
    let verdict = verdict(&fixture, "c");
    assert_eq!(verdict.outcome, Outcome::Inconclusive);
    assert!(verdict.measured.ends_with("1 trial did not finish"), "{}", verdict.measured);
}

#[test]
fn equality_is_seed_by_seed_and_names_the_first_difference() {
    let mut fixture = fixture::quickstart();
    assert_eq!(verdict(&fixture, "same-weights").outcome, Outcome::Pass);
    assert_eq!(verdict(&fixture, "same-weights").n, 3);
    fixture.outcomes[4].as_mut().unwrap().0.weights_hash = "f".repeat(64);
    let found = verdict(&fixture, "same-weights");
    assert_eq!(found.outcome, Outcome::Fail);
    assert!(found.measured.starts_with("seed 2: single_memory has "), "{}", found.measured);
    assert!(found.measured.contains("single_direct has ffffffff"), "{}", found.measured);
}

#[test]
fn a_bound_on_a_mean_needs_an_interval_and_one_on_bytes_does_not() {
    let bound = |metric: &str, at_most: f64| json!({ "id": "c", "text": "c", "bound": { "metric": metric, "arm": "arm", "at_most": at_most } });
    let outcome = |seeds: usize, metric: &str, at_most: f64| {
        verdict(&pair(&SPREAD[..seeds], &[0.0; 5][..seeds], bound(metric, at_most)), "c").outcome
    };
    assert_eq!(outcome(1, "test_accuracy", 99.0), Outcome::Inconclusive);
    assert_eq!(outcome(5, "test_accuracy", 99.0), Outcome::Pass);
    assert_eq!(outcome(5, "test_accuracy", 94.0), Outcome::Inconclusive);
    assert_eq!(outcome(5, "test_accuracy", 80.0), Outcome::Fail);
    assert_eq!(outcome(1, "steps", 4300.0), Outcome::Pass);
    assert_eq!(outcome(1, "steps", 4299.0), Outcome::Fail);
}

#[test]
fn a_bound_on_peak_memory_holds_for_every_trial_and_not_for_their_mean() {
    let mut fixture = fixture::quickstart();
    assert_eq!(verdict(&fixture, "small").outcome, Outcome::Pass);
    fixture.outcomes[3].as_mut().unwrap().0.peak_rss_bytes = 51 << 20;
    assert_eq!(verdict(&fixture, "small").outcome, Outcome::Fail);
}

#[test]
fn a_sequence_stops_at_the_first_value_that_does_not_pass() {
    let mut fixture = fixture::comm_interval();
    let outcomes = |fixture: &Fixture| {
        [1, 10, 1000].map(|interval| verdict(fixture, &format!("local-loss-holds-{interval}")).outcome)
    };
    assert_eq!(outcomes(&fixture), [Outcome::Pass; 3]);
    for ((trial, outcome), spread) in
        fixture.study.trials.iter().zip(&mut fixture.outcomes).zip([-9.0, 9.0].iter().cycle())
    {
        if trial.arm == "local_loss" && trial.factors.values().any(|value| *value == json!(10)) {
            outcome.as_mut().unwrap().0.test_accuracy += spread;
        }
    }
    assert_eq!(outcomes(&fixture), [Outcome::Pass, Outcome::Inconclusive, Outcome::Inconclusive]);
    let last = verdict(&fixture, "local-loss-holds-1000");
    assert!(last.measured.contains("the sequence stopped at `local-loss-holds-10`"), "{}", last.measured);
}

/// Breaks one trial of the quickstart study and gives the invariant's outcome.
fn broken(id: &str, break_it: impl Fn(&mut Summary)) -> Outcome {
    let mut fixture = fixture::quickstart();
    assert_eq!(verdict(&fixture, id).outcome, Outcome::Pass);
    break_it(&mut fixture.outcomes[3].as_mut().unwrap().0);
    verdict(&fixture, id).outcome
}

#[test]
fn every_invariant_is_seen_to_break() {
    assert_eq!(broken("invariant.equal-weights", |one| one.weights_hash = "0".repeat(64)), Outcome::Fail);
    assert_eq!(broken("invariant.planned-io", |one| one.bytes_read += 1), Outcome::Fail);
    assert_eq!(broken("invariant.memory-budget", |one| one.peak_rss_bytes = (48 + 150) << 20), Outcome::Pass);
    assert_eq!(
        broken("invariant.memory-budget", |one| one.peak_rss_bytes = ((48 + 150) << 20) + 1),
        Outcome::Fail
    );
}

#[test]
fn a_baseline_survives_its_file_and_equals_itself() {
    let results = results(&fixture::quickstart());
    let baseline = Baseline::of(&results);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quickstart.json");
    baseline.save(&path).unwrap();
    assert_eq!(Baseline::load(&path).unwrap(), baseline);
    let verdicts = check(&results, Some(&baseline));
    let compared: Vec<&Verdict> =
        verdicts.iter().filter(|verdict| verdict.id.starts_with("baseline.")).collect();
    assert_eq!(compared.len(), 4);
    assert!(
        compared
            .iter()
            .all(|verdict| verdict.outcome == Outcome::Pass && verdict.measured.contains("bit for bit"))
    );
}

#[test]
fn drift_from_a_baseline_is_tested_for_equivalence() {
    let baseline = Baseline::of(&results(&fixture::quickstart()));
    let drifted = |drift: [f64; 3]| {
        let mut fixture = fixture::quickstart();
        for (index, drift) in drift.into_iter().enumerate() {
            let summary = &mut fixture.outcomes[index].as_mut().unwrap().0;
            summary.weights_hash = "1".repeat(64);
            summary.test_accuracy -= drift;
        }
        let verdicts = check(&results(&fixture), Some(&baseline));
        verdicts.into_iter().find(|verdict| verdict.id == "baseline.single_memory").unwrap()
    };
    let near = drifted([0.1, 0.12, 0.08]);
    assert_eq!(near.outcome, Outcome::Pass);
    assert!(near.measured.contains("on the same machine and build"), "{}", near.measured);
    assert_eq!(drifted([2.0, 2.1, 1.9]).outcome, Outcome::Fail);
    assert_eq!(drifted([0.4, -0.3, 0.9]).outcome, Outcome::Inconclusive);
}
