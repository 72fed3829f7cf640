//! A product of all samples with a panel, strip by strip: what [`forward`](crate::forward()) and
//! [`input_error`](crate::input_error()) share. They differ in how the panel is packed and in what becomes of
//! a finished strip.

use std::ops::Range;

use crate::REDUCTION_BLOCK;
use crate::micro::{Ahead, Kernel};
use crate::parallel::{Shared, for_each_tile, part};
use crate::workspace::{with_shared_left, with_workspace};

/// Samples whose packed rows are kept at a time: few enough that a block of them stays in the second-level cache.
const ROW_BLOCK: usize = 256;

/// Strips that a tile computes side by side, so that a packed block of samples serves all of them from cache.
const STRIPS_PER_TILE: usize = 4;

/// The samples: `rows` lines of `depth` values, `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Samples<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    pub rows: usize,
    pub depth: usize,
}

/// Part of a result: `strip` holds lines of `width` values, the first `columns.len()` of them valid, one line
/// for each of `rows`.
pub(crate) struct Finished<'a> {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    pub strip: &'a [f32],
    pub width: usize,
}

/// The operand that samples are multiplied with.
pub(crate) trait Right: Sync {
    /// Packs a block of it.
    fn pack(&self, columns: Range<usize>, terms: Range<usize>, packed: &mut [f32]);

    /// Where that block is.
    fn locate(&self, columns: Range<usize>, terms: Range<usize>) -> Ahead;
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
    let strips = columns.div_ceil(width);
    let tiles = strips.div_ceil(STRIPS_PER_TILE).next_multiple_of(2).min(strips);
    let strip_columns = |strip: usize| strip * width..((strip + 1) * width).min(columns);
    for_each_tile(tiles, 2 * rows.len() * columns * depth, |tile| {
        let tile_strips = part(strips, tiles, tile);
        // A tile's products, in order: block by block, in each strip by strip.
        let products = || (0..blocks).flat_map(|block| tile_strips.clone().map(move |strip| (block, strip)));
        let next_products = products().skip(1).map(Some).chain([None]);
        with_workspace(|workspace| {
            let results = workspace.strips.get(tile_strips.len() * padded * width);
            for ((block, strip), next) in products().zip(next_products) {
                let terms = reduction_block(depth, block);
                let packed = workspace.right.get(terms.len() * width);
                right.pack(strip_columns(strip), terms.clone(), packed);
                let ahead = next.map_or(Ahead::NONE, |(block, strip)| {
                    right.locate(strip_columns(strip), reduction_block(depth, block))
                });
                let left = &left[padded * terms.start..padded * terms.end];
                let result = &mut results[(strip - tile_strips.start) * padded * width..][..padded * width];
                kernel.multiply(terms.len(), left, packed, result, block > 0, &[ahead]);
            }
            for (strip, result) in tile_strips.clone().zip(results.chunks_exact(padded * width)) {
                let rows = rows.clone();
                finish(Finished { rows, columns: strip_columns(strip), strip: result, width });
            }
        });
    });
}

/// The `block`-th run of a reduction over `depth` terms.
pub(crate) fn reduction_block(depth: usize, block: usize) -> Range<usize> {
    block * REDUCTION_BLOCK..((block + 1) * REDUCTION_BLOCK).min(depth)
}
