//! Claims about arms that diverged. A seed that diverged is a result against the claim: it is neither left out of a
//! mean nor waited for.

use std::collections::BTreeMap;

use spillbench_schema::{
    Trial,
    claim::{Claim, Selector},
};

use crate::{
    results::{Diverged, Results},
    verdict::Outcome,
};

/// What diverged trials make of a claim, with the reason; none where they do not bear on it.
pub fn decide(results: &Results, claim: &Claim) -> Option<(Outcome, String)> {
    let among =
        |selectors: &[&Selector]| results.diverged.iter().find(|each| selects(selectors, &each.trial));
    let fails = |each: &Diverged| (Outcome::Fail, reason(each));
    if let Some(rule) = &claim.bound {
        return among(&[&rule.arm]).map(fails);
    }
    if let Some(rule) = &claim.non_inferior {
        return among(&[&rule.arm, &rule.to]).map(fails);
    }
    let selectors: Vec<&Selector> = claim.equal.as_ref()?.arms.iter().collect();
    let first = among(&selectors)?;
    Some(if all_diverge_alike(results, &selectors) {
        (Outcome::Pass, format!("all diverged, seed by seed at the same step: {}", reason(first)))
    } else {
        fails(first)
    })
}

/// `arm seed 2 diverged at step 120`.
pub fn reason(each: &Diverged) -> String {
    format!("{} seed {} diverged at step {}", each.trial.label(), each.trial.seed, each.divergence.step)
}

/// Whether each chosen trial diverged, and those of a seed at the same step.
fn all_diverge_alike(results: &Results, selectors: &[&Selector]) -> bool {
    let finished = results.runs.iter().any(|run| selects(selectors, &run.trial));
    let missing = results.unfinished.iter().any(|each| selects(selectors, &each.trial));
    let mut steps: BTreeMap<u64, u64> = BTreeMap::new();
    let alike =
        results.diverged.iter().filter(|each| selects(selectors, &each.trial)).all(|each| {
            *steps.entry(each.trial.seed).or_insert(each.divergence.step) == each.divergence.step
        });
    alike && !finished && !missing
}

fn selects(selectors: &[&Selector], trial: &Trial) -> bool {
    selectors.iter().any(|chosen| chosen.selects(&trial.arm, &trial.factors))
}
