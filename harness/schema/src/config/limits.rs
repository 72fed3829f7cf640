//! The largest counts that a scenario may ask for: small enough that no product of them in a plan exceeds 64 bits,
//! large enough for machines far beyond today's. The schema states each, so a larger number is refused where it stands.

/// Samples of a split.
pub const SAMPLES: usize = 1 << 32;
/// Units of a layer, a dimension of the input, and all dimensions of the input multiplied.
pub const WIDTH: usize = 1 << 24;
/// Layers of a network, repeats unrolled. With the layers that activations and local losses add, their numbers fit
/// 16 bits.
pub const LAYERS: usize = 10_000;
/// Weights and biases of a network.
pub const PARAMETERS: u64 = 1 << 53;
/// Panels of a network: each has buffers, and a place in the store's table.
pub const PANELS: u64 = 1 << 20;
/// Samples of a mini-batch.
pub const BATCH: usize = 1 << 20;
/// Parts of a mini-batch, shards times micro-batches. Their numbers fit 16 bits.
pub const CHUNKS: usize = 1 << 15;
/// Steps of a run, and of anything that is counted in steps.
pub const STEPS: u64 = 1_000_000_000_000;
/// Workers.
pub const RANKS: usize = 256;
/// A size in bytes.
pub const BYTES: u64 = 1 << 60;
/// Bytes of one I/O request: its length is told to the kernel in 32 bits.
pub const CHUNK_BYTES: u64 = 1 << 30;
