//! eᶻ and its kin in single precision without branches, so that loops over them become vector code.
//!
//! Range reduction and coefficients are those of the Cephes library (Moshier, `expf.c` and `tanhf.c`).

/// eᶻ, to about one unit in the last place; 0 or infinity out of range.
#[allow(clippy::inline_always)]
#[inline(always)]
pub(crate) fn exp(z: f32) -> f32 {
    // ln 2 in two parts, the first short enough that its product with an exponent is exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    /// Added and subtracted, rounds to a whole number: 1.5 · 2²³.
    const ROUND: f32 = 12_582_912.0;
    let clamped = z.clamp(-87.3, 88.7);
    let exponent = (clamped * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = clamped - exponent * LN_2_HIGH - exponent * LN_2_LOW;
    let mut polynomial = 1.987_569_2e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        polynomial = polynomial * r + coefficient;
    }
    let fraction = polynomial * r * r + r + 1.0;
    // Two halves, because 2^128 is not a float while the fraction below one times it may be.
    let half = (exponent * 0.5 + ROUND) - ROUND;
    let value = fraction * power_of_two(half) * power_of_two(exponent - half);
    if z < -87.3 {
        0.0
    } else if z > 88.7 {
        f32::INFINITY
    } else {
        value
    }
}

/// 2ⁿ for whole n in −126 ..= 127.
#[allow(clippy::inline_always)]
#[inline(always)]
fn power_of_two(n: f32) -> f32 {
    /// 2²³ + 127: its sum with n has the biased exponent in the lowest bits.
    const BIAS: f32 = 8_388_735.0;
    f32::from_bits((n + BIAS).to_bits() << 23)
}

/// 1 / (1 + e⁻ᶻ)
#[allow(clippy::inline_always)]
#[inline(always)]
pub(crate) fn sigmoid(z: f32) -> f32 {
    1.0 / (1.0 + exp(-z))
}

/// tanh z
#[allow(clippy::inline_always)]
#[inline(always)]
pub(crate) fn tanh(z: f32) -> f32 {
    let size = z.abs();
    let far = 1.0 - 2.0 / (exp(2.0 * size) + 1.0);
    let square = z * z;
    let mut polynomial = -5.704_988_7e-3;
    for coefficient in [2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1] {
        polynomial = polynomial * square + coefficient;
    }
    let near = z + z * square * polynomial;
    if size < 0.625 { near } else { far.copysign(z) }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn the_exponential_is_that_of_f64() {
        for step in -87_300..88_700 {
            let z = step as f32 / 1000.0;
            let exact = f64::from(z).exp();
            let error = (f64::from(exp(z)) - exact).abs() / exact;
            assert!(error < 2e-7, "exp({z}) is off by {error}");
        }
    }

    #[test]
    fn the_exponential_ends_in_zero_and_infinity() {
        assert_eq!((exp(-1e30), exp(f32::NEG_INFINITY)), (0.0, 0.0));
        assert_eq!((exp(1e30), exp(f32::INFINITY)), (f32::INFINITY, f32::INFINITY));
        assert!(exp(f32::NAN).is_nan());
    }
}
