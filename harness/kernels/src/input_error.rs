//! dx = dz·W, a panel at a time.

use std::ops::Range;

use crate::choice::Operation;
use crate::micro::{Element, Kernel, Matrix, Region, Samples, Strips};
use crate::panel::Panel;
use crate::parallel::Shared;
use crate::precision::Parameters;
use crate::product::{Output, Right, multiply_samples};
use crate::rule::add;

/// Computes the panel's part of the error at a layer's input, dx = dz[:, panel]·W, or with `accumulate` adds
/// it to `dx`. A layer's error is its panels' parts, added in order.
///
/// `params` is the panel's `[W | b]`, `dz` is `[rows × total_units]`, `dx` is `[rows × inputs]`.
///
/// # Panics
/// If a slice does not have the length its shape says.
pub fn input_error<'a>(
    panel: &Panel,
    params: impl Into<Parameters<'a>>,
    dz: &[f32],
    dx: &mut [f32],
    rows: usize,
    accumulate: bool,
) {
    let kernel = Kernel::of_this_cpu();
    match params.into() {
        Parameters::F32(params) => input_error_with(kernel, panel, params, dz, dx, rows, accumulate),
        Parameters::Bf16(params) => input_error_with(kernel, panel, params, dz, dx, rows, accumulate),
    }
}

pub(crate) fn input_error_with<T: Element>(
    kernel: &Kernel,
    panel: &Panel,
    params: &[T],
    dz: &[f32],
    dx: &mut [f32],
    rows: usize,
    accumulate: bool,
) {
    panel.assert_inside_layer();
    assert_eq!(params.len(), panel.parameters(), "parameters of {panel:?}");
    assert_eq!(dz.len(), rows * panel.total_units, "output error of {panel:?}");
    assert_eq!(dx.len(), rows * panel.inputs, "input error of {panel:?}");
    if rows == 0 {
        return;
    }
    let weights = &params[..panel.weights()];
    let inputs = panel.inputs;
    let output = Output {
        lines: Shared::new(dx),
        first: 0,
        stride: inputs,
        finish: |dx: &mut [f32], sums: &[f32], _: &Range<usize>| {
            if accumulate { add(dx, sums) } else { dx.copy_from_slice(sums) }
        },
    };
    let samples =
        Samples { values: &dz[panel.first_unit..], stride: panel.total_units, rows, depth: panel.units };
    multiply_samples(kernel, samples, inputs, &Rows { kernel, weights, inputs }, &output);
}

/// W
pub(crate) struct Rows<'a, T> {
    pub kernel: &'a Kernel,
    pub weights: &'a [T],
    pub inputs: usize,
}

impl<T: Element> Right for Rows<'_, T> {
    type Element = T;
    const OPERATION: Operation = Operation::InputError;
    const COLUMNS_ARE_LINES: bool = false;

    fn pack(&self, inputs: Range<usize>, units: Range<usize>, strips: Strips) {
        let source = &self.weights[units.start * self.inputs + inputs.start..];
        self.kernel.pack_right_rows(source, self.inputs, inputs.len(), units.len(), strips);
    }

    fn locate(&self, inputs: Range<usize>, units: Range<usize>) -> Region {
        let source = &self.weights[units.start * self.inputs + inputs.start..];
        Region::new(source.as_ptr(), self.inputs, units.len(), inputs.len())
    }

    fn lines(&self) -> Matrix<'_, T> {
        Matrix { values: self.weights, stride: self.inputs }
    }
}

#[cfg(test)]
mod tests {
    use super::input_error_with;
    use crate::check::{SHAPES, assert_near, bits, numbers, panel_params, panels, product, with_threads};
    use crate::micro::Kernel;
    use crate::{Panel, input_error};

    #[test]
    fn errors_are_those_of_plain_loops_however_the_layer_is_cut() {
        for kernel in Kernel::all() {
            for (rows, inputs, units) in SHAPES {
                let params = numbers(Panel::whole(units, inputs).parameters(), 1);
                let dz = numbers(rows * units, 2);
                let expected =
                    product((rows, inputs, units), |i, p| dz[i * units + p], |p, j| params[p * inputs + j]);
                for parts in [1, 3] {
                    let mut dx = vec![f32::NAN; rows * inputs];
                    for panel in panels(units, inputs, parts) {
                        let params = panel_params(&panel, &params);
                        input_error_with(kernel, &panel, &params, &dz, &mut dx, rows, panel.first_unit > 0);
                    }
                    let case = format!("{} {rows}×{inputs}×{units}, {parts} panels", kernel.name);
                    assert_near(&dx, &expected, &case);
                }
            }
        }
    }

    #[test]
    fn neither_other_rows_nor_threads_change_a_bit() {
        let (rows, panel) = (300, Panel { total_units: 500, inputs: 257, first_unit: 50, units: 300 });
        let (params, dz) = (numbers(panel.parameters(), 1), numbers(rows * 500, 2));
        let run = |threads: usize, rows: usize| {
            let mut dx = vec![0.5; rows * panel.inputs];
            with_threads(threads, || {
                input_error(&panel, &params[..], &dz[..rows * 500], &mut dx, rows, true);
            });
            bits(&dx)
        };
        let reference = run(1, rows);
        assert_eq!(run(2, rows), reference);
        assert_eq!(run(3, rows), reference);
        assert_eq!(run(1, 5), reference[..5 * panel.inputs]);
    }

    #[test]
    fn no_samples_are_no_work() {
        input_error(&Panel::whole(3, 2), &numbers(9, 1)[..], &[], &mut [], 0, false);
    }
}
