//! Whether a trial is small enough to be planned: what its keys multiply to, before anything of that size is made.
//!
//! Each key has a limit of its own in the schema. What is refused here depends on several, and on the data set. It
//! promises that no count of bytes in a plan exceeds 64 bits.

use spillbench_schema::{
    config::{Config, Exchange, Parallelism, limits},
    event::Split,
};
use thiserror::Error;

use crate::{network::Network, timeline::Timeline};

/// Operations of one step, or of one evaluation, that a rank has in memory at once.
const OPERATIONS: u128 = 1 << 24;
/// Values of all samples that are under way in a rank: 4 PiB.
const VALUES: u128 = 1 << 50;

/// A trial asks for more than can be planned.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SizeError {
    /// Epochs of many steps.
    #[error(
        "train.epochs times {steps_per_epoch} steps an epoch is more than {most} steps; lower train.epochs"
    )]
    Steps {
        /// Steps of an epoch.
        steps_per_epoch: u64,
        /// The limit.
        most: u64,
    },
    /// Many parts of a mini-batch, many panels, or many steps between exchanges.
    #[error(
        "a step, with the steps up to the next exchange, has some {operations} operations; {most} are the most, so \
         lower train.micro_batches, train.shards or parallelism.layerwise.interval, or make network.panel larger"
    )]
    StepOperations {
        /// About so many.
        operations: u128,
        /// The limit.
        most: u128,
    },
    /// Many samples to evaluate, or many panels.
    #[error(
        "an evaluation has some {operations} operations; {most} are the most, so lower data.test or data.validation, \
         or make network.panel larger"
    )]
    EvaluationOperations {
        /// About so many.
        operations: u128,
        /// The limit.
        most: u128,
    },
    /// Large mini-batches through wide or many layers.
    #[error(
        "the samples that are under way have {values} values at the boundaries between layers; {most} are the most, so \
         lower train.batch_size or parallelism.layerwise.interval, or make layers narrower"
    )]
    Values {
        /// So many.
        values: u128,
        /// The limit.
        most: u128,
    },
}

/// Checks what the keys multiply to.
///
/// # Errors
/// The first product that is too large.
pub fn check(config: &Config, network: &Network, timeline: &Timeline) -> Result<(), SizeError> {
    if timeline.steps > limits::STEPS {
        let steps_per_epoch = timeline.steps_per_epoch;
        return Err(SizeError::Steps { steps_per_epoch, most: limits::STEPS });
    }
    let layers = network.layers();
    // A layer without panels is one operation.
    let passes: usize = layers.iter().map(|layer| layer.panels.len().max(1)).sum();
    let at_once = match &config.parallelism {
        Parallelism::Layerwise(layerwise) if layerwise.exchange != Exchange::Weights => {
            layerwise.interval.min(timeline.steps)
        }
        _ => 1,
    };
    let chunks = u128::from(at_once) * timeline.chunks() as u128;
    let operations = 2 * chunks * passes as u128;
    if operations > OPERATIONS {
        return Err(SizeError::StepOperations { operations, most: OPERATIONS });
    }
    for split in [Split::Validation, Split::Test] {
        let chunks = timeline.split_samples(split).div_ceil(timeline.evaluation_rows);
        let operations = chunks as u128 * passes as u128;
        if operations > OPERATIONS {
            return Err(SizeError::EvaluationOperations { operations, most: OPERATIONS });
        }
    }
    let widths: u128 = layers.iter().map(|layer| (layer.inputs + layer.outputs) as u128).sum();
    let values = chunks * timeline.chunk_rows() as u128 * widths;
    if values > VALUES {
        return Err(SizeError::Values { values, most: VALUES });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use spillbench_schema::{Rates, Trial};

    use super::SizeError;
    use crate::plan::{Plan, PlanError, SampleCounts};

    /// What is refused of a small trial with some keys replaced, by JSON pointer.
    fn refused(changes: &[(&str, Value)], test: usize) -> Option<SizeError> {
        let mut config = json!({
            "data": { "source": "synthetic", "train": 1000, "test": 10 },
            "network": { "input": [64], "layers": [{ "linear": { "units": 64 } }, { "linear": { "units": 10 } }] },
            "train": { "optimizer": { "sgd": { "learning_rate": 0.1 } }, "batch_size": 10 },
            "parallelism": { "single": {} },
        });
        config["train"]["epochs"] = json!(1);
        for (pointer, value) in changes {
            *config.pointer_mut(pointer).expect("the key is there") = value.clone();
        }
        let trial = Trial {
            scenario: "sizes".into(),
            arm: "arm".into(),
            factors: [].into(),
            seed: 0,
            config: serde_json::from_value(config).expect("the configuration is well formed"),
        };
        let samples = SampleCounts { train: 1000, validation: 0, test, bytes: 0 };
        match Plan::new(&trial, samples, 2, &Rates::default()) {
            Ok(_) => None,
            Err(PlanError::Size(error)) => Some(error),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn products_of_keys_are_refused_beyond_their_limits_and_not_before() {
        let layerwise =
            |interval: u64| json!({ "layerwise": { "exchange": "local_loss", "interval": interval } });
        assert_eq!(refused(&[], 10), None);
        assert_eq!(refused(&[("/train/epochs", json!(10_000_000_000_u64))], 10), None);
        let steps = refused(&[("/train/epochs", json!(10_000_000_001_u64))], 10);
        assert_eq!(steps, Some(SizeError::Steps { steps_per_epoch: 100, most: 1_000_000_000_000 }));
        let long = [("/train/epochs", json!(1_000_000)), ("/parallelism", layerwise(100_000_000))];
        assert!(matches!(refused(&long, 10), Some(SizeError::StepOperations { .. })));
        // Two panels, and 500 samples a part.
        assert!(matches!(refused(&[], 1 << 32), Some(SizeError::EvaluationOperations { .. })));
        assert_eq!(refused(&[], 1 << 30), None);
        let wide = [
            ("/train/epochs", json!(1_000_000)),
            ("/train/batch_size", json!(1 << 20)),
            ("/network/layers/0/linear/units", json!(1 << 24)),
            ("/parallelism", layerwise(1 << 10)),
        ];
        assert!(matches!(refused(&wide, 10), Some(SizeError::Values { .. })));
    }
}
