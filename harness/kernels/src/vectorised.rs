//! Elementwise loops, compiled twice: for the target's baseline and for AVX2, chosen at run time. Both have the
//! same bits, as no operation is reordered or fused.

/// Values that loops treat together, so that pieces much shorter than a compiler's unrolled loop run as vectors.
pub(crate) const LANES: usize = 8;

/// Values treated together.
pub(crate) type Lanes = [f32; LANES];

/// At most [`LANES`] values, then zeros.
#[allow(clippy::inline_always)]
#[inline(always)]
pub(crate) fn lanes<T: Copy + Default>(values: &[T]) -> [T; LANES] {
    let mut lanes = [T::default(); LANES];
    lanes[..values.len()].copy_from_slice(values);
    lanes
}

/// Defines a function whose body is compiled for AVX2 as well, to be run where the CPU is found to have it. In the body,
/// the constant `WIDE` tells which of the two it is: where it is true, the CPU has AVX2 and FMA.
macro_rules! vectorised {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$attribute])*
        $visibility fn $name($($argument: $type),*) {
            // Inlined into a caller that has the feature, the body is compiled with it. What is unsafe in it relies on
            // `WIDE` being true nowhere but in `wide`.
            #[allow(clippy::inline_always)]
            #[inline(always)]
            fn body<const WIDE: bool>($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            if crate::micro::has_avx2() {
                #[target_feature(enable = "avx2,fma")]
                fn wide($($argument: $type),*) {
                    body::<true>($($argument),*);
                }
                // SAFETY: the CPU has the features.
                return unsafe { wide($($argument),*) };
            }
            body::<false>($($argument),*);
        }
    };
}
pub(crate) use vectorised;

/// Calls `f(a[i], b[i])` for all i, in groups of [`LANES`].
#[allow(clippy::inline_always)]
#[inline(always)]
pub(crate) fn zip_mut(a: &mut [f32], b: &[f32], f: impl Fn(&mut f32, f32)) {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks_mut::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter_mut().zip(b) {
        // Copied out, a group is read before it is written, so that nothing depends on `a` and `b` being apart,
        // which the compiler loses sight of.
        let (mut values, b) = (*a, *b);
        for (value, b) in values.iter_mut().zip(b) {
            f(value, b);
        }
        *a = values;
    }
    for (a, &b) in a_rest.iter_mut().zip(b_rest) {
        f(a, b);
    }
}
