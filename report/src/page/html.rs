//! The report as one file for a browser: no scripts, nothing fetched, figures inside.

use std::fmt::Write;

use super::Content;
use crate::{
    table::escape_html,
    verdict::{Outcome, Verdict},
};

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub fn html(content: &Content<'_>) -> String {
    let mut body = format!(
        "<h1>{}</h1>\n<p class=\"question\">{}</p>\n<p>{}</p>\n",
        escape_html(content.name),
        escape_html(content.question),
        escape_html(&content.progress)
    );
    if !content.verdicts.is_empty() {
        body += "<h2>Verdicts</h2>\n<ul class=\"verdicts\">\n";
        for verdict in content.verdicts {
            body += &item(verdict);
        }
        body += "</ul>\n";
    }
    body += "<h2>Settings</h2>\n";
    body += &content.settings.to_html();
    if let Some(arms) = &content.arms {
        body += "<h3>Where arms differ</h3>\n";
        body += &arms.to_html();
    }
    body += "<h2>Results</h2>\n";
    for section in &content.tables {
        let _ = writeln!(body, "<h3>{}</h3>", escape_html(&section.title));
        body += &section.table.to_html();
        let _ = writeln!(body, "<p class=\"note\">Numbers: <a href=\"tables/{0}\">{0}</a></p>", section.file);
    }
    body += "<p class=\"note\">Every trial: <a href=\"tables/seeds.csv\">seeds.csv</a></p>\n";
    if !content.figures.is_empty() {
        body += "<h2>Figures</h2>\n";
    }
    for figure in &content.figures {
        let name = &figure.name;
        let _ = writeln!(
            body,
            "<figure id=\"{name}\">\n{}<figcaption>{} <span class=\"links\"><a href=\"figures/{name}.svg\">SVG</a> \
             <a href=\"figures/{name}.png\">PNG</a> <a href=\"tables/{name}.csv\">numbers</a></span></figcaption>\n\
             </figure>",
            figure.svg,
            escape_html(&figure.caption)
        );
    }
    if let Some(unfinished) = &content.unfinished {
        body += "<h2>Trials that did not finish</h2>\n";
        body += &unfinished.to_html();
    }
    body += "<h2>Provenance</h2>\n";
    body += &content.provenance.to_html();
    let _ = writeln!(body, "<p>To repeat it:</p>\n<pre>{}</pre>", escape_html(&content.command));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape_html(content.name)
    )
}

fn item(verdict: &Verdict) -> String {
    let class = match verdict.outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Inconclusive => "inconclusive",
        Outcome::NoData => "no-data",
    };
    let remedy = verdict.remedy.as_ref().map_or(String::new(), |remedy| {
        format!("<br><span class=\"remedy\">What would help: {}</span>", escape_html(remedy))
    });
    format!(
        "<li class=\"{class}\"><span class=\"outcome\">{}</span><div><strong>{}</strong> <code>{}</code><br>\
         {} (n = {}){remedy}</div></li>\n",
        verdict.outcome,
        escape_html(&verdict.text),
        escape_html(&verdict.id),
        escape_html(&verdict.measured),
        verdict.n
    )
}
