//! Products of few rows with lines of a matrix where they are: packing them would cost more than the product. The terms
//! of a sum are added in the order, and rounded in the way, of products of packed operands, so the bits are the same.

use std::ops::Range;

use super::Samples;
use crate::REDUCTION_BLOCK;

/// Rows that a kernel takes at a time.
const ROWS: usize = 4;

/// Lines summed across at a time: as many as a set of a first-level cache has places, where lines a power of two apart
/// meet.
const LINES_ACROSS: usize = 8;

/// Columns summed at a time, so that the lines' stay in cache for all rows.
const COLUMNS_ACROSS: usize = 256;

/// The code for one kind of CPU.
#[derive(Debug)]
pub(crate) struct Straight<T> {
    pub name: &'static str,
    /// Lines summed along at a time.
    pub(super) width: usize,
    /// Sums along the lines, at most `width`: `sums[row][line] (=|+=) Σ left[row][term] · line[term]`. `left` has as many
    /// terms as the lines are long; in each row `width` sums are written, however few the lines.
    pub(super) along: Sum<T>,
    /// Sums across the lines: `sums[row][column]` begins with, or goes on with, `Σ left[row][line] · line[column]`. `left`
    /// has as many terms as there are lines; in each row as many sums are written as the lines are long.
    pub(super) across: Sum<T>,
}

/// Computes sums, of rows `stride` apart, or with `add` adds to them.
///
/// # Safety
/// The CPU has the features of the kernel, and rows, lines and sums are there as [`Straight`] says.
pub(super) type Sum<T> = unsafe fn(left: &Rows, lines: &Lines<T>, sums: *mut f32, stride: usize, add: bool);

/// Some rows of a left operand, at least one and at most [`ROWS`], `stride` apart.
pub(super) struct Rows {
    pub start: *const f32,
    pub stride: usize,
    pub count: usize,
}

/// Lines of a matrix, at least one, `stride` apart.
pub(super) struct Lines<T> {
    pub start: *const T,
    pub stride: usize,
    pub count: usize,
    pub length: usize,
    /// From each value to one that is asked for meanwhile.
    pub ahead: isize,
}

/// Some of the samples at a time, from a term on of which `terms` are needed; with the index of the first.
fn groups(samples: Samples, first_term: usize, terms: usize) -> impl Iterator<Item = (usize, Rows)> {
    let Samples { values, stride, rows, .. } = samples;
    assert!(rows == 0 || values.len() >= (rows - 1) * stride + first_term + terms, "samples too short");
    (0..rows).step_by(ROWS).map(move |row| {
        let start = values[row * stride + first_term..].as_ptr();
        (row, Rows { start, stride, count: ROWS.min(rows - row) })
    })
}

/// The right operand: lines of `stride` values, one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    pub values: &'a [T],
    pub stride: usize,
}

impl<T: Copy> Matrix<'_, T> {
    fn lines(&self, lines: &Range<usize>, columns: &Range<usize>, next: (usize, usize)) -> Lines<T> {
        let here = lines.start * self.stride + columns.start;
        assert!(
            !lines.is_empty() && columns.end <= self.stride && lines.end * self.stride <= self.values.len()
        );
        Lines {
            start: self.values[here..].as_ptr(),
            stride: self.stride,
            count: lines.len(),
            length: columns.len(),
            ahead: (next.0 * self.stride + next.1) as isize - here as isize,
        }
    }
}

impl<T: Copy> Straight<T> {
    /// `sums[rows × lines] = samples · matrixᵀ` for some lines of the matrix; rows of sums are `stride` apart.
    pub(crate) fn multiply_along(
        &self,
        samples: Samples,
        matrix: Matrix<T>,
        lines: Range<usize>,
        sums: &mut [f32],
        stride: usize,
    ) {
        let depth = matrix.stride;
        assert_eq!(samples.depth, depth, "terms of a sum along lines");
        assert!(lines.len().next_multiple_of(self.width) <= stride && sums.len() >= samples.rows * stride);
        for first in lines.clone().step_by(self.width) {
            let some = first..(first + self.width).min(lines.end);
            for start in (0..depth).step_by(REDUCTION_BLOCK) {
                let terms = start..(start + REDUCTION_BLOCK).min(depth);
                let next = if terms.end < depth { (first, terms.end) } else { (some.end, 0) };
                let right = matrix.lines(&some, &terms, next);
                for (row, left) in groups(samples, terms.start, terms.len()) {
                    let place = sums[row * stride + first - lines.start..].as_mut_ptr();
                    // SAFETY: the operands have what they say by the assertions where they are made, and `sums` has a
                    // width for the lines in each row; the CPU was asked for its features when this code was chosen.
                    unsafe { (self.along)(&left, &right, place, stride, start > 0) }
                }
            }
        }
    }

    /// `sums[rows × columns] = samples · matrix` for some columns of the matrix; rows of sums, and of `scratch`, are
    /// `stride` apart.
    pub(crate) fn multiply_across(
        &self,
        samples: Samples,
        matrix: Matrix<T>,
        columns: Range<usize>,
        sums: &mut [f32],
        scratch: &mut [f32],
        stride: usize,
    ) {
        let depth = matrix.values.len() / matrix.stride;
        assert_eq!(samples.depth, depth, "terms of a sum across lines");
        assert!(
            columns.len() <= stride && sums.len() >= samples.rows * stride && scratch.len() == sums.len()
        );
        for start in (0..depth).step_by(REDUCTION_BLOCK) {
            let block = if start == 0 { &mut *sums } else { &mut *scratch };
            let terms = start..(start + REDUCTION_BLOCK).min(depth);
            for first in terms.clone().step_by(LINES_ACROSS) {
                let lines = first..(first + LINES_ACROSS).min(terms.end);
                for column in columns.clone().step_by(COLUMNS_ACROSS) {
                    let some = column..(column + COLUMNS_ACROSS).min(columns.end);
                    let next =
                        if some.end < columns.end { (first, some.end) } else { (lines.end, columns.start) };
                    let right = matrix.lines(&lines, &some, next);
                    for (row, left) in groups(samples, first, lines.len()) {
                        let place = block[row * stride + column - columns.start..].as_mut_ptr();
                        // SAFETY: the operands have what they say by the assertions where they are made, and `block`
                        // has these columns in each row; the CPU was asked for its features when this code was chosen.
                        unsafe { (self.across)(&left, &right, place, stride, first > start) }
                    }
                }
            }
            if start > 0 {
                crate::rule::add(sums, scratch);
            }
        }
    }
}
