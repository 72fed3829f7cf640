//! What a study came to when someone was content with it, kept to be compared with later.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};
use spillbench_schema::summary::Machine;

use crate::{error::ReportError, results::Results};

/// The outcome of a study's trials at one time, as a file under `results/baselines`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The scenario's name.
    pub scenario: String,
    /// The largest drift of test accuracy that does not matter, in points.
    pub accuracy_margin: f64,
    /// The program's version.
    pub version: Option<String>,
    /// Git revision of the checkout.
    pub git_revision: Option<String>,
    /// The machine.
    pub machine: Option<Machine>,
    /// Configuration → seed → outcome.
    pub configurations: BTreeMap<String, BTreeMap<u64, Outcome>>,
    /// Configuration → seed → step at which it diverged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub diverged: BTreeMap<String, BTreeMap<u64, u64>>,
}

/// What one trial came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Hash of the keys that may change the result: unequal hashes are not comparable.
    pub science_hash: String,
    /// Hash of all parameters.
    pub weights_hash: String,
    /// Percent.
    pub test_accuracy: f64,
    /// Mean training loss at the end.
    pub train_loss: f64,
}

/// Drift that a new baseline lets pass: some three standard errors of an accuracy measured on 10 000 images.
const ACCURACY_MARGIN: f64 = 0.5;

impl Baseline {
    /// The finished trials of `results`.
    pub fn of(results: &Results) -> Self {
        let manifest = results.runs.iter().find_map(|run| run.manifest.as_ref());
        let configurations = results
            .configurations()
            .into_iter()
            .map(|configuration| {
                let outcomes = configuration.runs.iter().map(|run| {
                    let summary = &run.summary;
                    let outcome = Outcome {
                        science_hash: summary.science_hash.clone(),
                        weights_hash: summary.weights_hash.clone(),
                        test_accuracy: summary.test_accuracy,
                        train_loss: summary.train_loss,
                    };
                    (run.trial.seed, outcome)
                });
                (configuration.label.clone(), outcomes.collect())
            })
            .collect();
        let mut diverged: BTreeMap<String, BTreeMap<u64, u64>> = BTreeMap::new();
        for each in &results.diverged {
            let steps = diverged.entry(each.trial.label()).or_default();
            steps.insert(each.trial.seed, each.divergence.step);
        }
        Self {
            scenario: results.study.name.clone(),
            accuracy_margin: ACCURACY_MARGIN,
            version: manifest.map(|manifest| manifest.version.clone()),
            git_revision: manifest.and_then(|manifest| manifest.git_revision.clone()),
            machine: manifest.map(|manifest| manifest.machine.clone()),
            configurations,
            diverged,
        }
    }

    /// Reads a baseline.
    ///
    /// # Errors
    /// If the file cannot be read or is not a baseline.
    pub fn load(path: &Path) -> Result<Self, ReportError> {
        let bytes = fs::read(path).map_err(ReportError::io("read", path))?;
        serde_json::from_slice(&bytes).map_err(|source| ReportError::Malformed {
            path: path.to_owned(),
            expected: "baseline",
            source,
        })
    }

    /// Writes the baseline as indented JSON, so that a change of it is readable in a review.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ReportError> {
        let mut text = serde_json::to_string_pretty(self).map_err(|source| ReportError::Malformed {
            path: path.to_owned(),
            expected: "baseline",
            source,
        })?;
        text.push('\n');
        fs::write(path, text).map_err(ReportError::io("write", path))
    }
}
