//! A product of all samples with a panel: what [`forward`](crate::forward()) and [`input_error`](crate::input_error()) share.
//! They differ in how they read the panel and in what becomes of a finished part.

use std::ops::Range;

use crate::choice::Operation;
use crate::micro::{Element, Kernel, Matrix, Region, Samples, Strips};
use crate::parallel::Shared;
use crate::{few, strip};

/// Part of a result: `sums` holds lines of `width` values, the first `columns.len()` of them valid, one line
/// for each of `rows`.
pub(crate) struct Finished<'a> {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    pub sums: &'a [f32],
    pub width: usize,
}

/// Makes of the sums of some columns, which it is told, what a sample's line is to hold there.
pub(crate) trait Finish: Fn(&mut [f32], &[f32], &Range<usize>) + Sync {}

impl<F: Fn(&mut [f32], &[f32], &Range<usize>) + Sync> Finish for F {}

/// Where a result goes: a line for each sample, `stride` apart, whose first column is `first` values from where `lines` start.
pub(crate) struct Output<'a, F> {
    pub lines: Shared<'a, f32>,
    pub first: usize,
    pub stride: usize,
    pub finish: F,
}

impl<F: Finish> Output<'_, F> {
    /// Takes a part of the result; over all calls, each line's every column once.
    pub fn take(&self, part: &Finished) {
        let columns = &part.columns;
        for (row, sums) in part.rows.clone().zip(part.sums.chunks_exact(part.width)) {
            let start = self.start(row, columns);
            // SAFETY: each line's every column is in one part.
            let line = unsafe { self.lines.part(start..start + columns.len()) };
            (self.finish)(line, &sums[..columns.len()], columns);
        }
    }

    /// Where a part of it is in memory.
    pub fn locate(&self, rows: &Range<usize>, columns: &Range<usize>) -> Region {
        let start = self.lines.locate(self.start(rows.start, columns));
        Region::new(start, self.stride, rows.len(), columns.len())
    }

    const fn start(&self, row: usize, columns: &Range<usize>) -> usize {
        row * self.stride + self.first + columns.start
    }
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

/// Multiplies `samples` with a right operand of `columns` columns.
pub(crate) fn multiply_samples<R: Right>(
    kernel: &Kernel,
    samples: Samples,
    columns: usize,
    right: &R,
    output: &Output<impl Finish>,
) {
    match R::OPERATION.straight(kernel, samples.rows) {
        Some(straight) => few::multiply(kernel, straight, samples, columns, right, output),
        None => strip::multiply(kernel, samples, columns, right, output),
    }
}

#[cfg(test)]
mod tests {
    use super::{Finished, Output};
    use crate::parallel::Shared;

    #[test]
    fn a_part_goes_where_it_is_located_and_nowhere_else() {
        let mut values = vec![0.0; 5 * 9];
        let output = Output {
            lines: Shared::new(&mut values),
            first: 2,
            stride: 9,
            finish: |line: &mut [f32], sums: &[f32], _: &std::ops::Range<usize>| line.copy_from_slice(sums),
        };
        let (rows, columns) = (1..4, 3..5);
        let located = output.locate(&rows, &columns).bytes();
        output.take(&Finished { rows, columns, sums: &[1.0; 3 * 4], width: 4 });
        let written: Vec<usize> = (0..values.len()).filter(|index| values[*index] > 0.0).collect();
        assert_eq!(written, [14, 15, 23, 24, 32, 33]);
        let address = |index: usize| std::ptr::from_ref(&values[index]).addr();
        assert_eq!(located, address(14)..address(33) + size_of::<f32>());
    }
}
