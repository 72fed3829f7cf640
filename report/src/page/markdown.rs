//! The report as Markdown, with links to its figures: for repositories and papers.

use std::fmt::Write;

use super::Content;
use crate::{
    table::{Heading, NOTHING, Table, escape_markdown},
    verdict::Outcome,
};

/// The whole report.
pub fn markdown(content: &Content<'_>) -> String {
    let mut text = String::new();
    let mut add = |part: &str| {
        text.push_str(part.trim_end());
        text.push_str("\n\n");
    };
    add(&format!("# {}", escape_markdown(content.name)));
    add(&format!("**{}**", escape_markdown(content.question)));
    add(&content.progress);
    if !content.verdicts.is_empty() {
        add("## Verdicts");
        add(&verdicts(content).to_markdown());
    }
    add("## Settings");
    add(&content.settings.to_markdown());
    if let Some(arms) = &content.arms {
        add("Where arms differ:");
        add(&arms.to_markdown());
    }
    add("## Results");
    for section in &content.tables {
        add(&format!("### {}", escape_markdown(&section.title)));
        add(&section.table.to_markdown());
        add(&format!("Numbers: [{0}](tables/{0})", section.file));
    }
    add("Every trial: [seeds.csv](tables/seeds.csv)");
    if !content.figures.is_empty() {
        add("## Figures");
    }
    for figure in &content.figures {
        let (name, title) = (&figure.name, escape_markdown(&figure.title));
        add(&format!("### {title}"));
        add(&format!("![{title}](figures/{name}.svg)"));
        let mut below = escape_markdown(&figure.caption);
        let _ = write!(below, " [PNG](figures/{name}.png) · [numbers](tables/{name}.csv)");
        add(&below);
    }
    if let Some(unfinished) = &content.unfinished {
        add("## Trials that did not finish");
        add(&unfinished.to_markdown());
    }
    add("## Provenance");
    add(&content.provenance.to_markdown());
    add(&format!("To repeat it:\n\n```sh\n{}\n```", content.command));
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// A mark that shows in colour wherever Markdown does; the word stands beside it.
fn sign(outcome: Outcome) -> char {
    match outcome {
        Outcome::Pass => '✅',
        Outcome::Fail => '❌',
        Outcome::Inconclusive | Outcome::NoData => '❔',
    }
}

fn verdicts(content: &Content<'_>) -> Table {
    let rows = content.verdicts.iter().map(|verdict| {
        vec![
            format!("{} {}", sign(verdict.outcome), verdict.outcome),
            verdict.id.clone(),
            verdict.text.clone(),
            verdict.measured.clone(),
            verdict.n.to_string(),
            verdict.remedy.clone().unwrap_or_else(|| NOTHING.to_owned()),
        ]
    });
    let mut columns: Vec<Heading> =
        ["verdict", "id", "statement", "measured"].map(Heading::words).into_iter().collect();
    columns.extend([Heading::quantity("n"), Heading::words("what would help")]);
    Table { columns, rows: rows.collect(), notes: Vec::new() }
}
