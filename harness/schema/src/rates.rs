//! What the planner takes a machine to do in a second, when it weighs one way to run a trial against another.

use serde::{Deserialize, Serialize};

/// What a machine does in a second. Whole numbers, so that a trial that goes on reads back exactly what it was planned
/// with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Name of the machine; none: the defaults.
    pub machine: Option<String>,
    /// Bytes read from the store.
    pub read_bytes_per_s: u64,
    /// Bytes written to it.
    pub write_bytes_per_s: u64,
    /// Floating-point operations of a layer's products, by all ranks together.
    pub flops_per_s: u64,
}

/// A machine of two cores with one drive. Only the ratios matter for a choice.
impl Default for Rates {
    fn default() -> Self {
        Self {
            machine: None,
            read_bytes_per_s: 2_000_000_000,
            write_bytes_per_s: 2_000_000_000,
            flops_per_s: 150_000_000_000,
        }
    }
}

impl Rates {
    /// Seconds to read and to write these bytes, one after the other.
    pub fn io_s(&self, read_bytes: u64, written_bytes: u64) -> f64 {
        read_bytes as f64 / self.read_bytes_per_s as f64
            + written_bytes as f64 / self.write_bytes_per_s as f64
    }

    /// Seconds to compute these operations.
    pub fn compute_s(&self, flops: f64) -> f64 {
        flops / self.flops_per_s as f64
    }
}
