//! From results to verdicts: the scenario's claims, what holds of every study, and drift from a baseline.

mod claims;
mod diverged;
mod invariants;
mod regression;
mod sequence;

use crate::{baseline::Baseline, results::Results, verdict::Verdict};

/// Decides every statement about `results`: claims in the scenario's order, then the built-in invariants that its
/// trials can show, then, where a baseline is given, one verdict for each configuration of the baseline.
pub fn check(results: &Results, baseline: Option<&Baseline>) -> Vec<Verdict> {
    let mut verdicts = claims::decide(results);
    verdicts.extend(invariants::decide(results));
    if let Some(baseline) = baseline {
        verdicts.extend(regression::decide(results, baseline));
    }
    verdicts
}
