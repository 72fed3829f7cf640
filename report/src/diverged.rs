//! How a report tells of trials that diverged. They are results without an accuracy, so they are counted and named
//! beside the numbers of the others, and never enter a mean.

use std::collections::BTreeSet;

use polars::prelude::{DataFrame, PolarsResult};

use crate::{
    results::{Diverged, Results},
    table::{Heading, Table, frames},
};

/// The mark of a diverged trial in tables and charts.
pub const SIGN: &str = "✗";

/// `✗ diverged at step 120 (2 of 5 seeds)`; nothing where no seed of `label` diverged.
pub fn cell(results: &Results, label: &str) -> Option<String> {
    let diverged: Vec<&Diverged> =
        results.diverged.iter().filter(|each| each.trial.label() == label).collect();
    let steps: BTreeSet<u64> = diverged.iter().map(|each| each.divergence.step).collect();
    let (first, last) = (steps.first()?, steps.last()?);
    let at = if first == last { format!("step {first}") } else { format!("steps {first} to {last}") };
    let seeds = results.study.trials.iter().filter(|trial| trial.label() == label).count();
    let plural = if seeds == 1 { "seed" } else { "seeds" };
    Some(format!("{SIGN} diverged at {at} ({} of {seeds} {plural})", diverged.len()))
}

/// What figures leave out, for under each of them; none where nothing diverged.
pub fn note(results: &Results) -> Option<String> {
    let parts: Vec<String> = labels(results)
        .iter()
        .filter_map(|label| Some(format!("{label}: {}", cell(results, label)?)))
        .collect();
    (!parts.is_empty()).then(|| format!("Diverged, and in no mean, line or bar: {}.", parts.join("; ")))
}

/// One row a diverged trial, for people and for machines.
///
/// # Errors
/// None but a bug's.
pub fn table(results: &Results) -> PolarsResult<Option<(Table, DataFrame)>> {
    if results.diverged.is_empty() {
        return Ok(None);
    }
    let text =
        |value: fn(&Diverged) -> String| -> Vec<String> { results.diverged.iter().map(value).collect() };
    let losses = |each: &Diverged| {
        let losses = each.divergence.last_losses.iter().map(|loss| format!("{loss:.4e}"));
        losses.collect::<Vec<_>>().join(", ")
    };
    let rows = results.diverged.iter().map(|each| {
        vec![each.trial.id(), each.divergence.step.to_string(), losses(each), each.divergence.to_string()]
    });
    let table = Table {
        columns: vec![
            Heading::words("trial"),
            Heading::quantity("step"),
            Heading::words("last losses"),
            Heading::words("message"),
        ],
        rows: rows.collect(),
        notes: Vec::new(),
    };
    let steps = results.diverged.iter().map(|each| Some(each.divergence.step as f64)).collect();
    let columns = vec![
        frames::text_column("trial", text(|each| each.trial.id())),
        frames::text_column("configuration", text(|each| each.trial.label())),
        frames::number_column(
            "seed",
            results.diverged.iter().map(|each| Some(each.trial.seed as f64)).collect(),
        ),
        frames::number_column("step", steps),
        frames::text_column("last_losses", results.diverged.iter().map(losses).collect()),
    ];
    Ok(Some((table, DataFrame::new(results.diverged.len(), columns)?)))
}

/// The labels of all configurations that have a result, in the study's order.
pub fn labels(results: &Results) -> Vec<String> {
    let with_result: BTreeSet<String> = results
        .runs
        .iter()
        .map(|run| run.trial.label())
        .chain(results.diverged.iter().map(|each| each.trial.label()))
        .collect();
    let mut labels: Vec<String> = Vec::new();
    for label in results.study.trials.iter().map(spillbench_schema::Trial::label) {
        if with_result.contains(&label) && !labels.contains(&label) {
            labels.push(label);
        }
    }
    labels
}
