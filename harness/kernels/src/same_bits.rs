//! Kernels that fuse multiplications with additions have the same bits, whatever their shape, blocking and limits.

use half::bf16;

use crate::check::{RULES, SHAPES, bits, numbers};
use crate::forward::forward_with;
use crate::gradient::{Chunk, gradient_with, update_with};
use crate::input_error::input_error_with;
use crate::micro::{Element, Kernel};
use crate::precision::round_to_nearest;
use crate::{OutputActivation, Panel};

/// All results of a layer of some shape.
fn results<T: Element>(
    kernel: &Kernel,
    (rows, inputs, units): (usize, usize, usize),
    element: impl Fn(f32) -> T,
) -> Vec<Vec<u32>> {
    let panel = Panel::whole(units, inputs);
    let numbers_of_parameters = numbers(panel.parameters(), 1);
    let params: Vec<T> = numbers_of_parameters.iter().map(|value| element(*value)).collect();
    let (x, dz) = (numbers(rows * inputs, 2), numbers(rows * units, 3));
    let (mut y, mut dx) = (vec![f32::NAN; rows * units], vec![0.5; rows * inputs]);
    forward_with(kernel, &panel, &params, &x, &mut y, rows, OutputActivation::Tanh);
    input_error_with(kernel, &panel, &params, &dz, &mut dx, rows, true);
    let shards: &[&[Chunk]] = &[&[Chunk { x: &x, dz: &dz, rows }]];
    let mut gradient = vec![f32::NAN; panel.parameters()];
    gradient_with(kernel, &panel, shards, &mut gradient);
    let mut all = vec![bits(&y), bits(&dx), bits(&gradient)];
    for rule in RULES {
        let mut updated = numbers_of_parameters.clone();
        let mut state = vec![0.1; panel.parameters() * rule.state_per_parameter()];
        update_with(kernel, &panel, shards, updated.as_mut_slice().into(), &mut state, &rule.applied(0.5));
        all.extend([bits(&updated), bits(&state)]);
    }
    all
}

#[test]
fn kernels_that_fuse_have_the_same_bits() {
    let kernels: Vec<_> =
        Kernel::all().into_iter().filter(|kernel| f32::straight(kernel).is_some()).collect();
    let [first, others @ ..] = &kernels[..] else { return println!("skipped: this CPU has no such kernel") };
    if others.is_empty() {
        println!("skipped: this CPU has one such kernel");
    }
    for shape in SHAPES {
        let expected =
            (results(first, shape, |value| value), results::<bf16>(first, shape, round_to_nearest));
        for kernel in others {
            let found =
                (results(kernel, shape, |value| value), results::<bf16>(kernel, shape, round_to_nearest));
            assert!(found == expected, "{} {shape:?}", kernel.name);
        }
    }
}
