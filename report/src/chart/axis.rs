//! Axes that choose their own ticks.
//!
//! plotters loses the ticks of a logarithmic axis that holds no decade, and moves points outside the range onto its
//! edge, which bends lines. So ticks and the map from values to positions are made here, and curves are [cut](clip)
//! at the edge of their panel before they are drawn.

use crate::format;

/// One direction of a panel: a range, how values spread over it, and the values that are marked.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    /// Marked values with their labels, ascending.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An even axis from at most `low` to at least `high`, whose ends and ticks are round numbers.
    pub fn linear(low: f64, high: f64) -> Self {
        let (low, high) = if high > low { (low, high) } else { widened(low) };
        let step = round_step((high - low) / 5.0);
        let (first, last) = ((low / step + 1e-9).floor() as i64, (high / step - 1e-9).ceil() as i64);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let ticks: Vec<(f64, String)> = (first..=last)
            .map(|index| index as f64 * step)
            .map(|value| (value, format!("{value:.decimals$}")))
            .collect();
        Self { low: first as f64 * step, high: last as f64 * step, logarithmic: false, ticks }
    }

    /// An even axis from zero to exactly `high`, so that curves reach its end; ticks are round numbers.
    pub fn up_to(high: f64) -> Self {
        let mut axis = Self::linear(0.0, high);
        if high > 0.0 {
            axis.high = high;
            axis.ticks.retain(|(value, _)| *value <= high);
        }
        axis
    }

    /// A logarithmic axis over `low` to `high` (both positive), with ticks at 1, 2 and 5 of each decade, or closer
    /// where the range is too narrow for three of them.
    pub fn logarithmic(low: f64, high: f64) -> Self {
        let (low, high) = if high > low { (low, high) } else { (low / 1.5, low * 1.5) };
        let decades = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
        let inside = |steps: &[f64]| -> Vec<(f64, String)> {
            let values =
                decades.clone().flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
            values
                .filter(|value| (low..=high).contains(value))
                .map(|value| (value, short_number(value)))
                .collect()
        };
        let choices: [&[f64]; 3] =
            [&[1.0], &[1.0, 2.0, 5.0], &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]];
        let ticks = choices.iter().map(|steps| inside(steps)).find(|ticks| ticks.len() >= 3);
        let ticks = ticks.unwrap_or_else(|| Self::linear(low, high).ticks);
        let ticks = ticks.into_iter().filter(|(value, _)| (low..=high).contains(value)).collect();
        Self { low, high, logarithmic: true, ticks }
    }

    /// An axis with a tick at each of `values` (ascending, at least one); logarithmic where they span a factor of
    /// eight or more. The range has room on both sides for marks at the outermost values.
    pub fn of_values(values: &[f64]) -> Self {
        let (first, last) = (values[0], values[values.len() - 1]);
        let logarithmic = first > 0.0 && last / first >= 8.0;
        let (low, high) = if logarithmic {
            let room = (last / first).powf(0.06);
            (first / room, last * room)
        } else {
            let room = if last > first { (last - first) * 0.06 } else { 1.0 };
            (first - room, last + room)
        };
        let ticks = values.iter().map(|value| (*value, short_number(*value))).collect();
        Self { low, high, logarithmic, ticks }
    }

    /// The same axis with other marks.
    #[must_use]
    pub fn marked(self, ticks: Vec<(f64, String)>) -> Self {
        Self { ticks, ..self }
    }

    /// Where `value` lies: 0 at the low end, 1 at the high end, beyond them outside.
    pub fn position(&self, value: f64) -> f64 {
        if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// How the values spread, for captions.
    pub fn spacing(&self) -> &'static str {
        if self.logarithmic { "logarithmic" } else { "linear" }
    }
}

fn widened(value: f64) -> (f64, f64) {
    let room = if value == 0.0 { 1.0 } else { value.abs() * 0.05 };
    (value - room, value + room)
}

/// The least of 1, 2, 5 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let digit = [1.0, 2.0, 5.0, 10.0].into_iter().find(|digit| digit * power >= step * (1.0 - 1e-9));
    digit.unwrap_or(10.0) * power
}

fn short_number(value: f64) -> String {
    let text = format::significant(value, 6);
    if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The parts of a path that lie in the unit square, each cut where it crosses the edge.
pub fn clip(path: &[(f64, f64)]) -> Vec<Vec<(f64, f64)>> {
    let mut parts: Vec<Vec<(f64, f64)>> = Vec::new();
    for pair in path.windows(2) {
        let Some((from, to)) = clip_segment(pair[0], pair[1]) else { continue };
        match parts.last_mut() {
            Some(part) if part.last() == Some(&from) => part.push(to),
            _ => parts.push(vec![from, to]),
        }
    }
    parts
}

/// The part of a segment that lies in the unit square (Liang and Barsky 1984).
fn clip_segment(from: (f64, f64), to: (f64, f64)) -> Option<((f64, f64), (f64, f64))> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
    for (toward, distance) in [(-dx, from.0), (dx, 1.0 - from.0), (-dy, from.1), (dy, 1.0 - from.1)] {
        if toward == 0.0 {
            if distance < 0.0 {
                return None;
            }
        } else if toward < 0.0 {
            enter = enter.max(distance / toward);
        } else {
            leave = leave.min(distance / toward);
        }
    }
    // Ends that are kept are kept exactly, so that the next segment is seen to join.
    let at = |t: f64| match t {
        0.0 => from,
        1.0 => to,
        _ => (from.0 + t * dx, from.1 + t * dy),
    };
    (enter <= leave && from.0.is_finite() && from.1.is_finite() && dx.is_finite() && dy.is_finite())
        .then(|| (at(enter), at(leave)))
}

#[cfg(test)]
mod tests {
    use super::{Axis, clip};

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn an_even_axis_ends_at_round_numbers() {
        assert_eq!(labels(&Axis::linear(0.0, 93.0)), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&Axis::linear(97.31, 98.2)), ["97.2", "97.4", "97.6", "97.8", "98.0", "98.2"]);
        assert!((Axis::linear(0.0, 93.0).position(50.0) - 0.5).abs() < 1e-12);
        assert_eq!(labels(&Axis::up_to(93.0)), ["0", "20", "40", "60", "80"]);
        assert!((Axis::up_to(93.0).position(93.0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn an_axis_of_one_value_still_has_a_range() {
        let axis = Axis::linear(5.0, 5.0);
        assert!(axis.position(5.0) > 0.0 && axis.position(5.0) < 1.0);
        assert!(Axis::linear(0.0, 0.0).ticks.len() > 1);
    }

    #[test]
    fn a_logarithmic_axis_has_ticks_even_between_two_decades() {
        assert_eq!(labels(&Axis::logarithmic(0.01, 2.5)), ["0.01", "0.1", "1"]);
        assert_eq!(labels(&Axis::logarithmic(0.2, 1.2)), ["0.2", "0.5", "1"]);
        assert_eq!(labels(&Axis::logarithmic(2.1, 4.5)), ["2.5", "3.0", "3.5", "4.0", "4.5"]);
    }

    #[test]
    fn ticks_at_values_are_even_on_a_logarithmic_axis() {
        let axis = Axis::of_values(&[1.0, 10.0, 100.0]);
        assert_eq!(labels(&axis), ["1", "10", "100"]);
        let [first, second, third] = [1.0, 10.0, 100.0].map(|value| axis.position(value));
        assert!((second - first - (third - second)).abs() < 1e-12 && first > 0.0 && third < 1.0);
        assert_eq!(Axis::of_values(&[2.0, 4.0]).spacing(), "linear");
    }

    #[test]
    fn a_path_is_cut_where_it_leaves_and_not_bent() {
        let parts = clip(&[(0.0, 0.5), (0.5, 0.5), (0.75, 1.5), (1.0, 0.5)]);
        assert_eq!(parts, [vec![(0.0, 0.5), (0.5, 0.5), (0.625, 1.0)], vec![(0.875, 1.0), (1.0, 0.5)]]);
        assert!(clip(&[(-1.0, 2.0), (2.0, 2.0)]).is_empty());
        assert!(clip(&[(0.0, f64::NAN), (1.0, 0.5)]).is_empty());
    }
}
