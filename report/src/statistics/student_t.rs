//! Student's t distribution, by the regularised incomplete beta function.

/// The value that a variable with Student's t distribution on `degrees` degrees of freedom stays below with
/// `probability` (in (0, 1)).
///
/// # Panics
/// If `probability` lies outside (0, 1) or `degrees` is not positive.
pub fn quantile(probability: f64, degrees: f64) -> f64 {
    assert!(probability > 0.0 && probability < 1.0 && degrees > 0.0, "p = {probability}, ν = {degrees}");
    if probability < 0.5 {
        return -quantile(1.0 - probability, degrees);
    }
    let mut high = 1.0;
    while cumulative(high, degrees) < probability {
        high *= 2.0;
    }
    let mut low = 0.0;
    // Bisection halves the bracket to the last bit: it is slow, cannot fail, and runs a few dozen times a report.
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return middle;
        }
        if cumulative(middle, degrees) < probability { low = middle } else { high = middle }
    }
}

/// P(T ≤ t) for t ≥ 0.
fn cumulative(t: f64, degrees: f64) -> f64 {
    1.0 - 0.5 * incomplete_beta(degrees / 2.0, 0.5, degrees / (degrees + t * t))
}

/// The regularised incomplete beta function Iₓ(a, b), by Lentz's continued fraction (DLMF 8.17.22).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // The fraction converges fast only on this side of the mean.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = (a * x.ln() + b * (-x).ln_1p() - ln_beta(a, b)).exp() / a;
    let nonzero = |value: f64| if value.abs() < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / nonzero(1.0 + term * d);
            c = nonzero(1.0 + term / c);
            change = c * d;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-16 {
            break;
        }
    }
    front * fraction
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// ln Γ(z) for z > 0: the recurrence up to z ≥ 10, then Stirling's series (DLMF 5.11.1).
fn ln_gamma(z: f64) -> f64 {
    let mut shift = 0.0;
    let mut z = z;
    while z < 10.0 {
        shift += z.ln();
        z += 1.0;
    }
    let inverse = 1.0 / z;
    let square = inverse * inverse;
    let series = inverse
        * (1.0 / 12.0
            - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square * (1.0 / 1680.0 - square / 1188.0))));
    (z - 0.5) * z.ln() - z + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::{cumulative, ln_gamma, quantile};

    #[test]
    fn quantiles_are_those_of_printed_tables() {
        for (probability, degrees, expected) in [
            (0.975, 1.0, 12.706_205),
            (0.95, 1.0, 6.313_752),
            (0.975, 2.0, 4.302_653),
            (0.95, 4.0, 2.131_847),
            (0.975, 4.0, 2.776_445),
            (0.95, 9.0, 1.833_113),
            (0.975, 9.0, 2.262_157),
            (0.99, 30.0, 2.457_262),
            (0.975, 1e6, 1.959_966),
        ] {
            let found = quantile(probability, degrees);
            assert!((found - expected).abs() < 1e-6, "t({probability}, {degrees}) = {found}, not {expected}");
        }
    }

    #[test]
    fn the_distribution_is_symmetric_and_its_quantile_inverts_it() {
        for degrees in [1.0, 3.0, 17.0, 200.0] {
            for probability in [0.6, 0.9, 0.999] {
                let t = quantile(probability, degrees);
                assert!((cumulative(t, degrees) - probability).abs() < 1e-13);
                assert!((quantile(1.0 - probability, degrees) + t).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn the_gamma_function_extends_the_factorial() {
        for (z, factorial) in [(1.0_f64, 1.0_f64), (5.0, 24.0), (11.0, 3_628_800.0)] {
            assert!((ln_gamma(z) - factorial.ln()).abs() < 1e-13 * (1.0 + factorial.ln()), "Γ({z})");
        }
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-14);
    }
}
