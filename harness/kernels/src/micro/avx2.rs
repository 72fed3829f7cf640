//! AVX2 and FMA: four rows by three vectors, twelve sums and four operands in the sixteen registers.

use std::arch::asm;
use std::arch::x86_64::{
    __m256, _mm_loadu_ps, _mm_loadu_si128, _mm_movehl_ps, _mm_movelh_ps, _mm_storeu_ps, _mm_unpackhi_ps,
    _mm_unpacklo_ps, _mm256_add_ps, _mm256_castsi256_ps, _mm256_cvtepu16_epi32, _mm256_loadu_ps,
    _mm256_permute2f128_ps, _mm256_setzero_ps, _mm256_shuffle_ps, _mm256_slli_epi32, _mm256_storeu_ps,
    _mm256_unpackhi_ps, _mm256_unpacklo_ps,
};

use half::bf16;

use super::{Element, Kernel};

const LANES: usize = 8;
const VECTORS: usize = 3;
const HEIGHT: usize = 4;
const WIDTH: usize = VECTORS * LANES;

pub(super) const KERNEL: Kernel = Kernel {
    name: "avx2_fma_4x24",
    height: HEIGHT,
    width: WIDTH,
    product,
    interleave_height,
    interleave_width: interleave_width::<f32>,
    gather_height,
    gather_width: gather_width::<f32>,
    expand_interleave_width: interleave_width::<bf16>,
    expand_gather_width: gather_width::<bf16>,
};

/// Elements that become a vector of f32.
trait Vector: Element {
    /// The eight at `source`.
    ///
    /// # Safety
    /// The CPU has AVX2, and they are there.
    unsafe fn load(source: *const Self) -> __m256;
}

impl Vector for f32 {
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn load(source: *const Self) -> __m256 {
        // SAFETY: the caller's contract.
        unsafe { _mm256_loadu_ps(source) }
    }
}

impl Vector for bf16 {
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn load(source: *const Self) -> __m256 {
        // SAFETY: the caller's contract; eight bf16 are 128 bits.
        let halves = unsafe { _mm_loadu_si128(source.cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
    }
}

/// # Safety
/// The CPU has AVX2 and FMA; `left` holds `depth × HEIGHT` values, `right` `depth × WIDTH`, `strip`
/// `HEIGHT × WIDTH`.
#[target_feature(enable = "avx2,fma")]
unsafe fn product(depth: usize, left: *const f32, right: *const f32, strip: *mut f32, add: bool) {
    let mut sums = [[_mm256_setzero_ps(); VECTORS]; HEIGHT];
    if depth > 0 {
        // In assembly because it needs exactly sixteen registers: compilers order the loads so that they need
        // a seventeenth, and a sum that goes through memory in every iteration halves the speed.
        // SAFETY: reads `depth` times `HEIGHT` and `WIDTH` values, which the caller vouches for, and writes
        // only registers that are declared.
        unsafe {
            asm!(
            "2:",
            "vmovups ymm12, ymmword ptr [{right}]",
            "vmovups ymm13, ymmword ptr [{right} + 32]",
            "vmovups ymm14, ymmword ptr [{right} + 64]",
            "vbroadcastss ymm15, dword ptr [{left}]",
            "vfmadd231ps ymm0, ymm15, ymm12",
            "vfmadd231ps ymm1, ymm15, ymm13",
            "vfmadd231ps ymm2, ymm15, ymm14",
            "vbroadcastss ymm15, dword ptr [{left} + 4]",
            "vfmadd231ps ymm3, ymm15, ymm12",
            "vfmadd231ps ymm4, ymm15, ymm13",
            "vfmadd231ps ymm5, ymm15, ymm14",
            "vbroadcastss ymm15, dword ptr [{left} + 8]",
            "vfmadd231ps ymm6, ymm15, ymm12",
            "vfmadd231ps ymm7, ymm15, ymm13",
            "vfmadd231ps ymm8, ymm15, ymm14",
            "vbroadcastss ymm15, dword ptr [{left} + 12]",
            "vfmadd231ps ymm9, ymm15, ymm12",
            "vfmadd231ps ymm10, ymm15, ymm13",
            "vfmadd231ps ymm11, ymm15, ymm14",
            "add {left}, 16",
            "add {right}, 96",
            "dec {depth}",
            "jnz 2b",
            left = inout(reg) left => _,
            right = inout(reg) right => _,
            depth = inout(reg) depth => _,
            inout("ymm0") sums[0][0],
            inout("ymm1") sums[0][1],
            inout("ymm2") sums[0][2],
            inout("ymm3") sums[1][0],
            inout("ymm4") sums[1][1],
            inout("ymm5") sums[1][2],
            inout("ymm6") sums[2][0],
            inout("ymm7") sums[2][1],
            inout("ymm8") sums[2][2],
            inout("ymm9") sums[3][0],
            inout("ymm10") sums[3][1],
            inout("ymm11") sums[3][2],
            out("ymm12") _,
            out("ymm13") _,
            out("ymm14") _,
            out("ymm15") _,
            options(nostack, readonly),
            );
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        for (vector, sum) in sums.into_iter().enumerate() {
            // SAFETY: inside the strip; the caller's contract.
            unsafe {
                let value = strip.add(row * WIDTH + vector * LANES);
                let sum = if add { _mm256_add_ps(_mm256_loadu_ps(value), sum) } else { sum };
                _mm256_storeu_ps(value, sum);
            }
        }
    }
}

/// # Safety
/// The CPU has AVX2; `source` holds `lines` lines of `depth` values, `stride` apart, `packed`
/// `depth × HEIGHT` values.
#[target_feature(enable = "avx2,fma")]
unsafe fn interleave_height(source: *const f32, stride: usize, lines: usize, depth: usize, packed: *mut f32) {
    let whole = if lines == HEIGHT { depth / 4 * 4 } else { 0 };
    for p in (0..whole).step_by(4) {
        // SAFETY: p + 4 is at most `depth`, all four lines exist; the caller's contract.
        unsafe {
            let line = |i: usize| _mm_loadu_ps(source.add(i * stride + p));
            let (a, b, c, d) = (line(0), line(1), line(2), line(3));
            let (ab_low, ab_high) = (_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
            let (cd_low, cd_high) = (_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
            let packed = packed.add(p * HEIGHT);
            _mm_storeu_ps(packed, _mm_movelh_ps(ab_low, cd_low));
            _mm_storeu_ps(packed.add(4), _mm_movehl_ps(cd_low, ab_low));
            _mm_storeu_ps(packed.add(8), _mm_movelh_ps(ab_high, cd_high));
            _mm_storeu_ps(packed.add(12), _mm_movehl_ps(cd_high, ab_high));
        }
    }
    // SAFETY: the caller's contract.
    unsafe { interleave_rest::<_, HEIGHT>(source, stride, lines, whole..depth, 0..HEIGHT, packed) };
}

/// # Safety
/// The CPU has AVX2; `source` holds `lines` lines of `depth` values, `stride` apart, `packed`
/// `depth × WIDTH` values.
#[target_feature(enable = "avx2,fma")]
unsafe fn interleave_width<T: Vector>(
    source: *const T,
    stride: usize,
    lines: usize,
    depth: usize,
    packed: *mut f32,
) {
    let whole_lines = lines / LANES * LANES;
    let whole = depth / LANES * LANES;
    // Eight lines at a time, each to its end: lines a power of two apart share the few places of a cache set, and of
    // more lines none would stay until its second half is read.
    for first in (0..whole_lines).step_by(LANES) {
        for p in (0..whole).step_by(LANES) {
            // SAFETY: an 8 × 8 block inside both; the caller's contract.
            unsafe { transpose(source.add(first * stride + p), stride, packed.add(p * WIDTH + first)) };
        }
    }
    // SAFETY: the caller's contract.
    unsafe {
        interleave_rest::<_, WIDTH>(source, stride, lines, 0..whole, whole_lines..WIDTH, packed);
        interleave_rest::<_, WIDTH>(source, stride, lines, whole..depth, 0..WIDTH, packed);
    }
}

/// # Safety
/// The CPU has AVX2; `source` holds `depth` lines of `HEIGHT` values, `stride` apart, `packed`
/// `depth × HEIGHT` values.
#[target_feature(enable = "avx2,fma")]
unsafe fn gather_height(source: *const f32, stride: usize, depth: usize, packed: *mut f32) {
    for p in 0..depth {
        // SAFETY: the caller's contract.
        unsafe { _mm_storeu_ps(packed.add(p * HEIGHT), _mm_loadu_ps(source.add(p * stride))) };
    }
}

/// # Safety
/// The CPU has AVX2; `source` holds `depth` lines of `WIDTH` values, `stride` apart, `packed`
/// `depth × WIDTH` values.
#[target_feature(enable = "avx2,fma")]
unsafe fn gather_width<T: Vector>(source: *const T, stride: usize, depth: usize, packed: *mut f32) {
    for p in 0..depth {
        for vector in 0..VECTORS {
            // SAFETY: the caller's contract.
            unsafe {
                let values = T::load(source.add(p * stride + vector * LANES));
                _mm256_storeu_ps(packed.add(p * WIDTH + vector * LANES), values);
            }
        }
    }
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
    terms: std::ops::Range<usize>,
    lanes: std::ops::Range<usize>,
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

/// Writes the transpose of the 8 × 8 block at `source`, lines `stride` apart, to `packed`, lines `WIDTH` apart.
///
/// # Safety
/// The CPU has AVX2 and both blocks lie inside their allocations.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn transpose<T: Vector>(source: *const T, stride: usize, packed: *mut f32) {
    let mut rows = [_mm256_setzero_ps(); LANES];
    for (i, row) in rows.iter_mut().enumerate() {
        // SAFETY: the caller's contract.
        *row = unsafe { T::load(source.add(i * stride)) };
    }
    let pairs =
        |i: usize| (_mm256_unpacklo_ps(rows[i], rows[i + 1]), _mm256_unpackhi_ps(rows[i], rows[i + 1]));
    let ((a, b), (c, d), (e, f), (g, h)) = (pairs(0), pairs(2), pairs(4), pairs(6));
    let fours = |low: __m256, high: __m256| {
        (_mm256_shuffle_ps::<0x44>(low, high), _mm256_shuffle_ps::<0xee>(low, high))
    };
    let ((t0, t1), (t2, t3)) = (fours(a, c), fours(b, d));
    let ((u0, u1), (u2, u3)) = (fours(e, g), fours(f, h));
    let columns = [
        _mm256_permute2f128_ps::<0x20>(t0, u0),
        _mm256_permute2f128_ps::<0x20>(t1, u1),
        _mm256_permute2f128_ps::<0x20>(t2, u2),
        _mm256_permute2f128_ps::<0x20>(t3, u3),
        _mm256_permute2f128_ps::<0x31>(t0, u0),
        _mm256_permute2f128_ps::<0x31>(t1, u1),
        _mm256_permute2f128_ps::<0x31>(t2, u2),
        _mm256_permute2f128_ps::<0x31>(t3, u3),
    ];
    for (i, column) in columns.into_iter().enumerate() {
        // SAFETY: the caller's contract.
        unsafe { _mm256_storeu_ps(packed.add(i * WIDTH), column) };
    }
}
