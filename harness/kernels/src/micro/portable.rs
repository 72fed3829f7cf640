//! Plain Rust, for CPUs without a kernel of their own.

use super::{Element, Kernel};

const HEIGHT: usize = 4;
const WIDTH: usize = 16;

pub(super) const KERNEL: Kernel = Kernel {
    name: "portable_4x16",
    height: HEIGHT,
    width: WIDTH,
    product,
    interleave_height: interleave::<_, HEIGHT>,
    interleave_width: interleave::<_, WIDTH>,
    gather_height: gather::<_, HEIGHT>,
    gather_width: gather::<_, WIDTH>,
    expand_interleave_width: interleave::<_, WIDTH>,
    expand_gather_width: gather::<_, WIDTH>,
};

/// a·b + c, fused where the target always can: elsewhere a fused one would be a library call.
#[inline]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { a * b + c }
}

/// # Safety
/// `left` holds `depth × HEIGHT` values, `right` `depth × WIDTH`, `strip` `HEIGHT × WIDTH`.
unsafe fn product(depth: usize, left: *const f32, right: *const f32, strip: *mut f32, add: bool) {
    // SAFETY: the caller's contract; the three do not overlap, as `strip` comes from a mutable slice.
    let (left, right, strip) = unsafe {
        (
            std::slice::from_raw_parts(left.cast::<[f32; HEIGHT]>(), depth),
            std::slice::from_raw_parts(right.cast::<[f32; WIDTH]>(), depth),
            std::slice::from_raw_parts_mut(strip.cast::<[f32; WIDTH]>(), HEIGHT),
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
    for (strip, sums) in strip.iter_mut().zip(sums) {
        for (value, sum) in strip.iter_mut().zip(sums) {
            *value = if add { *value + sum } else { sum };
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
/// `source` holds `depth` lines of `LANES` values, `stride` apart, `packed` `depth × LANES` values.
unsafe fn gather<T: Element, const LANES: usize>(
    source: *const T,
    stride: usize,
    depth: usize,
    packed: *mut f32,
) {
    for p in 0..depth {
        // SAFETY: the caller's contract.
        unsafe {
            let values = *source.add(p * stride).cast::<[T; LANES]>();
            *packed.cast::<[f32; LANES]>().add(p) = values.map(T::to_f32);
        }
    }
}
