//! Which code computes a product: chosen by its shape, from measurements made beforehand (`examples/products.rs`), never by
//! timing at run time. No choice changes a bit.

use crate::micro::{Element, Kernel};

/// A product of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// y = act(x·Wᵀ + b)
    Forward,
    /// dx = dz·W
    InputError,
    /// dW = dzᵀ·x
    Gradient,
}

impl Operation {
    /// Most samples with which weights are multiplied unpacked, where the CPU has code for it. With more, what is computed
    /// twice costs more than packing.
    pub(crate) const fn few_samples(self) -> usize {
        match self {
            Self::Forward => 4,
            Self::InputError => 8,
            Self::Gradient => 0,
        }
    }
}

/// The code that computes `operation` with `rows` samples, for the manifest.
pub fn kernel_name(operation: Operation, rows: usize) -> &'static str {
    let kernel = Kernel::of_this_cpu();
    match f32::straight(kernel) {
        Some(straight) if rows <= operation.few_samples() => straight.name,
        _ => kernel.name,
    }
}
