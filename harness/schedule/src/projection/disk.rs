//! The disk: how long bytes take, alone and together, and what it leaves of computing.

use spillbench_schema::{
    config::{Config, StorageMode},
    machine::DiskRates,
};

use super::tables::{MachineTables, clamped};
use crate::plan::Plan;

/// One disk, as a trial asks it.
pub(super) struct DiskModel {
    /// Rates by queue depth, ascending.
    depths: Vec<DiskRates>,
    queue_depth: usize,
    chunk: u64,
    /// What is left of computing by all cores while bytes stream, and of the disk while all cores compute.
    pub compute_share: f64,
    pub disk_share: f64,
}

impl DiskModel {
    pub fn new(plan: &Plan, config: &Config, rates: &MachineTables) -> Self {
        let (queue_depth, chunk) = (config.storage.queue_depth, config.storage.chunk.0);
        let disk = rates.disk();
        let extents = plan.disk_bytes();
        let through_cache = matches!(config.storage.mode, StorageMode::Buffered | StorageMode::Mmap);
        if through_cache && extents + plan.memory.total() < rates.memory_bytes() {
            // The page cache holds all: a byte is copied and summed up by one thread, which takes its share of a core.
            let seconds = 3.0 / rates.memory(1);
            let share = rates.cores() as f64 / (rates.cores() + 1) as f64;
            let rate = 1e-9 / seconds;
            let rates = DiskRates {
                queue_depth: 1,
                chunk: config.storage.chunk,
                read_gb_per_s: rate,
                write_gb_per_s: rate,
                mixed: Vec::new(),
            };
            return Self { depths: vec![rates], queue_depth, chunk, compute_share: share, disk_share: share };
        }
        let distance = |rates: &DiskRates| (rates.chunk.0 as f64 / chunk as f64).ln().abs();
        let nearest = disk.rates.iter().map(distance).fold(f64::INFINITY, f64::min);
        let mut depths: Vec<_> =
            disk.rates.iter().filter(|rates| distance(rates) <= nearest).cloned().collect();
        depths.sort_by_key(|rates| rates.queue_depth);
        Self {
            depths,
            queue_depth,
            chunk,
            compute_share: disk.compute_share_while_streaming,
            disk_share: disk.disk_share_while_computing,
        }
    }

    /// Bytes that the device has at once, at most.
    const fn in_flight(&self) -> u64 {
        self.queue_depth as u64 * self.chunk
    }

    /// The most of `asked` bytes that the store gives to the device: half of them, but a few requests, and no more than the
    /// queue holds (`at_device` in `io_thread.rs` of the crate `spillbench-storage`).
    pub fn at_device(&self, asked: f64) -> f64 {
        const FEW: u64 = 4;
        (asked / 2.0).max((FEW * self.chunk) as f64).min(self.in_flight() as f64)
    }

    /// Seconds a byte of a read or a write, where the device has `moving` bytes and `write_share` of those are
    /// to be written. Each takes its own time alone, longer or shorter by what the mix takes against taking turns.
    pub fn seconds_per_byte(&self, moving: u64, write_share: f64, write: bool) -> f64 {
        let depth = moving.div_ceil(self.chunk).clamp(1, self.queue_depth as u64) as f64;
        let seconds = |rates: &DiskRates, share| 1e-9 / rates.gb_per_s(share);
        let at = |share| {
            let points = self.depths.iter().map(|rates| (rates.queue_depth as f64, seconds(rates, share)));
            clamped(points, depth)
        };
        let (read, written) = (at(0.0), at(1.0));
        let turns = read + write_share * (written - read);
        let alone = if write { written } else { read };
        alone * at(write_share) / turns
    }

    /// Seconds of many bytes, reads and writes under way together, with a full queue.
    pub fn seconds(&self, bytes: f64, write_share: f64) -> f64 {
        let each = |write| self.seconds_per_byte(self.in_flight(), write_share, write);
        bytes * ((1.0 - write_share) * each(false) + write_share * each(true))
    }
}

#[cfg(test)]
mod tests {
    use super::DiskModel;

    #[test]
    fn the_device_has_half_of_what_is_asked_for_or_a_few_requests() {
        let disk = DiskModel {
            depths: Vec::new(),
            queue_depth: 32,
            chunk: 1000,
            compute_share: 1.0,
            disk_share: 1.0,
        };
        for (asked, expected) in [(24e3, 12e3), (6e3, 4e3), (100e3, 32e3)] {
            assert_eq!(disk.at_device(asked), expected);
        }
    }
}
