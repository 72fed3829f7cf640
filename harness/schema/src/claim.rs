//! What a scenario claims of its results, and published values to print beside them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A statement about the results that `check` finds true, false or undecided. Exactly one kind is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// A short name, unique in the scenario.
    pub id: String,
    /// The statement in words.
    pub text: String,
    /// The arm is worse than the reference by less than a margin (paired by seed, one-sided, 95 %).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub non_inferior: Option<NonInferior>,
    /// The metric is identical, seed by seed, over all trials selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equal: Option<Equal>,
    /// The mean over seeds lies within bounds (95 % interval).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
}

/// The arm is worse than the reference by less than a margin (paired by seed, one-sided, 95 %).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NonInferior {
    /// A numeric field of the summary, e.g. `test_accuracy` (in points).
    pub metric: String,
    /// The largest difference that does not matter, in the metric's unit.
    #[schemars(range(min = 0.0))]
    pub margin: f64,
    /// Whether a larger metric is better.
    #[serde(default = "yes")]
    pub larger_is_better: bool,
    /// What is compared.
    pub arm: Selector,
    /// What it is compared with.
    pub to: Selector,
}

/// The metric is identical, seed by seed, over all trials selected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Equal {
    /// A field of the summary, e.g. `weights_hash`.
    pub metric: String,
    /// At least two configurations between them.
    #[schemars(length(min = 1))]
    pub arms: Vec<Selector>,
}

/// The mean over seeds lies within bounds (95 % interval).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// A numeric field of the summary.
    pub metric: String,
    /// What is measured.
    pub arm: Selector,
    /// The least value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// The greatest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
}

const fn yes() -> bool {
    true
}

/// Chooses trials: an arm by name, or an arm at some points of the matrix: `{ local_loss: { interval: 1000 } }`,
/// where a key is a dotted key of the matrix or its last part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Selector {
    /// Every trial of the arm.
    Arm(String),
    /// The trials of the arm whose factors have these values. Exactly one arm.
    Point(BTreeMap<String, BTreeMap<String, Value>>),
}

/// Published values, printed beside the measured ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The row's name.
    pub name: String,
    /// Where the values come from, and what differs.
    pub source: String,
    /// The metric, e.g. `test_accuracy`.
    pub metric: String,
    /// The matrix key they run along, dotted or by its last part, e.g. `interval`.
    pub along: String,
    /// Value of the key → value of the metric.
    pub points: BTreeMap<String, f64>,
}

impl Selector {
    /// The arm's name. Empty for a malformed `Point`, which validation refuses.
    pub fn arm(&self) -> &str {
        match self {
            Self::Arm(arm) => arm,
            Self::Point(point) => point.keys().next().map_or("", String::as_str),
        }
    }

    /// Whether a trial of `arm` with these `factors` is chosen.
    pub fn selects(&self, arm: &str, factors: &BTreeMap<String, Value>) -> bool {
        match self {
            Self::Arm(name) => name == arm,
            Self::Point(point) => point.get(arm).is_some_and(|wanted| {
                wanted.iter().all(|(key, value)| {
                    factors.iter().any(|(factor, have)| {
                        (factor == key || crate::trial::short_key(factor) == key) && have == value
                    })
                })
            }),
        }
    }
}
