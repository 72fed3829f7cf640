//! A panel's bytes as the numbers that they are, by `train.precision`.
//!
//! | precision | weights extent | state extent |
//! |---|---|---|
//! | `f32` | f32 | optimizer state |
//! | `bf16` | bf16 | optimizer state |
//! | `bf16_master` | bf16 | f32 masters, optimizer state |
//!
//! Optimizer state is f32 at every precision: a second moment rounded to eight bits would not move any more, as its
//! decay is a thousandth a step.

use spillbench_kernels::{Parameters, ParametersMut, round_to_nearest};
use spillbench_schedule::{LayerId, Network, PanelGeometry};
use spillbench_schema::config::Precision;
use spillbench_storage::Buffer;

use crate::{initial, random};

/// What products read of a panel's weights.
pub fn parameters(precision: Precision, weights: &Buffer) -> Parameters<'_> {
    match precision {
        Precision::F32 => Parameters::F32(weights.as_f32()),
        Precision::Bf16 | Precision::Bf16Master => Parameters::Bf16(weights.as_bf16()),
    }
}

/// What an update changes: a panel's parameters, and the optimizer's state of them.
pub fn parameters_mut<'a>(
    precision: Precision,
    weights: &'a mut Buffer,
    state: Option<&'a mut Buffer>,
    rounding_key: u64,
) -> (ParametersMut<'a>, &'a mut [f32]) {
    let state = state.map_or(&mut [][..], Buffer::as_f32_mut);
    match precision {
        Precision::F32 => (ParametersMut::F32(weights.as_f32_mut()), state),
        Precision::Bf16 => (ParametersMut::Bf16 { values: weights.as_bf16_mut(), key: rounding_key }, state),
        Precision::Bf16Master => {
            let rounded = weights.as_bf16_mut();
            let (master, state) = state.split_at_mut(rounded.len());
            (ParametersMut::Bf16Master { rounded, master }, state)
        }
    }
}

/// What the random bits of stochastic rounding are made from, in one step's update of a layer.
pub fn rounding_key(seed: u64, step: u64, layer: LayerId) -> u64 {
    use rand::Rng;
    random::stream(seed, "rounding", &[step, u64::from(layer.0)]).next_u64()
}

/// Fills a weights extent with a panel's initial parameters; at two bytes each, rounded to the nearest.
pub fn fill_weights(
    precision: Precision,
    network: &Network,
    panel: &PanelGeometry,
    seed: u64,
    weights: &mut Buffer,
) {
    match precision {
        Precision::F32 => initial::fill(network, panel, seed, weights.as_f32_mut(), |weight| weight),
        Precision::Bf16 | Precision::Bf16Master => {
            initial::fill(network, panel, seed, weights.as_bf16_mut(), round_to_nearest);
        }
    }
}

/// Fills a state extent, which is zeros: with the masters, where there are any.
pub fn fill_state(
    precision: Precision,
    network: &Network,
    panel: &PanelGeometry,
    seed: u64,
    state: &mut Buffer,
) {
    if precision.has_master() {
        let masters = &mut state.as_f32_mut()[..panel.parameters() as usize];
        initial::fill(network, panel, seed, masters, |weight| weight);
    }
}
