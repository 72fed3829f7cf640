//! Constants of an optimizer that can only end in numbers that are not finite. Updates are computed in f32, so
//! a constant is judged by its value there. Constants that are merely odd are not refused.

use crate::config::OptimizerConfig;

/// Each key below `train.optimizer` that cannot work, with the message.
#[expect(clippy::cast_possible_truncation, reason = "the update computes in f32")]
pub(super) fn refusals(optimizer: &OptimizerConfig) -> Vec<(String, String)> {
    let mut refused = Vec::new();
    let mut refuse = |key: &str, why: String| {
        let key = format!("train.optimizer.{key}");
        let message = format!("{key} {why}");
        refused.push((key, message));
    };
    let kind = match optimizer {
        OptimizerConfig::Sgd(_) => "sgd",
        OptimizerConfig::Momentum(_) => "momentum",
        OptimizerConfig::Adam(_) => "adam",
    };
    let rate = optimizer.learning_rate();
    if !(rate as f32).is_finite() {
        refuse(
            &format!("{kind}.learning_rate"),
            format!("is {rate:e}, which is infinite in f32; set it to {:e} or less", f32::MAX),
        );
    }
    let OptimizerConfig::Adam(adam) = optimizer else { return refused };
    for (key, beta, default) in [("beta1", adam.beta1, 0.9), ("beta2", adam.beta2, 0.999)] {
        // The bias correction divides by 1 - beta.
        if beta >= 1.0 {
            refuse(
                &format!("adam.{key}"),
                format!(
                    "is {beta}, so its bias correction divides by zero; set it below 1, for example {default}"
                ),
            );
        }
    }
    if adam.epsilon as f32 == 0.0 {
        let epsilon = adam.epsilon;
        refuse(
            "adam.epsilon",
            format!(
                "is {epsilon:e}, which is zero in f32, so a gradient of zero is divided by zero; set it to \
                 1e-45 or more, for example 1e-8"
            ),
        );
    }
    refused
}
