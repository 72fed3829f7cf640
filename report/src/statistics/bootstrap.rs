//! Intervals for what has no textbook distribution, by resampling.

use super::{Interval, median};

const RESAMPLES: usize = 4000;

/// median(`numerator`) / median(`denominator`) with its 95 % percentile bootstrap interval (Efron 1979), the two
/// samples resampled apart. The interval is none where either sample has fewer than two values; the whole is none
/// where either is empty or the denominator's median is not positive.
pub fn ratio_of_medians(
    numerator: &[f64],
    denominator: &[f64],
    seed: u64,
) -> Option<(f64, Option<Interval>)> {
    let base = median(denominator).filter(|base| *base > 0.0)?;
    let ratio = median(numerator)? / base;
    if numerator.len() < 2 || denominator.len() < 2 {
        return Some((ratio, None));
    }
    let mut random = SplitMix64(seed);
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| Some(median(&random.resample(numerator))? / median(&random.resample(denominator))?))
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |quantile: f64| ratios[((RESAMPLES - 1) as f64 * quantile).round() as usize];
    Some((ratio, Some(Interval { low: at(0.025), high: at(0.975) })))
}

/// A small generator with a published reference output (Steele, Lea and Flood 2014).
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// As many values as `sample` has, drawn from it with replacement.
    fn resample(&mut self, sample: &[f64]) -> Vec<f64> {
        let n = sample.len() as u128;
        (0..n).map(|_| sample[((u128::from(self.next()) * n) >> 64) as usize]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{SplitMix64, ratio_of_medians};

    #[test]
    fn the_generator_gives_its_published_sequence() {
        let mut random = SplitMix64(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn the_interval_holds_the_ratio_and_repeats_with_its_seed() {
        let slow = [2.0, 2.1, 1.9, 2.05, 1.95, 2.0, 2.2];
        let fast = [1.0, 1.02, 0.98, 1.01, 0.99, 1.0, 1.1];
        let (ratio, interval) = ratio_of_medians(&slow, &fast, 7).unwrap();
        let interval = interval.unwrap();
        assert!((ratio - 2.0).abs() < 1e-12);
        assert!(interval.low < ratio && ratio < interval.high);
        assert!(interval.low >= 1.9 / 1.1 && interval.high <= 2.2 / 0.98, "within what the samples allow");
        assert_eq!(ratio_of_medians(&slow, &fast, 7), Some((ratio, Some(interval))));
    }

    #[test]
    fn constant_samples_have_an_exact_ratio_and_single_values_no_interval() {
        let (ratio, interval) = ratio_of_medians(&[3.0; 4], &[2.0; 4], 1).unwrap();
        assert_eq!((ratio, interval.unwrap().low, interval.unwrap().high), (1.5, 1.5, 1.5));
        assert_eq!(ratio_of_medians(&[3.0], &[2.0, 2.0], 1), Some((1.5, None)));
        assert_eq!(ratio_of_medians(&[3.0], &[0.0], 1), None);
    }
}
