//! A product of samples with a panel in packed strips, a few at a time.

mod block;

use std::ops::Range;

use block::{Block, Coming};

use crate::REDUCTION_BLOCK;
use crate::micro::{Ahead, Kernel, Packed, Samples};
use crate::parallel::{Shared, for_each_tile, part, share, threads};
use crate::product::{Finish, Finished, Output, Right};
use crate::workspace::{Workspace, with_shared_left, with_workspace};

/// Most strips that are computed side by side, so that a packed block of samples serves all of them from cache, and the
/// lines of a panel are fetched in runs that are longer than a cache line.
pub(crate) const STRIPS_SIDE_BY_SIDE: usize = 4;

/// Multiplies `samples` with a right operand of `columns` columns.
pub(crate) fn multiply(
    kernel: &Kernel,
    samples: Samples,
    columns: usize,
    right: &impl Right,
    output: &Output<impl Finish>,
) {
    let row_blocks = samples.rows.div_ceil(kernel.blocking.samples);
    for row_block in 0..row_blocks {
        let rows = part(samples.rows, row_blocks, row_block);
        with_shared_left(|buffer| {
            let padded = rows.len().next_multiple_of(kernel.height);
            let values = buffer.get(padded * samples.depth);
            pack_samples(kernel, samples, &rows, padded, values);
            let packed = PackedSamples { rows, padded, depth: samples.depth, values };
            multiply_packed(kernel, &packed, columns, right, output);
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

fn multiply_packed(
    kernel: &Kernel,
    samples: &PackedSamples,
    columns: usize,
    right: &impl Right,
    output: &Output<impl Finish>,
) {
    let strips = columns.div_ceil(kernel.width);
    let threads = threads(2 * samples.rows.len() * columns * samples.depth);
    share(strips, STRIPS_SIDE_BY_SIDE, threads, |groups| {
        let product = StripProduct { kernel, samples, columns, right, output };
        with_workspace(|workspace| {
            product.multiply(groups.own(), workspace);
            groups.others().for_each(|group| product.multiply([group].into_iter(), workspace));
        });
    });
}

/// Packed samples times the strips of a right operand.
struct StripProduct<'a, R, F> {
    kernel: &'a Kernel,
    samples: &'a PackedSamples<'a>,
    /// Of the right operand.
    columns: usize,
    right: &'a R,
    output: &'a Output<'a, F>,
}

impl<R: Right, F: Finish> StripProduct<'_, R, F> {
    /// Computes some groups of strips, those of a group side by side, in each block by block.
    fn multiply(&self, groups: impl Iterator<Item = Range<usize>>, workspace: &mut Workspace) {
        let &Self { kernel, samples, columns, right, output } = self;
        let (rows, depth) = (samples.rows.len(), samples.depth);
        let work = groups.flat_map(|strips| {
            let columns = strips.start * kernel.width..(strips.end * kernel.width).min(columns);
            (0..depth.div_ceil(REDUCTION_BLOCK)).map(move |block| Block {
                kernel,
                right,
                columns: columns.clone(),
                terms: reduction_block(depth, block),
            })
        });
        let mut work = work.peekable();
        let widest = columns.next_multiple_of(kernel.width).min(STRIPS_SIDE_BY_SIDE * kernel.width);
        let sums = workspace.sums.get(samples.padded * widest);
        let room = widest * depth.min(REDUCTION_BLOCK);
        let (mut packed, mut coming) = workspace.right.get(2 * room).split_at_mut(room);
        if let Some(first) = work.peek() {
            first.pack(packed);
        }
        while let Some(block) = work.next() {
            let width = block.width();
            let products = width / kernel.width * samples.padded / kernel.height;
            let last = block.terms.end == depth;
            let mut next = Coming::new(work.peek(), products, coming);
            // Lines of the result that are written after this block.
            let lines = last.then(|| output.locate(&samples.rows, &block.columns));
            let mut ahead = Ahead::new(lines.into_iter(), products);
            let operands = Packed {
                depth: block.terms.len(),
                rows,
                left: samples.block(&block.terms),
                right: &packed[..width * block.terms.len()],
            };
            kernel.multiply(&operands, sums, block.terms.start > 0, &mut (&mut next, &mut ahead));
            next.pack_rest();
            if last {
                output.take(&Finished { rows: samples.rows.clone(), columns: block.columns, sums, width });
            }
            std::mem::swap(&mut packed, &mut coming);
        }
    }
}

/// The `block`-th run of a reduction over `depth` terms.
pub(crate) fn reduction_block(depth: usize, block: usize) -> Range<usize> {
    block * REDUCTION_BLOCK..((block + 1) * REDUCTION_BLOCK).min(depth)
}
