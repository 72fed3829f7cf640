//! Activations whose derivative is a function of their output, so that the pre-activation need not be kept.

use crate::exponential::{sigmoid, tanh};
use crate::panel::Panel;
use crate::parallel::{Shared, for_each_tile, part};
use crate::vectorised::{vectorised, zip_mut};

/// A function applied to each output of a layer, with its derivative in terms of the output y.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputActivation {
    /// z; derivative 1.
    Identity,
    /// max(z, 0); derivative 1 where y > 0, else 0.
    Relu,
    /// z where z > 0, else 0.01 z; derivative 1 where y > 0, else 0.01.
    LeakyRelu,
    /// 1 / (1 + e⁻ᶻ); derivative y (1 − y).
    Sigmoid,
    /// tanh z; derivative 1 − y².
    Tanh,
}

const LEAK: f32 = 0.01;

/// What one value costs backward, in floating-point operations of a product.
const BACKWARD_FLOPS: usize = 16;

/// Rows that one tile takes backward.
const ROWS_PER_TILE: usize = 16;

vectorised! {
    /// y = act(sums + biases), for one line of a strip; `y` holds the biases, of as many units.
    pub(crate) fn activate(activation: OutputActivation, sums: &[f32], y: &mut [f32]) {
        match activation {
            OutputActivation::Identity => zip_mut(y, sums, |y, sum| *y += sum),
            OutputActivation::Relu => zip_mut(y, sums, |y, sum| *y = relu(*y + sum)),
            OutputActivation::LeakyRelu => zip_mut(y, sums, |y, sum| *y = leaky_relu(*y + sum)),
            OutputActivation::Sigmoid => zip_mut(y, sums, |y, sum| *y = sigmoid(*y + sum)),
            OutputActivation::Tanh => zip_mut(y, sums, |y, sum| *y = tanh(*y + sum)),
        }
    }
}

/// Turns the error at the panel's outputs into the error before its activation: dy[:, panel] ⊙= act′, from
/// the outputs y. Both are `[rows × total_units]`.
///
/// # Panics
/// If a slice does not have the length its shape says.
pub fn activation_backward(
    panel: &Panel,
    y: &[f32],
    dy: &mut [f32],
    rows: usize,
    activation: OutputActivation,
) {
    panel.assert_inside_layer();
    assert_eq!(y.len(), rows * panel.total_units, "output of {panel:?}");
    assert_eq!(dy.len(), y.len(), "output error of {panel:?}");
    if activation == OutputActivation::Identity {
        return;
    }
    let tiles = rows.div_ceil(ROWS_PER_TILE);
    let dy = Shared::new(dy);
    for_each_tile(tiles, BACKWARD_FLOPS * rows * panel.units, |tile| {
        for row in part(rows, tiles, tile) {
            let start = row * panel.total_units;
            let range = start + panel.columns().start..start + panel.columns().end;
            // SAFETY: each row is in one tile.
            let dy = unsafe { dy.part(range.clone()) };
            multiply_derivative(activation, &y[range], dy);
        }
    });
}

vectorised! {
    fn multiply_derivative(activation: OutputActivation, y: &[f32], dy: &mut [f32]) {
        match activation {
            OutputActivation::Identity => {}
            OutputActivation::Relu => zip_mut(dy, y, |dy, y| *dy = if y > 0.0 { *dy } else { 0.0 }),
            OutputActivation::LeakyRelu => zip_mut(dy, y, |dy, y| *dy = if y > 0.0 { *dy } else { LEAK * *dy }),
            OutputActivation::Sigmoid => zip_mut(dy, y, |dy, y| *dy *= y * (1.0 - y)),
            OutputActivation::Tanh => zip_mut(dy, y, |dy, y| *dy *= 1.0 - y * y),
        }
    }
}

/// Written so that not-a-number stays what it is.
#[inline]
fn relu(z: f32) -> f32 {
    if z <= 0.0 { 0.0 } else { z }
}

#[inline]
fn leaky_relu(z: f32) -> f32 {
    if z > 0.0 { z } else { LEAK * z }
}

#[cfg(test)]
mod tests {
    use super::{OutputActivation, activate, activation_backward};
    use crate::Panel;
    use crate::check::numbers;

    const ALL: [OutputActivation; 5] = [
        OutputActivation::Identity,
        OutputActivation::Relu,
        OutputActivation::LeakyRelu,
        OutputActivation::Sigmoid,
        OutputActivation::Tanh,
    ];

    fn exact(activation: OutputActivation, z: f64) -> f64 {
        match activation {
            OutputActivation::Identity => z,
            OutputActivation::Relu => z.max(0.0),
            OutputActivation::LeakyRelu => z.max(0.01 * z),
            OutputActivation::Sigmoid => 1.0 / (1.0 + (-z).exp()),
            OutputActivation::Tanh => z.tanh(),
        }
    }

    #[test]
    fn activations_are_those_of_f64() {
        let mut sums: Vec<f32> = (-40_000..40_000).map(|step| step as f32 * 0.0025).collect();
        sums.extend([0.0, -0.0, 1e-30, -1e-6, 1e-4, 1e30, -1e30]);
        for activation in ALL {
            let mut y = vec![0.0; sums.len()];
            activate(activation, &sums, &mut y);
            for (&z, &y) in sums.iter().zip(&y) {
                let expected = exact(activation, f64::from(z));
                let error = (f64::from(y) - expected).abs() / expected.abs().max(1e-30);
                assert!(error < 3e-7, "{activation:?}({z}) is {y}, not {expected}");
            }
        }
    }

    #[test]
    fn derivatives_are_the_slopes_of_the_activations() {
        let panel = Panel { total_units: 50, inputs: 1, first_unit: 10, units: 30 };
        let rows = 40;
        let z: Vec<f32> = numbers(rows * 50, 1).iter().map(|value| 3.0 * value).collect();
        for activation in ALL {
            let mut y = vec![0.0; z.len()];
            activate(activation, &z, &mut y);
            let mut dy = vec![2.0; z.len()];
            activation_backward(&panel, &y, &mut dy, rows, activation);
            for (index, (&dy, &z)) in dy.iter().zip(&z).enumerate() {
                let z = f64::from(z);
                let slope = (exact(activation, z + 1e-5) - exact(activation, z - 1e-5)) / 2e-5;
                let expected = if panel.columns().contains(&(index % 50)) { 2.0 * slope } else { 2.0 };
                assert!(
                    (f64::from(dy) - expected).abs() < 1e-4,
                    "{activation:?}′({z}) gave {dy}, not {expected}"
                );
            }
        }
    }
}
