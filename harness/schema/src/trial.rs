//! One resolved configuration with one seed: what is run, skipped, resumed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Config;

/// One resolved configuration with one seed. Saved as `resolved.yaml` beside its results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The scenario's name.
    pub scenario: String,
    /// The arm's name.
    pub arm: String,
    /// The grid or zip point: dotted key → value. Empty where the arm has none of the matrix's keys.
    #[serde(default)]
    pub factors: BTreeMap<String, Value>,
    /// The root of every random stream.
    pub seed: u64,
    /// The configuration, every default filled.
    pub config: Config,
}

impl Trial {
    /// `<arm>-<science hash8>-<execution hash4>-s<seed>`: the folder's name, equal for equal trials.
    pub fn id(&self) -> String {
        format!("{}-{}-{}-s{}", self.arm, &self.science_hash()[..8], &self.execution_hash()[..4], self.seed)
    }

    /// Hash (BLAKE3, hexadecimal) of the keys that may change the result.
    pub fn science_hash(&self) -> String {
        hash(&self.config.science())
    }

    /// Hash (BLAKE3, hexadecimal) of the keys that must not change the result.
    pub fn execution_hash(&self) -> String {
        hash(&self.config.execution())
    }

    /// The trial as YAML, every default filled: `resolved.yaml`.
    ///
    /// # Panics
    /// Never: a trial is plain data, with text for keys.
    pub fn resolved_yaml(&self) -> String {
        // Through JSON, so that variants are mappings, as in scenarios, and not YAML tags.
        let value = serde_json::to_value(self).expect("a trial is plain data");
        serde_yaml::to_string(&value).expect("JSON is YAML")
    }

    /// Reads what [`Trial::resolved_yaml`] wrote.
    ///
    /// # Errors
    /// Text that is not a trial, with its line where it is not YAML.
    pub fn from_resolved_yaml(text: &str) -> Result<Self, ResolvedError> {
        let value: Value = serde_yaml::from_str(text)?;
        Ok(serde_json::from_value(value)?)
    }

    /// How tables name this trial's configuration: the arm, and its factors by their last key.
    pub fn label(&self) -> String {
        let factors: Vec<String> =
            self.factors.iter().map(|(key, value)| format!("{}={}", short_key(key), plain(value))).collect();
        if factors.is_empty() { self.arm.clone() } else { format!("{} ({})", self.arm, factors.join(", ")) }
    }
}

/// Why a `resolved.yaml` cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ResolvedError {
    /// The text is not YAML.
    #[error("a resolved trial that is not YAML; was it edited or cut off?")]
    Yaml(#[from] serde_yaml::Error),
    /// The YAML is not a trial of this version.
    #[error("YAML that is not a resolved trial of this version")]
    Trial(#[from] serde_json::Error),
}

/// The last part of a dotted key: `interval` of `parallelism.layerwise.interval`.
pub fn short_key(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// A value as people write it: text without quotes.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn hash(value: &Value) -> String {
    // serde_json's maps are sorted by key, so equal values have equal text.
    blake3::hash(value.to_string().as_bytes()).to_hex().to_string()
}
