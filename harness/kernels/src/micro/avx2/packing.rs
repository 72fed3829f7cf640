//! Packing in AVX2, for any kernel of even height whose strips are whole vectors.

use std::arch::x86_64::{
    __m256, _MM_HINT_T0, _mm_castps_si128, _mm_loadl_epi64, _mm_loadu_ps, _mm_movehl_ps, _mm_movelh_ps,
    _mm_prefetch, _mm_setzero_ps, _mm_storel_epi64, _mm_storeu_ps, _mm_unpackhi_ps, _mm_unpacklo_ps,
    _mm256_permute2f128_ps, _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps,
};
use std::array::from_fn;
use std::ops::Range;

use super::{LANES, Vector};
use crate::micro::Element;

/// Lines that packing asks for before it reads them: with four to eight cache lines of each, as many as a core can wait for.
const LINES_AHEAD: usize = 6;

/// Values of f32 in a cache line.
const CACHE_LINE: usize = 16;

/// Lines that [`interleave_height`] transposes at a time, and terms of them.
const FOUR: usize = 4;

/// What is left of a height behind whole fours.
const PAIR: usize = 2;

/// Heights that [`gather_height`] fills side by side. Packed heights of twelve rows and 256 terms lie 12 KiB apart, in one
/// set of a first-level cache, which has at least so many places.
const HEIGHTS_AT_ONCE: usize = 8;

/// # Safety
/// The CPU has AVX2; `source` holds `lines` lines of `depth` values, `stride` apart, `packed`
/// `depth × HEIGHT` values.
#[target_feature(enable = "avx2,fma")]
pub(in crate::micro) unsafe fn interleave_height<const HEIGHT: usize>(
    source: *const f32,
    stride: usize,
    lines: usize,
    depth: usize,
    packed: *mut f32,
) {
    const { assert!(HEIGHT.is_multiple_of(FOUR) || HEIGHT % FOUR == PAIR) };
    let whole = depth / FOUR * FOUR;
    let fours = HEIGHT / FOUR * FOUR;
    // SAFETY: the caller's contract; a line that does not exist is not read.
    let load = |i: usize, p: usize| unsafe {
        if i < lines { _mm_loadu_ps(source.add(i * stride + p)) } else { _mm_setzero_ps() }
    };
    // Both halves of two lines, term by term.
    let pairs = |i: usize, p: usize| {
        let (a, b) = (load(i, p), load(i + 1, p));
        (_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b))
    };
    // A few lines at a time, each to its end: lines a power of two apart share the few places of a cache set, and of
    // more lines none would stay until all of a cache line is read.
    for i in (0..fours).step_by(FOUR) {
        for p in (0..whole).step_by(FOUR) {
            if p % CACHE_LINE == 0 {
                for line in i..i + FOUR {
                    // The same terms of the next height.
                    prefetch(source.wrapping_add((line + HEIGHT) * stride + p));
                }
            }
            let ((ab_low, ab_high), (cd_low, cd_high)) = (pairs(i, p), pairs(i + PAIR, p));
            let columns = [
                _mm_movelh_ps(ab_low, cd_low),
                _mm_movehl_ps(cd_low, ab_low),
                _mm_movelh_ps(ab_high, cd_high),
                _mm_movehl_ps(cd_high, ab_high),
            ];
            for (term, column) in columns.into_iter().enumerate() {
                // SAFETY: four values of a term below `depth`; the caller's contract.
                unsafe { _mm_storeu_ps(packed.add((p + term) * HEIGHT + i), column) }
            }
        }
    }
    if fours < HEIGHT {
        for p in (0..whole).step_by(FOUR) {
            let (low, high) = pairs(fours, p);
            let columns = [low, _mm_movehl_ps(low, low), high, _mm_movehl_ps(high, high)];
            for (term, column) in columns.into_iter().enumerate() {
                // SAFETY: the last two values of a term below `depth`; the caller's contract.
                unsafe {
                    let packed = packed.add((p + term) * HEIGHT + fours);
                    _mm_storel_epi64(packed.cast(), _mm_castps_si128(column));
                }
            }
        }
    }
    // SAFETY: the caller's contract.
    unsafe { interleave_rest::<_, HEIGHT>(source, stride, lines, whole..depth, 0..HEIGHT, packed) };
}

/// # Safety
/// The CPU has AVX2; `source` holds `lines` lines of `depth` values, `stride` apart, `packed`
/// `depth × WIDTH` values.
#[target_feature(enable = "avx2,fma")]
pub(in crate::micro) unsafe fn interleave_width<T: Vector, const WIDTH: usize>(
    source: *const T,
    stride: usize,
    lines: usize,
    depth: usize,
    packed: *mut f32,
) {
    // SAFETY: the caller's contract.
    unsafe { interleave_part::<T, WIDTH>(source, stride, lines, 0..depth, 0..WIDTH, packed) }
}

/// Some `terms` of some `lanes` of a strip.
///
/// # Safety
/// The CPU has AVX2 and FMA; `source` holds `lines` lines of `terms.end` values, `stride` apart, `packed`
/// `terms.end × WIDTH` values; `lanes` end by `WIDTH`.
#[target_feature(enable = "avx2,fma")]
pub(in crate::micro) unsafe fn interleave_part<T: Vector, const WIDTH: usize>(
    source: *const T,
    stride: usize,
    lines: usize,
    terms: Range<usize>,
    lanes: Range<usize>,
    packed: *mut f32,
) {
    let whole_lanes =
        lanes.start..lanes.start + lines.saturating_sub(lanes.start).min(lanes.len()) / LANES * LANES;
    let whole_terms = terms.start..terms.start + terms.len() / LANES * LANES;
    // Eight lines at a time, each to its end: lines a power of two apart share the few places of a cache set, and of
    // more lines none would stay until its second half is read.
    for first in whole_lanes.clone().step_by(LANES) {
        for p in whole_terms.clone().step_by(LANES) {
            // SAFETY: an 8 × 8 block inside both; the caller's contract.
            unsafe {
                let columns = transposed(from_fn(|i| T::load(source.add((first + i) * stride + p))));
                for (term, column) in columns.into_iter().enumerate() {
                    _mm256_storeu_ps(packed.add((p + term) * WIDTH + first), column);
                }
            }
        }
    }
    // SAFETY: the caller's contract.
    unsafe {
        let rest = whole_lanes.end..lanes.end;
        interleave_rest::<_, WIDTH>(source, stride, lines, whole_terms.clone(), rest, packed);
        interleave_rest::<_, WIDTH>(source, stride, lines, whole_terms.end..terms.end, lanes, packed);
    }
}

/// # Safety
/// The CPU has AVX2; `source` holds `depth` lines of `strips × HEIGHT` values, `stride` apart, `packed` `strips` times
/// `depth × HEIGHT` values, `apart` apart.
#[target_feature(enable = "avx2,fma")]
pub(in crate::micro) unsafe fn gather_height<const HEIGHT: usize>(
    source: *const f32,
    stride: usize,
    depth: usize,
    strips: usize,
    packed: *mut f32,
    apart: usize,
) {
    const { assert!(HEIGHT.is_multiple_of(FOUR) || HEIGHT % FOUR == PAIR) };
    let fours = HEIGHT / FOUR * FOUR;
    for first in (0..strips).step_by(HEIGHTS_AT_ONCE) {
        for p in 0..depth {
            for strip in first..(first + HEIGHTS_AT_ONCE).min(strips) {
                // SAFETY: the caller's contract; neither of the loads and stores asks for an alignment.
                unsafe {
                    let source = source.add(p * stride + strip * HEIGHT);
                    let packed = packed.add(strip * apart + p * HEIGHT);
                    prefetch(source.wrapping_add(LINES_AHEAD * stride));
                    for i in (0..fours).step_by(FOUR) {
                        _mm_storeu_ps(packed.add(i), _mm_loadu_ps(source.add(i)));
                    }
                    if fours < HEIGHT {
                        let pair = _mm_loadl_epi64(source.add(fours).cast());
                        _mm_storel_epi64(packed.add(fours).cast(), pair);
                    }
                }
            }
        }
    }
}

/// # Safety
/// The CPU has AVX2; `source` holds `depth` lines of `strips × WIDTH` values, `stride` apart, `packed` `strips` times
/// `depth × WIDTH` values, `apart` apart.
#[target_feature(enable = "avx2,fma")]
pub(in crate::micro) unsafe fn gather_width<T: Vector, const WIDTH: usize>(
    source: *const T,
    stride: usize,
    depth: usize,
    strips: usize,
    packed: *mut f32,
    apart: usize,
) {
    const { assert!(WIDTH.is_multiple_of(LANES)) };
    for p in 0..depth {
        for strip in 0..strips {
            // SAFETY: the caller's contract.
            unsafe {
                let source = source.add(p * stride + strip * WIDTH);
                let packed = packed.add(strip * apart + p * WIDTH);
                for i in (0..WIDTH).step_by(LANES) {
                    if i % CACHE_LINE == 0 && p + LINES_AHEAD < depth {
                        prefetch(source.add(LINES_AHEAD * stride + i));
                    }
                    _mm256_storeu_ps(packed.add(i), T::load(source.add(i)));
                }
            }
        }
    }
}

/// Asks for a cache line.
#[inline]
fn prefetch<T>(address: *const T) {
    // SAFETY: a prefetch is a hint and cannot fault, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

/// Packs, one value at a time, what does not fill a block.
///
/// # Safety
/// As for the packing it completes.
#[inline]
unsafe fn interleave_rest<T: Element, const LANES: usize>(
    source: *const T,
    stride: usize,
    lines: usize,
    terms: Range<usize>,
    lanes: Range<usize>,
    packed: *mut f32,
) {
    for p in terms {
        for i in lanes.clone() {
            // SAFETY: the caller's contract.
            unsafe {
                *packed.add(p * LANES + i) =
                    if i < lines { (*source.add(i * stride + p)).to_f32() } else { 0.0 };
            }
        }
    }
}

/// The columns of eight rows.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn transposed(rows: [__m256; LANES]) -> [__m256; LANES] {
    let pairs =
        |i: usize| (_mm256_unpacklo_ps(rows[i], rows[i + 1]), _mm256_unpackhi_ps(rows[i], rows[i + 1]));
    let ((a, b), (c, d), (e, f), (g, h)) = (pairs(0), pairs(2), pairs(4), pairs(6));
    let fours = |low: __m256, high: __m256| {
        (_mm256_shuffle_ps::<0x44>(low, high), _mm256_shuffle_ps::<0xee>(low, high))
    };
    let ((t0, t1), (t2, t3)) = (fours(a, c), fours(b, d));
    let ((u0, u1), (u2, u3)) = (fours(e, g), fours(f, h));
    [
        _mm256_permute2f128_ps::<0x20>(t0, u0),
        _mm256_permute2f128_ps::<0x20>(t1, u1),
        _mm256_permute2f128_ps::<0x20>(t2, u2),
        _mm256_permute2f128_ps::<0x20>(t3, u3),
        _mm256_permute2f128_ps::<0x31>(t0, u0),
        _mm256_permute2f128_ps::<0x31>(t1, u1),
        _mm256_permute2f128_ps::<0x31>(t2, u2),
        _mm256_permute2f128_ps::<0x31>(t3, u3),
    ]
}
