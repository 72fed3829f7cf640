//! A product of all samples with a panel, strip by strip: what [`forward`](crate::forward()) and
//! [`input_error`](crate::input_error()) share. They differ in how the panel is packed and in what becomes of
//! a finished strip.

use std::ops::Range;

use crate::REDUCTION_BLOCK;
use crate::micro::{Ahead, Kernel, Region};
use crate::parallel::{Shared, for_each_tile, part};
use crate::workspace::{with_shared_left, with_workspace};

/// Samples whose packed rows are kept at a time: few enough that a block of them stays in the second-level cache.
const ROW_BLOCK: usize = 256;

/// Strips that are computed side by side, so that a packed block of samples serves all of them from cache, and the lines
/// of a panel are fetched in runs that are longer than a cache line.
const STRIPS_SIDE_BY_SIDE: usize = 4;

/// Work of a tile where there is more than enough. Each begins without its operands having been asked for.
const TILE_FLOPS: usize = 32_000_000;

/// Tiles that are too few to keep threads of different speeds equally long at work, as cores in shared machines are.
pub(crate) const FEW_TILES: usize = 8;

/// The samples: `rows` lines of `depth` values, `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Samples<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    pub rows: usize,
    pub depth: usize,
}

/// Part of a result: `sums` holds lines of `width` values, the first `columns.len()` of them valid, one line
/// for each of `rows`.
pub(crate) struct Finished<'a> {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    pub sums: &'a [f32],
    pub width: usize,
}

/// The operand that samples are multiplied with.
pub(crate) trait Right: Sync {
    /// Packs a block of it, strip by strip.
    fn pack(&self, columns: Range<usize>, terms: Range<usize>, packed: &mut [f32]);

    /// Where that block is.
    fn locate(&self, columns: Range<usize>, terms: Range<usize>) -> Region;
}

/// Multiplies `samples` with a right operand of `columns` columns; `finish` is given each strip of the result once.
pub(crate) fn multiply_samples(
    kernel: &Kernel,
    samples: Samples,
    columns: usize,
    right: &impl Right,
    finish: impl Fn(Finished) + Sync,
) {
    let row_blocks = samples.rows.div_ceil(ROW_BLOCK);
    for row_block in 0..row_blocks {
        let rows = part(samples.rows, row_blocks, row_block);
        with_shared_left(|buffer| {
            let padded = rows.len().next_multiple_of(kernel.height);
            let left = buffer.get(padded * samples.depth);
            pack_samples(kernel, samples, &rows, padded, left);
            multiply_packed(kernel, samples.depth, rows, padded, left, columns, right, &finish);
        });
    }
}

fn pack_samples(kernel: &Kernel, samples: Samples, rows: &Range<usize>, padded: usize, left: &mut [f32]) {
    /// What packing a value costs, in floating-point operations of a product.
    const PACKING_FLOPS: usize = 16;
    let flops = PACKING_FLOPS * left.len();
    let left = Shared::new(left);
    for_each_tile(samples.depth.div_ceil(REDUCTION_BLOCK), flops, |block| {
        let terms = reduction_block(samples.depth, block);
        // SAFETY: each tile packs its own terms, and blocks of terms follow each other.
        let packed = unsafe { left.part(padded * terms.start..padded * terms.end) };
        let source = &samples.values[rows.start * samples.stride + terms.start..];
        kernel.pack_left_rows(source, samples.stride, rows.len(), terms.len(), packed);
    });
}

#[allow(clippy::too_many_arguments)]
fn multiply_packed(
    kernel: &Kernel,
    depth: usize,
    rows: Range<usize>,
    padded: usize,
    left: &[f32],
    columns: usize,
    right: &impl Right,
    finish: &(impl Fn(Finished) + Sync),
) {
    let width = kernel.width;
    let blocks = depth.div_ceil(REDUCTION_BLOCK);
    let group_columns = STRIPS_SIDE_BY_SIDE * width;
    let groups = columns.div_ceil(group_columns);
    let group_flops = 2 * rows.len() * depth * group_columns;
    let groups_per_tile = (TILE_FLOPS / group_flops.max(1)).min(groups / FEW_TILES).max(1);
    let tiles = groups.div_ceil(groups_per_tile).next_multiple_of(2).min(groups);
    for_each_tile(tiles, 2 * rows.len() * columns * depth, |tile| {
        let tile_groups = part(groups, tiles, tile);
        let group_range = |group: usize| group * group_columns..((group + 1) * group_columns).min(columns);
        // A tile's work, in order: group by group, in each block by block.
        let work = || tile_groups.clone().flat_map(|group| (0..blocks).map(move |block| (group, block)));
        let next_work = work().skip(1).map(Some).chain([None]);
        with_workspace(|workspace| {
            let results = workspace.strips.get(padded * group_columns);
            for ((group, block), next) in work().zip(next_work) {
                let (columns, terms) = (group_range(group), reduction_block(depth, block));
                let strips = columns.len().div_ceil(width);
                let packed = workspace.right.get(strips * terms.len() * width);
                right.pack(columns.clone(), terms.clone(), packed);
                let left = &left[padded * terms.start..padded * terms.end];
                // What comes next is asked for meanwhile.
                let next = next
                    .map(|(group, block)| right.locate(group_range(group), reduction_block(depth, block)));
                let mut ahead = Ahead::new(next.as_slice(), strips * padded / kernel.height);
                kernel.multiply(terms.len(), left, packed, results, rows.len(), block > 0, &mut ahead);
                if block + 1 == blocks {
                    finish(Finished { rows: rows.clone(), columns, sums: results, width: strips * width });
                }
            }
        });
    });
}

/// The `block`-th run of a reduction over `depth` terms.
pub(crate) fn reduction_block(depth: usize, block: usize) -> Range<usize> {
    block * REDUCTION_BLOCK..((block + 1) * REDUCTION_BLOCK).min(depth)
}
