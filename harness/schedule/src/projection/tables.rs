//! A machine's tables, read at any point.
//!
//! Rates are straight lines between the given points on logarithmic axes. Beyond the outermost points a rate stays
//! what it was there, but along threads it is proportional.

use std::collections::BTreeMap;

use spillbench_schema::{
    Machine,
    machine::{Disk, Product},
};

/// A table by threads, then by bytes of weights, then by samples: FLOP/s.
type Table = BTreeMap<usize, BTreeMap<u64, BTreeMap<usize, f64>>>;

/// What a machine does in a second.
pub struct MachineTables<'a> {
    machine: &'a Machine,
    products: [Table; 3],
}

impl<'a> MachineTables<'a> {
    /// The rates of a machine.
    pub fn new(machine: &'a Machine) -> Self {
        let products = Product::ALL.map(|product| {
            let mut table = Table::new();
            let given = |rates: &&spillbench_schema::machine::ProductRates| {
                rates.product.is_none_or(|given| given == product)
            };
            for rates in machine.compute.products.iter().filter(given) {
                let points = rates.gflops.iter().map(|(rows, rate)| (*rows, rate * 1e9)).collect();
                table.entry(rates.threads).or_default().insert(rates.weights.0, points);
            }
            table
        });
        Self { machine, products }
    }

    /// Cores that compute.
    pub const fn cores(&self) -> usize {
        self.machine.cores
    }

    /// Physical memory in bytes.
    pub const fn memory_bytes(&self) -> u64 {
        self.machine.memory.0
    }

    /// The disk's tables.
    pub const fn disk(&self) -> &'a Disk {
        &self.machine.disk
    }

    /// FLOP/s of a product of `rows` samples with `weights` bytes, by `threads` threads.
    pub fn product(&self, product: Product, rows: u64, weights: u64, threads: usize) -> f64 {
        let table = &self.products[product as usize];
        let by_weights = |sizes: &BTreeMap<u64, BTreeMap<usize, f64>>| {
            let along_rows = |points: &BTreeMap<usize, f64>| {
                clamped(points.iter().map(|(at, rate)| (*at as f64, *rate)), rows as f64)
            };
            clamped(sizes.iter().map(|(bytes, points)| (*bytes as f64, along_rows(points))), weights as f64)
        };
        proportional(
            table.iter().map(|(threads, sizes)| (*threads as f64, by_weights(sizes))),
            threads as f64,
        )
    }

    /// Bytes a second that `threads` threads read and write in memory.
    pub fn memory(&self, threads: usize) -> f64 {
        let points = self.machine.memory_gb_per_s.iter().map(|(at, rate)| (*at as f64, rate * 1e9));
        proportional(points, threads as f64)
    }

    /// Seconds from one thread to another.
    pub fn hand_over_s(&self) -> f64 {
        self.machine.hand_over_us * 1e-6
    }
}

/// The value at `at` of the line through `points` (ascending, not empty), on logarithmic axes; beyond the outermost
/// points, theirs.
pub(super) fn clamped(points: impl Iterator<Item = (f64, f64)>, at: f64) -> f64 {
    let mut last: Option<(f64, f64)> = None;
    for (x, y) in points {
        match last {
            _ if at == x => return y,
            None if at < x => return y,
            Some((x0, y0)) if at < x => {
                let part = (at / x0).ln() / (x / x0).ln();
                return y0 * (y / y0).powf(part);
            }
            _ => last = Some((x, y)),
        }
    }
    last.map_or(f64::NAN, |(_, y)| y)
}

/// As [`clamped`], but proportional to `at` beyond the outermost points.
fn proportional(points: impl Iterator<Item = (f64, f64)>, at: f64) -> f64 {
    let points: Vec<(f64, f64)> = points.collect();
    let (Some((first, low)), Some((last, high))) = (points.first(), points.last()) else { return f64::NAN };
    if at < *first {
        low * at / first
    } else if at > *last {
        high * at / last
    } else {
        clamped(points.iter().copied(), at)
    }
}

#[cfg(test)]
mod tests {
    use super::{clamped, proportional};

    fn check(of: fn(std::vec::IntoIter<(f64, f64)>, f64) -> f64, at: f64, expected: f64) {
        let points = vec![(1.0, 10.0), (4.0, 40.0), (16.0, 40.0)];
        let value = of(points.into_iter(), at);
        assert!((value - expected).abs() < 1e-9, "{at}: {value} is not {expected}");
    }

    #[test]
    fn a_rate_between_two_points_lies_on_the_line_between_them_on_logarithmic_axes() {
        for (at, expected) in [(1.0, 10.0), (2.0, 20.0), (4.0, 40.0), (9.0, 40.0)] {
            check(clamped, at, expected);
            check(proportional, at, expected);
        }
    }

    #[test]
    fn beyond_the_outermost_points_a_rate_stays_or_is_proportional_to_threads() {
        check(clamped, 0.5, 10.0);
        check(clamped, 64.0, 40.0);
        check(proportional, 0.5, 5.0);
        check(proportional, 32.0, 80.0);
    }
}
