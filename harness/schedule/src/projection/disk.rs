//! The disk: how long bytes take, alone and together, and what it leaves of computing.

use spillbench_schema::{
    config::{Config, StorageMode},
    machine::DiskRates,
};

use super::rates::{Rates, clamped};
use crate::plan::Plan;

/// One disk, as a trial asks it.
pub(super) struct DiskModel {
    /// Ascending queue depths: seconds a byte, by share of writes.
    depths: Vec<(usize, Vec<(f64, f64)>)>,
    queue_depth: usize,
    chunk: u64,
    /// What is left of computing by all cores while bytes stream, and of the disk while all cores compute.
    pub compute_share: f64,
    pub disk_share: f64,
}

impl DiskModel {
    pub fn new(plan: &Plan, config: &Config, rates: &Rates) -> Self {
        let (queue_depth, chunk) = (config.storage.queue_depth, config.storage.chunk.0);
        let disk = rates.disk();
        let extents = plan.disk_bytes();
        let through_cache = matches!(config.storage.mode, StorageMode::Buffered | StorageMode::Mmap);
        if through_cache && extents + plan.memory.total() < rates.memory_bytes() {
            // The page cache holds all: a byte is copied and summed up by one thread, which takes its share of a core.
            let seconds = 3.0 / rates.memory(1);
            let share = rates.cores() as f64 / (rates.cores() + 1) as f64;
            let depths = vec![(1, vec![(0.0, seconds)])];
            return Self { depths, queue_depth, chunk, compute_share: share, disk_share: share };
        }
        let distance = |rates: &DiskRates| (rates.chunk.0 as f64 / chunk as f64).ln().abs();
        let nearest = disk.rates.iter().map(distance).fold(f64::INFINITY, f64::min);
        let mut depths: Vec<_> = disk
            .rates
            .iter()
            .filter(|rates| distance(rates) <= nearest)
            .map(|rates| (rates.queue_depth, by_share(rates)))
            .collect();
        depths.sort_by_key(|(depth, _)| *depth);
        Self {
            depths,
            queue_depth,
            chunk,
            compute_share: disk.compute_share_while_streaming,
            disk_share: disk.disk_share_while_computing,
        }
    }

    /// Bytes that are asked for at once, at most.
    pub const fn in_flight(&self) -> u64 {
        self.queue_depth as u64 * self.chunk
    }

    /// Seconds a byte of a read or a write, where `waiting` bytes are asked for and `write_share` of those in flight are
    /// to be written. Each takes its own time alone, longer or shorter by what the mix takes against taking turns.
    pub fn seconds_per_byte(&self, waiting: u64, write_share: f64, write: bool) -> f64 {
        let depth = waiting.div_ceil(self.chunk).clamp(1, self.queue_depth as u64) as f64;
        let at =
            |share| clamped(self.depths.iter().map(|(at, all)| (*at as f64, between(all, share))), depth);
        let (read, written) = (at(0.0), at(1.0));
        let turns = read + write_share * (written - read);
        let alone = if write { written } else { read };
        alone * at(write_share) / turns
    }

    /// Seconds of many bytes, reads and writes under way together.
    pub fn seconds(&self, bytes: f64, write_share: f64) -> f64 {
        let each = |write| self.seconds_per_byte(self.in_flight(), write_share, write);
        bytes * ((1.0 - write_share) * each(false) + write_share * each(true))
    }
}

/// Seconds a byte by share of writes, ascending.
fn by_share(rates: &DiskRates) -> Vec<(f64, f64)> {
    let mut points = vec![(0.0, 1e-9 / rates.read_gb_per_s), (1.0, 1e-9 / rates.write_gb_per_s)];
    points.extend(rates.mixed.iter().map(|mixed| (mixed.write_share, 1e-9 / mixed.gb_per_s)));
    points.sort_by(|left, right| left.0.total_cmp(&right.0));
    points
}

/// Straight lines between points: without a measured mix, reads and writes take turns.
fn between(points: &[(f64, f64)], at: f64) -> f64 {
    let mut last = points[0];
    for &(x, y) in points {
        if at <= x {
            let part = if x > last.0 { (at - last.0) / (x - last.0) } else { 1.0 };
            return last.1 + part * (y - last.1);
        }
        last = (x, y);
    }
    last.1
}

#[cfg(test)]
mod tests {
    use spillbench_schema::{
        Bytes,
        machine::{DiskRates, MixedRate},
    };

    use super::{between, by_share};

    #[test]
    fn a_mix_takes_what_was_measured_and_turns_where_nothing_was() {
        let mut rates = DiskRates {
            queue_depth: 32,
            chunk: Bytes(1 << 20),
            read_gb_per_s: 2.0,
            write_gb_per_s: 1.0,
            mixed: Vec::new(),
        };
        let seconds = |rates: &DiskRates, share| between(&by_share(rates), share) * 1e9;
        assert!((seconds(&rates, 0.5) - 0.75).abs() < 1e-9, "half at 2 GB/s, half at 1 GB/s");
        rates.mixed.push(MixedRate { write_share: 0.5, gb_per_s: 4.0 });
        for (share, expected) in [(0.0, 0.5), (0.25, 0.375), (0.5, 0.25), (1.0, 1.0)] {
            assert!((seconds(&rates, share) - expected).abs() < 1e-9, "{share}");
        }
    }
}
