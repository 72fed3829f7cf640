//! y = act(x·Wᵀ + b), a panel at a time.

use std::ops::Range;

use crate::activation::{OutputActivation, activate};
use crate::choice::Operation;
use crate::micro::{Element, Kernel, Matrix, Region, Samples, Strips};
use crate::panel::Panel;
use crate::parallel::Shared;
use crate::precision::Parameters;
use crate::product::{Output, Right, multiply_samples};

/// Computes the panel's columns of a layer's output, y[:, panel] = act(x·Wᵀ + b), and no others.
///
/// `params` is the panel's `[W | b]`, `x` is `[rows × inputs]`, `y` is `[rows × total_units]`.
///
/// # Panics
/// If a slice does not have the length its shape says.
pub fn forward<'a>(
    panel: &Panel,
    params: impl Into<Parameters<'a>>,
    x: &[f32],
    y: &mut [f32],
    rows: usize,
    activation: OutputActivation,
) {
    let kernel = Kernel::of_this_cpu();
    match params.into() {
        Parameters::F32(params) => forward_with(kernel, panel, params, x, y, rows, activation),
        Parameters::Bf16(params) => forward_with(kernel, panel, params, x, y, rows, activation),
    }
}

pub(crate) fn forward_with<T: Element>(
    kernel: &Kernel,
    panel: &Panel,
    params: &[T],
    x: &[f32],
    y: &mut [f32],
    rows: usize,
    activation: OutputActivation,
) {
    panel.assert_inside_layer();
    assert_eq!(params.len(), panel.parameters(), "parameters of {panel:?}");
    assert_eq!(x.len(), rows * panel.inputs, "input of {panel:?}");
    assert_eq!(y.len(), rows * panel.total_units, "output of {panel:?}");
    let (weights, biases) = params.split_at(panel.weights());
    let inputs = panel.inputs;
    let output = Output {
        lines: Shared::new(y),
        first: panel.first_unit,
        stride: panel.total_units,
        finish: |y: &mut [f32], sums: &[f32], units: &Range<usize>| {
            for (y, bias) in y.iter_mut().zip(&biases[units.clone()]) {
                *y = bias.to_f32();
            }
            activate(activation, sums, y);
        },
    };
    let samples = Samples { values: x, stride: inputs, rows, depth: inputs };
    multiply_samples(kernel, samples, panel.units, &Transposed { kernel, weights, inputs }, &output);
}

/// Wᵀ
pub(crate) struct Transposed<'a, T> {
    pub kernel: &'a Kernel,
    pub weights: &'a [T],
    pub inputs: usize,
}

impl<T: Element> Right for Transposed<'_, T> {
    type Element = T;
    const OPERATION: Operation = Operation::Forward;
    const COLUMNS_ARE_LINES: bool = true;

    fn pack(&self, units: Range<usize>, inputs: Range<usize>, strips: Strips) {
        let source = &self.weights[units.start * self.inputs + inputs.start..];
        self.kernel.pack_right_columns(source, self.inputs, units.len(), inputs.len(), strips.values);
    }

    fn locate(&self, units: Range<usize>, inputs: Range<usize>) -> Region {
        let source = &self.weights[units.start * self.inputs + inputs.start..];
        Region::new(source.as_ptr(), self.inputs, units.len(), inputs.len())
    }

    fn lines(&self) -> Matrix<'_, T> {
        Matrix { values: self.weights, stride: self.inputs }
    }
}

#[cfg(test)]
mod tests {
    use super::forward_with;
    use crate::check::{SHAPES, assert_near, bits, numbers, panel_params, panels, product, with_threads};
    use crate::micro::Kernel;
    use crate::{OutputActivation, Panel, forward};

    #[test]
    fn outputs_are_those_of_plain_loops() {
        for kernel in Kernel::all() {
            for (rows, inputs, units) in SHAPES {
                let panel = Panel::whole(units, inputs);
                let (params, x) = (numbers(panel.parameters(), 1), numbers(rows * inputs, 2));
                let mut y = vec![f32::NAN; rows * units];
                forward_with(kernel, &panel, &params, &x, &mut y, rows, OutputActivation::Identity);
                let mut expected =
                    product((rows, units, inputs), |i, p| x[i * inputs + p], |p, j| params[j * inputs + p]);
                for (index, (sum, size)) in expected.iter_mut().enumerate() {
                    let bias = f64::from(params[panel.weights() + index % units]);
                    *sum += bias;
                    *size += bias.abs();
                }
                assert_near(&y, &expected, &format!("{} {rows}×{inputs}×{units}", kernel.name));
            }
        }
    }

    #[test]
    fn neither_panels_nor_other_rows_nor_threads_change_a_bit() {
        for (rows, inputs, units) in [(70, 300, 130), (300, 784, 257)] {
            let whole = Panel::whole(units, inputs);
            let (params, x) = (numbers(whole.parameters(), 1), numbers(rows * inputs, 2));
            let run = |threads: usize, parts: usize| {
                let mut y = vec![f32::NAN; rows * units];
                with_threads(threads, || {
                    for panel in panels(units, inputs, parts) {
                        let params = panel_params(&panel, &params);
                        forward(&panel, &params[..], &x, &mut y, rows, OutputActivation::Sigmoid);
                    }
                });
                y
            };
            let reference = run(1, 1);
            for (threads, parts) in [(2, 1), (3, 1), (1, 2), (2, 3), (3, 7)] {
                assert_eq!(bits(&run(threads, parts)), bits(&reference), "{threads} threads, {parts} panels");
            }
            let mut first = vec![0.0; 3 * units];
            forward(&whole, &params[..], &x[..3 * inputs], &mut first, 3, OutputActivation::Sigmoid);
            assert_eq!(bits(&first), bits(&reference[..3 * units]), "the first three rows alone");
        }
    }

    #[test]
    fn only_the_columns_of_the_panel_are_written() {
        let panel = Panel { total_units: 9, inputs: 4, first_unit: 3, units: 2 };
        let mut y = vec![f32::NAN; 2 * 9];
        forward(&panel, &numbers(10, 1)[..], &numbers(8, 2), &mut y, 2, OutputActivation::Relu);
        for (index, value) in y.iter().enumerate() {
            assert_eq!(value.is_nan(), !panel.columns().contains(&(index % 9)), "column {}", index % 9);
        }
    }

    #[test]
    fn no_samples_are_no_work() {
        forward(&Panel::whole(3, 2), &numbers(9, 1)[..], &[], &mut [], 0, OutputActivation::Tanh);
    }
}
