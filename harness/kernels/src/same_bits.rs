//! Kernels that fuse multiplications with additions have the same bits, whatever their shape, blocking and limits.

use crate::check::{RULES, SHAPES, bits, numbers};
use crate::forward::forward_with;
use crate::gradient::{Chunk, gradient_with, update_with};
use crate::input_error::input_error_with;
use crate::micro::{Element, Kernel};
use crate::precision::round_to_nearest;
use crate::{OutputActivation, Panel};

/// Outputs and input errors.
fn products<T: Element>(
    kernel: &Kernel,
    (rows, inputs, units): (usize, usize, usize),
    element: impl Fn(f32) -> T,
) -> [Vec<u32>; 2] {
    let panel = Panel::whole(units, inputs);
    let params: Vec<T> = numbers(panel.parameters(), 1).into_iter().map(element).collect();
    let (x, dz) = (numbers(rows * inputs, 2), numbers(rows * units, 3));
    let (mut y, mut dx) = (vec![f32::NAN; rows * units], vec![0.5; rows * inputs]);
    forward_with(kernel, &panel, &params, &x, &mut y, rows, OutputActivation::Tanh);
    input_error_with(kernel, &panel, &params, &dz, &mut dx, rows, true);
    [bits(&y), bits(&dx)]
}

/// The gradient of two shards, one of them of two micro-batches, and parameters and state that each rule makes of it.
fn updates(kernel: &Kernel, (rows, inputs, units): (usize, usize, usize)) -> Vec<Vec<u32>> {
    let panel = Panel::whole(units, inputs);
    let (x, dz) = (numbers(rows * inputs, 2), numbers(rows * units, 3));
    let chunk = |rows: std::ops::Range<usize>| Chunk {
        x: &x[rows.start * inputs..rows.end * inputs],
        dz: &dz[rows.start * units..rows.end * units],
        rows: rows.len(),
    };
    let (first, second) = (rows / 3, rows / 2);
    let shards: &[&[Chunk]] = &[&[chunk(0..first), chunk(first..second)], &[chunk(second..rows)]];
    let mut gradient = vec![f32::NAN; panel.parameters()];
    gradient_with(kernel, &panel, shards, &mut gradient);
    let mut all = vec![bits(&gradient)];
    for rule in RULES {
        let mut params = numbers(panel.parameters(), 1);
        let mut state = vec![0.1; panel.parameters() * rule.state_per_parameter()];
        update_with(kernel, &panel, shards, params.as_mut_slice().into(), &mut state, &rule.applied(0.5));
        all.extend([bits(&params), bits(&state)]);
    }
    all
}

#[test]
fn kernels_that_fuse_have_the_same_bits() {
    // Portable code fuses only where the target always can, and is the one that has no code for few samples.
    let kernels: Vec<_> =
        Kernel::all().into_iter().filter(|kernel| f32::straight(kernel).is_some()).collect();
    let [first, others @ ..] = &kernels[..] else { return println!("skipped: this CPU has no such kernel") };
    if others.is_empty() {
        return println!("skipped: this CPU has one such kernel");
    }
    for shape in SHAPES {
        let [f32s, halves] =
            [products(first, shape, |value| value), products(first, shape, round_to_nearest)];
        let updated = updates(first, shape);
        for kernel in others {
            let case = format!("{} {shape:?}", kernel.name);
            assert!(products(kernel, shape, |value| value) == f32s, "{case}");
            assert!(products(kernel, shape, round_to_nearest) == halves, "{case}, bf16");
            assert!(updates(kernel, shape) == updated, "{case}, updates");
        }
    }
}
