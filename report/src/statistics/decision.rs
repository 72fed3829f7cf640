//! From a sample and a limit to pass, fail or inconclusive, and how many more seeds would settle it.

use super::{Interval, mean, standard_deviation, student_t_quantile, two_sided};

/// What a sample says of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The sample supports it, at the stated confidence.
    Pass,
    /// The sample contradicts it, at the stated confidence.
    Fail,
    /// Neither.
    Inconclusive,
}

/// A decision and what it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// The decision.
    pub decision: Decision,
    /// The sample's mean.
    pub mean: f64,
    /// The interval that was held against the limit; none for a single value.
    pub interval: Option<Interval>,
    /// Values in the sample.
    pub n: usize,
    /// Where undecided: how many more values would decide, should mean and spread stay as they are. None where no
    /// reasonable number would, or where one value says nothing about the spread.
    pub further: Option<usize>,
}

/// More seeds than anyone would run: beyond it the advice is that seeds will not settle the question.
const MOST_SEEDS: usize = 1000;

/// Whether the mean of `differences` (reference − arm, or reversed where smaller is better: positive is worse) lies
/// below `margin`: each bound of the interval is one-sided at 95 %.
///
/// Pass if the upper bound is below the margin, fail if the lower bound is above it. None for an empty sample.
pub fn non_inferiority(differences: &[f64], margin: f64) -> Option<Judgement> {
    judge(differences, 0.95, |interval| {
        if interval.high < margin {
            Decision::Pass
        } else if interval.low > margin {
            Decision::Fail
        } else {
            Decision::Inconclusive
        }
    })
}

/// Whether the mean of `differences` lies within ±`margin`, by two one-sided tests at 95 % (Schuirmann 1987).
///
/// Pass if the whole interval is inside, fail if it is wholly outside. None for an empty sample.
pub fn equivalence(differences: &[f64], margin: f64) -> Option<Judgement> {
    judge(differences, 0.95, |interval| inside(interval, Some(-margin), Some(margin)))
}

/// Whether the mean behind `sample` lies within the bounds given, by its two-sided 95 % interval.
///
/// Pass if the whole interval is inside, fail if it is wholly outside. None for an empty sample.
pub fn within_bounds(sample: &[f64], at_least: Option<f64>, at_most: Option<f64>) -> Option<Judgement> {
    judge(sample, 0.975, |interval| inside(interval, at_least, at_most))
}

fn inside(interval: Interval, at_least: Option<f64>, at_most: Option<f64>) -> Decision {
    let low = at_least.unwrap_or(f64::NEG_INFINITY);
    let high = at_most.unwrap_or(f64::INFINITY);
    if interval.low >= low && interval.high <= high {
        Decision::Pass
    } else if interval.high < low || interval.low > high {
        Decision::Fail
    } else {
        Decision::Inconclusive
    }
}

/// Holds the interval, each of whose bounds has the one-sided `confidence`, against `decide`.
fn judge(sample: &[f64], confidence: f64, decide: impl Fn(Interval) -> Decision) -> Option<Judgement> {
    let (n, mean) = (sample.len(), mean(sample)?);
    let Some(interval) = two_sided(sample, 2.0 * confidence - 1.0) else {
        return Some(Judgement { decision: Decision::Inconclusive, mean, interval: None, n, further: None });
    };
    let decision = decide(interval);
    let deviation = standard_deviation(sample)?;
    let with = |n: usize| {
        let reach = student_t_quantile(confidence, (n - 1) as f64) * deviation / (n as f64).sqrt();
        Interval { low: mean - reach, high: mean + reach }
    };
    let further = match decision {
        Decision::Inconclusive => (n + 1..=MOST_SEEDS)
            .find(|more| decide(with(*more)) != Decision::Inconclusive)
            .map(|enough| enough - n),
        Decision::Pass | Decision::Fail => None,
    };
    Some(Judgement { decision, mean, interval: Some(interval), n, further })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arm_that_is_close_with_little_spread_is_not_inferior() {
        // mean 0.5, sd 0.1, n 5: 0.5 + 2.131847 * 0.1 / sqrt(5) = 0.595339
        let sample = [0.4, 0.6, 0.5, 0.4, 0.6];
        let judgement = non_inferiority(&sample, 1.0).unwrap();
        assert_eq!(judgement.decision, Decision::Pass);
        assert!((judgement.interval.unwrap().high - 0.595_339).abs() < 1e-6);
        assert_eq!(non_inferiority(&sample, 0.3).unwrap().decision, Decision::Fail);
    }

    #[test]
    fn an_undecided_sample_says_how_many_more_seeds_it_needs() {
        // mean 0.5, sd 0.1, margin 0.58: t(0.95, n-1) * 0.1 / sqrt(n) < 0.08 first holds at n = 7
        // (n = 6: 2.015048 * 0.1 / 2.449490 = 0.082264; n = 7: 1.943180 * 0.1 / 2.645751 = 0.073445).
        let judgement = non_inferiority(&[0.4, 0.6, 0.5, 0.4, 0.6], 0.58).unwrap();
        assert_eq!((judgement.decision, judgement.further), (Decision::Inconclusive, Some(2)));
    }

    #[test]
    fn a_mean_on_the_margin_is_settled_by_no_number_of_seeds() {
        let judgement = non_inferiority(&[0.5, 1.5], 1.0).unwrap();
        assert_eq!((judgement.decision, judgement.further), (Decision::Inconclusive, None));
    }

    #[test]
    fn one_seed_decides_nothing() {
        for judgement in [
            non_inferiority(&[0.0], 1.0),
            equivalence(&[0.0], 1.0),
            within_bounds(&[0.0], Some(-1.0), Some(1.0)),
        ] {
            assert_eq!(judgement.unwrap().decision, Decision::Inconclusive);
        }
        assert_eq!(non_inferiority(&[], 1.0), None);
    }

    #[test]
    fn equivalence_needs_both_ends_inside_the_margin() {
        assert_eq!(equivalence(&[0.1, -0.1, 0.0, 0.05], 0.3).unwrap().decision, Decision::Pass);
        assert_eq!(equivalence(&[-0.9, -1.1, -1.0, -1.0], 0.3).unwrap().decision, Decision::Fail);
        assert_eq!(equivalence(&[0.4, -0.4, 0.0, 0.1], 0.3).unwrap().decision, Decision::Inconclusive);
    }

    #[test]
    fn bounds_are_held_against_the_two_sided_interval() {
        // mean 3, half-width 1.963243 (t(0.975, 4))
        let sample = [1.0, 2.0, 3.0, 4.0, 5.0];
        for (at_least, at_most, decision) in [
            (Some(1.03), None, Decision::Pass),
            (Some(1.04), None, Decision::Inconclusive),
            (None, Some(4.97), Decision::Pass),
            (None, Some(1.0), Decision::Fail),
            (Some(5.0), None, Decision::Fail),
            (Some(1.03), Some(4.97), Decision::Pass),
        ] {
            assert_eq!(
                within_bounds(&sample, at_least, at_most).unwrap().decision,
                decision,
                "{at_least:?} {at_most:?}"
            );
        }
    }

    #[test]
    fn values_that_never_vary_are_decided_by_two() {
        assert_eq!(within_bounds(&[4.0, 4.0], None, Some(4.0)).unwrap().decision, Decision::Pass);
        assert_eq!(non_inferiority(&[0.0, 0.0], 0.1).unwrap().decision, Decision::Pass);
    }
}
