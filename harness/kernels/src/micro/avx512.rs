//! AVX-512: twelve rows by two vectors, 24 sums and two vectors of a strip in the 32 registers.
//!
//! A strip is two cache lines wide. A block of 256 terms of it takes two thirds of a first-level cache of 48 KiB, and twelve
//! rows of packed samples a quarter. All sizes are for such a cache and a second level of 2 MiB, and were measured on Sapphire
//! Rapids alone. Packing that only copies, that of samples, and products of few rows wait for memory more than for vectors:
//! they are [`avx2`](super::avx2)'s.

mod packing;

use std::arch::asm;
use std::arch::x86_64::{__m512, _mm512_add_ps, _mm512_loadu_ps, _mm512_setzero_ps, _mm512_storeu_ps};
use std::array::from_fn;

use half::bf16;

use super::ahead::prefetch_run;
use super::avx2;
use super::avx2::straight;
use super::{Blocking, FewSamples, Kernel, Operands};

const LANES: usize = 16;
const VECTORS: usize = 2;
const HEIGHT: usize = 12;
const WIDTH: usize = VECTORS * LANES;

/// From two heights on, a forward product has room for all runs of whole cache lines.
const TERMS_PER_RUN: usize = 4;

pub(super) const KERNEL: Kernel = Kernel {
    name: "avx512_12x32",
    height: HEIGHT,
    width: WIDTH,
    product,
    terms_per_run: Some(TERMS_PER_RUN),
    interleave_height: avx2::packing::interleave_height::<HEIGHT>,
    interleave_width: packing::interleave_width::<f32, WIDTH>,
    gather_height: avx2::packing::gather_height::<HEIGHT>,
    gather_width: avx2::packing::gather_width::<f32, WIDTH>,
    expand_interleave_width: packing::interleave_width::<bf16, WIDTH>,
    expand_gather_width: avx2::packing::gather_width::<bf16, WIDTH>,
    // Larger than those of `avx2`, as the second-level cache is.
    blocking: Blocking { samples: 512, inputs: 1024, packed_inputs: 64 << 10 },
    few: FewSamples { along: 7, across: 16 },
    straight: Some(straight::straight()),
    expand_straight: Some(straight::straight()),
};

/// # Safety
/// The CPU has AVX-512 F; the operands hold as many terms as they say, `result` has `HEIGHT` lines of `WIDTH` values,
/// `stride` apart.
#[target_feature(enable = "avx512f")]
unsafe fn product(operands: &Operands, result: *mut f32, stride: usize, rows: usize, add: bool) {
    // SAFETY: the caller's contract, handed on.
    unsafe {
        match rows {
            0..=4 => multiply::<4>(operands, result, stride, add),
            5..=8 => multiply::<8>(operands, result, stride, add),
            _ => multiply::<HEIGHT>(operands, result, stride, add),
        }
    }
}

/// The first `ROWS` rows of a product.
///
/// # Safety
/// As for [`product`].
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn multiply<const ROWS: usize>(operands: &Operands, result: *mut f32, stride: usize, add: bool) {
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    let (mut left, mut right) = (operands.left, operands.right);
    // SAFETY: `depth` terms of both, and as many addresses as runs, for each of which there are so many terms; the caller's
    // contract.
    unsafe {
        for run in 0..operands.runs {
            prefetch_run(*operands.ahead.add(run));
            for _ in 0..TERMS_PER_RUN {
                add_term(&mut sums, &mut left, &mut right);
            }
        }
        for _ in operands.runs * TERMS_PER_RUN..operands.depth {
            add_term(&mut sums, &mut left, &mut right);
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        for (vector, sum) in sums.into_iter().enumerate() {
            // SAFETY: inside the result; the caller's contract.
            unsafe {
                let value = result.add(row * stride + vector * LANES);
                let sum = if add { _mm512_add_ps(_mm512_loadu_ps(value), sum) } else { sum };
                _mm512_storeu_ps(value, sum);
            }
        }
    }
}

/// Adds to the sums of each of these rows, as far as there are so many, its term times the strip's. One instruction loads,
/// broadcasts, multiplies and adds. Compilers broadcast once for both vectors, in an instruction of its own; so many
/// instructions are too many where another thread shares the core.
macro_rules! add_rows {
    ($sums:expr, $left:expr, $strip:expr, $($row:literal)*) => {
        $(if $row < $sums.len() {
            for (sum, right) in $sums[$row].iter_mut().zip($strip) {
                asm!(
                    "vfmadd231ps {sum}, {right}, dword ptr [{left} + {offset}]{{1to16}}",
                    sum = inout(zmm_reg) *sum,
                    right = in(zmm_reg) right,
                    left = in(reg) $left,
                    offset = const $row * size_of::<f32>(),
                    options(pure, readonly, nostack),
                );
            }
        })*
    };
}

/// Adds a term to the sums, and goes on to the next.
///
/// # Safety
/// The CPU has AVX-512 F; both operands have the term.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn add_term<const ROWS: usize>(
    sums: &mut [[__m512; VECTORS]; ROWS],
    left: &mut *const f32,
    right: &mut *const f32,
) {
    // SAFETY: the term has `WIDTH` values in the strip and `ROWS` or more in the left operand, says the caller; the
    // assembly reads one of these and writes the register of a sum.
    unsafe {
        let strip: [__m512; VECTORS] = from_fn(|vector| _mm512_loadu_ps(right.add(vector * LANES)));
        const { assert!(ROWS <= 12, "rows that nobody adds to") };
        add_rows!(sums, *left, strip, 0 1 2 3 4 5 6 7 8 9 10 11);
        (*left, *right) = (left.add(HEIGHT), right.add(WIDTH));
    }
}
