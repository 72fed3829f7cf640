//! AVX2 and FMA: six rows by two vectors, twelve sums and four operands in the sixteen registers.
//!
//! A strip is a cache line wide, so that lines of a panel are fetched whole and by one strip, and a block of 256
//! terms of it fills half of a first-level cache.

pub(super) mod packing;
pub(super) mod straight;

use std::arch::asm;
use std::arch::x86_64::{
    __m256, _mm_loadu_si128, _mm256_add_ps, _mm256_broadcast_ss, _mm256_castsi256_ps, _mm256_cvtepu16_epi32,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_storeu_ps,
};
use std::array::from_fn;

use half::bf16;

use super::ahead::{CACHE_LINES_PER_RUN, prefetch_run};
use super::{Blocking, Element, FewSamples, Kernel, Operands};

const LANES: usize = 8;
const VECTORS: usize = 2;
const HEIGHT: usize = 6;
const WIDTH: usize = VECTORS * LANES;
const TERMS_PER_RUN: usize = 16;

pub(super) const KERNEL: Kernel = Kernel {
    name: "avx2_fma_6x16",
    height: HEIGHT,
    width: WIDTH,
    product,
    terms_per_run: Some(TERMS_PER_RUN),
    interleave_height: packing::interleave_height::<HEIGHT>,
    interleave_width: packing::interleave_width::<f32, WIDTH>,
    gather_height: packing::gather_height::<HEIGHT>,
    gather_width: packing::gather_width::<f32, WIDTH>,
    expand_interleave_width: packing::interleave_width::<bf16, WIDTH>,
    expand_gather_width: packing::gather_width::<bf16, WIDTH>,
    blocking: Blocking { samples: 256, inputs: 512, packed_inputs: 32 << 10 },
    few: FewSamples { along: 4, across: 8 },
    straight: Some(straight::straight()),
    expand_straight: Some(straight::straight()),
};

/// Elements that become a vector of f32.
pub(in crate::micro) trait Vector: Element {
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
/// The CPU has AVX2 and FMA; the operands hold as many terms as they say, `result` has `HEIGHT` lines of `WIDTH` values,
/// `stride` apart.
#[target_feature(enable = "avx2,fma")]
unsafe fn product(operands: &Operands, result: *mut f32, stride: usize, rows: usize, add: bool) {
    // SAFETY: the caller's contract, handed on.
    unsafe {
        match rows {
            0..=2 => store(few_rows::<2>(operands), result, stride, add),
            3..=4 => store(few_rows::<4>(operands), result, stride, add),
            _ => store(all_rows(operands), result, stride, add),
        }
    }
}

/// # Safety
/// The CPU has AVX2; `result` has `ROWS` lines of `VECTORS` vectors, `stride` apart.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn store<const ROWS: usize, const VECTORS: usize>(
    sums: [[__m256; VECTORS]; ROWS],
    result: *mut f32,
    stride: usize,
    add: bool,
) {
    for (row, sums) in sums.into_iter().enumerate() {
        for (vector, sum) in sums.into_iter().enumerate() {
            // SAFETY: inside the result; the caller's contract.
            unsafe {
                let value = result.add(row * stride + vector * LANES);
                let sum = if add { _mm256_add_ps(_mm256_loadu_ps(value), sum) } else { sum };
                _mm256_storeu_ps(value, sum);
            }
        }
    }
}

/// The first `ROWS` rows of a product. Their sums leave so many registers that a compiler needs no help.
///
/// # Safety
/// As for [`product`].
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn few_rows<const ROWS: usize>(operands: &Operands) -> [[__m256; VECTORS]; ROWS] {
    let mut sums = [[_mm256_setzero_ps(); VECTORS]; ROWS];
    for p in 0..operands.depth {
        // SAFETY: p is below `depth`; the caller's contract.
        unsafe {
            if p % TERMS_PER_RUN == TERMS_PER_RUN - 1 {
                prefetch_run(*operands.ahead.add(p / TERMS_PER_RUN));
            }
            let (left, right) = (operands.left.add(p * HEIGHT), operands.right.add(p * WIDTH));
            let right: [__m256; VECTORS] = from_fn(|vector| _mm256_loadu_ps(right.add(vector * LANES)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let left = _mm256_broadcast_ss(&*left.add(row));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = _mm256_fmadd_ps(left, right, *sum);
                }
            }
        }
    }
    sums
}

// What the assembly below has in numbers.
const _: () = assert!(HEIGHT == 6 && WIDTH == 16 && TERMS_PER_RUN == 16 && CACHE_LINES_PER_RUN == 4);

/// A term of [`all_rows`], at these bytes after `left` and `right`.
macro_rules! term {
    ($left:literal, $right:literal) => {
        concat!(
            "vmovups ymm12, ymmword ptr [{right} + ",
            $right,
            "]\n",
            "vmovups ymm13, ymmword ptr [{right} + ",
            $right,
            " + 32]\n",
            "vbroadcastss ymm14, dword ptr [{left} + ",
            $left,
            "]\n",
            "vbroadcastss ymm15, dword ptr [{left} + ",
            $left,
            " + 4]\n",
            "vfmadd231ps ymm0, ymm14, ymm12\n",
            "vfmadd231ps ymm1, ymm14, ymm13\n",
            "vfmadd231ps ymm2, ymm15, ymm12\n",
            "vfmadd231ps ymm3, ymm15, ymm13\n",
            "vbroadcastss ymm14, dword ptr [{left} + ",
            $left,
            " + 8]\n",
            "vbroadcastss ymm15, dword ptr [{left} + ",
            $left,
            " + 12]\n",
            "vfmadd231ps ymm4, ymm14, ymm12\n",
            "vfmadd231ps ymm5, ymm14, ymm13\n",
            "vfmadd231ps ymm6, ymm15, ymm12\n",
            "vfmadd231ps ymm7, ymm15, ymm13\n",
            "vbroadcastss ymm14, dword ptr [{left} + ",
            $left,
            " + 16]\n",
            "vbroadcastss ymm15, dword ptr [{left} + ",
            $left,
            " + 20]\n",
            "vfmadd231ps ymm8, ymm14, ymm12\n",
            "vfmadd231ps ymm9, ymm14, ymm13\n",
            "vfmadd231ps ymm10, ymm15, ymm12\n",
            "vfmadd231ps ymm11, ymm15, ymm13",
        )
    };
}

/// All rows of a product.
///
/// # Safety
/// As for [`product`].
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn all_rows(operands: &Operands) -> [[__m256; VECTORS]; HEIGHT] {
    let mut sums = [[_mm256_setzero_ps(); VECTORS]; HEIGHT];
    // In assembly because it needs exactly sixteen registers: compilers order the loads so that they need
    // a seventeenth, and a sum that goes through memory in every iteration halves the speed.
    // SAFETY: reads `depth` times `HEIGHT` and `WIDTH` values and an address for each sixteen whole terms, which the
    // caller vouches for, and writes only registers that are declared. A prefetch cannot fault.
    unsafe {
        asm!(
            "test {runs}, {runs}",
            "jz 3f",
            "2:",
            "mov {address}, qword ptr [{ahead}]",
            "prefetcht1 byte ptr [{address}]",
            "prefetcht1 byte ptr [{address} + 64]",
            "prefetcht1 byte ptr [{address} + 128]",
            "prefetcht1 byte ptr [{address} + 192]",
            "mov {fours:e}, 4",
            "6:",
            term!("0", "0"),
            term!("24", "64"),
            term!("48", "128"),
            term!("72", "192"),
            "add {left}, 96",
            "add {right}, 256",
            "dec {fours:e}",
            "jnz 6b",
            "add {ahead}, 8",
            "dec {runs}",
            "jnz 2b",
            "3:",
            "test {rest}, {rest}",
            "jz 5f",
            "4:",
            term!("0", "0"),
            "add {left}, 24",
            "add {right}, 64",
            "dec {rest}",
            "jnz 4b",
            "5:",
            left = inout(reg) operands.left => _,
            right = inout(reg) operands.right => _,
            ahead = inout(reg) operands.ahead => _,
            runs = inout(reg) operands.depth / TERMS_PER_RUN => _,
            rest = inout(reg) operands.depth % TERMS_PER_RUN => _,
            address = out(reg) _,
            fours = out(reg) _,
            inout("ymm0") sums[0][0],
            inout("ymm1") sums[0][1],
            inout("ymm2") sums[1][0],
            inout("ymm3") sums[1][1],
            inout("ymm4") sums[2][0],
            inout("ymm5") sums[2][1],
            inout("ymm6") sums[3][0],
            inout("ymm7") sums[3][1],
            inout("ymm8") sums[4][0],
            inout("ymm9") sums[4][1],
            inout("ymm10") sums[5][0],
            inout("ymm11") sums[5][1],
            out("ymm12") _,
            out("ymm13") _,
            out("ymm14") _,
            out("ymm15") _,
            options(nostack, readonly),
        );
    }
    sums
}
