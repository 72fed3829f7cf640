//! The innermost product on operands that stay in the nearest cache: what one thread can reach at most.

use crate::REDUCTION_BLOCK;
use crate::micro::{Ahead, Kernel};

/// Rows of the result, in units of the kernel's height.
const GROUPS: usize = 4;

/// The operands of the innermost product.
#[derive(Debug)]
pub struct PeakLoop {
    left: Vec<f32>,
    right: Vec<f32>,
    result: Vec<f32>,
}

impl Default for PeakLoop {
    fn default() -> Self {
        let kernel = Kernel::of_this_cpu();
        let rows = GROUPS * kernel.height;
        Self {
            left: vec![0.5; rows * REDUCTION_BLOCK],
            right: vec![0.25; kernel.width * REDUCTION_BLOCK],
            result: vec![0.0; rows * kernel.width],
        }
    }
}

impl PeakLoop {
    /// Multiplies once; returns the floating-point operations done.
    pub fn run(&mut self) -> u64 {
        let kernel = Kernel::of_this_cpu();
        let (rows, mut ahead) = (GROUPS * kernel.height, Ahead::new(&[], 0));
        kernel.multiply(REDUCTION_BLOCK, &self.left, &self.right, &mut self.result, rows, false, &mut ahead);
        std::hint::black_box(&self.result);
        (2 * GROUPS * kernel.height * kernel.width * REDUCTION_BLOCK) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::PeakLoop;

    #[test]
    fn the_product_is_computed() {
        let mut product = PeakLoop::default();
        assert!(product.run() > 0);
        assert!(product.result.iter().all(|sum| *sum == 0.125 * 256.0));
    }
}
