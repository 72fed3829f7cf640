//! The innermost product and its packing, one set a CPU kind.
//!
//! A product is made of *strips*: `width` columns of the result, computed `height` rows at a time in registers. Of the left
//! operand, each `height` rows are packed as `[reduction][height]`, of the right one, each strip as `[reduction][width]`.

mod ahead;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
mod straight;

use half::bf16;

use crate::REDUCTION_BLOCK;
use crate::precision::expand;

use ahead::Asked;
pub(crate) use ahead::{Ahead, Meanwhile, Region};
pub(crate) use straight::{Matrix, Straight};

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
    /// Addresses of runs to be asked for on the way, one for each [`Kernel::terms_per_run`] whole terms.
    ahead: *const *const u8,
    /// How many of them are needed; the others are those of operands.
    runs: usize,
}

/// Runs that a product of any kernel has places for.
const MOST_RUNS: usize = REDUCTION_BLOCK / 4;

/// Packs `lines` lines that run along the reduction: `packed[p][i] = source[i · stride + p]`.
type Interleave<T> = unsafe fn(source: *const T, stride: usize, lines: usize, depth: usize, packed: *mut f32);

/// Packs `depth` lines that run across the reduction, each `strips` times as long as a line of the packed operand, into strips
/// that begin `apart` values apart: `packed[strip · apart + p · lanes + i] = source[p · stride + strip · lanes + i]`.
type Gather<T> =
    unsafe fn(source: *const T, stride: usize, depth: usize, strips: usize, packed: *mut f32, apart: usize);

/// A left operand: `rows` rows of `depth` terms, `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Samples<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    pub rows: usize,
    pub depth: usize,
}

/// The packed operands of a product.
#[derive(Clone, Copy)]
pub(crate) struct Packed<'a> {
    /// Terms that are summed, at most [`REDUCTION_BLOCK`].
    pub depth: usize,
    /// Rows of the result.
    pub rows: usize,
    /// The rows in whole heights, each `[depth][height]`.
    pub left: &'a [f32],
    /// Strips, each `[depth][width]`.
    pub right: &'a [f32],
}

/// Packed strips: of some of their terms, so that there may be others between them.
pub(crate) struct Strips<'a> {
    /// From the first term of the first strip to the last of the last.
    pub values: &'a mut [f32],
    /// Values from where a strip begins to where the next does.
    pub apart: usize,
}

/// Most samples that multiply weights where they are.
#[derive(Debug)]
pub(crate) struct FewSamples {
    /// Where sums go along the weights' lines: the forward product.
    pub along: usize,
    /// Where sums go across them: the input error.
    pub across: usize,
}

/// What is kept in the second-level cache at a time.
#[derive(Debug)]
pub(crate) struct Blocking {
    /// Samples whose packed rows are kept: of a run of terms, they stay in cache while a panel's strips pass.
    pub samples: usize,
    /// Most inputs of a gradient's tile.
    pub inputs: usize,
    /// Values of packed inputs that stay while all units of that tile pass.
    pub packed_inputs: usize,
}

/// The code for one kind of CPU.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub name: &'static str,
    /// Rows of the result computed at once.
    pub height: usize,
    /// Columns of the result computed at once: the width of a strip.
    pub width: usize,
    product: Product,
    /// Terms of a product for each run that it asks for, if it does.
    terms_per_run: Option<usize>,
    interleave_height: Interleave<f32>,
    interleave_width: Interleave<f32>,
    gather_height: Gather<f32>,
    gather_width: Gather<f32>,
    expand_interleave_width: Interleave<bf16>,
    expand_gather_width: Gather<bf16>,
    pub blocking: Blocking,
    /// Most samples whose products use `straight`; `choice.rs` says what was measured.
    pub few: FewSamples,
    straight: Option<Straight<f32>>,
    expand_straight: Option<Straight<bf16>>,
}

/// What the elements of a right operand may be. Packed they are f32.
pub(crate) trait Element: Copy + Sync {
    /// The packing of lines that run along the reduction.
    fn interleave_width(kernel: &Kernel) -> Interleave<Self>;

    /// The packing of lines that run across the reduction.
    fn gather_width(kernel: &Kernel) -> Gather<Self>;

    /// Products of few rows with unpacked lines, where the kernel has them.
    fn straight(kernel: &Kernel) -> Option<&Straight<Self>>;

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

    fn straight(kernel: &Kernel) -> Option<&Straight<Self>> {
        kernel.straight.as_ref()
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

    fn straight(kernel: &Kernel) -> Option<&Straight<Self>> {
        kernel.expand_straight.as_ref()
    }

    #[inline]
    fn to_f32(self) -> f32 {
        expand(self)
    }
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

/// Whether code compiled for AVX-512 may run, beside that for AVX2.
#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    has_avx2() && is_x86_feature_detected!("avx512f")
}

impl Kernel {
    /// The widest that this CPU can run.
    pub(crate) fn of_this_cpu() -> &'static Self {
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx512() {
                return &avx512::KERNEL;
            }
            if has_avx2() {
                return &avx2::KERNEL;
            }
        }
        &portable::KERNEL
    }

    /// All kernels for this kind of CPU, and whether this one can run them.
    pub(crate) fn known() -> Vec<(&'static Self, bool)> {
        vec![
            (&portable::KERNEL, true),
            #[cfg(target_arch = "x86_64")]
            (&avx2::KERNEL, has_avx2()),
            #[cfg(target_arch = "x86_64")]
            (&avx512::KERNEL, has_avx512()),
        ]
    }

    /// All that this CPU can run.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<&'static Self> {
        Self::known().into_iter().filter_map(|(kernel, runs)| runs.then_some(kernel)).collect()
    }

    /// `result[rows × columns] (=|+=) left·right`. `result` has room for whole heights; what is in its lines beyond `rows`
    /// has no meaning. Each height of each strip is a product to `meanwhile`, if this kernel asks for runs.
    pub(crate) fn multiply(
        &self,
        operands: &Packed,
        result: &mut [f32],
        add: bool,
        meanwhile: &mut impl Meanwhile,
    ) {
        let Packed { depth, rows, left, right } = *operands;
        assert!((1..=REDUCTION_BLOCK).contains(&depth), "a sum of {depth} terms in one run");
        let columns = right.len() / (depth * self.width) * self.width;
        let padded = rows.next_multiple_of(self.height);
        assert_eq!(left.len(), padded * depth, "left operand of broken height");
        assert_eq!(right.len(), columns * depth, "right operand of broken width");
        assert!(result.len() >= padded * columns, "result too short");
        let mut asked = Asked::new(self.terms_per_run.map(|terms| depth / terms), left);
        let strips = (0..columns).step_by(self.width).zip(right.chunks_exact(depth * self.width));
        for (column, right) in strips {
            let heights = (0..rows).step_by(self.height).zip(left.chunks_exact(depth * self.height));
            let mut heights = heights.peekable();
            while let Some((row, left)) = heights.next() {
                // The first strip brings the left operand near for all others.
                let next = heights.peek().filter(|_| column == 0).map(|(_, left)| *left);
                let (ahead, runs) = asked.before_product(meanwhile, next);
                let (left, right) = (left.as_ptr(), right.as_ptr());
                let operands = Operands { depth, left, right, ahead, runs };
                // SAFETY: `left` is one height and `right` one strip, there are as many addresses as `depth` asks
                // for, of which no more are of runs, and `result` holds the strip's columns of all lines of this height; the CPU was asked for its
                // features when this kernel was chosen.
                unsafe {
                    let result = result.as_mut_ptr().add(row * columns + column);
                    (self.product)(&operands, result, columns, self.height.min(rows - row), add);
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
        interleave(self.interleave_height, self.height, source, stride, rows, depth, packed);
    }

    /// Packs a left operand whose columns run along the reduction: term p at `source[p · stride ..]`. `packed`
    /// takes one group of `height` for each `height` rows, zeros where there are no more rows.
    pub(crate) fn pack_left_columns(
        &self,
        source: &[f32],
        stride: usize,
        rows: usize,
        depth: usize,
        packed: &mut [f32],
    ) {
        let apart = depth * self.height;
        gather(
            self.gather_height,
            self.height,
            source,
            stride,
            rows,
            depth,
            Strips { values: packed, apart },
        );
    }

    /// Packs a right operand whose columns run along the reduction: column i at `source[i · stride ..]`. `packed` takes
    /// one strip for each `width` columns, zeros where there are no more columns.
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

    /// Packs `depth` terms of a right operand whose rows run across the reduction: term p at `source[p · stride ..]`.
    /// There is a strip for each `width` columns, zeros where there are no more columns.
    pub(crate) fn pack_right_rows<T: Element>(
        &self,
        source: &[T],
        stride: usize,
        columns: usize,
        depth: usize,
        strips: Strips,
    ) {
        gather(T::gather_width(self), self.width, source, stride, columns, depth, strips);
    }
}

fn interleave<T>(
    code: Interleave<T>,
    lanes: usize,
    source: &[T],
    stride: usize,
    count: usize,
    depth: usize,
    packed: &mut [f32],
) {
    assert!(depth >= 1 && packed.len() == count.div_ceil(lanes) * depth * lanes, "packing of a wrong shape");
    for (first, packed) in (0..count).step_by(lanes).zip(packed.chunks_exact_mut(depth * lanes)) {
        let (source, lines) = (&source[first * stride..], lanes.min(count - first));
        assert!(source.len() >= (lines - 1) * stride + depth, "packing reads past its source");
        // SAFETY: in bounds by the assertions; the CPU was asked for its features when this kernel was chosen.
        unsafe { code(source.as_ptr(), stride, lines, depth, packed.as_mut_ptr()) }
    }
}

fn gather<T: Element>(
    code: Gather<T>,
    lanes: usize,
    source: &[T],
    stride: usize,
    count: usize,
    depth: usize,
    Strips { values: packed, apart }: Strips,
) {
    let (whole, all) = (count / lanes, count.div_ceil(lanes));
    assert!(depth >= 1 && all >= 1 && apart >= depth * lanes, "packing of a wrong shape");
    assert_eq!(packed.len(), (all - 1) * apart + depth * lanes, "strips of a wrong shape");
    assert!(source.len() >= (depth - 1) * stride + count, "packing reads past its source");
    // SAFETY: in bounds by the assertions; the CPU was asked for its features when this kernel was chosen.
    unsafe { code(source.as_ptr(), stride, depth, whole, packed.as_mut_ptr(), apart) }
    if whole < all {
        let (first, count) = (whole * lanes, count % lanes);
        for (p, packed) in packed[whole * apart..].chunks_exact_mut(lanes).enumerate() {
            for (packed, value) in packed.iter_mut().zip(&source[p * stride + first..][..count]) {
                *packed = value.to_f32();
            }
            packed[count..].fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{assert_near, bits, numbers, product};
    use crate::precision::round_to_nearest;

    /// Packed operands of a product, and the plain ones: `left[row · depth + term]`, `right[term · columns + column]`.
    struct Case {
        plain: [Vec<f32>; 2],
        packed: [Vec<f32>; 2],
    }

    impl Case {
        fn new(kernel: &Kernel, depth: usize, rows: usize, columns: usize) -> Self {
            let (left, right) = (numbers(rows * depth, 1), numbers(depth * columns, 2));
            let mut packed = [
                vec![f32::NAN; rows.next_multiple_of(kernel.height) * depth],
                vec![f32::NAN; columns.next_multiple_of(kernel.width) * depth],
            ];
            kernel.pack_left_rows(&left, depth, rows, depth, &mut packed[0]);
            let strips = Strips { values: &mut packed[1], apart: depth * kernel.width };
            kernel.pack_right_rows(&right, columns, columns, depth, strips);
            Self { plain: [left, right], packed }
        }

        fn result(&self, kernel: &Kernel, depth: usize, rows: usize, before: f32) -> Vec<f32> {
            let [left, right] = &self.packed;
            let mut result = vec![before; rows.next_multiple_of(kernel.height) * right.len() / depth];
            let operands = Packed { depth, rows, left, right };
            kernel.multiply(&operands, &mut result, before != 0.0, &mut Ahead::nothing());
            result.truncate(rows * right.len() / depth);
            result
        }
    }

    #[test]
    fn products_are_those_of_plain_loops_at_every_depth_and_height() {
        for kernel in Kernel::all() {
            for depth in (1..=34).chain([REDUCTION_BLOCK]) {
                for (rows, strips) in (1..=25).zip([1, 2, 3].into_iter().cycle()) {
                    let columns = strips * kernel.width;
                    let case = Case::new(kernel, depth, rows, columns);
                    let [left, right] = &case.plain;
                    let mut expected = product(
                        (rows, columns, depth),
                        |i, p| left[i * depth + p],
                        |p, j| right[p * columns + j],
                    );
                    let name = format!("{} {rows}×{columns} over {depth}", kernel.name);
                    assert_near(&case.result(kernel, depth, rows, 0.0), &expected, &name);
                    for (sum, size) in &mut expected {
                        *sum += 0.5;
                        *size += 0.5;
                    }
                    assert_near(&case.result(kernel, depth, rows, 0.5), &expected, &format!("{name}, added"));
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_whatever_rows_are_beside_it() {
        for kernel in Kernel::all() {
            let (depth, columns) = (67, 2 * kernel.width);
            let case = Case::new(kernel, depth, 24, columns);
            let all = case.result(kernel, depth, 24, 0.0);
            for rows in 1..24_usize {
                let left = case.packed[0][..rows.next_multiple_of(kernel.height) * depth].to_vec();
                let fewer = Case { plain: case.plain.clone(), packed: [left, case.packed[1].clone()] };
                let result = fewer.result(kernel, depth, rows, 0.0);
                assert_eq!(bits(&result), bits(&all[..rows * columns]), "{} {rows} rows", kernel.name);
            }
        }
    }

    #[test]
    fn packing_starts_anywhere() {
        for kernel in Kernel::all() {
            // Lines of odd length from odd places: no address is that of a vector.
            let (depth, stride) = (5, 41);
            let source = numbers(3 + depth * stride, 1);
            for count in [1_usize, 5, 6, 7, 11, 12, 13, 16, 17, 32, 38] {
                let pack = |lanes: usize, pack: &dyn Fn(&mut [f32])| {
                    let mut packed = vec![f32::NAN; count.div_ceil(lanes) * lanes * depth];
                    pack(&mut packed);
                    for (index, value) in packed.into_iter().enumerate() {
                        let (p, i) = (index / lanes % depth, index / (lanes * depth) * lanes + index % lanes);
                        let expected = if i < count { source[3 + p * stride + i] } else { 0.0 };
                        assert_eq!(value, expected, "{} term {p} of line {i}", kernel.name);
                    }
                };
                pack(kernel.height, &|packed| {
                    kernel.pack_left_columns(&source[3..], stride, count, depth, packed);
                });
                pack(kernel.width, &|packed| {
                    let strips = Strips { values: packed, apart: depth * kernel.width };
                    kernel.pack_right_rows(&source[3..], stride, count, depth, strips);
                });
            }
        }
    }

    fn check_columns<T: Element>(kernel: &Kernel, element: impl Fn(f32) -> T) {
        let stride = 43;
        let source = numbers(2 * kernel.width * stride, 1);
        let elements: Vec<T> = source.iter().map(|value| element(*value)).collect();
        for count in 1..=2 * kernel.width {
            for depth in 1..=40 {
                let mut packed = vec![f32::NAN; count.next_multiple_of(kernel.width) * depth];
                kernel.pack_right_columns(&elements, stride, count, depth, &mut packed);
                for (index, value) in packed.into_iter().enumerate() {
                    let (strip, lane) = (index / (kernel.width * depth), index % kernel.width);
                    let (p, i) = (index / kernel.width % depth, strip * kernel.width + lane);
                    let expected = if i < count { elements[i * stride + p].to_f32() } else { 0.0 };
                    assert_eq!(value, expected, "{} term {p} of {depth}, line {i} of {count}", kernel.name);
                }
            }
        }
    }

    #[test]
    fn columns_are_packed_whatever_their_number_and_length() {
        for kernel in Kernel::all() {
            check_columns(kernel, |value| value);
            check_columns(kernel, round_to_nearest);
        }
    }
}
