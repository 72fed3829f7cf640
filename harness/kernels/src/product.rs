//! A product of all samples with a panel: what [`forward`](crate::forward()) and [`input_error`](crate::input_error()) share.
//! They differ in how they read the panel and in what becomes of a finished part.

use std::ops::Range;

use crate::choice::Operation;
use crate::micro::{Element, Kernel, Matrix, Region, Samples, Strips};
use crate::{few, strip};

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
    /// What it is made of.
    type Element: Element;

    /// What the product is for.
    const OPERATION: Operation;

    /// Whether its columns are lines in memory; else its rows are.
    const COLUMNS_ARE_LINES: bool;

    /// Packs a piece of it: whole strips, or where its rows are lines, some terms of them.
    fn pack(&self, columns: Range<usize>, terms: Range<usize>, strips: Strips);

    /// Where that piece is.
    fn locate(&self, columns: Range<usize>, terms: Range<usize>) -> Region;

    /// Those lines.
    fn lines(&self) -> Matrix<'_, Self::Element>;
}

/// Multiplies `samples` with a right operand of `columns` columns; `finish` is given each part of the result once.
pub(crate) fn multiply_samples<R: Right>(
    kernel: &Kernel,
    samples: Samples,
    columns: usize,
    right: &R,
    finish: impl Fn(Finished) + Sync,
) {
    match R::OPERATION.straight(kernel, samples.rows) {
        Some(straight) => few::multiply(kernel, straight, samples, columns, right, finish),
        None => strip::multiply(kernel, samples, columns, right, finish),
    }
}
