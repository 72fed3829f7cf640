//! A product of all samples with a panel, strip by strip: what [`forward`](crate::forward()) and
//! [`input_error`](crate::input_error()) share. They differ in how the panel is packed and in what becomes of
//! a finished strip.

use std::ops::Range;

use crate::REDUCTION_BLOCK;
use crate::micro::Kernel;
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

/// Multiplies `samples` with a right operand of `columns` columns. `pack(columns, terms, packed)` packs a
/// block of that operand; `finish` is given each strip of the result once.
pub(crate) fn multiply_samples(
    kernel: &Kernel,
    samples: Samples,
    columns: usize,
    pack: impl Fn(Range<usize>, Range<usize>, &mut [f32]) + Sync,
    finish: impl Fn(Finished) + Sync,
) {
    let row_blocks = samples.rows.div_ceil(ROW_BLOCK);
    for row_block in 0..row_blocks {
        let rows = part(samples.rows, row_blocks, row_block);
        with_shared_left(|buffer| {
            let padded = rows.len().next_multiple_of(kernel.height);
            let left = buffer.get(padded * samples.depth);
            pack_samples(kernel, samples, &rows, padded, left);
            multiply_packed(kernel, samples.depth, rows, padded, left, columns, &pack, &finish);
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
    pack: &(impl Fn(Range<usize>, Range<usize>, &mut [f32]) + Sync),
    finish: &(impl Fn(Finished) + Sync),
) {
    let width = kernel.width;
    let strips = columns.div_ceil(width);
    let tiles = strips.div_ceil(STRIPS_PER_TILE).next_multiple_of(2).min(strips);
    for_each_tile(tiles, 2 * rows.len() * columns * depth, |tile| {
        let tile_strips = part(strips, tiles, tile);
        let strip_columns = |strip: usize| strip * width..((strip + 1) * width).min(columns);
        with_workspace(|workspace| {
            let results = workspace.strips.get(tile_strips.len() * padded * width);
            for block in 0..depth.div_ceil(REDUCTION_BLOCK) {
                let terms = reduction_block(depth, block);
                let left = &left[padded * terms.start..padded * terms.end];
                let right = workspace.right.get(terms.len() * width);
                for (strip, result) in tile_strips.clone().zip(results.chunks_exact_mut(padded * width)) {
                    pack(strip_columns(strip), terms.clone(), right);
                    kernel.multiply(terms.len(), left, right, result, block > 0);
                }
            }
            for (strip, result) in tile_strips.zip(results.chunks_exact(padded * width)) {
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
