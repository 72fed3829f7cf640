//! How much faster than what: each configuration against the first, whose absolute time is stated.

use polars::prelude::{DataFrame, PolarsResult};

use super::{Heading, NOTHING, Table, frames};
use crate::{
    format,
    results::{Configuration, Results},
    statistics::{Interval, karp_flatt, median, ratio_of_medians},
};

/// Resampling is part of the report, not of the study: any fixed number would do.
const BOOTSTRAP_SEED: u64 = 1;

struct Row {
    label: String,
    ranks: usize,
    train_s: f64,
    speed_up: f64,
    interval: Option<Interval>,
    serial: Option<f64>,
}

/// Ratio of the base case's median training time to each configuration's, with its bootstrap interval over seeds,
/// and the serial fraction where the base case is one rank. None where there is nothing to compare.
///
/// # Errors
/// None but a bug's.
pub fn table(results: &Results) -> PolarsResult<Option<(Table, DataFrame)>> {
    let configurations = results.configurations();
    let Some((base, others)) = configurations.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Ok(None);
    };
    let rows: Vec<Row> =
        [base].into_iter().chain(others).filter_map(|configuration| row(base, configuration)).collect();
    if rows.len() < 2 {
        return Ok(None);
    }
    Ok(Some((print(&rows), frame(&rows)?)))
}

fn row(base: &Configuration<'_>, configuration: &Configuration<'_>) -> Option<Row> {
    let times = |configuration: &Configuration<'_>| configuration.sample(|summary| summary.train_s);
    let ranks = configuration.runs[0].summary.ranks;
    let (speed_up, interval) = ratio_of_medians(&times(base), &times(configuration), BOOTSTRAP_SEED)?;
    let sequential = base.runs[0].summary.ranks == 1;
    let serial = if sequential { karp_flatt(speed_up, ranks) } else { None };
    let train_s = median(&times(configuration))?;
    Some(Row { label: configuration.label.clone(), ranks, train_s, speed_up, interval, serial })
}

fn print(rows: &[Row]) -> Table {
    let columns = vec![
        Heading::words("configuration"),
        Heading::quantity("ranks"),
        Heading::quantity("training time"),
        Heading::quantity("speed-up"),
        Heading::quantity("95 % interval"),
        Heading::quantity("serial fraction"),
    ];
    let base = &rows[0];
    let cells = rows.iter().enumerate().map(|(index, row)| {
        let range = |interval: Interval| format!("{:.2} to {:.2}", interval.low, interval.high);
        vec![
            row.label.clone(),
            row.ranks.to_string(),
            format::seconds(row.train_s),
            format!("{:.2}", row.speed_up),
            if index == 0 { NOTHING.to_owned() } else { row.interval.map_or(NOTHING.to_owned(), range) },
            row.serial.map_or(NOTHING.to_owned(), |serial| format!("{serial:.2}")),
        ]
    });
    let note = format!(
        "Measured wall time of training on this machine, median over seeds. Base case: {}, {}. Interval: bootstrap of \
         the ratio of medians. Serial fraction: Karp and Flatt.",
        base.label,
        format::seconds(base.train_s)
    );
    Table { rows: cells.collect(), columns, notes: vec![note] }
}

fn frame(rows: &[Row]) -> PolarsResult<DataFrame> {
    let numbers = |value: fn(&Row) -> Option<f64>| rows.iter().map(value).collect();
    DataFrame::new(
        rows.len(),
        vec![
            frames::text_column("configuration", rows.iter().map(|row| row.label.clone()).collect()),
            frames::number_column("ranks", numbers(|row| Some(row.ranks as f64))),
            frames::number_column("train_s.median", numbers(|row| Some(row.train_s))),
            frames::number_column("speed_up", numbers(|row| Some(row.speed_up))),
            frames::number_column("speed_up.low", numbers(|row| row.interval.map(|interval| interval.low))),
            frames::number_column("speed_up.high", numbers(|row| row.interval.map(|interval| interval.high))),
            frames::number_column("serial_fraction", numbers(|row| row.serial)),
        ],
    )
}
