//! A report's content, in reading order, for both of its forms: a web page and Markdown.

mod html;
mod markdown;
mod provenance;

pub use html::html;
pub use markdown::markdown;
use polars::prelude::DataFrame;

use crate::{
    chart::{self, Figure},
    diverged,
    error::ReportError,
    results::Results,
    series::AgainstFactor,
    table::{Heading, NOTHING, Table, comparison, factor, frames, settings, speed},
    verdict::Verdict,
};

/// What a report says.
#[derive(Debug)]
pub struct Content<'a> {
    /// The scenario's name.
    pub name: &'a str,
    /// Its question.
    pub question: &'a str,
    /// How many of the trials finished.
    pub progress: String,
    /// The answers, in order.
    pub verdicts: &'a [Verdict],
    /// The settings that all trials share.
    pub settings: Table,
    /// The settings in which arms differ.
    pub arms: Option<Table>,
    /// What was measured.
    pub tables: Vec<Section>,
    /// What it looks like.
    pub figures: Vec<Figure>,
    /// Where it comes from and how to repeat it.
    pub provenance: Table,
    /// The command that repeats it.
    pub command: String,
    /// Trials that did not finish.
    pub unfinished: Option<Table>,
    /// All numbers, by the name of their file in `tables/`.
    pub frames: Vec<(String, DataFrame)>,
}

/// A table in the report, under its title, with the file that holds its numbers.
#[derive(Debug)]
pub struct Section {
    /// Its title.
    pub title: String,
    /// The table.
    pub table: Table,
    /// The CSV's name in `tables/`.
    pub file: String,
}

impl<'a> Content<'a> {
    /// Makes all that the report of `results` says.
    ///
    /// # Errors
    /// None but a bug's.
    pub fn of(results: &'a Results, verdicts: &'a [Verdict]) -> Result<Self, ReportError> {
        let accuracy = AgainstFactor::all(results, "test_accuracy");
        let figures = chart::figures(results, &accuracy)?;
        let mut tables = vec![Section {
            title: "Configurations compared".to_owned(),
            table: comparison::table(results).without_constant_columns(),
            file: "comparison.csv".to_owned(),
        }];
        let trials = frames::trials(results)?;
        let mut frames = vec![
            ("comparison.csv".to_owned(), frames::configurations(&trials)?),
            ("seeds.csv".to_owned(), trials),
        ];
        for series in &accuracy {
            tables.push(Section {
                title: format!(
                    "Test accuracy against {} (mean ± half the 95 % interval)",
                    series.factor_name()
                ),
                table: factor::table(series),
                file: format!("test-accuracy-against-{}.csv", series.factor_name().replace('_', "-")),
            });
        }
        if let Some((table, frame)) = speed::table(results)? {
            tables.push(Section { title: "Speed".to_owned(), table, file: "speed.csv".to_owned() });
            frames.push(("speed.csv".to_owned(), frame));
        }
        if let Some((table, frame)) = diverged::table(results)? {
            tables.push(Section {
                title: "Trials that diverged".to_owned(),
                table,
                file: "diverged.csv".to_owned(),
            });
            frames.push(("diverged.csv".to_owned(), frame));
        }
        frames.extend(figures.iter().map(|figure| (format!("{}.csv", figure.name), figure.numbers.clone())));
        let (settings, arms) = settings::tables(results);
        Ok(Self {
            name: &results.study.name,
            question: &results.study.question,
            progress: progress(results),
            verdicts,
            settings,
            arms,
            tables,
            figures,
            provenance: provenance::table(results),
            command: format!("spillbench run scenarios/{}.yaml", results.study.name),
            unfinished: unfinished(results),
            frames,
        })
    }
}

fn progress(results: &Results) -> String {
    let (done, all) = (results.runs.len(), results.study.trials.len());
    if done == all {
        format!("All {all} trials finished.")
    } else if !results.diverged.is_empty() {
        format!("{done} of {all} trials finished, {} diverged.", results.diverged.len())
    } else {
        format!("{done} of {all} trials finished.")
    }
}

fn unfinished(results: &Results) -> Option<Table> {
    if results.unfinished.is_empty() {
        return None;
    }
    let rows = results.unfinished.iter().map(|trial| {
        let failure = trial.failure.as_ref();
        let ended = failure.map(|failure| match (failure.signal, failure.exit_code) {
            (Some(signal), _) => format!("signal {signal}"),
            (None, Some(code)) => format!("exit code {code}"),
            (None, None) => NOTHING.to_owned(),
        });
        vec![
            trial.trial.id(),
            if failure.is_some() { "failed" } else { "not run, or cut off" }.to_owned(),
            ended.unwrap_or_else(|| NOTHING.to_owned()),
            failure.map_or(NOTHING.to_owned(), |failure| failure.message.trim().to_owned()),
        ]
    });
    Some(Table {
        columns: ["trial", "state", "ended by", "message"].map(Heading::words).to_vec(),
        rows: rows.collect(),
        notes: Vec::new(),
    })
}
