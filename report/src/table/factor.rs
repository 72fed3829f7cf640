//! A metric against a factor: a row an arm, a column a value, published rows beside ours.

use polars::prelude::{DataFrame, PolarsResult};

use super::{Heading, NOTHING, Table, comparison::estimate, frames};
use crate::{
    metric,
    series::AgainstFactor,
    statistics::{Estimate, Interval},
};

/// Mean ± half the 95 % interval over seeds. Arms without the factor show one value, at each value of the factor.
pub fn table(series: &AgainstFactor) -> Table {
    let factor = series.factor_name();
    let mut columns = vec![Heading::words(metric::title(series.metric))];
    columns.extend(series.values.iter().map(|value| Heading::quantity(format!("{factor} {value}"))));
    let mut rows = Vec::new();
    for line in &series.lines {
        let cell = |at: &f64| {
            let point = line.points.iter().find(|(value, _)| value.total_cmp(at).is_eq());
            let said = diverged(series, &line.name, *at);
            match (point, said) {
                (Some((_, sample)), Some(said)) => format!("{} {said}", estimate(sample, 2)),
                (Some((_, sample)), None) => estimate(sample, 2),
                (None, said) => said.unwrap_or_else(|| NOTHING.to_owned()),
            }
        };
        rows.push([line.name.clone()].into_iter().chain(series.values.iter().map(cell)).collect());
    }
    let mut only_diverged: Vec<&String> = series.diverged.iter().map(|point| &point.line).collect();
    only_diverged.dedup();
    only_diverged.retain(|name| series.lines.iter().all(|line| line.name != **name));
    for name in only_diverged {
        let cell = |at: &f64| diverged(series, name, *at).unwrap_or_else(|| NOTHING.to_owned());
        rows.push([name.clone()].into_iter().chain(series.values.iter().map(cell)).collect());
    }
    for (name, sample) in &series.constants {
        let cells = series.values.iter().map(|_| estimate(sample, 2));
        rows.push([name.clone()].into_iter().chain(cells).collect());
    }
    let mut notes = Vec::new();
    if !series.constants.is_empty() {
        let names: Vec<&str> = series.constants.iter().map(|(name, _)| name.as_str()).collect();
        notes.push(format!("{} does not depend on {factor}: its value is repeated.", names.join(", ")));
    }
    for reference in &series.references {
        let cell = |at: &f64| {
            let point = reference.points.iter().find(|(value, _)| value.total_cmp(at).is_eq());
            point.map_or(NOTHING.to_owned(), |(_, value)| format!("{value:.2}"))
        };
        let name = format!("{} (published)", reference.name);
        rows.push([name].into_iter().chain(series.values.iter().map(cell)).collect());
        notes.push(format!("{}: {}", reference.name, reference.source));
    }
    Table { columns, rows, notes }
}

/// The words for the seeds of a line that diverged at a value of the factor.
fn diverged(series: &AgainstFactor, name: &str, at: f64) -> Option<String> {
    let found = series.diverged.iter().find(|point| point.line == name && point.at.total_cmp(&at).is_eq());
    found.map(|point| point.told.clone())
}

/// The numbers behind the table and its chart: one row a line and value, with the mean's 95 % interval; each seed's
/// value is in `seeds.csv`.
///
/// # Errors
/// None but a bug's.
pub fn frame(series: &AgainstFactor) -> PolarsResult<DataFrame> {
    struct Row {
        name: String,
        kind: &'static str,
        at: Option<f64>,
        estimate: Option<Estimate>,
    }
    let mut rows = Vec::new();
    for line in &series.lines {
        rows.extend(line.points.iter().map(|(at, sample)| Row {
            name: line.name.clone(),
            kind: "measured",
            at: Some(*at),
            estimate: Estimate::of(sample),
        }));
    }
    for (name, sample) in &series.constants {
        rows.push(Row { name: name.clone(), kind: "measured", at: None, estimate: Estimate::of(sample) });
    }
    for reference in &series.references {
        rows.extend(reference.points.iter().map(|(at, value)| Row {
            name: reference.name.clone(),
            kind: "published",
            at: Some(*at),
            estimate: Some(Estimate { n: 1, mean: *value, interval: None }),
        }));
    }
    let interval = |end: fn(Interval) -> f64| {
        rows.iter().map(|row| row.estimate.and_then(|estimate| estimate.interval).map(end)).collect()
    };
    let columns = vec![
        frames::text_column("line", rows.iter().map(|row| row.name.clone()).collect()),
        frames::text_column("kind", rows.iter().map(|row| row.kind.to_owned()).collect()),
        frames::number_column(series.factor_name(), rows.iter().map(|row| row.at).collect()),
        frames::number_column("seeds", rows.iter().map(|row| row.estimate.map(|e| e.n as f64)).collect()),
        frames::number_column("mean", rows.iter().map(|row| row.estimate.map(|e| e.mean)).collect()),
        frames::number_column("low", interval(|interval| interval.low)),
        frames::number_column("high", interval(|interval| interval.high)),
    ];
    DataFrame::new(rows.len(), columns)
}
