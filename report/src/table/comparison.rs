//! The comparison of configurations: the table at the end of a run and at the head of a report.

use spillbench_schema::Bytes;

use super::{Heading, NOTHING, Table};
use crate::{
    diverged, format,
    results::{Configuration, Results},
    statistics::{Estimate, mean, median},
};

/// One row a configuration. Quantities are means over seeds (times: medians); ± is half the 95 % interval of the mean.
pub fn table(results: &Results) -> Table {
    let configurations = results.configurations();
    let finished = results.runs.iter().map(|run| run.trial.seed);
    let Some(seed) = finished.chain(results.diverged.iter().map(|each| each.trial.seed)).min() else {
        return Table {
            columns: vec![Heading::words("configuration")],
            rows: Vec::new(),
            notes: vec!["No trial has finished.".to_owned()],
        };
    };
    let predicted = configurations.iter().any(|configuration| prediction(configuration).is_some());
    let mut columns = vec![
        Heading::words("configuration"),
        Heading::quantity("seeds"),
        Heading::quantity("test accuracy (%)"),
        Heading::quantity("train loss"),
        Heading::quantity("step time"),
        Heading::quantity("samples/s"),
        Heading::quantity("peak memory"),
        Heading::quantity("budget"),
        Heading::quantity("read/step"),
        Heading::quantity("written/step"),
        Heading::quantity("sent/step"),
        Heading::words(format!("weights, seed {seed}")),
    ];
    let labels = diverged::labels(results);
    let of_label = |label: &String| configurations.iter().find(|each| each.label == *label);
    let mut rows: Vec<Vec<String>> = labels
        .iter()
        .map(|label| {
            let mut row = of_label(label)
                .map_or_else(|| row_without_numbers(label, columns.len()), |each| row(each, seed));
            if let Some(said) = diverged::cell(results, label) {
                let cell = &mut row[ACCURACY];
                *cell = if *cell == NOTHING { said } else { format!("{cell} {said}") };
            }
            row
        })
        .collect();
    if predicted {
        columns.insert(AFTER_STEP_TIME, Heading::quantity("predicted step"));
        for (row, configuration) in rows.iter_mut().zip(&labels) {
            let cell =
                of_label(configuration).and_then(prediction).map_or(NOTHING.to_owned(), format::seconds);
            row.insert(AFTER_STEP_TIME, cell);
        }
    }
    Table { columns, rows, notes: Vec::new() }
}

/// The column of accuracies.
const ACCURACY: usize = 2;

/// Of a configuration all of whose seeds diverged.
fn row_without_numbers(label: &str, columns: usize) -> Vec<String> {
    let cells = (2..columns).map(|_| NOTHING.to_owned());
    [label.to_owned(), "0".to_owned()].into_iter().chain(cells).collect()
}

/// Where the column of predictions goes: beside what was measured.
const AFTER_STEP_TIME: usize = 5;

/// Seconds of a step as the cost model predicted them before the runs.
fn prediction(configuration: &Configuration<'_>) -> Option<f64> {
    median(&configuration.predicted_step_times())
}

fn row(configuration: &Configuration<'_>, seed: u64) -> Vec<String> {
    let sample = |value: fn(&spillbench_schema::Summary) -> f64| configuration.sample(value);
    let per_step = |value: fn(&spillbench_schema::Summary) -> u64| {
        let each = configuration.sample(|summary| value(summary) as f64 / summary.steps.max(1) as f64);
        mean(&each).filter(|bytes| *bytes > 0.0).map_or(NOTHING.to_owned(), format::bytes)
    };
    let middle = |sample: Vec<f64>, show: fn(f64) -> String| median(&sample).map_or(NOTHING.to_owned(), show);
    let budget = configuration.runs[0].summary.memory_budget_bytes;
    vec![
        configuration.label.clone(),
        configuration.runs.len().to_string(),
        estimate(&sample(|summary| summary.test_accuracy), 2),
        estimate(&sample(|summary| summary.train_loss), 4),
        middle(sample(|summary| summary.step_time_s.median), format::seconds),
        middle(sample(|summary| summary.samples_per_s), |rate| format::significant(rate, 4)),
        middle(sample(|summary| summary.peak_rss_bytes as f64), format::bytes),
        budget.map_or(NOTHING.to_owned(), |budget| Bytes(budget).to_string()),
        per_step(|summary| summary.bytes_read),
        per_step(|summary| summary.bytes_written),
        per_step(|summary| summary.bytes_communicated),
        weights(configuration, seed),
    ]
}

/// `97.93 ± 0.12`, or the bare value where one seed shows no spread.
pub fn estimate(sample: &[f64], decimals: usize) -> String {
    let Some(estimate) = Estimate::of(sample) else { return NOTHING.to_owned() };
    match estimate.half_width() {
        Some(half) => format!("{:.decimals$} ± {half:.decimals$}", estimate.mean),
        None => format!("{:.decimals$}", estimate.mean),
    }
}

/// The hash of the weights that `seed` ended with: rows of equal science show the same.
fn weights(configuration: &Configuration<'_>, seed: u64) -> String {
    let run = configuration.runs.iter().find(|run| run.trial.seed == seed);
    run.map_or(NOTHING.to_owned(), |run| format::short_hash(&run.summary.weights_hash).to_owned())
}
