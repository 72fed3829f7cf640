//! Update rules, elementwise.

use std::ops::Range;

use crate::panel::Panel;
use crate::precision::{Mastered, ParametersMut, Stochastic, StochasticRounding, Target};
use crate::vectorised::{LANES, Lanes, lanes, vectorised, zip_mut};

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
            Self::Sgd { learning_rate } => Applied::Sgd(Sgd { scale, rate: learning_rate as f32 }),
            Self::Momentum { learning_rate, momentum } => {
                Applied::Momentum(Momentum { scale, rate: learning_rate as f32, keep: momentum as f32 })
            }
            Self::Adam { learning_rate, beta1, beta2, epsilon, weight_decay, step } => Applied::Adam(Adam {
                scale,
                keep: (1.0 - learning_rate * weight_decay) as f32,
                rate: (learning_rate / (1.0 - beta1.powf(step as f64))) as f32,
                beta1: beta1 as f32,
                new1: (1.0 - beta1) as f32,
                beta2: beta2 as f32,
                new2: (1.0 - beta2) as f32,
                correction2: (1.0 / (1.0 - beta2.powf(step as f64))) as f32,
                epsilon: epsilon as f32,
            }),
        }
    }
}

/// Applies a panel's gradient that was summed before, `[dW | db]`, scaled by `scale`: `params` is `[W | b]`, `state`
/// as the rule lays it out.
///
/// # Panics
/// If a slice does not have the length its shape says.
pub fn apply<'a>(
    panel: &Panel,
    gradient: &[f32],
    params: impl Into<ParametersMut<'a>>,
    state: &mut [f32],
    rule: &UpdateRule,
    scale: f32,
) {
    let params = params.into();
    assert_eq!(params.len(), panel.parameters(), "parameters of {panel:?}");
    assert_eq!(gradient.len(), params.len(), "gradient of {panel:?}");
    assert_eq!(state.len(), params.len() * rule.state_per_parameter(), "optimizer state of {panel:?}");
    let (first, second) = state.split_at_mut(params.len().min(state.len()));
    apply_to_panel(panel, gradient, params, first, second, &rule.applied(scale));
}

vectorised! {
    fn apply_to_panel(
        panel: &Panel,
        gradient: &[f32],
        params: ParametersMut,
        first: &mut [f32],
        second: &mut [f32],
        applied: &Applied,
    ) {
        match params {
            ParametersMut::F32(values) => applied.apply(gradient, values, first, second),
            ParametersMut::Bf16Master { rounded, master } => {
                applied.apply(gradient, Mastered { rounded, master }, first, second);
            }
            ParametersMut::Bf16 { values, key } => {
                let rounding = StochasticRounding::new(panel, key);
                let rows = (0..panel.units).map(|unit| (unit * panel.inputs..(unit + 1) * panel.inputs, rounding.of_unit(unit)));
                let biases = (panel.weights()..panel.parameters(), rounding.of_biases());
                for (row, bits) in rows.chain([biases]) {
                    let values = &mut values[row.clone()];
                    // A rule without state has none to cut a row out of.
                    let (first_row, second_row) = (row_of(first, &row), row_of(second, &row));
                    // SAFETY: where `WIDE`, the CPU has the features.
                    let parameters = unsafe { Stochastic::<WIDE>::new(values, bits) };
                    applied.apply(&gradient[row], parameters, first_row, second_row);
                }
            }
        }
    }
}

/// The row's state; nothing where there is none.
fn row_of<'a>(state: &'a mut [f32], row: &Range<usize>) -> &'a mut [f32] {
    if state.is_empty() { state } else { &mut state[row.clone()] }
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
    Sgd(Sgd),
    Momentum(Momentum),
    Adam(Adam),
    Folded(Folded),
}

/// w ← w − rate · (scale · g)
pub(crate) struct Sgd {
    scale: f32,
    rate: f32,
}

/// v ← keep · v + scale · g; w ← w − rate · v
pub(crate) struct Momentum {
    scale: f32,
    rate: f32,
    keep: f32,
}

/// m ← β₁ m + (1 − β₁) g and v ← β₂ v + (1 − β₂) g² of the scaled gradient; then w by both, corrected.
pub(crate) struct Adam {
    scale: f32,
    keep: f32,
    rate: f32,
    beta1: f32,
    new1: f32,
    beta2: f32,
    new2: f32,
    correction2: f32,
    epsilon: f32,
}

/// w ← w + factor · g
pub(crate) struct Folded {
    pub factor: f32,
}

/// What happens to parameters with `S` values of state each. A trait, and not closures, because the compiler must
/// inline it where vector code is allowed.
trait Rule<const S: usize> {
    fn apply(&self, w: &mut Lanes, g: &Lanes, state: &mut [Lanes; S]);
}

impl Rule<0> for Sgd {
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn apply(&self, w: &mut Lanes, g: &Lanes, []: &mut [Lanes; 0]) {
        for lane in 0..LANES {
            w[lane] -= self.rate * (self.scale * g[lane]);
        }
    }
}

impl Rule<1> for Momentum {
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn apply(&self, w: &mut Lanes, g: &Lanes, [v]: &mut [Lanes; 1]) {
        for lane in 0..LANES {
            v[lane] = self.keep * v[lane] + self.scale * g[lane];
            w[lane] -= self.rate * v[lane];
        }
    }
}

impl Rule<2> for Adam {
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn apply(&self, w: &mut Lanes, g: &Lanes, [m, v]: &mut [Lanes; 2]) {
        for lane in 0..LANES {
            let g = self.scale * g[lane];
            m[lane] = self.beta1 * m[lane] + self.new1 * g;
            v[lane] = self.beta2 * v[lane] + self.new2 * (g * g);
            let change = m[lane] / ((self.correction2 * v[lane]).sqrt() + self.epsilon);
            w[lane] = self.keep * w[lane] - self.rate * change;
        }
    }
}

impl Rule<0> for Folded {
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn apply(&self, w: &mut Lanes, g: &Lanes, []: &mut [Lanes; 0]) {
        for lane in 0..LANES {
            w[lane] += self.factor * g[lane];
        }
    }
}

impl Applied {
    pub(crate) const fn state_per_parameter(&self) -> usize {
        match self {
            Self::Sgd(_) | Self::Folded(_) => 0,
            Self::Momentum(_) => 1,
            Self::Adam(_) => 2,
        }
    }

    /// Applies the rule to parameters that lie one after the other, and to the state they need.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn apply(&self, gradient: &[f32], params: impl Target, first: &mut [f32], second: &mut [f32]) {
        match self {
            Self::Sgd(sgd) => each(sgd, gradient, params, []),
            Self::Momentum(momentum) => each(momentum, gradient, params, [first]),
            Self::Adam(adam) => each(adam, gradient, params, [first, second]),
            Self::Folded(folded) => each(folded, gradient, params, []),
        }
    }
}

/// Applies `rule` to [`LANES`] parameters at a time and their `S` values of state each: in one pass, because what it
/// passes over is seldom in cache.
#[allow(clippy::inline_always)]
#[inline(always)]
fn each<const S: usize>(
    rule: &impl Rule<S>,
    gradient: &[f32],
    mut params: impl Target,
    mut state: [&mut [f32]; S],
) {
    assert_eq!(gradient.len(), params.count(), "gradient and parameters");
    let whole = gradient.len() / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        some(rule, at, LANES, gradient, &mut params, &mut state);
    }
    if whole < gradient.len() {
        some(rule, whole, gradient.len() - whole, gradient, &mut params, &mut state);
    }
}

/// [`each`] of the `count` from `at`, filled up with zeros.
#[allow(clippy::inline_always)]
#[inline(always)]
fn some<const S: usize>(
    rule: &impl Rule<S>,
    at: usize,
    count: usize,
    gradient: &[f32],
    params: &mut impl Target,
    state: &mut [&mut [f32]; S],
) {
    // Copied out, all is read before it is written, so that nothing depends on the slices being apart, which the
    // compiler loses sight of.
    let mut values = params.load(at, count);
    let mut states = [[0.0; LANES]; S];
    for (states, state) in states.iter_mut().zip(&*state) {
        *states = lanes(&state[at..at + count]);
    }
    rule.apply(&mut values, &lanes(&gradient[at..at + count]), &mut states);
    for (state, states) in state.iter_mut().zip(&states) {
        state[at..at + count].copy_from_slice(&states[..count]);
    }
    params.store(at, count, values);
}

#[cfg(test)]
mod tests {
    use super::{UpdateRule, apply};
    use crate::Panel;

    /// Two updates of w = 1 by gradients 2·0.5 and −1·0.5, from state zero.
    fn check(rule: impl Fn(u64) -> UpdateRule, expected: [f32; 2]) {
        // A weight and a bias, to which the same happens.
        let panel = Panel::whole(1, 1);
        let (mut w, mut state) = ([1.0; 2], vec![0.0; 2 * rule(1).state_per_parameter()]);
        for (step, (gradient, expected)) in [2.0, -1.0].into_iter().zip(expected).enumerate() {
            let rule = rule(step as u64 + 1);
            apply(&panel, &[gradient; 2], &mut w[..], &mut state, &rule, 0.5);
            assert!((w[0] - expected).abs() < 1e-6, "{rule:?}: {} is not {expected}", w[0]);
            assert_eq!(w[0], w[1]);
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
