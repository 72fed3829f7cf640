//! The fixed sequence for claims that ask the same question at several values of one factor.
//!
//! Testing "not inferior" at K = 1, 5, 10, … gives chance as many opportunities to pass as there are values. Taken in
//! ascending order, and stopping at the first that does not pass, the whole sequence errs no more often than one
//! test (Maurer, Hothorn and Lehmacher 1995). Only passes need this protection: a failure stays one.

use std::collections::BTreeMap;

use serde_json::Value;
use spillbench_schema::claim::{Claim, NonInferior, Selector};

use crate::verdict::{Outcome, Verdict};

/// Withdraws each pass that comes, in its sequence, after a claim that did not pass. `verdicts[i]` is of `claims[i]`.
pub fn gate(claims: &[Claim], verdicts: &mut [Verdict]) {
    let mut sequences: BTreeMap<String, Vec<(f64, usize)>> = BTreeMap::new();
    for (index, claim) in claims.iter().enumerate() {
        if let Some((sequence, value)) = claim.non_inferior.as_ref().and_then(place) {
            sequences.entry(sequence).or_default().push((value, index));
        }
    }
    for places in sequences.values_mut() {
        places.sort_by(|left, right| left.0.total_cmp(&right.0));
        let stop = places.iter().position(|(_, index)| verdicts[*index].outcome != Outcome::Pass);
        let Some(stop) = stop else { continue };
        let cause = verdicts[places[stop].1].id.clone();
        for (_, index) in &places[stop + 1..] {
            let verdict = &mut verdicts[*index];
            if verdict.outcome == Outcome::Pass {
                verdict.outcome = Outcome::Inconclusive;
                verdict.measured =
                    format!("{}; not counted, the sequence stopped at `{cause}`", verdict.measured);
                verdict.remedy =
                    Some(format!("settle `{cause}` first: the sequence is tested in ascending order"));
            }
        }
    }
}

/// The sequence that a claim belongs to, and its place: claims equal in all but the value of one numeric factor.
fn place(rule: &NonInferior) -> Option<(String, f64)> {
    let Selector::Point(point) = &rule.arm else { return None };
    let (arm, factors) = point.iter().next()?;
    let [(key, value)] = factors.iter().collect::<Vec<(&String, &Value)>>()[..] else { return None };
    let sequence = format!("{arm} {key} {} {:?}", rule.metric, rule.to);
    Some((sequence, value.as_f64()?))
}
