//! The innermost product on operands that stay in the nearest cache: what one thread can reach at most.

use crate::REDUCTION_BLOCK;
use crate::micro::{Ahead, Kernel, Packed};
use crate::workspace::Buffer;

/// The operands of the innermost product.
#[derive(Default)]
pub struct PeakLoop {
    left: Buffer,
    right: Buffer,
    result: Buffer,
}

impl PeakLoop {
    /// Multiplies once; returns the floating-point operations done.
    pub fn run(&mut self) -> u64 {
        let kernel = Kernel::of_this_cpu();
        let (depth, rows) = (REDUCTION_BLOCK, kernel.height);
        let (left, right) = (self.left.get(rows * depth), self.right.get(kernel.width * depth));
        let result = self.result.get(rows * kernel.width);
        kernel.multiply(&Packed { depth, rows, left, right }, result, false, &mut Ahead::nothing());
        std::hint::black_box(result);
        (2 * rows * kernel.width * depth) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_is_computed() {
        let (kernel, mut product) = (Kernel::of_this_cpu(), PeakLoop::default());
        let (rows, depth) = (kernel.height, REDUCTION_BLOCK);
        product.left.get(rows * depth).fill(0.5);
        product.right.get(kernel.width * depth).fill(0.25);
        assert_eq!(product.run(), (2 * rows * kernel.width * depth) as u64);
        assert!(product.result.get(rows * kernel.width).iter().all(|sum| *sum == 0.125 * depth as f32));
    }
}
