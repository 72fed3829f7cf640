//! Update rules, elementwise.

use crate::vectorised::{LANES, vectorised, zip_mut};

/// How a mean gradient g changes parameters w, and the state that it keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UpdateRule {
    /// w ← w − η g. No state.
    Sgd {
        /// η
        learning_rate: f64,
    },
    /// v ← μ v + g; w ← w − η v. State: `[v]`.
    Momentum {
        /// η
        learning_rate: f64,
        /// μ
        momentum: f64,
    },
    /// Adam with decoupled weight decay (Kingma and Ba 2015; Loshchilov and Hutter 2019). State: `[m | v]`,
    /// each for all of a panel's parameters.
    Adam {
        /// η
        learning_rate: f64,
        /// β₁
        beta1: f64,
        /// β₂
        beta2: f64,
        /// ε, added to the root of the second moment
        epsilon: f64,
        /// λ: w ← (1 − η λ) w before the update
        weight_decay: f64,
        /// The number of this update, from 1, for the correction of the moments' bias.
        step: u64,
    },
}

impl UpdateRule {
    /// Values of state for each parameter.
    pub const fn state_per_parameter(&self) -> usize {
        match self {
            Self::Sgd { .. } => 0,
            Self::Momentum { .. } => 1,
            Self::Adam { .. } => 2,
        }
    }

    /// The rule with its constants as elementwise code needs them, for gradients to be scaled by `scale`.
    pub(crate) fn applied(&self, scale: f32) -> Applied {
        match *self {
            Self::Sgd { learning_rate } => Applied::Sgd { scale, rate: learning_rate as f32 },
            Self::Momentum { learning_rate, momentum } => {
                Applied::Momentum { scale, rate: learning_rate as f32, momentum: momentum as f32 }
            }
            Self::Adam { learning_rate, beta1, beta2, epsilon, weight_decay, step } => Applied::Adam {
                scale,
                keep: (1.0 - learning_rate * weight_decay) as f32,
                rate: (learning_rate / (1.0 - beta1.powf(step as f64))) as f32,
                beta1: beta1 as f32,
                new1: (1.0 - beta1) as f32,
                beta2: beta2 as f32,
                new2: (1.0 - beta2) as f32,
                correction2: (1.0 / (1.0 - beta2.powf(step as f64))) as f32,
                epsilon: epsilon as f32,
            },
        }
    }
}

vectorised! {
    /// Applies a gradient that was summed before: `params` and `gradient` of one length, `state` as the rule
    /// lays it out, the gradient scaled by `scale`.
    ///
    /// # Panics
    /// If a slice does not have the length its shape says.
    pub fn apply(gradient: &[f32], params: &mut [f32], state: &mut [f32], rule: &UpdateRule, scale: f32) {
        assert_eq!(state.len(), params.len() * rule.state_per_parameter(), "optimizer state");
        let (first, second) = state.split_at_mut(params.len().min(state.len()));
        rule.applied(scale).apply(gradient, params, first, second);
    }
}

vectorised! {
    /// a ← a + b
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add(a: &mut [f32], b: &[f32]) {
        assert_eq!(a.len(), b.len(), "terms of a sum");
        zip_mut(a, b, |a, b| *a += b);
    }
}

/// A rule whose constants are computed.
pub(crate) enum Applied {
    Sgd {
        scale: f32,
        rate: f32,
    },
    Momentum {
        scale: f32,
        rate: f32,
        momentum: f32,
    },
    Adam {
        scale: f32,
        keep: f32,
        rate: f32,
        beta1: f32,
        new1: f32,
        beta2: f32,
        new2: f32,
        correction2: f32,
        epsilon: f32,
    },
    /// w ← w + factor · g
    Folded {
        factor: f32,
    },
}

impl Applied {
    pub(crate) const fn state_per_parameter(&self) -> usize {
        match self {
            Self::Sgd { .. } | Self::Folded { .. } => 0,
            Self::Momentum { .. } => 1,
            Self::Adam { .. } => 2,
        }
    }

    /// Applies the rule to a piece of the parameters and of the state they need.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn apply(&self, gradient: &[f32], params: &mut [f32], first: &mut [f32], second: &mut [f32]) {
        assert_eq!(gradient.len(), params.len(), "gradient and parameters");
        match *self {
            Self::Folded { factor } => zip_mut(params, gradient, |w, g| *w += factor * g),
            Self::Sgd { scale, rate } => zip_mut(params, gradient, |w, g| *w -= rate * (scale * g)),
            Self::Momentum { scale, rate, momentum } => {
                zip_mut(first, gradient, |v, g| *v = momentum * *v + scale * g);
                zip_mut(params, first, |w, v| *w -= rate * v);
            }
            Self::Adam { scale, keep, rate, beta1, new1, beta2, new2, correction2, epsilon } => {
                zip_mut(first, gradient, |m, g| *m = beta1 * *m + new1 * (scale * g));
                zip_mut(second, gradient, |v, g| *v = beta2 * *v + new2 * ((scale * g) * (scale * g)));
                let (moments, squares) = (first.as_chunks::<LANES>(), second.as_chunks::<LANES>());
                let (params, rest) = params.as_chunks_mut::<LANES>();
                let step = |w: &mut f32, m: f32, v: f32| {
                    *w = keep * *w - rate * (m / ((correction2 * v).sqrt() + epsilon));
                };
                for ((w, m), v) in params.iter_mut().zip(moments.0).zip(squares.0) {
                    let (mut values, m, v) = (*w, *m, *v);
                    for lane in 0..LANES {
                        step(&mut values[lane], m[lane], v[lane]);
                    }
                    *w = values;
                }
                for ((w, &m), &v) in rest.iter_mut().zip(moments.1).zip(squares.1) {
                    step(w, m, v);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{UpdateRule, apply};

    /// Two updates of w = 1 by gradients 2·0.5 and −1·0.5, from state zero.
    fn check(rule: impl Fn(u64) -> UpdateRule, expected: [f32; 2]) {
        let (mut w, mut state) = ([1.0], vec![0.0; rule(1).state_per_parameter()]);
        for (step, (gradient, expected)) in [2.0, -1.0].into_iter().zip(expected).enumerate() {
            apply(&[gradient], &mut w, &mut state, &rule(step as u64 + 1), 0.5);
            assert!((w[0] - expected).abs() < 1e-6, "{:?}: {} is not {expected}", rule(1), w[0]);
        }
    }

    #[test]
    fn rules_follow_their_formulae() {
        check(|_| UpdateRule::Sgd { learning_rate: 0.1 }, [0.9, 0.95]);
        check(|_| UpdateRule::Momentum { learning_rate: 0.1, momentum: 0.5 }, [0.9, 0.9]);
        // By hand: m = 0.1, v = 0.001, both 1 once corrected: w = 0.99·1 − 0.1. Then m = 0.04 of 0.19,
        // v = 0.00124900 of 0.001999: w = 0.99·0.89 − 0.1·0.2105263/0.7904484.
        let adam = |step| UpdateRule::Adam {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.1,
            step,
        };
        check(adam, [0.89, 0.881_1 - 0.1 * 0.210_526_3 / 0.790_444_4]);
    }
}
