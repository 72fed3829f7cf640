//! The innermost product and its packing, one set a CPU kind.
//!
//! A product is made of *strips*: `width` columns of the result, contiguous, computed `height` rows at a time
//! in registers. The left operand is packed as `[reduction][height]`, the right one as `[reduction][width]`.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;

use half::bf16;

use crate::parallel::part;
use crate::precision::expand;

/// Multiplies packed operands: `strip[height × width] (=|+=) leftᵀ · right` over `depth` terms.
type Product = unsafe fn(depth: usize, left: *const f32, right: *const f32, strip: *mut f32, add: bool);

/// Packs `lines` lines that run along the reduction: `packed[p][i] = source[i · stride + p]`.
type Interleave<T> = unsafe fn(source: *const T, stride: usize, lines: usize, depth: usize, packed: *mut f32);

/// Packs `depth` whole lines that run across the reduction: `packed[p][i] = source[p · stride + i]`.
type Gather<T> = unsafe fn(source: *const T, stride: usize, depth: usize, packed: *mut f32);

/// The code for one kind of CPU.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub name: &'static str,
    /// Rows of the result computed at once.
    pub height: usize,
    /// Columns of the result computed at once: the width of a strip.
    pub width: usize,
    product: Product,
    interleave_height: Interleave<f32>,
    interleave_width: Interleave<f32>,
    gather_height: Gather<f32>,
    gather_width: Gather<f32>,
    expand_interleave_width: Interleave<bf16>,
    expand_gather_width: Gather<bf16>,
}

/// What the elements of a right operand may be. Packed they are f32.
pub(crate) trait Element: Copy + Sync {
    /// The packing of lines that run along the reduction.
    fn interleave_width(kernel: &Kernel) -> Interleave<Self>;

    /// The packing of lines that run across the reduction.
    fn gather_width(kernel: &Kernel) -> Gather<Self>;

    /// The value.
    fn to_f32(self) -> f32;
}

impl Element for f32 {
    fn interleave_width(kernel: &Kernel) -> Interleave<Self> {
        kernel.interleave_width
    }

    fn gather_width(kernel: &Kernel) -> Gather<Self> {
        kernel.gather_width
    }

    fn to_f32(self) -> f32 {
        self
    }
}

impl Element for bf16 {
    fn interleave_width(kernel: &Kernel) -> Interleave<Self> {
        kernel.expand_interleave_width
    }

    fn gather_width(kernel: &Kernel) -> Gather<Self> {
        kernel.expand_gather_width
    }

    #[inline]
    fn to_f32(self) -> f32 {
        expand(self)
    }
}

/// Memory that will be needed after a product: `lines` lines of `length` bytes, `stride` bytes apart. Products ask
/// for it while they compute, so that it comes without being waited for. It is never read through this, so it may lie anywhere.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    source: *const u8,
    stride: usize,
    lines: usize,
    length: usize,
}

impl Ahead {
    /// Nothing.
    pub(crate) const NONE: Self = Self { source: std::ptr::null(), stride: 0, lines: 0, length: 0 };

    /// `lines` lines of `length` values, `stride` values apart.
    pub(crate) const fn new<T>(source: *const T, stride: usize, lines: usize, length: usize) -> Self {
        let (stride, length) = (stride * size_of::<T>(), length * size_of::<T>());
        Self { source: source.cast(), stride, lines, length }
    }

    fn ask_for(&self, lines: std::ops::Range<usize>) {
        for line in lines {
            let line = self.source.wrapping_add(line * self.stride);
            for byte in (0..self.length).step_by(CACHE_LINE) {
                prefetch(line.wrapping_add(byte));
            }
            prefetch(line.wrapping_add(self.length - 1));
        }
    }
}

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// Asks for a cache line in the second-level cache; the first level is full of packed operands.
fn prefetch(address: *const u8) {
    // SAFETY: a prefetch is a hint and cannot fault, whatever the address.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// An operation whose kernel can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// y = act(x·Wᵀ + b)
    Forward,
    /// dx = dz·W
    InputError,
    /// dW = dzᵀ·x
    Gradient,
}

/// The kernel that computes `operation` on a layer `[units × inputs]` with `rows` samples, for the manifest.
///
/// One kernel serves every shape, so that an element's bits depend on nothing but the length of its reduction.
pub fn kernel_name(_operation: Operation, _rows: usize, _inputs: usize, _units: usize) -> &'static str {
    Kernel::of_this_cpu().name
}

/// Whether code compiled for AVX2 and FMA may run.
pub(crate) fn has_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

impl Kernel {
    pub(crate) fn of_this_cpu() -> &'static Self {
        #[cfg(target_arch = "x86_64")]
        if has_avx2() {
            return &avx2::KERNEL;
        }
        &portable::KERNEL
    }

    #[cfg(test)]
    pub(crate) const fn portable() -> &'static Self {
        &portable::KERNEL
    }

    /// `strip[rows × width] (=|+=) left·right` over `depth` terms, where `left` holds `rows` rounded up to
    /// whole heights, each `[depth][height]`.
    pub(crate) fn multiply(
        &self,
        depth: usize,
        left: &[f32],
        right: &[f32],
        strip: &mut [f32],
        add: bool,
        aheads: &[Ahead],
    ) {
        assert!(right.len() >= depth * self.width, "right operand too short");
        assert_eq!(left.len() * self.width, strip.len() * depth, "left operand and strip do not match");
        let (left_group, strip_group) = (depth * self.height, self.height * self.width);
        let groups = strip.len() / strip_group;
        assert_eq!(groups * strip_group, strip.len(), "strip of broken height");
        for group in 0..groups {
            for ahead in aheads {
                ahead.ask_for(part(ahead.lines, groups, group));
            }
            // SAFETY: the assertions put every group of `left` and `strip`, and `right`, in bounds; the CPU
            // was asked for its features when this kernel was chosen.
            unsafe {
                (self.product)(
                    depth,
                    left.as_ptr().add(group * left_group),
                    right.as_ptr(),
                    strip.as_mut_ptr().add(group * strip_group),
                    add,
                );
            }
        }
    }

    /// Packs a left operand whose rows run along the reduction: row i at `source[i · stride ..]`. `packed`
    /// takes one group of `height` for each `height` rows, zeros where there are no more rows.
    pub(crate) fn pack_left_rows(
        &self,
        source: &[f32],
        stride: usize,
        rows: usize,
        depth: usize,
        packed: &mut [f32],
    ) {
        for (group, packed) in packed.chunks_exact_mut(depth * self.height).enumerate() {
            let first = group * self.height;
            let lines = self.height.min(rows - first);
            interleave(
                self.interleave_height,
                self.height,
                &source[first * stride..],
                stride,
                lines,
                depth,
                packed,
            );
        }
    }

    /// Packs a left operand whose columns run along the reduction: term p at `source[p · stride ..]`.
    pub(crate) fn pack_left_columns(
        &self,
        source: &[f32],
        stride: usize,
        rows: usize,
        depth: usize,
        packed: &mut [f32],
    ) {
        for (group, packed) in packed.chunks_exact_mut(depth * self.height).enumerate() {
            let first = group * self.height;
            let lines = self.height.min(rows - first);
            gather(self.gather_height, self.height, &source[first..], stride, lines, depth, packed);
        }
    }

    /// Packs a right operand whose columns run along the reduction: column i at `source[i · stride ..]`.
    pub(crate) fn pack_right_columns<T: Element>(
        &self,
        source: &[T],
        stride: usize,
        columns: usize,
        depth: usize,
        packed: &mut [f32],
    ) {
        interleave(T::interleave_width(self), self.width, source, stride, columns, depth, packed);
    }

    /// Packs a right operand whose rows run across the reduction: term p at `source[p · stride ..]`.
    pub(crate) fn pack_right_rows<T: Element>(
        &self,
        source: &[T],
        stride: usize,
        columns: usize,
        depth: usize,
        packed: &mut [f32],
    ) {
        gather(T::gather_width(self), self.width, source, stride, columns, depth, packed);
    }
}

fn interleave<T>(
    code: Interleave<T>,
    lanes: usize,
    source: &[T],
    stride: usize,
    lines: usize,
    depth: usize,
    packed: &mut [f32],
) {
    assert!(lines >= 1 && lines <= lanes && packed.len() == depth * lanes, "packing of a wrong shape");
    assert!(source.len() >= (lines - 1) * stride + depth, "packing reads past its source");
    // SAFETY: in bounds by the assertions; the CPU was asked for its features when this kernel was chosen.
    unsafe { code(source.as_ptr(), stride, lines, depth, packed.as_mut_ptr()) }
}

fn gather<T: Element>(
    code: Gather<T>,
    lanes: usize,
    source: &[T],
    stride: usize,
    count: usize,
    depth: usize,
    packed: &mut [f32],
) {
    assert!(depth >= 1 && count <= lanes && packed.len() == depth * lanes, "packing of a wrong shape");
    assert!(source.len() >= (depth - 1) * stride + count, "packing reads past its source");
    if count == lanes {
        // SAFETY: in bounds by the assertions; the CPU was asked for its features when this kernel was chosen.
        unsafe { code(source.as_ptr(), stride, depth, packed.as_mut_ptr()) }
        return;
    }
    for (p, packed) in packed.chunks_exact_mut(lanes).enumerate() {
        for (packed, value) in packed.iter_mut().zip(&source[p * stride..][..count]) {
            *packed = value.to_f32();
        }
        packed[count..].fill(0.0);
    }
}
