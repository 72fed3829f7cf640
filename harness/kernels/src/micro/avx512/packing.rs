//! Packing of strips whose columns are lines: transposed by whole cache lines.

use std::arch::x86_64::{
    __m512, _mm256_loadu_si256, _mm512_castsi512_ps, _mm512_cvtepu16_epi32, _mm512_loadu_ps,
    _mm512_shuffle_f32x4, _mm512_shuffle_ps, _mm512_slli_epi32, _mm512_storeu_ps, _mm512_unpackhi_ps,
    _mm512_unpacklo_ps,
};
use std::array::from_fn;

use half::bf16;

use super::LANES;
use crate::micro::avx2;
use crate::micro::avx2::packing::interleave_part;

/// Elements that become a vector of f32.
pub(super) trait Vector: avx2::Vector {
    /// The sixteen at `source`.
    ///
    /// # Safety
    /// The CPU has AVX-512 F, and they are there.
    unsafe fn load_line(source: *const Self) -> __m512;
}

impl Vector for f32 {
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load_line(source: *const Self) -> __m512 {
        // SAFETY: the caller's contract.
        unsafe { _mm512_loadu_ps(source) }
    }
}

impl Vector for bf16 {
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load_line(source: *const Self) -> __m512 {
        // SAFETY: the caller's contract; sixteen bf16 are 256 bits.
        let halves = unsafe { _mm256_loadu_si256(source.cast()) };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
    }
}

/// # Safety
/// The CPU has AVX-512 F, AVX2 and FMA; `source` holds `lines` lines of `depth` values, `stride` apart, `packed`
/// `depth × WIDTH` values.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn interleave_width<T: Vector, const WIDTH: usize>(
    source: *const T,
    stride: usize,
    lines: usize,
    depth: usize,
    packed: *mut f32,
) {
    const { assert!(WIDTH.is_multiple_of(LANES)) };
    let (whole_lines, whole) = (lines / LANES * LANES, depth / LANES * LANES);
    // Each line is read once, a cache line at a time: it does not matter that lines a power of two apart share the few
    // places of a cache set.
    for first in (0..whole_lines).step_by(LANES) {
        for p in (0..whole).step_by(LANES) {
            // SAFETY: a 16 × 16 block inside both; the caller's contract.
            unsafe {
                let columns = transposed(&from_fn(|i| T::load_line(source.add((first + i) * stride + p))));
                for (term, column) in columns.into_iter().enumerate() {
                    _mm512_storeu_ps(packed.add((p + term) * WIDTH + first), column);
                }
            }
        }
    }
    // SAFETY: the caller's contract.
    unsafe {
        interleave_part::<T, WIDTH>(source, stride, lines, 0..whole, whole_lines..WIDTH, packed);
        interleave_part::<T, WIDTH>(source, stride, lines, whole..depth, 0..WIDTH, packed);
    }
}

/// The columns of sixteen rows.
#[target_feature(enable = "avx512f")]
#[inline]
fn transposed(rows: &[__m512; LANES]) -> [__m512; LANES] {
    // In each quarter of a vector, the same four terms of four rows: `fours[g][t]` has term t of each quarter, of rows 4g on.
    let fours: [[__m512; 4]; 4] = from_fn(|group| {
        let [a, b, c, d] = from_fn(|row| rows[4 * group + row]);
        let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        [
            _mm512_shuffle_ps::<0x44>(ab_low, cd_low),
            _mm512_shuffle_ps::<0xee>(ab_low, cd_low),
            _mm512_shuffle_ps::<0x44>(ab_high, cd_high),
            _mm512_shuffle_ps::<0xee>(ab_high, cd_high),
        ]
    });
    let mut columns = *rows;
    for term in 0..4 {
        let [a, b, c, d] = from_fn(|group| fours[group][term]);
        // Quarters 0 and 2, and 1 and 3, of two groups each.
        let (ab_even, ab_odd) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
        let (cd_even, cd_odd) = (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d));
        columns[term] = _mm512_shuffle_f32x4::<0x88>(ab_even, cd_even);
        columns[4 + term] = _mm512_shuffle_f32x4::<0x88>(ab_odd, cd_odd);
        columns[8 + term] = _mm512_shuffle_f32x4::<0xdd>(ab_even, cd_even);
        columns[12 + term] = _mm512_shuffle_f32x4::<0xdd>(ab_odd, cd_odd);
    }
    columns
}
