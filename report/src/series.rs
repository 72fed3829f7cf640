//! A study seen along one numeric factor of its matrix: what tables and charts of "metric against factor" share.

use std::collections::{BTreeMap, BTreeSet};

use spillbench_schema::{
    claim::Reference,
    trial::{plain, short_key},
};

use crate::{diverged, metric, results::Results};

/// A metric of the finished trials against a numeric factor.
#[derive(Debug, Clone, PartialEq)]
pub struct AgainstFactor {
    /// The factor's dotted key.
    pub factor: String,
    /// The metric's name.
    pub metric: &'static str,
    /// The factor's values, ascending: those of the trials and of the references.
    pub values: Vec<f64>,
    /// What has the factor: an arm, at one point of the other factors.
    pub lines: Vec<Line>,
    /// What has not, and so holds along all of it: configuration → a value a seed.
    pub constants: Vec<(String, Vec<f64>)>,
    /// Where seeds diverged along the factor.
    pub diverged: Vec<DivergedPoint>,
    /// Published values along the same factor.
    pub references: Vec<Published>,
}

/// What an arm came to at each value of the factor.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The arm, and its other factors.
    pub name: String,
    /// The factor's value → the metric, a value a seed. Ascending, never an empty sample.
    pub points: Vec<(f64, Vec<f64>)>,
}

/// The seeds of a line that diverged at one value of the factor.
#[derive(Debug, Clone, PartialEq)]
pub struct DivergedPoint {
    /// The line's name.
    pub line: String,
    /// The factor's value.
    pub at: f64,
    /// How tables tell of them.
    pub told: String,
    /// How many.
    pub seeds: usize,
}

/// A row of published values.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub source: String,
    /// The factor's value → the metric, ascending.
    pub points: Vec<(f64, f64)>,
}

impl AgainstFactor {
    /// `metric` against each factor that has at least two numeric values among the finished trials.
    pub fn all(results: &Results, metric: &'static str) -> Vec<Self> {
        let mut values: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        let finished = results.runs.iter().map(|run| &run.trial);
        let trials = finished.chain(results.diverged.iter().map(|each| &each.trial));
        for (factor, value) in trials.flat_map(|trial| &trial.factors) {
            if value.is_number() {
                values.entry(factor).or_default().insert(plain(value));
            }
        }
        let varied = values.into_iter().filter(|(_, values)| values.len() > 1);
        varied.map(|(factor, _)| Self::along(results, factor, metric)).collect()
    }

    fn along(results: &Results, factor: &str, metric: &'static str) -> Self {
        let mut lines: Vec<Line> = Vec::new();
        let mut constants = Vec::new();
        for configuration in results.configurations() {
            let trial = configuration.trial();
            let sample: Vec<f64> =
                configuration.runs.iter().filter_map(|run| metric::number(&run.summary, metric)).collect();
            if sample.is_empty() {
                continue;
            }
            let Some(at) = trial.factors.get(factor).and_then(serde_json::Value::as_f64) else {
                constants.push((configuration.label, sample));
                continue;
            };
            let mut rest = trial.clone();
            rest.factors.remove(factor);
            let name = rest.label();
            match lines.iter_mut().find(|line| line.name == name) {
                Some(line) => line.points.push((at, sample)),
                None => lines.push(Line { name, points: vec![(at, sample)] }),
            }
        }
        for line in &mut lines {
            line.points.sort_by(|left, right| left.0.total_cmp(&right.0));
        }
        let references: Vec<Published> = results
            .study
            .references
            .iter()
            .filter(|reference| reference.metric == metric)
            .filter(|reference| reference.along == factor || reference.along == short_key(factor))
            .map(published)
            .collect();
        let mut diverged: Vec<DivergedPoint> = Vec::new();
        for each in &results.diverged {
            let Some(at) = each.trial.factors.get(factor).and_then(serde_json::Value::as_f64) else {
                continue;
            };
            let mut rest = each.trial.clone();
            rest.factors.remove(factor);
            let line = rest.label();
            let known =
                diverged.iter_mut().find(|point| point.line == line && point.at.total_cmp(&at).is_eq());
            if let Some(point) = known {
                point.seeds += 1;
            } else {
                let told = diverged::cell(results, &each.trial.label()).unwrap_or_default();
                diverged.push(DivergedPoint { line, at, told, seeds: 1 });
            }
        }
        let ours = lines.iter().flat_map(|line| line.points.iter().map(|(at, _)| *at));
        let ours = ours.chain(diverged.iter().map(|point| point.at));
        let theirs = references.iter().flat_map(|reference| reference.points.iter().map(|(at, _)| *at));
        let mut values: Vec<f64> = ours.chain(theirs).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        Self { factor: factor.to_owned(), metric, values, lines, constants, diverged, references }
    }

    /// The factor as axes and headings name it.
    pub fn factor_name(&self) -> &str {
        short_key(&self.factor)
    }
}

fn published(reference: &Reference) -> Published {
    let mut points: Vec<(f64, f64)> =
        reference.points.iter().filter_map(|(at, value)| Some((at.parse().ok()?, *value))).collect();
    points.sort_by(|left, right| left.0.total_cmp(&right.0));
    Published { name: reference.name.clone(), source: reference.source.clone(), points }
}
