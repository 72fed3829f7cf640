//! A scenario file as a whole, and its expansion into trials.

mod expand;
mod varied;

use std::{collections::BTreeMap, path::Path};

pub(crate) use expand::Arm;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
pub(crate) use varied::Plan;

use crate::{
    claim::{Claim, Reference},
    document::Document,
    problem::Problems,
    trial::Trial,
};

/// What is varied: every arm (or every one of `arms`) takes every point of `grid` and every row of `zip` whose keys it
/// has.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Matrix {
    /// Dotted key → values; all combinations.
    pub grid: BTreeMap<String, Vec<Value>>,
    /// Dotted key → values; the lists advance together.
    pub zip: BTreeMap<String, Vec<Value>>,
    /// The arms that take `grid` and `zip`; the others are run as they are written. Default: all.
    #[schemars(length(min = 1))]
    pub arms: Vec<String>,
    /// How many seeds (1, 2, …), or which.
    pub seeds: Seeds,
}

/// How many seeds (1, 2, …), or which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Seeds {
    /// Seeds 1 to n.
    Count(#[schemars(range(min = 1))] u64),
    /// These seeds.
    List(#[schemars(length(min = 1))] Vec<u64>),
}

impl Default for Seeds {
    fn default() -> Self {
        Self::Count(1)
    }
}

impl Seeds {
    /// How many there are.
    pub fn count(&self) -> u64 {
        match self {
            Self::Count(n) => *n,
            Self::List(list) => list.len() as u64,
        }
    }

    /// The seeds, in order.
    pub fn values(&self) -> Vec<u64> {
        match self {
            Self::Count(n) => (1..=*n).collect(),
            Self::List(list) => list.clone(),
        }
    }
}

/// A scenario, expanded: its question and its trials, arm by arm, seeds innermost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// The scenario's name: the folder under `results`.
    pub name: String,
    /// The question it answers.
    pub question: String,
    /// What it claims.
    pub claims: Vec<Claim>,
    /// Published values to print beside the measured ones.
    pub references: Vec<Reference>,
    /// What is run.
    pub trials: Vec<Trial>,
}

impl Study {
    /// Reads and expands the scenario at `path`, with the flags `sets`, each `<key>=<value>`.
    ///
    /// # Errors
    /// Everything that is wrong with the scenario, each problem once and with its place.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, Problems> {
        Self::expand(&Document::load(path, sets)?)
    }
}
