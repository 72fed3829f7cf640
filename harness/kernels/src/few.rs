//! A product of few samples with a panel that is read where it lies: from memory once, from cache for every four samples.

use crate::micro::{Kernel, Samples, Straight};
use crate::parallel::{ENOUGH_TILES, for_each_tile, part};
use crate::product::{Finish, Finished, Output, Right};
use crate::workspace::with_workspace;

/// Most columns of a tile: the sums of few samples, and as much scratch, stay in the second-level cache.
const MOST_COLUMNS: usize = 1024;

/// Columns that a tile keeps where there would be too few tiles, if rows are lines: in shorter runs they would come more
/// slowly from memory.
const LEAST_RUN: usize = 256;

/// Until there are so many, samples cost nothing beside the panel's way from memory.
const FREE_ROWS: usize = 4;

/// Multiplies few `samples` with a right operand of `columns` columns.
pub(crate) fn multiply<R: Right>(
    kernel: &Kernel,
    straight: &Straight<R::Element>,
    samples: Samples,
    columns: usize,
    right: &R,
    output: &Output<impl Finish>,
) {
    let rows = samples.rows;
    let strips = columns.div_ceil(kernel.width);
    let least = if R::COLUMNS_ARE_LINES { 1 } else { LEAST_RUN };
    let enough = ENOUGH_TILES.min(columns.div_ceil(least));
    let tiles = columns.div_ceil(MOST_COLUMNS).max(enough).min(strips);
    for_each_tile(tiles, 2 * rows.max(FREE_ROWS) * columns * samples.depth, |tile| {
        let strips = part(strips, tiles, tile);
        let columns = strips.start * kernel.width..(strips.end * kernel.width).min(columns);
        let width = strips.len() * kernel.width;
        with_workspace(|workspace| {
            let (sums, scratch) = (workspace.sums.get(rows * width), workspace.right.get(rows * width));
            if R::COLUMNS_ARE_LINES {
                straight.multiply_along(samples, right.lines(), columns.clone(), sums, width);
            } else {
                straight.multiply_across(samples, right.lines(), columns.clone(), sums, scratch, width);
            }
            output.take(&Finished { rows: 0..rows, columns, sums, width });
        });
    });
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::multiply;
    use crate::check::{bits, copied, numbers};
    use crate::micro::{Element, Kernel, Samples};
    use crate::precision::round_to_nearest;
    use crate::product::Right;
    use crate::{forward, input_error, strip};

    fn check<R: Right>(kernel: &Kernel, right: &R, depth: usize, columns: usize) {
        let straight = R::Element::straight(kernel).expect("a kernel that has it");
        for rows in 1..=kernel.few.across + 1 {
            // Rows longer than what is summed.
            let values = numbers(rows * (depth + 3), 2);
            let samples = Samples { values: &values, stride: depth + 3, rows, depth };
            let (mut few, mut packed) = (vec![f32::NAN; rows * columns], vec![f32::NAN; rows * columns]);
            multiply(kernel, straight, samples, columns, right, &copied(&mut few, columns));
            strip::multiply(kernel, samples, columns, right, &copied(&mut packed, columns));
            assert_eq!(bits(&few), bits(&packed), "{:?} {rows}×{depth}×{columns}", R::OPERATION);
        }
    }

    fn check_both<T: Element>(kernel: &Kernel, element: impl Fn(f32) -> T) {
        for (units, inputs) in [(1, 1), (3, 5), (41, 300), (300, 41), (1100, 528), (530, 1100)] {
            let weights: Vec<T> = numbers(units * inputs, 1).into_iter().map(&element).collect();
            check(kernel, &forward::Transposed { kernel, weights: &weights, inputs }, inputs, units);
            check(kernel, &input_error::Rows { kernel, weights: &weights, inputs }, units, inputs);
        }
    }

    #[test]
    fn products_have_the_bits_of_products_of_packed_strips() {
        for kernel in Kernel::all().into_iter().filter(|kernel| f32::straight(kernel).is_some()) {
            check_both(kernel, |value| value);
            check_both::<bf16>(kernel, round_to_nearest);
        }
    }
}
