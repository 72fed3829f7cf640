//! The innermost product and its packing, one set a CPU kind.
//!
//! A product is made of *strips*: `width` columns of the result, contiguous, computed `height` rows at a time
//! in registers. The left operand is packed as `[reduction][height]`, the right one as `[reduction][width]`.

mod ahead;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;

use half::bf16;

use crate::REDUCTION_BLOCK;
use crate::precision::expand;

pub(crate) use ahead::{Ahead, Region};

/// Multiplies packed operands: `result[height × width] (=|+=) leftᵀ · right`, lines of the result `stride` apart, of
/// which `rows` are wanted.
type Product = unsafe fn(operands: &Operands, result: *mut f32, stride: usize, rows: usize, add: bool);

/// What an innermost product reads.
struct Operands {
    /// Terms that are summed.
    depth: usize,
    /// `[depth][height]`
    left: *const f32,
    /// `[depth][width]`
    right: *const f32,
    /// Addresses of runs to be asked for on the way, one every [`TERMS_PER_RUN`] whole terms.
    ahead: *const *const u8,
}

/// Terms of a product for each run that it may ask for.
const TERMS_PER_RUN: usize = 16;

/// Packs `lines` lines that run along the reduction: `packed[p][i] = source[i · stride + p]`.
type Interleave<T> = unsafe fn(source: *const T, stride: usize, lines: usize, depth: usize, packed: *mut f32);

/// Packs `depth` lines that run across the reduction, each `strips` times as long as a line of the packed operand:
/// `packed[strip][p][i] = source[p · stride + strip · lanes + i]`.
type Gather<T> = unsafe fn(source: *const T, stride: usize, depth: usize, strips: usize, packed: *mut f32);

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

    /// `result[rows × columns] (=|+=) left·right` over `depth` terms. `left` holds `rows` rounded up to whole heights,
    /// each `[depth][height]`; `right` as many strips as `columns` has widths, each `[depth][width]`. `result` has room for
    /// whole heights too; what is in its lines beyond `rows` has no meaning. Each height of each strip is a product to
    /// `ahead`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn multiply(
        &self,
        depth: usize,
        left: &[f32],
        right: &[f32],
        result: &mut [f32],
        rows: usize,
        add: bool,
        ahead: &mut Ahead,
    ) {
        let (heights, strips) = (rows.div_ceil(self.height), right.len() / (depth * self.width));
        let columns = strips * self.width;
        assert!(depth <= REDUCTION_BLOCK, "more terms than are summed in one run");
        assert_eq!(left.len(), heights * self.height * depth, "left operand of broken height");
        assert_eq!(right.len(), columns * depth, "right operand of broken width");
        assert!(result.len() >= heights * self.height * columns, "result too short");
        let mut addresses = [std::ptr::null(); REDUCTION_BLOCK / TERMS_PER_RUN];
        let addresses = &mut addresses[..depth / TERMS_PER_RUN];
        for (strip, right) in right.chunks_exact(depth * self.width).enumerate() {
            for (height, left) in left.chunks_exact(depth * self.height).enumerate() {
                ahead.share(addresses, left.as_ptr().cast());
                let operands =
                    Operands { depth, left: left.as_ptr(), right: right.as_ptr(), ahead: addresses.as_ptr() };
                let first = height * self.height;
                let rows = self.height.min(rows - first);
                // SAFETY: `left` is one height and `right` one width, there are as many addresses as `depth` asks for,
                // and `result` holds the strip's columns of all lines of this height; the CPU was asked for its features
                // when this kernel was chosen.
                unsafe {
                    let result = result.as_mut_ptr().add(first * columns + strip * self.width);
                    (self.product)(&operands, result, columns, rows, add);
                }
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

    /// Packs a right operand whose rows run across the reduction: term p at `source[p · stride ..]`. `packed` takes
    /// one strip for each `width` columns, zeros where there are no more columns.
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
    let strips = count / lanes;
    assert!(depth >= 1 && packed.len() == count.div_ceil(lanes) * depth * lanes, "packing of a wrong shape");
    assert!(source.len() >= (depth - 1) * stride + count, "packing reads past its source");
    // SAFETY: in bounds by the assertions; the CPU was asked for its features when this kernel was chosen.
    unsafe { code(source.as_ptr(), stride, depth, strips, packed.as_mut_ptr()) }
    let (first, count) = (strips * lanes, count % lanes);
    for (p, packed) in packed[first * depth..].chunks_exact_mut(lanes).enumerate() {
        for (packed, value) in packed.iter_mut().zip(&source[p * stride + first..][..count]) {
            *packed = value.to_f32();
        }
        packed[count..].fill(0.0);
    }
}
