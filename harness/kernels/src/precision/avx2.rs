//! Expansion and rounding of eight values at a time. Written out, because compilers leave half of the portable code
//! scalar; with its bits.

use std::arch::x86_64::{
    __m256i, _CMP_UNORD_Q, _mm_loadu_si128, _mm_storeu_si128, _mm256_add_epi32, _mm256_blendv_epi8,
    _mm256_castps_si256, _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cmp_ps, _mm256_cvtepu16_epi32,
    _mm256_loadu_ps, _mm256_mullo_epi32, _mm256_or_si256, _mm256_packus_epi32, _mm256_permute4x64_epi64,
    _mm256_set1_epi32, _mm256_setr_epi32, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_storeu_ps,
    _mm256_xor_si256,
};

use half::bf16;

use super::{FIRST_MULTIPLIER, RowBits, SECOND_MULTIPLIER};
use crate::vectorised::{LANES, Lanes};

/// [`expand`](super::expand) of eight.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn expand(halves: &[bf16; LANES]) -> Lanes {
    let mut values = [0.0; LANES];
    // SAFETY: both are eight elements long.
    unsafe {
        let halves = _mm_loadu_si128(halves.as_ptr().cast());
        let wide = _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves));
        _mm256_storeu_ps(values.as_mut_ptr(), _mm256_castsi256_ps(wide));
    }
    values
}

/// [`round_stochastically`](super::round_stochastically) of eight, by the bits of `row` from `offset` on.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn round_stochastically(values: &Lanes, row: RowBits, offset: usize) -> [bf16; LANES] {
    let mut rounded = [bf16::ZERO; LANES];
    // SAFETY: both are eight elements long.
    unsafe {
        let values = _mm256_loadu_ps(values.as_ptr());
        let bits = _mm256_castps_si256(values);
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
        let not_a_number = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(values, values));
        let sums = _mm256_add_epi32(bits, random(row, offset));
        let upper = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(sums, quiet, not_a_number));
        // Packing works in halves of a vector: the first and third quarter hold the result.
        let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(upper, upper));
        _mm_storeu_si128(rounded.as_mut_ptr().cast(), _mm256_castsi256_si128(packed));
    }
    rounded
}

/// [`RowBits::at`].
#[target_feature(enable = "avx2,fma")]
#[inline]
fn random(row: RowBits, offset: usize) -> __m256i {
    let first = _mm256_set1_epi32(row.column.wrapping_add(offset as u32) as i32);
    let columns = _mm256_add_epi32(first, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    let hash = _mm256_xor_si256(columns, _mm256_set1_epi32(row.first as i32));
    let hash = _mm256_xor_si256(hash, _mm256_srli_epi32::<16>(hash));
    let hash = _mm256_mullo_epi32(hash, _mm256_set1_epi32(FIRST_MULTIPLIER as i32));
    let hash = _mm256_add_epi32(hash, _mm256_set1_epi32(row.second as i32));
    let hash = _mm256_xor_si256(hash, _mm256_srli_epi32::<15>(hash));
    _mm256_srli_epi32::<16>(_mm256_mullo_epi32(hash, _mm256_set1_epi32(SECOND_MULTIPLIER as i32)))
}
