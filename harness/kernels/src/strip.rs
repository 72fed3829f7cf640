//! A product of samples with a panel in packed strips, a few at a time.

mod block;

use std::ops::Range;

use block::{Block, Coming};

use crate::REDUCTION_BLOCK;
use crate::micro::{Kernel, Packed, Samples};
use crate::parallel::{ENOUGH_TILES, Shared, for_each_tile, part};
use crate::product::{Finished, Right};
use crate::workspace::{with_shared_left, with_workspace};

/// Most strips that are computed side by side, so that a packed block of samples serves all of them from cache, and the
/// lines of a panel are fetched in runs that are longer than a cache line.
pub(crate) const STRIPS_SIDE_BY_SIDE: usize = 4;

/// Groups of strips, and so tiles, that a product has at least, as far as it has strips.
const LEAST_GROUPS: usize = 4;

/// Most work of a tile, unless that leaves too few tiles. Larger ones are better: what a tile needs first was not asked for
/// ahead.
const TILE_FLOPS: usize = 32_000_000;

/// Multiplies `samples` with a right operand of `columns` columns; `finish` is given each part of the result once.
pub(crate) fn multiply(
    kernel: &Kernel,
    samples: Samples,
    columns: usize,
    right: &impl Right,
    finish: impl Fn(Finished) + Sync,
) {
    let row_blocks = samples.rows.div_ceil(kernel.blocking.samples);
    for row_block in 0..row_blocks {
        let rows = part(samples.rows, row_blocks, row_block);
        with_shared_left(|buffer| {
            let padded = rows.len().next_multiple_of(kernel.height);
            let values = buffer.get(padded * samples.depth);
            pack_samples(kernel, samples, &rows, padded, values);
            let packed = PackedSamples { rows, padded, depth: samples.depth, values };
            multiply_packed(kernel, &packed, columns, right, &finish);
        });
    }
}

/// Some rows of the samples, packed block by block.
struct PackedSamples<'a> {
    rows: Range<usize>,
    /// Rows filled up to whole heights.
    padded: usize,
    depth: usize,
    values: &'a [f32],
}

impl PackedSamples<'_> {
    fn block(&self, terms: &Range<usize>) -> &[f32] {
        &self.values[self.padded * terms.start..self.padded * terms.end]
    }
}

fn pack_samples(kernel: &Kernel, samples: Samples, rows: &Range<usize>, padded: usize, packed: &mut [f32]) {
    /// What packing a value costs, in floating-point operations of a product.
    const PACKING_FLOPS: usize = 16;
    let flops = PACKING_FLOPS * packed.len();
    let packed = Shared::new(packed);
    for_each_tile(samples.depth.div_ceil(REDUCTION_BLOCK), flops, |block| {
        let terms = reduction_block(samples.depth, block);
        // SAFETY: each tile packs its own terms, and blocks of terms follow each other.
        let packed = unsafe { packed.part(padded * terms.start..padded * terms.end) };
        let source = &samples.values[rows.start * samples.stride + terms.start..];
        kernel.pack_left_rows(source, samples.stride, rows.len(), terms.len(), packed);
    });
}

fn multiply_packed<R: Right>(
    kernel: &Kernel,
    samples: &PackedSamples,
    columns: usize,
    right: &R,
    finish: &(impl Fn(Finished) + Sync),
) {
    let (rows, depth) = (samples.rows.len(), samples.depth);
    let blocks = depth.div_ceil(REDUCTION_BLOCK);
    let group_columns = side_by_side(columns.div_ceil(kernel.width)) * kernel.width;
    let groups = columns.div_ceil(group_columns);
    let group_flops = 2 * rows * depth * group_columns;
    let groups_per_tile = (TILE_FLOPS / group_flops.max(1)).min(groups / ENOUGH_TILES).max(1);
    let tiles = groups.div_ceil(groups_per_tile).next_multiple_of(2).min(groups);
    for_each_tile(tiles, 2 * rows * columns * depth, |tile| {
        // A tile's work, in order: group by group, in each block by block.
        let work = part(groups, tiles, tile).flat_map(|group| {
            (0..blocks).map(move |block| Block {
                kernel,
                right,
                columns: group * group_columns..((group + 1) * group_columns).min(columns),
                terms: reduction_block(depth, block),
            })
        });
        let mut work = work.peekable();
        with_workspace(|workspace| {
            let sums = workspace.sums.get(samples.padded * group_columns);
            let room = group_columns * depth.min(REDUCTION_BLOCK);
            let (mut packed, mut coming) = workspace.right.get(2 * room).split_at_mut(room);
            if let Some(first) = work.peek() {
                first.pack(packed);
            }
            while let Some(block) = work.next() {
                let width = block.width();
                let products = width / kernel.width * samples.padded / kernel.height;
                let mut next = Coming::new(work.peek(), products, coming);
                let operands = Packed {
                    depth: block.terms.len(),
                    rows,
                    left: samples.block(&block.terms),
                    right: &packed[..width * block.terms.len()],
                };
                kernel.multiply(&operands, sums, block.terms.start > 0, &mut next);
                next.pack_rest();
                if block.terms.end == depth {
                    finish(Finished { rows: samples.rows.clone(), columns: block.columns, sums, width });
                }
                std::mem::swap(&mut packed, &mut coming);
            }
        });
    });
}

/// How many of a product's `strips` are computed side by side.
fn side_by_side(strips: usize) -> usize {
    (strips / LEAST_GROUPS).clamp(1, STRIPS_SIDE_BY_SIDE)
}

/// The `block`-th run of a reduction over `depth` terms.
pub(crate) fn reduction_block(depth: usize, block: usize) -> Range<usize> {
    block * REDUCTION_BLOCK..((block + 1) * REDUCTION_BLOCK).min(depth)
}

#[cfg(test)]
mod tests {
    use super::side_by_side;

    #[test]
    fn few_strips_are_cut_into_four_groups_and_many_into_groups_of_four() {
        for strips in 1..=40_usize {
            let groups = strips.div_ceil(side_by_side(strips));
            assert!(groups >= strips.min(4), "{strips} strips in {groups} groups");
        }
        assert_eq!([1, 7, 8, 16, 64].map(side_by_side), [1, 1, 2, 4, 4]);
    }
}
