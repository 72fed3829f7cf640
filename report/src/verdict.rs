//! The answer to one statement about the results, with what it rests on.

use std::fmt;

use crate::statistics::Decision;

/// Whether a statement holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The results support it.
    Pass,
    /// The results leave it open.
    Inconclusive,
    /// No finished trial bears on it.
    NoData,
    /// The results contradict it.
    Fail,
}

impl From<Decision> for Outcome {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Pass => Self::Pass,
            Decision::Inconclusive => Self::Inconclusive,
            Decision::Fail => Self::Fail,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::NoData => "no data",
            Self::Fail => "fail",
        })
    }
}

/// Who makes the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The scenario.
    Claim,
    /// Spillbench itself: it holds for every study.
    Invariant,
    /// A comparison with a baseline.
    Baseline,
}

/// The answer to one statement about the results.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Who makes the statement.
    pub origin: Origin,
    /// The claim's id, or a name such as `invariant.planned-io`.
    pub id: String,
    /// The statement in words.
    pub text: String,
    /// Whether it holds.
    pub outcome: Outcome,
    /// What was measured and held against what.
    pub measured: String,
    /// Seeds (for claims about means) or trials that it rests on.
    pub n: usize,
    /// What would settle or mend it; none where there is nothing to do.
    pub remedy: Option<String>,
}
