//! What Spillbench promises of every study, held against every trial.

use std::collections::BTreeMap;

use spillbench_schema::{Bytes, Summary};

use crate::{
    format,
    results::Results,
    verdict::{Origin, Outcome, Verdict},
};

/// The program itself, its stacks and tables: what peak memory may exceed the budget by.
const BEYOND_BUDGET: Bytes = Bytes(150 << 20);

/// One verdict for each promise that the finished trials can show.
pub fn decide(results: &Results) -> Vec<Verdict> {
    [equal_weights(results), memory_budget(results), planned_io(results)].into_iter().flatten().collect()
}

/// Storage, ranks and threads never change a result.
fn equal_weights(results: &Results) -> Option<Verdict> {
    let mut groups: BTreeMap<(&str, u64), Vec<&Summary>> = BTreeMap::new();
    for run in &results.runs {
        groups.entry((&run.summary.science_hash, run.trial.seed)).or_default().push(&run.summary);
    }
    let beside_diverged = results.diverged.iter().find_map(|each| {
        let divergence = &each.divergence;
        let finished = groups.get(&(divergence.science_hash.as_str(), each.trial.seed))?.first()?;
        Some(format!("{} diverged, {} finished", divergence.trial_id, finished.trial_id))
    });
    groups.retain(|_, summaries| summaries.len() > 1 || beside_diverged.is_some());
    let broken = beside_diverged.or_else(|| {
        groups.values().find_map(|summaries| {
            let first = summaries[0];
            let other = summaries.iter().find(|summary| summary.weights_hash != first.weights_hash)?;
            Some(format!(
                "{} ended with weights {}, {} with {}",
                first.trial_id,
                format::short_hash(&first.weights_hash),
                other.trial_id,
                format::short_hash(&other.weights_hash)
            ))
        })
    });
    let held = format!(
        "{} of equal science and seed, equal weights in each",
        format::counted(groups.len(), "group")
    );
    verdict(
        "invariant.equal-weights",
        "Storage and ranks never change a result: trials of equal science and seed end with equal weights.",
        groups.values().map(Vec::len).sum(),
        broken,
        held,
    )
}

/// Peak memory stays within the budget where that is promised.
fn memory_budget(results: &Results) -> Option<Verdict> {
    let budgeted: Vec<(&Summary, u64)> = results
        .runs
        .iter()
        .filter(|run| run.summary.storage_mode == "direct")
        .filter_map(|run| Some((&run.summary, run.summary.memory_budget_bytes?)))
        .collect();
    let excess =
        |(summary, budget): &(&Summary, u64)| i128::from(summary.peak_rss_bytes) - i128::from(*budget);
    let most = budgeted.iter().max_by_key(|trial| excess(trial))?;
    let measured = format!(
        "{}: peak {} under a budget of {}",
        most.0.trial_id,
        Bytes(most.0.peak_rss_bytes),
        Bytes(most.1)
    );
    let broken = (excess(most) > i128::from(BEYOND_BUDGET.0)).then(|| measured.clone());
    verdict(
        "invariant.memory-budget",
        &format!("Under direct storage, peak resident memory stays within the budget plus {BEYOND_BUDGET}."),
        budgeted.len(),
        broken,
        format!("nearest to the limit, {measured}"),
    )
}

/// The plan is what happens: bytes moved are those the schedule names.
fn planned_io(results: &Results) -> Option<Verdict> {
    let summaries = || results.runs.iter().map(|run| &run.summary);
    let broken = summaries().find_map(|summary| {
        let moved = summary.bytes_read + summary.bytes_written;
        (moved != summary.io_planned_bytes)
            .then(|| format!("{}: {moved} B moved, {} B planned", summary.trial_id, summary.io_planned_bytes))
    });
    let total: u64 = summaries().map(|summary| summary.io_planned_bytes).sum();
    verdict(
        "invariant.planned-io",
        "Training moves exactly the bytes that its schedule says.",
        results.runs.len(),
        broken,
        format!("{} planned and moved in all", Bytes(total)),
    )
}

fn verdict(id: &str, text: &str, n: usize, broken: Option<String>, held: String) -> Option<Verdict> {
    (n > 0).then(|| Verdict {
        origin: Origin::Invariant,
        id: id.to_owned(),
        text: text.to_owned(),
        outcome: if broken.is_some() { Outcome::Fail } else { Outcome::Pass },
        remedy: broken.as_ref().map(|_| "this is a bug: please report it with the trial's folder".to_owned()),
        measured: broken.unwrap_or(held),
        n,
    })
}
