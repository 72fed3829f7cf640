//! Drift of test accuracy from a baseline.
//!
//! Equal weights settle it. Otherwise two one-sided tests have to show that the accuracy is the same within the
//! baseline's margin: that no difference is significant would not show that there is none.

use super::{claims::interval_text, diverged};
use crate::{
    baseline::{Baseline, Outcome as Recorded},
    format,
    results::{Configuration, Results, Run},
    statistics::equivalence,
    verdict::{Origin, Outcome, Verdict},
};

/// One verdict for each configuration of the baseline.
pub fn decide(results: &Results, baseline: &Baseline) -> Vec<Verdict> {
    let configurations = results.configurations();
    let recorded_as_diverged = baseline
        .diverged
        .iter()
        .flat_map(|(label, steps)| steps.iter().map(move |(seed, step)| (label, *seed, *step)));
    let diverged_then = recorded_as_diverged.map(|(label, seed, step)| {
        let now =
            results.diverged.iter().find(|each| each.trial.label() == *label && each.trial.seed == seed);
        Verdict {
            origin: Origin::Baseline,
            id: format!("baseline.{label}.seed-{seed}"),
            text: format!("Seed {seed} of {label} trains; in the baseline it diverged at step {step}."),
            outcome: if now.is_some() { Outcome::Fail } else { Outcome::NoData },
            measured: now.map_or_else(
                || "it has not diverged here, so there is nothing to compare".to_owned(),
                diverged::reason,
            ),
            n: usize::from(now.is_some()),
            remedy: Some(renew()),
        }
    });
    let finished_then = baseline.configurations.iter().map(|(label, recorded)| {
        let pairs: Vec<(&Run, &Recorded)> = configurations
            .iter()
            .filter(|configuration| configuration.label == *label)
            .flat_map(|configuration: &Configuration<'_>| configuration.runs.iter())
            .filter_map(|run| Some((*run, recorded.get(&run.trial.seed)?)))
            .collect();
        let here = results.diverged.iter().find(|each| each.trial.label() == *label);
        let (outcome, measured, remedy) = match here {
            Some(each) => (Outcome::Fail, diverged::reason(each), Some(renew())),
            None => compare(&pairs, baseline),
        };
        Verdict {
            origin: Origin::Baseline,
            id: format!("baseline.{label}"),
            text: format!(
                "The test accuracy of {label} is within {} points of the baseline.",
                baseline.accuracy_margin
            ),
            outcome,
            measured,
            n: pairs.len(),
            remedy,
        }
    });
    finished_then.chain(diverged_then).collect()
}

fn renew() -> String {
    "if the change is meant, make a new baseline".to_owned()
}

fn compare(pairs: &[(&Run, &Recorded)], baseline: &Baseline) -> (Outcome, String, Option<String>) {
    if pairs.is_empty() {
        let remedy = Some("run the scenario with the baseline's seeds".to_owned());
        return (Outcome::NoData, "no seed of the baseline has finished".to_owned(), remedy);
    }
    if pairs.iter().any(|(run, recorded)| run.summary.science_hash != recorded.science_hash) {
        return (Outcome::NoData, "its configuration has changed since".to_owned(), Some(renew()));
    }
    let equal =
        pairs.iter().filter(|(run, recorded)| run.summary.weights_hash == recorded.weights_hash).count();
    if equal == pairs.len() {
        return (Outcome::Pass, "the same weights, bit for bit".to_owned(), None);
    }
    let differences: Vec<f64> =
        pairs.iter().map(|(run, recorded)| recorded.test_accuracy - run.summary.test_accuracy).collect();
    let Some(judgement) = equivalence(&differences, baseline.accuracy_margin) else {
        return (Outcome::NoData, String::new(), None);
    };
    let mut measured = format!(
        "{:.2} points below the baseline {}; equal weights in {equal} of {}",
        judgement.mean,
        interval_text(judgement.interval, "90", |points| format!("{points:.2}")),
        format::counted(pairs.len(), "trial"),
    );
    if pairs.iter().all(|(run, _)| same_machine_and_build(run, baseline)) {
        measured += ", on the same machine and build";
    }
    let remedy = match (Outcome::from(judgement.decision), judgement.further) {
        (Outcome::Pass, _) => None,
        (Outcome::Inconclusive, Some(more)) => {
            Some(format!("about {} more, here and in the baseline", format::counted(more, "seed")))
        }
        (Outcome::Inconclusive, None) => Some("run more seeds, here and in the baseline".to_owned()),
        (Outcome::Fail | Outcome::NoData, _) => Some(renew()),
    };
    (judgement.decision.into(), measured, remedy)
}

/// Where weights should be equal bit for bit.
fn same_machine_and_build(run: &Run, baseline: &Baseline) -> bool {
    run.manifest.as_ref().is_some_and(|manifest| {
        Some(&manifest.machine) == baseline.machine.as_ref()
            && Some(&manifest.version) == baseline.version.as_ref()
            && manifest.git_revision.is_some()
            && manifest.git_revision == baseline.git_revision
    })
}
