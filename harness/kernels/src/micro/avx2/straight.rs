//! The two products in AVX2. Sums along lines need one value of each of eight lines in a vector, so blocks of eight by eight
//! are transposed in registers; sums across lines take vectors as they lie.

use std::arch::x86_64::{
    __m256, _MM_HINT_T1, _mm_prefetch, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_setzero_ps, _mm256_storeu_ps,
};
use std::array::from_fn;

use super::packing::transposed;
use super::{LANES, VECTORS, Vector, WIDTH, store};
use crate::micro::straight::{Lines, Rows, Straight};

/// What a kernel does straight from memory.
pub(in crate::micro) const fn straight<T: Vector>() -> Straight<T> {
    Straight { name: "avx2_fma_unpacked", width: LANES, along: along::<T>, across: across::<T> }
}

/// # Safety
/// The CPU has AVX2 and FMA; `lines` are at most `LANES`, `left` has as many terms as they are long, and `sums` has a line
/// of `LANES` values for each of its rows, `stride` apart.
#[target_feature(enable = "avx2,fma")]
unsafe fn along<T: Vector>(left: &Rows, lines: &Lines<T>, sums: *mut f32, stride: usize, add: bool) {
    // SAFETY: the caller's contract, handed on.
    unsafe {
        match left.count {
            1 => store(dot::<T, 1>(left, lines), sums, stride, add),
            2 => store(dot::<T, 2>(left, lines), sums, stride, add),
            3 => store(dot::<T, 3>(left, lines), sums, stride, add),
            4 => store(dot::<T, 4>(left, lines), sums, stride, add),
            rows => unreachable!("{rows} rows at a time"),
        }
    }
}

/// The products of `ROWS` rows with each of eight lines. Of more lines, a power of two apart, none would stay in its set of a
/// first-level cache until all of a cache line is read.
///
/// # Safety
/// As for [`along`].
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn dot<T: Vector, const ROWS: usize>(left: &Rows, lines: &Lines<T>) -> [[__m256; 1]; ROWS] {
    // Where there are fewer lines, the last one's products are computed more than once.
    let starts: [*const T; LANES] =
        from_fn(|lane| lines.start.wrapping_add(lane.min(lines.count - 1) * lines.stride));
    let mut sums = [[_mm256_setzero_ps()]; ROWS];
    let mut add_term = |term: usize, values: __m256| {
        for (row, [sum]) in sums.iter_mut().enumerate() {
            // SAFETY: `left` has the term; the caller's contract.
            let left = unsafe { _mm256_broadcast_ss(&*left.start.add(row * left.stride + term)) };
            *sum = _mm256_fmadd_ps(left, values, *sum);
        }
    };
    let whole = lines.length / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        // Two vectors are a cache line of f32.
        if first % (2 * LANES) == 0 {
            for start in starts {
                prefetch(start.wrapping_add(first).wrapping_offset(lines.ahead));
            }
        }
        // SAFETY: eight terms of lines that exist; the caller's contract.
        let columns = transposed(from_fn(|lane| unsafe { T::load(starts[lane].add(first)) }));
        for (index, column) in columns.into_iter().enumerate() {
            add_term(first + index, column);
        }
    }
    for term in whole..lines.length {
        // SAFETY: a term of lines that exist; the caller's contract.
        let values: [f32; LANES] = from_fn(|lane| unsafe { (*starts[lane].add(term)).to_f32() });
        // SAFETY: eight values.
        add_term(term, unsafe { _mm256_loadu_ps(values.as_ptr()) });
    }
    sums
}

/// # Safety
/// The CPU has AVX2 and FMA; `left` has as many terms as there are lines, and `sums` a line for each of its rows, as long as
/// `lines` and `stride` apart.
#[target_feature(enable = "avx2,fma")]
unsafe fn across<T: Vector>(left: &Rows, lines: &Lines<T>, sums: *mut f32, stride: usize, add: bool) {
    // SAFETY: the caller's contract, handed on.
    unsafe {
        match left.count {
            1 => sum::<T, 1>(left, lines, sums, stride, add),
            2 => sum::<T, 2>(left, lines, sums, stride, add),
            3 => sum::<T, 3>(left, lines, sums, stride, add),
            4 => sum::<T, 4>(left, lines, sums, stride, add),
            rows => unreachable!("{rows} rows at a time"),
        }
    }
}

/// Adds to `ROWS` lines of sums the lines times their terms, or begins sums with them.
///
/// # Safety
/// As for [`across`].
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn sum<T: Vector, const ROWS: usize>(
    left: &Rows,
    lines: &Lines<T>,
    sums: *mut f32,
    stride: usize,
    add: bool,
) {
    let whole = lines.length / WIDTH * WIDTH;
    for column in (0..whole).step_by(WIDTH) {
        // SAFETY: `WIDTH` columns of lines and of sums that exist, and terms that do; the caller's contract.
        unsafe {
            let place = |row: usize, vector: usize| sums.add(row * stride + column + vector * LANES);
            let mut totals: [[__m256; VECTORS]; ROWS] = from_fn(|row| {
                from_fn(|vector| if add { _mm256_loadu_ps(place(row, vector)) } else { _mm256_setzero_ps() })
            });
            for term in 0..lines.count {
                let line = lines.start.add(term * lines.stride + column);
                prefetch(line.wrapping_offset(lines.ahead));
                let line: [__m256; VECTORS] = from_fn(|vector| T::load(line.add(vector * LANES)));
                for (row, totals) in totals.iter_mut().enumerate() {
                    let left = _mm256_broadcast_ss(&*left.start.add(row * left.stride + term));
                    for (total, line) in totals.iter_mut().zip(line) {
                        *total = _mm256_fmadd_ps(left, line, *total);
                    }
                }
            }
            for (row, totals) in totals.into_iter().enumerate() {
                for (vector, total) in totals.into_iter().enumerate() {
                    _mm256_storeu_ps(place(row, vector), total);
                }
            }
        }
    }
    for column in whole..lines.length {
        for row in 0..ROWS {
            // SAFETY: a column of lines and of sums that exist, and terms that do; the caller's contract.
            unsafe {
                let place = sums.add(row * stride + column);
                let mut total = if add { *place } else { 0.0 };
                for term in 0..lines.count {
                    let value = (*lines.start.add(term * lines.stride + column)).to_f32();
                    total = (*left.start.add(row * left.stride + term)).mul_add(value, total);
                }
                *place = total;
            }
        }
    }
}

/// Asks for a cache line into the second-level cache.
#[inline]
fn prefetch<T>(address: *const T) {
    // SAFETY: a prefetch is a hint and cannot fault, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
}
