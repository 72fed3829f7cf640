//! A disk as the cost model sees it.

use serde::{Deserialize, Serialize};

use super::Faults;
use crate::units::Bytes;

/// How fast a disk moves bytes, checksums included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Rates, at least one.
    pub rates: Vec<DiskRates>,
    /// What is left of the rate of computing, with all cores, while the disk streams: a share.
    #[serde(default = "whole")]
    pub compute_share_while_streaming: f64,
    /// What is left of the disk's rate while all cores compute: a share.
    #[serde(default = "whole")]
    pub disk_share_while_computing: f64,
}

const fn whole() -> f64 {
    1.0
}

/// The rate of a disk for one way of asking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskRates {
    /// The most requests in flight.
    pub queue_depth: usize,
    /// Bytes of a request.
    pub chunk: Bytes,
    /// Reads alone, GB/s.
    pub read_gb_per_s: f64,
    /// Writes alone, GB/s.
    pub write_gb_per_s: f64,
    /// Both at once, in all; where none is given, reads and writes take turns at their own rates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mixed: Vec<MixedRate>,
}

/// The rate of reads and writes under way together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixedRate {
    /// Bytes written, as a share of all bytes moved.
    pub write_share: f64,
    /// Reads and writes together, GB/s.
    pub gb_per_s: f64,
}

impl Disk {
    pub(super) fn faults(&self, found: &mut Faults) {
        if self.rates.is_empty() {
            found.add("disk.rates", "is empty; give at least one".to_owned());
        }
        for (index, rates) in self.rates.iter().enumerate() {
            let field = format!("disk.rates[{index}]");
            found.at_least_one(&format!("{field}.queue_depth"), rates.queue_depth);
            found.at_least_one(&format!("{field}.chunk"), rates.chunk.0 as usize);
            found.rate(&format!("{field}.read_gb_per_s"), rates.read_gb_per_s);
            found.rate(&format!("{field}.write_gb_per_s"), rates.write_gb_per_s);
            for (place, mixed) in rates.mixed.iter().enumerate() {
                found.share(&format!("{field}.mixed[{place}].write_share"), mixed.write_share);
                found.rate(&format!("{field}.mixed[{place}].gb_per_s"), mixed.gb_per_s);
            }
        }
        found.share("disk.compute_share_while_streaming", self.compute_share_while_streaming);
        found.share("disk.disk_share_while_computing", self.disk_share_while_computing);
    }
}

impl Disk {
    /// The rates for the nearest chunk and, of those, the nearest queue depth; none where none are given.
    pub fn nearest(&self, queue_depth: usize, chunk: u64) -> Option<&DiskRates> {
        let far = |one: f64, other: f64| (one / other).ln().abs();
        let chunk_of = |rates: &DiskRates| far(rates.chunk.0 as f64, chunk as f64);
        let depth_of = |rates: &DiskRates| far(rates.queue_depth as f64, queue_depth as f64);
        let compare = |one: &&DiskRates, other: &&DiskRates| {
            chunk_of(one).total_cmp(&chunk_of(other)).then(depth_of(one).total_cmp(&depth_of(other)))
        };
        self.rates.iter().min_by(compare)
    }
}

impl DiskRates {
    /// GB/s of reads and writes under way together, of whose bytes `write_share` is written. Between the mixes that
    /// were measured, the time of a byte is a straight line: without any, reads and writes take turns.
    pub fn gb_per_s(&self, write_share: f64) -> f64 {
        let mixed = self.mixed.iter().map(|mixed| (mixed.write_share, 1.0 / mixed.gb_per_s));
        let (mut below, mut above) = ((0.0, 1.0 / self.read_gb_per_s), (1.0, 1.0 / self.write_gb_per_s));
        for point in mixed {
            if point.0 <= write_share && point.0 >= below.0 {
                below = point;
            }
            if point.0 >= write_share && point.0 <= above.0 {
                above = point;
            }
        }
        let part = if above.0 > below.0 { (write_share - below.0) / (above.0 - below.0) } else { 0.0 };
        1.0 / (below.1 + part * (above.1 - below.1))
    }
}

#[cfg(test)]
mod tests {
    use super::{Disk, DiskRates, MixedRate};
    use crate::units::Bytes;

    const RATES: DiskRates = DiskRates {
        queue_depth: 32,
        chunk: Bytes(1 << 20),
        read_gb_per_s: 2.0,
        write_gb_per_s: 1.0,
        mixed: Vec::new(),
    };

    #[test]
    fn a_mix_takes_what_was_measured_and_turns_where_nothing_was() {
        let mut rates = RATES;
        assert!((1.0 / rates.gb_per_s(0.5) - 0.75).abs() < 1e-9, "half at 2 GB/s, half at 1 GB/s");
        rates.mixed.push(MixedRate { write_share: 0.5, gb_per_s: 4.0 });
        for (share, seconds) in [(0.0, 0.5), (0.25, 0.375), (0.5, 0.25), (1.0, 1.0)] {
            assert!((1.0 / rates.gb_per_s(share) - seconds).abs() < 1e-9, "{share}");
        }
    }

    #[test]
    fn the_nearest_way_of_asking_is_found() {
        let rates = vec![DiskRates { queue_depth: 4, ..RATES }, RATES];
        let disk = Disk { rates, compute_share_while_streaming: 1.0, disk_share_while_computing: 1.0 };
        for (queue_depth, expected) in [(1, 4), (8, 4), (16, 32), (128, 32)] {
            let near = disk.nearest(queue_depth, 1 << 20).unwrap();
            assert_eq!(near.queue_depth, expected, "{queue_depth}");
        }
    }
}
