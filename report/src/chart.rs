//! Charts: each a figure with its caption, its picture and the numbers that it shows.

mod against_factor;
mod axis;
mod bars;
mod canvas;
mod cost;
mod curves;
mod labels;
mod panel;
mod predictions;
mod roofline;
mod shares;
mod timeline;

use std::fmt::Display;

use polars::prelude::DataFrame;

use crate::{diverged, error::ReportError, results::Results, series::AgainstFactor};

/// A chart, ready to be written.
#[derive(Debug, Clone)]
pub struct Figure {
    /// The name of its files.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// What marks, bars and bands mean, and how many values are behind them.
    pub caption: String,
    /// The picture.
    pub svg: String,
    /// The numbers in the picture.
    pub numbers: DataFrame,
}

impl Figure {
    /// The picture as PNG, at twice its nominal size.
    ///
    /// # Errors
    /// If the picture is too large.
    pub fn png(&self) -> Result<Vec<u8>, ReportError> {
        canvas::rasterize(&self.svg).map_err(chart_error(&self.name))
    }
}

/// Every chart that the study has the data for.
///
/// # Errors
/// None but a bug's.
pub fn figures(results: &Results, accuracy: &[AgainstFactor]) -> Result<Vec<Figure>, ReportError> {
    let speed = AgainstFactor::all(results, "samples_per_s");
    let against_factors =
        accuracy.iter().chain(&speed).map(against_factor::figure).collect::<Result<Vec<_>, _>>()?;
    let others = [
        cost::figure(results, cost::Against::Size)?,
        cost::figure(results, cost::Against::Budget)?,
        curves::figure(results, curves::Along::Steps)?,
        curves::figure(results, curves::Along::Time)?,
        bars::figure(results, &bars::THROUGHPUT)?,
        bars::figure(results, &bars::MEMORY)?,
        shares::figure(results)?,
        timeline::figure(results)?,
        predictions::figure(results)?,
        roofline::figure(results)?,
    ];
    let mut figures: Vec<Figure> = against_factors.into_iter().chain(others).flatten().collect();
    if let Some(note) = diverged::note(results) {
        for figure in &mut figures {
            figure.caption = format!("{} {note}", figure.caption);
        }
    }
    Ok(figures)
}

fn chart_error<E: Display>(name: &str) -> impl FnOnce(E) -> ReportError {
    move |error| ReportError::Chart { chart: name.to_owned(), reason: error.to_string() }
}
