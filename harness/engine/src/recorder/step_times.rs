//! The distribution of step times, in memory that does not grow with the steps: every generation holds it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spillbench_schema::summary::Durations;

/// As many times are kept as they are.
const EXACT: usize = 1 << 15;
/// Bits of a time that are kept beyond that, as an f32's sign, exponent and first 9 of significand.
const KEPT_BITS: u32 = 18;

/// How long steps took. The percentiles of up to 32,768 times are exact; of more they are within 0.1 %, as those of a
/// histogram with 512 buckets for each doubling.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StepTimes {
    /// Seconds of all blocks, until there are too many.
    exact: Vec<f32>,
    /// Then how many have each first bits.
    rounded: BTreeMap<u32, u64>,
    /// Seconds and steps of the block under way.
    block_s: f64,
    block_steps: u64,
}

impl StepTimes {
    /// Adds a step. Times count as the means of blocks of `interval` steps.
    pub fn push(&mut self, seconds: f64, interval: u64) {
        self.block_s += seconds;
        self.block_steps += 1;
        if self.block_steps == interval {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        let mean = (self.block_s / self.block_steps as f64) as f32;
        (self.block_s, self.block_steps) = (0.0, 0);
        self.exact.push(mean);
        if self.exact.len() > EXACT || !self.rounded.is_empty() {
            for seconds in self.exact.drain(..) {
                *self.rounded.entry(seconds.to_bits() >> (32 - KEPT_BITS)).or_default() += 1;
            }
        }
    }

    /// Their distribution; a block that is not whole counts as one.
    pub fn durations(&self) -> Durations {
        let mut all = self.clone();
        if all.block_steps > 0 {
            all.end_block();
        }
        all.exact.sort_by(f32::total_cmp);
        let count = all.exact.len() as u64 + all.rounded.values().sum::<u64>();
        let quantile = |share: f64| {
            let rank = (share * count.saturating_sub(1) as f64).round() as u64;
            f64::from(all.at(rank))
        };
        Durations { median: quantile(0.5), p05: quantile(0.05), p95: quantile(0.95) }
    }

    /// The time with `rank` smaller ones, where they are sorted; of a bucket its middle.
    fn at(&self, rank: u64) -> f32 {
        let mut before = 0;
        for (bits, count) in &self.rounded {
            before += count;
            if rank < before {
                let shift = 32 - KEPT_BITS;
                return f32::from_bits((bits << shift) | (1 << (shift - 1)));
            }
        }
        self.exact.get(rank as usize).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{EXACT, StepTimes};

    /// Times from one to two seconds, in an order without order.
    fn times(count: usize) -> impl Iterator<Item = f64> {
        (0..count).map(move |index| 1.0 + (index * 7_919 % count) as f64 / count as f64)
    }

    fn of(times: impl Iterator<Item = f64>, interval: u64) -> StepTimes {
        let mut found = StepTimes::default();
        times.for_each(|seconds| found.push(seconds, interval));
        found
    }

    #[test]
    fn percentiles_of_an_ordinary_run_are_exact() {
        let found = of(times(1001), 1).durations();
        let exact = |rank: f64| f64::from((1.0 + rank / 1001.0) as f32);
        assert_eq!([found.p05, found.median, found.p95], [50.0, 500.0, 950.0].map(exact));
    }

    #[test]
    fn percentiles_of_a_long_run_are_within_a_thousandth() {
        let found = of(times(10 * EXACT), 1).durations();
        for (found, exact) in [(found.p05, 1.05), (found.median, 1.5), (found.p95, 1.95)] {
            assert!((found / exact - 1.0).abs() < 1e-3, "{found} is not {exact}");
        }
    }

    #[test]
    fn what_a_generation_holds_of_them_stays_as_it_is_however_long_the_run() {
        let bytes = |count| serde_json::to_vec(&of(times(count), 1)).unwrap().len();
        assert!(bytes(EXACT) < 512 << 10);
        assert!(bytes(64 * EXACT) < bytes(EXACT) / 10, "{} bytes", bytes(64 * EXACT));
    }

    #[test]
    fn bursts_within_an_interval_count_as_their_mean_and_a_last_part_as_one() {
        let found = of([0.0, 0.0, 3.0, 0.0, 0.0, 6.0, 4.0].into_iter(), 3).durations();
        assert_eq!([found.p05, found.median, found.p95], [1.0, 2.0, 4.0]);
    }

    #[test]
    fn no_steps_take_no_time() {
        assert_eq!(of(times(0), 1).durations().median.to_bits(), 0);
    }

    /// As a run that is cut off has it from its last generation.
    fn resumed(kept: &StepTimes) -> StepTimes {
        serde_json::from_slice(&serde_json::to_vec(kept).unwrap()).unwrap()
    }

    #[test]
    fn what_a_generation_kept_goes_on_as_it_would_have() {
        let mut found = of(times(7), 3);
        let mut resumed = resumed(&found);
        for times in [&mut found, &mut resumed] {
            times.push(9.0, 3);
            times.push(9.0, 3);
        }
        assert_eq!(found.durations(), resumed.durations());
    }

    #[test]
    fn a_run_cut_off_around_the_moment_when_times_are_first_rounded_has_the_same_ones() {
        const AFTER: usize = 5;
        let all: Vec<f64> = times(EXACT + AFTER).collect();
        let whole = of(all.iter().copied(), 1);
        assert!(whole.exact.is_empty(), "its times are rounded");
        for cut in [EXACT - 1, EXACT, EXACT + 1, EXACT + 2] {
            let before = of(all[..cut].iter().copied(), 1);
            assert_eq!(before.exact.is_empty(), cut > EXACT, "cut after {cut} steps");
            let mut found = resumed(&before);
            all[cut..].iter().for_each(|seconds| found.push(*seconds, 1));
            assert_eq!(
                (&found.exact, &found.rounded),
                (&whole.exact, &whole.rounded),
                "cut after {cut} steps"
            );
            assert_eq!(found.durations(), whole.durations());
        }
    }
}
