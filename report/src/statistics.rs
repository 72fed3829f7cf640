//! The statistics that tables, charts and verdicts rest on, and nothing more.
//!
//! Everything here is a pure function of its arguments. What is random (the bootstrap) takes its seed from
//! the caller, so the same results always give the same numbers.

mod bootstrap;
mod decision;
mod student_t;

pub use bootstrap::ratio_of_medians;
pub use decision::{Decision, Judgement, equivalence, non_inferiority, within_bounds};
pub use student_t::quantile as student_t_quantile;

/// A closed interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// What a sample says of the mean it was drawn around.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Values in the sample.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// 95 % interval of the mean, by Student's t. None for a single value: one run shows no spread.
    pub interval: Option<Interval>,
}

impl Estimate {
    /// Estimates the mean behind `sample`; none for an empty one.
    pub fn of(sample: &[f64]) -> Option<Self> {
        let mean = mean(sample)?;
        let interval = two_sided(sample, 0.95);
        Some(Self { n: sample.len(), mean, interval })
    }

    /// Half the width of the interval, the number after ±.
    pub fn half_width(&self) -> Option<f64> {
        self.interval.map(|interval| (interval.high - interval.low) / 2.0)
    }
}

/// The arithmetic mean; none for an empty sample.
pub fn mean(sample: &[f64]) -> Option<f64> {
    (!sample.is_empty()).then(|| sample.iter().sum::<f64>() / sample.len() as f64)
}

/// The standard deviation of the population that `sample` is drawn from (divisor n − 1); none for n < 2.
pub fn standard_deviation(sample: &[f64]) -> Option<f64> {
    if sample.len() < 2 {
        return None;
    }
    let mean = mean(sample)?;
    let squares: f64 = sample.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (sample.len() - 1) as f64).sqrt())
}

/// The middle value, or the mean of the two in the middle; none for an empty sample.
pub fn median(sample: &[f64]) -> Option<f64> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The interval of the mean at `confidence` (e.g. 0.95), by Student's t; none for n < 2.
pub fn two_sided(sample: &[f64], confidence: f64) -> Option<Interval> {
    let mean = mean(sample)?;
    let error = standard_error(sample)?;
    let t = student_t_quantile(0.5 + confidence / 2.0, (sample.len() - 1) as f64);
    Some(Interval { low: mean - t * error, high: mean + t * error })
}

/// The serial fraction that explains a measured speed-up on `ranks` workers (Karp and Flatt 1990):
/// e = (1/S − 1/n) / (1 − 1/n). None for one rank, which says nothing about it.
pub fn karp_flatt(speed_up: f64, ranks: usize) -> Option<f64> {
    let n = ranks as f64;
    (ranks > 1).then(|| (1.0 / speed_up - 1.0 / n) / (1.0 - 1.0 / n))
}

fn standard_error(sample: &[f64]) -> Option<f64> {
    standard_deviation(sample).map(|deviation| deviation / (sample.len() as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64, tolerance: f64) {
        assert!((left - right).abs() < tolerance, "{left} is not {right}");
    }

    #[test]
    fn the_moments_of_a_small_sample_are_those_worked_by_hand() {
        let sample = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        close(mean(&sample).unwrap(), 5.0, 1e-15);
        close(standard_deviation(&sample).unwrap(), (32.0_f64 / 7.0).sqrt(), 1e-15);
        close(median(&sample).unwrap(), 4.5, 1e-15);
        close(median(&[3.0, 1.0, 2.0]).unwrap(), 2.0, 1e-15);
    }

    #[test]
    fn the_interval_of_five_values_uses_four_degrees_of_freedom() {
        // t(0.975, 4) = 2.776445; sd = sqrt(2.5); 2.776445 * sqrt(2.5 / 5) = 1.963243
        let estimate = Estimate::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        close(estimate.half_width().unwrap(), 1.963_243, 1e-6);
        assert_eq!((estimate.n, estimate.mean), (5, 3.0));
    }

    #[test]
    fn one_value_has_a_mean_but_no_interval() {
        assert_eq!(Estimate::of(&[7.0]), Some(Estimate { n: 1, mean: 7.0, interval: None }));
        assert_eq!(Estimate::of(&[]), None);
        assert_eq!(standard_deviation(&[7.0]), None);
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_serial_fraction_is_zero_at_perfect_speed_up_and_one_at_none() {
        close(karp_flatt(4.0, 4).unwrap(), 0.0, 1e-15);
        close(karp_flatt(1.0, 4).unwrap(), 1.0, 1e-15);
        // Karp and Flatt 1990, table 1: a speed-up of 1.95 on two processors.
        close(karp_flatt(1.95, 2).unwrap(), 0.0256, 1e-4);
        assert_eq!(karp_flatt(1.0, 1), None);
    }
}
