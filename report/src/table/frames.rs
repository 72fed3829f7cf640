//! Tables for machines: data frames, which become the CSV files that every printed number can be traced to.

use std::collections::BTreeSet;

use polars::prelude::{AnyValue, Column, DataFrame, NamedFrom, PolarsResult, Series};
use spillbench_schema::{Summary, trial::plain};

use crate::{
    results::{Results, Run},
    statistics::{Estimate, median},
};

/// A number of a summary, by its column's name.
pub type Number = (&'static str, fn(&Summary) -> f64);

/// The numbers of a summary that are aggregated over seeds, by their column's name.
pub const NUMBERS: [Number; 22] = [
    ("test_accuracy", |summary| summary.test_accuracy),
    ("test_loss", |summary| summary.test_loss),
    ("train_loss", |summary| summary.train_loss),
    ("wall_s", |summary| summary.wall_s),
    ("train_s", |summary| summary.train_s),
    ("step_time_median_s", |summary| summary.step_time_s.median),
    ("step_time_p05_s", |summary| summary.step_time_s.p05),
    ("step_time_p95_s", |summary| summary.step_time_s.p95),
    ("samples_per_s", |summary| summary.samples_per_s),
    ("peak_rss_bytes", |summary| summary.peak_rss_bytes as f64),
    ("bytes_read", |summary| summary.bytes_read as f64),
    ("bytes_written", |summary| summary.bytes_written as f64),
    ("io_planned_bytes", |summary| summary.io_planned_bytes as f64),
    ("io_floor_bytes", |summary| summary.io_floor_bytes as f64),
    ("bytes_communicated", |summary| summary.bytes_communicated as f64),
    ("steps", |summary| summary.steps as f64),
    ("compute_s", |summary| summary.time_s.compute),
    ("read_wait_s", |summary| summary.time_s.read_wait),
    ("write_wait_s", |summary| summary.time_s.write_wait),
    ("buffer_wait_s", |summary| summary.time_s.buffer_wait),
    ("comm_wait_s", |summary| summary.time_s.comm_wait),
    ("idle_s", |summary| summary.time_s.idle),
];

/// One row a finished trial, in the study's order: what it is, then [`NUMBERS`], then its hashes.
///
/// # Errors
/// None but a bug's.
pub fn trials(results: &Results) -> PolarsResult<DataFrame> {
    let runs = &results.runs;
    let text = |name: &str, value: &dyn Fn(&Run) -> String| {
        Column::new(name.into(), runs.iter().map(value).collect::<Vec<String>>())
    };
    let mut columns = vec![
        text("trial_id", &|run| run.summary.trial_id.clone()),
        text("configuration", &|run| run.trial.label()),
        text("arm", &|run| run.trial.arm.clone()),
    ];
    let factors: BTreeSet<&String> = runs.iter().flat_map(|run| run.trial.factors.keys()).collect();
    columns.extend(
        factors
            .iter()
            .map(|factor| text(factor, &|run| run.trial.factors.get(*factor).map_or(String::new(), plain))),
    );
    columns.push(Column::new("seed".into(), runs.iter().map(|run| run.trial.seed).collect::<Vec<u64>>()));
    columns.push(text("parallelism", &|run| run.summary.parallelism.clone()));
    columns.push(text("storage_mode", &|run| run.summary.storage_mode.clone()));
    let count = |name: &str, value: &dyn Fn(&Summary) -> Option<u64>| {
        Column::new(name.into(), runs.iter().map(|run| value(&run.summary)).collect::<Vec<Option<u64>>>())
    };
    columns.push(count("ranks", &|summary| Some(summary.ranks as u64)));
    columns.push(count("threads", &|summary| Some(summary.threads as u64)));
    columns.push(count("parameters", &|summary| Some(summary.parameters)));
    columns.push(count("memory_budget_bytes", &|summary| summary.memory_budget_bytes));
    columns.extend(NUMBERS.map(|(name, value)| {
        Column::new(name.into(), runs.iter().map(|run| value(&run.summary)).collect::<Vec<f64>>())
    }));
    let predicted = |run: &Run| run.summary.predicted.as_ref().map(|said| said.step_time_s);
    if runs.iter().any(|run| predicted(run).is_some()) {
        columns.push(number_column("predicted_step_time_s", runs.iter().map(predicted).collect()));
    }
    columns.push(text("science_hash", &|run| run.summary.science_hash.clone()));
    columns.push(text("weights_hash", &|run| run.summary.weights_hash.clone()));
    DataFrame::new(runs.len(), columns)
}

/// One row a configuration, in the study's order: `seeds`, and for each of [`NUMBERS`] its mean, its median and the
/// ends of the mean's 95 % interval, which are empty for a single seed.
///
/// # Errors
/// None but a bug's.
pub fn configurations(trials: &DataFrame) -> PolarsResult<DataFrame> {
    if trials.height() == 0 {
        return Ok(DataFrame::empty());
    }
    trials.group_by_stable(["configuration"])?.apply(|group| aggregate(&group))
}

fn aggregate(group: &DataFrame) -> PolarsResult<DataFrame> {
    let first = |name: &str| -> PolarsResult<Column> { Ok(group.column(name)?.head(Some(1))) };
    let mut columns = ["configuration", "arm", "parallelism", "storage_mode", "ranks", "memory_budget_bytes"]
        .into_iter()
        .map(first)
        .collect::<PolarsResult<Vec<Column>>>()?;
    columns.push(Column::new("seeds".into(), [group.height() as u64]));
    for (name, _) in NUMBERS {
        let sample: Vec<f64> = group.column(name)?.f64()?.into_no_null_iter().collect();
        let Some(estimate) = Estimate::of(&sample) else { continue };
        let mut push = |part: &str, value: Option<f64>| {
            columns.push(Column::new(format!("{name}.{part}").into(), [value]));
        };
        push("mean", Some(estimate.mean));
        push("low", estimate.interval.map(|interval| interval.low));
        push("high", estimate.interval.map(|interval| interval.high));
        push("median", median(&sample));
    }
    DataFrame::new(1, columns)
}

/// One column of text.
pub fn text_column(name: &str, values: Vec<String>) -> Column {
    Column::from(Series::new(name.into(), values))
}

/// One column of numbers, none where there is no number.
pub fn number_column(name: &str, values: Vec<Option<f64>>) -> Column {
    Column::from(Series::new(name.into(), values))
}

/// A data frame as CSV (RFC 4180, lines end in `\n`). Numbers are written so that they read back exactly; what is
/// missing is empty. polars can write CSV too, at the price of two more of its largest crates in every build.
///
/// # Errors
/// None but a bug's.
pub fn csv(frame: &DataFrame) -> PolarsResult<String> {
    let names: Vec<String> = frame.columns().iter().map(|column| quoted(column.name())).collect();
    let mut text = names.join(",") + "\n";
    for row in 0..frame.height() {
        let cells = frame.columns().iter().map(|column| Ok(cell(&column.get(row)?)));
        text += &cells.collect::<PolarsResult<Vec<String>>>()?.join(",");
        text.push('\n');
    }
    Ok(text)
}

fn cell(value: &AnyValue<'_>) -> String {
    match value {
        AnyValue::Null => String::new(),
        AnyValue::Float64(number) => number.to_string(),
        AnyValue::UInt64(number) => number.to_string(),
        other => quoted(&other.str_value()),
    }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use polars::prelude::DataFrame;

    use super::{csv, number_column, text_column};

    #[test]
    fn cells_are_quoted_where_they_must_be_and_empty_where_nothing_is() {
        let frame = DataFrame::new(
            3,
            vec![
                text_column("name", vec!["plain".into(), "a, b".into(), "say \"x\"".into()]),
                number_column("value", vec![Some(0.1), None, Some(3e9)]),
            ],
        )
        .unwrap();
        assert_eq!(csv(&frame).unwrap(), "name,value\nplain,0.1\n\"a, b\",\n\"say \"\"x\"\"\",3000000000\n");
    }
}
