//! What the kernels need beside their operands, for who has to count it.

use crate::REDUCTION_BLOCK;
use crate::gradient::{FEW_UNITS, PACKED_ERRORS, UNITS_PER_TILE};
use crate::micro::Kernel;
use crate::strip::STRIPS_SIDE_BY_SIDE;

/// The most that any kernel for this kind of CPU keeps packed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scratch {
    /// Samples of a product.
    pub samples: usize,
    /// Rows by which samples, and units, are filled up to whole heights of a product.
    pub filling: usize,
    /// Values of a gradient's errors, as far as that leaves more than the fewest units.
    pub errors: usize,
    /// The fewest and the most units of a gradient at a time.
    pub units: [usize; 2],
    /// Inputs beside them, at least.
    pub inputs: usize,
    /// Bytes of a thread's other buffers, packed strips and sums, but for the sums of several shards.
    pub thread: usize,
}

impl Scratch {
    /// Of whichever kernel takes most.
    pub fn most() -> Self {
        let most = |of: fn(&Kernel) -> usize| {
            Kernel::known().into_iter().map(|(kernel, _)| of(kernel)).max().unwrap_or_default()
        };
        Self {
            samples: most(|kernel| kernel.blocking.samples),
            filling: most(|kernel| kernel.height - 1),
            errors: PACKED_ERRORS,
            units: [FEW_UNITS, UNITS_PER_TILE],
            inputs: most(|kernel| kernel.width),
            thread: most(thread_bytes),
        }
    }
}

fn thread_bytes(kernel: &Kernel) -> usize {
    let Kernel { height, width, blocking, .. } = kernel;
    let group = STRIPS_SIDE_BY_SIDE * width;
    // One block is packed while another is multiplied.
    let strips = (2 * group * REDUCTION_BLOCK).max(blocking.packed_inputs);
    let sums = (blocking.samples.next_multiple_of(*height) * group).max(height * blocking.inputs);
    (strips + sums) * size_of::<f32>()
}
