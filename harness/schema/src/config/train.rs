//! Loss, optimizer, batches and duration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::limits;

/// Loss, optimizer, batches and duration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// What is minimised, averaged over the mini-batch.
    #[serde(default)]
    pub loss: Loss,
    /// How gradients change weights.
    pub optimizer: OptimizerConfig,
    /// How the learning rate changes over the run.
    #[serde(default)]
    pub schedule: LearningRateSchedule,
    /// Samples in a mini-batch.
    #[schemars(range(min = 1, max = limits::BATCH))]
    pub batch_size: usize,
    /// Passes over the training set. Give this or `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::STEPS))]
    pub epochs: Option<u64>,
    /// Optimizer updates. Give this or `epochs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::STEPS))]
    pub steps: Option<u64>,
    /// Contiguous parts of a mini-batch whose gradients are summed apart, then by a binary tree; a power of two.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    pub shards: usize,
    /// Parts of a shard that go through the network one at a time and accumulate in order.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = limits::CHUNKS))]
    pub micro_batches: usize,
    /// Leave out the last mini-batch of an epoch when it is not full.
    #[serde(default)]
    pub drop_last: bool,
    /// How a gradient becomes an update.
    #[serde(default)]
    pub update: Update,
    /// The numbers that parameters are kept in: on disk, in memory and on the way between.
    #[serde(default)]
    pub precision: Precision,
    /// Evaluate on the validation split every so many steps. Default: at the end of each epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::STEPS))]
    pub evaluate_every: Option<u64>,
}

impl TrainConfig {
    /// All keys: each may change the result. `precision` came later than trials whose identity should stay, so its
    /// default is left out.
    pub(super) fn science(&self) -> Value {
        let mut keys = json!(self);
        if self.precision == Precision::default()
            && let Some(keys) = keys.as_object_mut()
        {
            keys.remove("precision");
        }
        keys
    }
}

const fn one() -> usize {
    1
}

/// What is minimised, averaged over the mini-batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// −log softmax(logits)_label
    #[default]
    CrossEntropy,
    /// ½ Σ (output − one-hot label)², summed over outputs
    Mse,
}

/// How a gradient becomes an update.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Update {
    /// The gradient is formed and rounded, then applied elementwise: the arithmetic every strategy shares.
    #[default]
    Formed,
    /// The update is folded into the weight-gradient product (plain SGD, one shard, one micro-batch, `single`
    /// only): faster, and rounded differently.
    Folded,
}

/// The numbers that parameters are kept in. Products and updates are computed in f32 whichever they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 4 bytes a parameter.
    #[default]
    F32,
    /// 2 bytes a parameter; what an update comes to is rounded to one of the two nearest bf16 values, at random in
    /// proportion to their nearness (stochastic rounding, Gupta et al. 2015), by the trial's seed.
    Bf16,
    /// An f32 master is kept beside the optimizer's state, and rounded to the nearest bf16 for all products
    /// (mixed-precision training, Micikevicius et al. 2018): 2 bytes on the forward sweep, 6 in an update.
    Bf16Master,
}

/// How gradients change weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// w ← w − η g
    Sgd(Sgd),
    /// v ← μ v + g; w ← w − η v
    Momentum(Momentum),
    /// Adam with decoupled weight decay (Kingma and Ba 2015; Loshchilov and Hutter 2019).
    Adam(Adam),
}

/// w ← w − η g
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sgd {
    /// η
    #[schemars(range(min = 0.0))]
    pub learning_rate: f64,
}

/// v ← μ v + g; w ← w − η v
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Momentum {
    /// η
    #[schemars(range(min = 0.0))]
    pub learning_rate: f64,
    /// μ
    #[serde(default = "default_momentum")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub momentum: f64,
}

const fn default_momentum() -> f64 {
    0.9
}

/// Adam with decoupled weight decay (Kingma and Ba 2015; Loshchilov and Hutter 2019).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adam {
    /// η
    #[schemars(range(min = 0.0))]
    pub learning_rate: f64,
    /// β₁
    #[serde(default = "default_beta1")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub beta1: f64,
    /// β₂
    #[serde(default = "default_beta2")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub beta2: f64,
    /// ε, added to the root of the second moment
    #[serde(default = "default_epsilon")]
    #[schemars(range(min = 0.0))]
    pub epsilon: f64,
    /// λ: w ← w − η λ w beside the update
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
}

const fn default_beta1() -> f64 {
    0.9
}

const fn default_beta2() -> f64 {
    0.999
}

const fn default_epsilon() -> f64 {
    1e-8
}

/// How the learning rate changes over the run: a linear warm-up, then a decay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LearningRateSchedule {
    /// Steps over which the rate rises linearly from zero to its full value.
    #[schemars(range(min = 0, max = limits::STEPS))]
    pub warmup_steps: u64,
    /// What follows the warm-up.
    pub decay: Decay,
}

/// The decay of the learning rate after warm-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Decay {
    /// None.
    Constant {},
    /// Multiplied by `factor` once every `every` steps.
    Step {
        /// Steps between two drops.
        #[schemars(range(min = 1, max = limits::STEPS))]
        every: u64,
        /// What the rate is multiplied by at each drop.
        #[schemars(range(min = 0.0))]
        factor: f64,
    },
    /// Half a cosine from the full rate down to `final_fraction` of it at the last step.
    Cosine {
        /// The last rate over the first.
        #[serde(default)]
        #[schemars(range(min = 0.0, max = 1.0))]
        final_fraction: f64,
    },
}

impl Default for Decay {
    fn default() -> Self {
        Self::Constant {}
    }
}

impl Precision {
    /// The name in scenarios and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Bf16Master => "bf16_master",
        }
    }

    /// Bytes of a parameter as products read it.
    pub const fn parameter_bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::Bf16Master => 2,
        }
    }

    /// Whether an f32 master is kept of each parameter.
    pub const fn has_master(self) -> bool {
        matches!(self, Self::Bf16Master)
    }
}

impl OptimizerConfig {
    /// η before any schedule.
    pub const fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd(sgd) => sgd.learning_rate,
            Self::Momentum(momentum) => momentum.learning_rate,
            Self::Adam(adam) => adam.learning_rate,
        }
    }

    /// Values of state kept for each parameter: 0, 1 or 2.
    pub const fn state_per_parameter(&self) -> usize {
        match self {
            Self::Sgd(_) => 0,
            Self::Momentum(_) => 1,
            Self::Adam(_) => 2,
        }
    }
}

impl LearningRateSchedule {
    /// η at `step` (from 0) of a run of `steps`, as a multiple of the full rate.
    pub fn factor(&self, step: u64, steps: u64) -> f64 {
        if step < self.warmup_steps {
            return (step + 1) as f64 / self.warmup_steps as f64;
        }
        let after = step - self.warmup_steps;
        match self.decay {
            Decay::Constant {} => 1.0,
            Decay::Step { every, factor } => factor.powf((after / every) as f64),
            Decay::Cosine { final_fraction } => {
                let span = steps.saturating_sub(self.warmup_steps + 1).max(1);
                let progress = (after as f64 / span as f64).min(1.0);
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
                final_fraction + (1.0 - final_fraction) * cosine
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Decay, LearningRateSchedule};

    #[test]
    fn the_rate_follows_its_schedule() {
        let constant = LearningRateSchedule { warmup_steps: 4, decay: Decay::Constant {} };
        let step = LearningRateSchedule { warmup_steps: 0, decay: Decay::Step { every: 10, factor: 0.5 } };
        let cosine = LearningRateSchedule { warmup_steps: 0, decay: Decay::Cosine { final_fraction: 0.1 } };
        for (schedule, at, expected) in [
            (&constant, 0, 0.25),
            (&constant, 3, 1.0),
            (&constant, 99, 1.0),
            (&step, 9, 1.0),
            (&step, 10, 0.5),
            (&step, 25, 0.25),
            (&cosine, 0, 1.0),
            (&cosine, 50, 0.55),
            (&cosine, 100, 0.1),
        ] {
            let factor = schedule.factor(at, 101);
            assert!((factor - expected).abs() < 1e-12, "{schedule:?} at {at}: {factor}");
        }
    }
}
