use std::ops::Range;

use super::{
    Chunk, Errors, Gradient, Stored, Tile, Tiling, blocks, gradient, gradient_with, update, update_folded,
};
use crate::check::{RULES, SHAPES, assert_near, bits, numbers, panel_params, panels, product, with_threads};
use crate::micro::{Kernel, Meanwhile};
use crate::parallel::Shared;
use crate::workspace::Workspace;
use crate::{Panel, UpdateRule, add, apply};

/// Samples of a layer `[units × inputs]`, to be cut into shards and micro-batches.
struct Samples {
    inputs: usize,
    units: usize,
    x: Vec<f32>,
    dz: Vec<f32>,
}

impl Samples {
    fn new(rows: usize, inputs: usize, units: usize) -> Self {
        Self { inputs, units, x: numbers(rows * inputs, 1), dz: numbers(rows * units, 2) }
    }

    /// Shards of micro-batches of the given numbers of rows, one after the other.
    fn cut(&self, shards: &[&[usize]]) -> Vec<Vec<Chunk<'_>>> {
        let mut start = 0;
        let mut chunk = |rows: usize| {
            let range = start..start + rows;
            start += rows;
            Chunk {
                x: &self.x[range.start * self.inputs..range.end * self.inputs],
                dz: &self.dz[range.start * self.units..range.end * self.units],
                rows,
            }
        };
        shards.iter().map(|shard| shard.iter().map(|&rows| chunk(rows)).collect()).collect()
    }
}

fn slices<'a>(shards: &'a [Vec<Chunk<'a>>]) -> Vec<&'a [Chunk<'a>]> {
    shards.iter().map(Vec::as_slice).collect()
}

#[test]
fn gradients_are_those_of_plain_loops_however_the_samples_are_cut() {
    for kernel in Kernel::all() {
        for (rows, inputs, units) in SHAPES {
            let samples = Samples::new(rows, inputs, units);
            let (x, dz) = (&samples.x, &samples.dz);
            let mut expected =
                product((units, inputs, rows), |u, p| dz[p * units + u], |p, j| x[p * inputs + j]);
            expected.extend(product((units, 1, rows), |u, p| dz[p * units + u], |_, _| 1.0));
            let (half, rest) = (rows / 2, rows - rows / 2);
            for cut in [&[&[rows][..]][..], &[&[half, rest]], &[&[half], &[], &[0, rest], &[0]]] {
                let shards = samples.cut(cut);
                let mut out = vec![f32::NAN; units * inputs + units];
                gradient_with(kernel, &Panel::whole(units, inputs), &slices(&shards), &mut out);
                assert_near(&out, &expected, &format!("{} {rows}×{inputs}×{units} {cut:?}", kernel.name));
            }
        }
    }
}

#[test]
fn neither_panels_nor_threads_change_a_bit() {
    // Some tiles of inputs for each of some of units, and enough work for several threads.
    let (rows, inputs, units) = (300, 500, 200);
    let panel = Panel::whole(units, inputs);
    for kernel in Kernel::all() {
        let tiling = Tiling::new(kernel, &panel, rows);
        assert!(tiling.unit_parts > 1 && tiling.input_parts > 1, "{}", kernel.name);
    }
    let samples = Samples::new(rows, inputs, units);
    let shards = samples.cut(&[&[70, 30], &[200]]);
    let run = |threads: usize, parts: usize| {
        let of_panel = |panel: &Panel| {
            let mut out = vec![f32::NAN; panel.parameters()];
            with_threads(threads, || gradient(panel, &slices(&shards), &mut out));
            out
        };
        let panels = panels(units, inputs, parts);
        panels.iter().map(|panel| (*panel, of_panel(panel))).collect::<Vec<_>>()
    };
    let reference = &run(1, 1)[0].1;
    for (threads, parts) in [(2, 1), (3, 1), (1, 3), (3, 7)] {
        for (panel, out) in run(threads, parts) {
            let expected = panel_params(&panel, reference);
            assert_eq!(bits(&out), bits(&expected), "{threads} threads, {panel:?}");
        }
    }
}

#[test]
fn ranks_that_sum_their_shards_and_combine_by_the_tree_have_the_bits_of_one() {
    let panel = Panel::whole(30, 50);
    let samples = Samples::new(72, 50, 30);
    let cut: [&[usize]; 8] = [&[9], &[4, 5], &[9], &[9], &[10], &[8], &[9], &[9]];
    let shards = samples.cut(&cut);
    let all = slices(&shards);
    let sum = |shards: &[&[Chunk]]| {
        let mut out = vec![f32::NAN; panel.parameters()];
        gradient(&panel, shards, &mut out);
        out
    };
    for ranks in [2, 4, 8] {
        let mut sums: Vec<_> = all.chunks(8 / ranks).map(sum).collect();
        while sums.len() > 1 {
            sums = sums
                .chunks(2)
                .map(|pair| {
                    let mut left = pair[0].clone();
                    add(&mut left, &pair[1]);
                    left
                })
                .collect();
        }
        assert_eq!(bits(&sums[0]), bits(&sum(&all)), "{ranks} ranks");
    }
}

#[test]
fn an_update_is_its_gradient_applied_bit_for_bit() {
    for (rows, inputs, units) in [(33, 300, 70), (64, 784, 10), (5, 25, 23), (100, 1500, 150)] {
        let panel = Panel::whole(units, inputs);
        let samples = Samples::new(rows, inputs, units);
        let shards = samples.cut(&[&[rows - 3], &[1, 2]]);
        let scale = 1.0 / rows as f32;
        for rule in RULES {
            let start = numbers(panel.parameters(), 3);
            let start_state: Vec<f32> = numbers(panel.parameters() * rule.state_per_parameter(), 4)
                .into_iter()
                .map(f32::abs)
                .collect();

            let (mut params, mut state) = (start.clone(), start_state.clone());
            with_threads(2, || {
                update(&panel, &slices(&shards), &mut params[..], &mut state, &rule, scale);
            });
            let (mut expected, mut expected_state) = (start, start_state);
            let mut sum = vec![f32::NAN; panel.parameters()];
            gradient(&panel, &slices(&shards), &mut sum);
            apply(&panel, &sum, &mut expected[..], &mut expected_state, &rule, scale);
            assert_eq!(bits(&params), bits(&expected), "{rule:?}");
            assert_eq!(bits(&state), bits(&expected_state), "state of {rule:?}");
        }
    }
}

#[test]
fn a_folded_update_is_near_the_formed_one() {
    let (rows, panel) = (33, Panel::whole(70, 300));
    let samples = Samples::new(rows, 300, 70);
    let shards = samples.cut(&[&[rows]]);
    let start = numbers(panel.parameters(), 3);
    let (mut folded, mut formed) = (start.clone(), start);
    update_folded(&panel, &shards[0][0], &mut folded, 0.1, 0.25);
    update(&panel, &slices(&shards), &mut formed[..], &mut [], &UpdateRule::Sgd { learning_rate: 0.1 }, 0.25);
    for (folded, formed) in folded.iter().zip(formed) {
        assert!((folded - formed).abs() < 1e-5, "{folded} is not near {formed}");
    }
}

#[test]
fn no_samples_are_a_gradient_of_zero() {
    let panel = Panel::whole(3, 2);
    let empty = Chunk { x: &[], dz: &[], rows: 0 };
    for shards in [&[][..], &[&[][..]], &[&[empty], &[empty, empty]]] {
        let mut out = vec![f32::NAN; panel.parameters()];
        gradient(&panel, shards, &mut out);
        assert_eq!(out, vec![0.0; panel.parameters()]);
    }
}

/// Counts products.
struct Count(usize);

impl Meanwhile for Count {
    fn before_product(&mut self, _: &mut [*const u8]) -> usize {
        self.0 += 1;
        0
    }
}

#[test]
fn tiles_are_all_units_and_inputs_once_and_make_as_many_products_as_they_say() {
    let asks = |kernel: &&Kernel| kernel.name.starts_with("avx");
    for kernel in Kernel::all().into_iter().filter(asks) {
        for (rows, inputs, units) in SHAPES {
            let (panel, samples) = (Panel::whole(units, inputs), Samples::new(rows, inputs, units));
            let cut = samples.cut(&[&[rows / 2, rows - rows / 2]]);
            let shards = &slices(&cut)[..];
            let blocks = shards.iter().copied().flat_map(blocks).count();
            let gradient = &Gradient { kernel, panel: &panel, shards, samples: rows, blocks };
            let tiling = Tiling::new(kernel, &panel, rows);
            let mut out = vec![f32::NAN; panel.parameters()];
            let to = Stored { out: Shared::new(&mut out) };
            let Workspace { mut left, mut right, mut sums } = Workspace::default();
            let mut covered = vec![0; units * inputs];
            for Tile { units: lines, inputs: columns } in (0..tiling.tiles()).map(|index| tiling.tile(index))
            {
                for unit in lines.clone() {
                    covered[unit * inputs..][columns.clone()].iter_mut().for_each(|times| *times += 1);
                }
                let errors = Errors { of: gradient, units: lines };
                let left = left.get(errors.padded() * rows);
                errors.pack(left);
                let mut count = Count(0);
                errors.weights(&columns, left, &mut right, &mut sums, &to, &mut count);
                assert_eq!(count.0, errors.products(&columns), "{} {rows}×{inputs}×{units}", kernel.name);
            }
            assert!(covered.iter().all(|times| *times == 1), "{} {rows}×{inputs}×{units}", kernel.name);
        }
    }
}

#[test]
fn a_tile_first_needs_its_inputs_of_all_samples_and_the_parameters_of_its_first_units() {
    let kernel = Kernel::of_this_cpu();
    let (panel, samples) = (Panel::whole(40, 50), Samples::new(7, 50, 40));
    let cut = samples.cut(&[&[3], &[4]]);
    let shards = &slices(&cut)[..];
    let gradient = Gradient { kernel, panel: &panel, shards, samples: 7, blocks: 2 };
    let mut out = vec![0.0; panel.parameters()];
    let to = Stored { out: Shared::new(&mut out) };
    let bytes = |values: &[f32], lines: Range<usize>| {
        let line = |line: usize, column: usize| std::ptr::from_ref(&values[line * 50 + column]).addr();
        line(lines.start, 32)..line(lines.end - 1, 49) + size_of::<f32>()
    };
    let located: Vec<_> = gradient.locate(&Tile { units: 20..40, inputs: 32..50 }, &to).collect();
    let located: Vec<_> =
        located.iter().map(crate::micro::Region::bytes).filter(|bytes| !bytes.is_empty()).collect();
    assert_eq!(located[..2], [bytes(&samples.x, 0..3), bytes(&samples.x, 3..7)]);
    assert_eq!(located[2..], [bytes(&out, 20..20 + kernel.height)]);
}
