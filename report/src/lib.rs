//! From finished trials to tables, charts, pages and verdicts.
//!
//! A study's folder is [loaded](Results::load), its statements are [decided](check()), and a report is
//! [written](write()). The report knows what a run leaves behind (`spillbench-schema`) and never how it trains. It is
//! a function of the results alone, without clock, chance or the order of a hash map: the same folder gives the same
//! bytes.

#![forbid(unsafe_code)]

mod baseline;
mod chart;
mod check;
mod diverged;
mod error;
mod format;
mod metric;
mod page;
mod results;
mod series;
mod statistics;
mod table;
mod threads;
mod verdict;
mod write;

pub use baseline::{Baseline, Outcome as BaselineOutcome};
pub use check::check;
pub use error::ReportError;
pub use results::{Configuration, Diverged, Results, Run, Unfinished};
pub use verdict::{Origin, Outcome, Verdict};
pub use write::{ReportPaths, write};

/// The comparison of configurations as a Markdown table: what a run ends with, for documents.
pub fn comparison_markdown(results: &Results) -> String {
    table::comparison::table(results).without_constant_columns().to_markdown()
}

/// The comparison of configurations as aligned text: what a run ends with, for a terminal.
pub fn comparison_text(results: &Results) -> String {
    table::comparison::table(results).without_constant_columns().to_text()
}
