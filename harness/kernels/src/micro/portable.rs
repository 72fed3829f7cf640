//! Plain Rust, for CPUs without a kernel of their own.

use super::{Blocking, Element, FewSamples, Kernel, Operands};

const HEIGHT: usize = 4;
const WIDTH: usize = 16;

pub(super) const KERNEL: Kernel = Kernel {
    name: "portable_4x16",
    height: HEIGHT,
    width: WIDTH,
    product,
    terms_per_run: None,
    interleave_height: interleave::<_, HEIGHT>,
    interleave_width: interleave::<_, WIDTH>,
    gather_height: gather::<_, HEIGHT>,
    gather_width: gather::<_, WIDTH>,
    expand_interleave_width: interleave::<_, WIDTH>,
    expand_gather_width: gather::<_, WIDTH>,
    blocking: Blocking { samples: 256, inputs: 512, packed_inputs: 32 << 10 },
    few: FewSamples { along: 0, across: 0 },
    straight: None,
    expand_straight: None,
};

/// a·b + c, fused where the target always can: elsewhere a fused one would be a library call.
#[inline]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { a * b + c }
}

/// # Safety
/// The operands hold as many terms as they say, `result` has `HEIGHT` lines of `WIDTH` values, `stride` apart.
unsafe fn product(operands: &Operands, result: *mut f32, stride: usize, rows: usize, add: bool) {
    let &Operands { depth, left, right, .. } = operands;
    // SAFETY: the caller's contract.
    let (left, right) = unsafe {
        (
            std::slice::from_raw_parts(left.cast::<[f32; HEIGHT]>(), depth),
            std::slice::from_raw_parts(right.cast::<[f32; WIDTH]>(), depth),
        )
    };
    let mut sums = [[0.0; WIDTH]; HEIGHT];
    for (left, right) in left.iter().zip(right) {
        for (sums, &a) in sums.iter_mut().zip(left) {
            for (sum, &b) in sums.iter_mut().zip(right) {
                *sum = multiply_add(a, b, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate().take(rows) {
        // SAFETY: the caller's contract; `result` comes from a mutable slice, so neither operand lies in it.
        let line = unsafe { &mut *result.add(row * stride).cast::<[f32; WIDTH]>() };
        for (value, sum) in line.iter_mut().zip(sums) {
            *value = if add { *value + sum } else { *sum };
        }
    }
}

/// # Safety
/// `source` holds `lines` lines of `depth` values, `stride` apart, `packed` `depth × LANES` values.
unsafe fn interleave<T: Element, const LANES: usize>(
    source: *const T,
    stride: usize,
    lines: usize,
    depth: usize,
    packed: *mut f32,
) {
    for p in 0..depth {
        for i in 0..LANES {
            // SAFETY: the caller's contract.
            unsafe {
                *packed.add(p * LANES + i) =
                    if i < lines { (*source.add(i * stride + p)).to_f32() } else { 0.0 };
            }
        }
    }
}

/// # Safety
/// `source` holds `depth` lines of `strips × LANES` values, `stride` apart, `packed` `strips` times `depth × LANES` values,
/// `apart` apart.
unsafe fn gather<T: Element, const LANES: usize>(
    source: *const T,
    stride: usize,
    depth: usize,
    strips: usize,
    packed: *mut f32,
    apart: usize,
) {
    for strip in 0..strips {
        for p in 0..depth {
            // SAFETY: the caller's contract.
            unsafe {
                let values = *source.add(p * stride + strip * LANES).cast::<[T; LANES]>();
                *packed.add(strip * apart + p * LANES).cast::<[f32; LANES]>() = values.map(T::to_f32);
            }
        }
    }
}
