//! What the tests of several modules share: numbers to feed them, plain products in f64, and layers of odd shapes.

use std::ops::Range;

use crate::parallel::Shared;
use crate::product::{Finish, Output};
use crate::{Panel, UpdateRule};

/// Numbers in [−1, 1) that depend on `seed`, by a linear congruential generator (Knuth's MMIX constants).
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// `(rows, inputs, units)` around every block, strip, height and tile, and beyond.
pub(crate) const SHAPES: [(usize, usize, usize); 17] = [
    (1, 1, 1),
    (1, 7, 3),
    (7, 63, 65),
    (4, 24, 24),
    (5, 25, 23),
    (64, 784, 10),
    (65, 257, 130),
    (3, 600, 1),
    (300, 31, 48),
    (33, 300, 400),
    (6, 16, 16),
    (3, 300, 1100),
    (3, 1100, 300),
    (300, 300, 20),
    (12, 32, 32),
    (21, 97, 129),
    (520, 20, 40),
];

/// Every rule.
pub(crate) const RULES: [UpdateRule; 3] = [
    UpdateRule::Sgd { learning_rate: 0.1 },
    UpdateRule::Momentum { learning_rate: 0.1, momentum: 0.9 },
    UpdateRule::Adam {
        learning_rate: 0.001,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.01,
        step: 3,
    },
];

/// a[i, p]·b[p, j] summed over p, in f64, with the sum of magnitudes that bounds its rounding.
pub(crate) fn product(
    (rows, columns, depth): (usize, usize, usize),
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<(f64, f64)> {
    let element = |i: usize, j: usize| {
        (0..depth).fold((0.0, 0.0), |(sum, size), p| {
            let term = f64::from(a(i, p)) * f64::from(b(p, j));
            (sum + term, size + term.abs())
        })
    };
    (0..rows * columns).map(|index| element(index / columns, index % columns)).collect()
}

/// Asserts that each value is as near as single precision lets a sum of that size be.
pub(crate) fn assert_near(values: &[f32], expected: &[(f64, f64)], case: &str) {
    assert_eq!(values.len(), expected.len(), "{case}");
    for (index, (&value, &(exact, size))) in values.iter().zip(expected).enumerate() {
        let error = (f64::from(value) - exact).abs();
        assert!(error <= 1e-5 * size + 1e-7, "{case}: element {index} is {value}, not {exact}");
    }
}

/// Bit patterns, so that equality means equal bits.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// A layer cut into `parts` panels.
pub(crate) fn panels(units: usize, inputs: usize, parts: usize) -> Vec<Panel> {
    let parts = parts.min(units);
    (0..parts)
        .map(|index| crate::parallel::part(units, parts, index))
        .map(|range| Panel { total_units: units, inputs, first_unit: range.start, units: range.len() })
        .collect()
}

/// A panel's `[W | b]` out of its layer's.
pub(crate) fn panel_params(panel: &Panel, layer: &[f32]) -> Vec<f32> {
    let (weights, biases) = layer.split_at(panel.total_units * panel.inputs);
    let rows = panel.columns();
    [&weights[rows.start * panel.inputs..rows.end * panel.inputs], &biases[rows]].concat()
}

/// Runs `body` in a rayon pool of `threads`.
pub(crate) fn with_threads<R: Send>(threads: usize, body: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads to start").install(body)
}

/// Where a result of `columns` columns is copied to.
pub(crate) fn copied(result: &mut [f32], columns: usize) -> Output<'_, impl Finish> {
    let finish = |line: &mut [f32], sums: &[f32], _: &Range<usize>| line.copy_from_slice(sums);
    Output { lines: Shared::new(result), first: 0, stride: columns, finish }
}
