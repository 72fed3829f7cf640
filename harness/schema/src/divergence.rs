//! What a trial that diverged leaves behind. It has a type of its own, so that nothing can read an accuracy, a loss or a
//! hash of weights from it: there is none.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::summary::Summary;

/// What `summary.json` holds. Its `status` says which.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TrialResult {
    /// All steps were done.
    Finished(Box<Summary>),
    /// Training diverged.
    Diverged(Divergence),
}

impl<'de> Deserialize<'de> for TrialResult {
    // Not derived: the message of an untagged enum names no field.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let read = if value["status"] == "diverged" {
            serde_json::from_value(value).map(Self::Diverged)
        } else {
            serde_json::from_value(value).map(Self::Finished)
        };
        read.map_err(serde::de::Error::custom)
    }
}

/// The only status of a [`Divergence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DivergedStatus {
    /// Training diverged.
    Diverged,
}

/// Which number was the first that is not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// The loss of a mini-batch.
    TrainingLoss,
    /// The loss of an evaluation, or an output of the network in it.
    Evaluation,
    /// A parameter after the last step.
    Weights,
}

/// A trial that diverged: where, and the losses before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// Always `diverged`.
    pub status: DivergedStatus,
    /// The folder's name.
    pub trial_id: String,
    /// The scenario's name.
    pub scenario: String,
    /// The arm's name.
    pub arm: String,
    /// The matrix point: dotted key → value.
    pub factors: BTreeMap<String, Value>,
    /// Root of the random streams.
    pub seed: u64,
    /// Hash of the keys that may change the result.
    pub science_hash: String,
    /// The step at which it was found, from 1.
    pub step: u64,
    /// What was found.
    pub sign: Sign,
    /// Mean losses of the last steps before, oldest first. All are finite.
    pub last_losses: Vec<f64>,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_divergence(f, self.step, self.sign, &self.last_losses)
    }
}

/// Says where training diverged, the losses before, and the remedy.
///
/// # Errors
/// The formatter's.
pub fn write_divergence(
    f: &mut fmt::Formatter<'_>,
    step: u64,
    sign: Sign,
    last_losses: &[f64],
) -> fmt::Result {
    let what = match sign {
        Sign::TrainingLoss => "the training loss",
        Sign::Evaluation => "an output or the loss of the evaluation",
        Sign::Weights => "a weight after the last step",
    };
    write!(f, "training diverged at step {step}: {what} is not finite")?;
    if !last_losses.is_empty() {
        let losses: Vec<String> = last_losses.iter().map(|loss| format!("{loss:.4e}")).collect();
        write!(f, " (losses before: {})", losses.join(", "))?;
    }
    f.write_str("; lower train.optimizer's learning_rate, or lengthen train.schedule.warmup_steps")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::TrialResult;

    fn diverged() -> serde_json::Value {
        json!({ "status": "diverged", "trial_id": "a-s1", "scenario": "s", "arm": "a", "factors": {}, "seed": 1,
            "science_hash": "0", "step": 3, "sign": "weights", "last_losses": [2.5] })
    }

    #[test]
    fn a_diverged_result_is_read_back_as_written() {
        let result: TrialResult = serde_json::from_value(diverged()).expect("it is one");
        assert!(matches!(&result, TrialResult::Diverged(divergence) if divergence.step == 3), "{result:?}");
        assert_eq!(serde_json::to_value(&result).expect("it is JSON"), diverged());
    }

    #[test]
    fn a_damaged_result_names_the_field_that_is_missing() {
        let mut value = diverged();
        value.as_object_mut().expect("an object").remove("step");
        let error = serde_json::from_value::<TrialResult>(value).expect_err("a field is missing");
        assert!(error.to_string().contains("`step`"), "{error}");
    }
}
