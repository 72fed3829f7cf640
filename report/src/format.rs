//! Quantities as people read them, with units that mean one thing.

use spillbench_schema::Bytes;

/// `value` with `digits` significant digits, never in scientific notation between 10⁻⁴ and 10⁹.
pub fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let magnitude = value.abs().log10().floor() as i32;
    if !(-4..9).contains(&magnitude) {
        return format!("{value:.*e}", digits - 1);
    }
    let decimals = (i64::try_from(digits).unwrap_or(i64::MAX) - 1 - i64::from(magnitude)).max(0) as usize;
    format!("{value:.decimals$}")
}

/// A duration in the largest unit below it: `12.3 ms`.
pub fn seconds(value: f64) -> String {
    let (scale, unit) = match value.abs() {
        v if v == 0.0 || v >= 1.0 => (1.0, "s"),
        v if v >= 1e-3 => (1e3, "ms"),
        v if v >= 1e-6 => (1e6, "µs"),
        _ => (1e9, "ns"),
    };
    format!("{} {unit}", significant(value * scale, 3))
}

/// A size in the binary unit below it: `1.05 GiB`. Negative where it is a difference.
pub fn bytes(value: f64) -> String {
    let sign = if value < 0.0 { "−" } else { "" };
    format!("{sign}{}", Bytes(value.abs().round() as u64))
}

/// The beginning of a hash, enough to tell two apart by eye.
pub fn short_hash(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

/// `1 seed`, `3 seeds`.
pub fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::{bytes, counted, seconds, significant};

    #[test]
    fn numbers_keep_their_significant_digits() {
        for (value, text) in
            [(0.0, "0"), (1234.5, "1234"), (0.012_346, "0.01235"), (98.765, "98.77"), (-2.5, "-2.500")]
        {
            assert_eq!(significant(value, 4), text);
        }
        assert_eq!(significant(2.5e12, 3), "2.50e12");
    }

    #[test]
    fn quantities_carry_the_unit_that_fits() {
        assert_eq!(seconds(0.012_34), "12.3 ms");
        assert_eq!(seconds(75.0), "75.0 s");
        assert_eq!(seconds(4.2e-5), "42.0 µs");
        assert_eq!(seconds(0.0), "0 s");
        assert_eq!(bytes(1_127_428_915.0), "1.05 GiB");
        assert_eq!(bytes(-2048.0), "−2.00 KiB");
        assert_eq!((counted(1, "seed"), counted(5, "seed")), ("1 seed".to_owned(), "5 seeds".to_owned()));
    }
}
