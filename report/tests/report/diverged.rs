//! Diverged trials: told in tables, charts and verdicts, and in no mean.

use std::path::PathBuf;

use serde_json::json;
use spillbench_report::{Baseline, Outcome, Results, check, comparison_text, write};

use crate::fixture::{self, Fixture, summary, trial};

/// One arm against a factor; the last of three seeds diverges at the largest value.
fn one_of_three(claims: &[serde_json::Value]) -> Fixture {
    let mut fixture = Fixture::new("rates", "Which batch sizes train?");
    for claim in claims {
        fixture.claim(claim.clone());
    }
    for batch in [16, 32, 64] {
        for seed in 1..=3 {
            let train =
                json!({ "optimizer": { "sgd": { "learning_rate": 0.1 } }, "batch_size": batch, "epochs": 5 });
            let factors = [("train.batch_size", json!(batch))];
            let trial = trial("rates", "arm", &factors, seed, json!({ "train": train }));
            if (batch, seed) == (64, 3) {
                fixture.diverged(trial, 120);
            } else {
                let summary = summary(&trial, 90.0 + seed as f64 / 10.0 + f64::from(batch) / 50.0);
                fixture.finished(trial, summary, 0.1);
            }
        }
    }
    fixture
}

fn results(fixture: &Fixture) -> Results {
    let folder = tempfile::tempdir().unwrap();
    fixture.write(folder.path());
    fixture::load(folder.path()).unwrap()
}

fn outcome(fixture: &Fixture) -> (Outcome, String) {
    let verdict = check(&results(fixture), None).into_iter().find(|verdict| verdict.id == "c").unwrap();
    (verdict.outcome, verdict.measured)
}

#[test]
fn a_table_names_the_diverged_seed_beside_the_mean_of_the_others() {
    let text = comparison_text(&results(&one_of_three(&[])));
    assert!(text.contains("✗ diverged at step 120 (1 of 3 seeds)"), "{text}");
    // The mean of seeds 1 and 2 at 64.
    assert!(text.contains("91.43 ±"), "{text}");
}

#[test]
fn an_arm_whose_seeds_all_diverged_has_a_row_without_numbers() {
    let mut fixture = Fixture::new("all", "?");
    fixture.diverged(trial("all", "arm", &[], 1, json!({})), 7);
    let text = comparison_text(&results(&fixture));
    assert!(text.contains("✗ diverged at step 7 (1 of 1 seed)"), "{text}");
    assert!(!text.contains("NaN"), "{text}");
}

#[test]
fn a_bound_that_the_other_seeds_meet_fails_for_a_diverged_one() {
    let claim = json!({ "id": "c", "text": "c",
        "bound": { "metric": "test_accuracy", "arm": "arm", "at_least": 10.0 } });
    let (found, measured) = outcome(&one_of_three(&[claim]));
    assert_eq!(found, Outcome::Fail);
    assert!(measured.contains("seed 3 diverged at step 120"), "{measured}");
}

#[test]
fn no_arm_with_a_diverged_seed_is_non_inferior() {
    let mut fixture = Fixture::new("pair", "?");
    fixture
        .claim(json!({ "id": "c", "text": "c", "non_inferior": { "metric": "test_accuracy", "margin": 5.0,
        "larger_is_better": true, "arm": "arm", "to": "reference" } }));
    for seed in 1..=5 {
        for (arm, rate) in [("arm", 0.1), ("reference", 0.2)] {
            let train =
                json!({ "optimizer": { "sgd": { "learning_rate": rate } }, "batch_size": 64, "epochs": 5 });
            let trial = trial("pair", arm, &[], seed, json!({ "train": train }));
            let summary = summary(&trial, 95.0 + seed as f64 / 10.0);
            fixture.finished(trial, summary, 0.1);
        }
    }
    assert_eq!(outcome(&fixture).0, Outcome::Pass);
    fixture.diverged(trial("pair", "arm", &[], 6, json!({})), 4);
    assert_eq!(outcome(&fixture).0, Outcome::Fail);
}

#[test]
fn diverged_trials_are_equal_only_where_all_diverged_at_the_same_step() {
    let two = |second: Option<u64>| {
        let mut fixture = Fixture::new("two", "?");
        fixture.claim(
            json!({ "id": "c", "text": "c", "equal": { "metric": "weights_hash", "arms": ["a", "b"] } }),
        );
        fixture.diverged(trial("two", "a", &[], 1, json!({})), 4);
        let trial = trial("two", "b", &[], 1, json!({}));
        if let Some(step) = second {
            fixture.diverged(trial, step);
        } else {
            let summary = summary(&trial, 90.0);
            fixture.finished(trial, summary, 0.1);
        }
        fixture
    };
    assert_eq!(outcome(&two(Some(4))).0, Outcome::Pass);
    assert_eq!(outcome(&two(Some(5))).0, Outcome::Fail);
    assert_eq!(outcome(&two(None)).0, Outcome::Fail);
    let verdicts = check(&results(&two(None)), None);
    let invariant = verdicts.iter().find(|verdict| verdict.id == "invariant.equal-weights").unwrap();
    assert_eq!(invariant.outcome, Outcome::Fail, "of equal science and seed, one diverged");
}

#[test]
fn a_baseline_records_divergence_and_is_not_met_by_a_diverged_seed() {
    let results = results(&one_of_three(&[]));
    let baseline = Baseline::of(&results);
    assert_eq!(baseline.diverged.values().next().unwrap()[&3], 120);
    let verdicts = check(&results, Some(&baseline));
    let failed: Vec<_> = verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Fail).collect();
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(failed.iter().all(|verdict| verdict.measured.contains("diverged at step 120")), "{failed:?}");
}

#[test]
fn every_figure_and_the_page_tell_of_diverged_seeds() {
    let results = results(&one_of_three(&[]));
    let kept = std::env::var_os("SPILLBENCH_KEEP_DIVERGED_REPORT").map(PathBuf::from);
    let folder = tempfile::tempdir().unwrap();
    let out = kept.as_deref().unwrap_or(folder.path());
    let paths = write(&results, &[], out).unwrap();
    let page = std::fs::read_to_string(paths.markdown).unwrap();
    assert!(page.contains("8 of 9 trials finished, 1 diverged."), "{page}");
    assert!(page.contains("### Trials that diverged"), "{page}");
    let figures = paths.figures.len() / 2;
    assert!(figures > 3);
    assert_eq!(page.matches("Diverged, and in no mean, line or bar:").count(), figures);
    let against =
        paths.figures.iter().find(|path| path.ends_with("test-accuracy-against-batch-size.svg")).unwrap();
    assert!(std::fs::read_to_string(against).unwrap().contains("1 diverged"));
}
