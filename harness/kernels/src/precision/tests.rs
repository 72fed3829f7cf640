//! Products with bf16 parameters are those with the same values in f32; rounding is right on average and in every bit.

use half::bf16;

use super::{
    ParametersMut, RowBits, StochasticRounding, expand, expand_lanes, round_lanes, round_stochastically,
    round_to_nearest,
};
use crate::check::{RULES, SHAPES, bits, numbers, panel_params, panels, with_threads};
use crate::forward::forward_with;
use crate::input_error::input_error_with;
use crate::micro::Kernel;
use crate::vectorised::{LANES, vectorised};
use crate::{Chunk, OutputActivation, Panel, UpdateRule, apply, gradient, update};

fn halves(values: &[f32]) -> Vec<bf16> {
    values.iter().map(|value| round_to_nearest(*value)).collect()
}

fn expanded(values: &[bf16]) -> Vec<f32> {
    values.iter().map(|value| expand(*value)).collect()
}

fn half_bits(values: &[bf16]) -> Vec<u16> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn products_with_bf16_have_the_bits_of_products_with_the_same_values_in_f32() {
    for kernel in Kernel::all() {
        for (rows, inputs, units) in SHAPES {
            let panel = Panel::whole(units, inputs);
            let params = halves(&numbers(panel.parameters(), 1));
            let wide = expanded(&params);
            let (x, dz) = (numbers(rows * inputs, 2), numbers(rows * units, 3));
            let case = format!("{} {rows}×{inputs}×{units}", kernel.name);

            let (mut y, mut expected) = (vec![f32::NAN; rows * units], vec![f32::NAN; rows * units]);
            forward_with(kernel, &panel, &params, &x, &mut y, rows, OutputActivation::Tanh);
            forward_with(kernel, &panel, &wide, &x, &mut expected, rows, OutputActivation::Tanh);
            assert_eq!(bits(&y), bits(&expected), "forward, {case}");

            let (mut dx, mut expected) = (vec![0.5; rows * inputs], vec![0.5; rows * inputs]);
            input_error_with(kernel, &panel, &params, &dz, &mut dx, rows, true);
            input_error_with(kernel, &panel, &wide, &dz, &mut expected, rows, true);
            assert_eq!(bits(&dx), bits(&expected), "input error, {case}");
        }
    }
}

#[test]
fn the_nearest_bf16_is_that_of_the_half_crate() {
    let mut values = numbers(10_000, 1);
    values.extend([
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        1e-40,
        1.003_906_3,
        1.011_718_8,
    ]);
    for value in values {
        assert_eq!(round_to_nearest(value).to_bits(), bf16::from_f32(value).to_bits(), "{value}");
    }
}

#[test]
fn a_value_that_is_a_bf16_stays_whatever_the_random_bits() {
    for bits in 0..=u16::MAX {
        let value = bf16::from_bits(bits);
        for random in [0, 1, 0x7fff, 0x8000, 0xffff] {
            let rounded = round_stochastically(expand(value), random);
            if value.is_nan() {
                assert!(rounded.is_nan());
            } else {
                assert_eq!(rounded.to_bits(), bits, "{value}");
            }
        }
    }
}

vectorised! {
    fn round_all(row: RowBits, values: &[f32], rounded: &mut [bf16]) {
        for (index, values) in values.as_chunks::<LANES>().0.iter().enumerate() {
            let at = LANES * index;
            // SAFETY, of both: where `WIDE`, the CPU has the features.
            let halves = unsafe { round_lanes::<WIDE>(values, row, 24 * index) };
            rounded[at..at + LANES].copy_from_slice(&halves);
            let again = unsafe { expand_lanes::<WIDE>(&halves) };
            assert_eq!(bits(&again), bits(&expanded(&rounded[at..at + LANES])));
        }
    }
}

#[test]
fn eight_at_a_time_have_the_bits_of_one_at_a_time() {
    let mut values = numbers(4096, 1);
    values.extend([
        f32::NAN,
        f32::INFINITY,
        -0.0,
        f32::MAX,
        f32::MIN,
        1e-40,
        f32::from_bits(0x7f80_0001),
        0.5,
    ]);
    let row = RowBits::new(3, 11, 7);
    let mut rounded = vec![bf16::ZERO; values.len()];
    round_all(row, &values, &mut rounded);
    for (index, (value, rounded)) in values.iter().zip(rounded).enumerate() {
        let random = row.at(24 * (index / LANES))[index % LANES];
        assert_eq!(rounded.to_bits(), round_stochastically(*value, random).to_bits(), "{value}");
    }
}

#[test]
fn not_a_number_stays_that_and_infinity_too() {
    for payload in [0x7f80_0001, 0x7fff_ffff, 0xff80_0001, 0xffff_ffff] {
        let value = f32::from_bits(payload);
        assert!(round_to_nearest(value).is_nan(), "{payload:x}");
        assert!((0..=0xffff).all(|random| round_stochastically(value, random).is_nan()), "{payload:x}");
    }
    for infinity in [f32::INFINITY, f32::NEG_INFINITY] {
        assert!((0..=0xffff).all(|random| expand(round_stochastically(infinity, random)) == infinity));
    }
}

#[test]
fn over_all_random_bits_rounding_is_right_on_average() {
    for value in [1.000_01, -0.3, 3.999, 1e-30, -7e20] {
        let sum: f64 =
            (0..=0xffff).map(|random| f64::from(expand(round_stochastically(value, random)))).sum();
        let mean = sum / 65_536.0;
        assert!((mean / f64::from(value) - 1.0).abs() < 1e-12, "{mean} for {value}");
    }
}

/// Bits as uniform numbers in [−1, 1), and the mean of products of those that `pair` puts beside each other.
fn mean_product(pair: impl Fn(u64, usize) -> (u32, u32)) -> f64 {
    const ROWS: u64 = 512;
    const COLUMNS: usize = 512;
    let centred = |random: u32| f64::from(random) / 32_768.0 - 1.0;
    let products =
        (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| (row, column))).map(|(row, column)| {
            let (a, b) = pair(row, column);
            centred(a) * centred(b)
        });
    products.sum::<f64>() / (ROWS as f64 * COLUMNS as f64)
}

#[test]
fn random_bits_are_uniform_and_those_of_neighbours_and_of_other_keys_have_nothing_to_do_with_each_other() {
    let at = |key, row, column| RowBits::new(key, row, 0).at(column)[0];
    let mut counts = [0_u32; 256];
    for row in 0..512 {
        for column in 0..512 {
            counts[at(5, row, column) as usize >> 8] += 1;
        }
    }
    // A chi-squared value of 255 degrees of freedom is below 330 in all but one of a thousand cases.
    let expected = 512.0 * 512.0 / 256.0;
    let chi_squared: f64 = counts.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    assert!(chi_squared < 330.0, "{chi_squared}");

    // The standard deviation of the mean is a third of 1/512: four of them are 0.0026.
    for (name, mean) in [
        ("columns", mean_product(|row, column| (at(5, row, column), at(5, row, column + 1)))),
        ("rows", mean_product(|row, column| (at(5, row, column), at(5, row + 1, column)))),
        ("diagonals", mean_product(|row, column| (at(5, row, column), at(5, row + 1, column + 1)))),
        ("keys", mean_product(|row, column| (at(5, row, column), at(6, row, column)))),
        ("far columns", mean_product(|row, column| (at(5, row, column), at(5, row, column + 8192)))),
    ] {
        assert!(mean.abs() < 0.0026, "{name}: {mean}");
    }
}

/// A layer with samples in two shards, its bf16 parameters and the state of a rule.
struct Layer {
    whole: Panel,
    x: Vec<f32>,
    dz: Vec<f32>,
    values: Vec<bf16>,
}

const SCALE: f32 = 1.0 / 33.0;

impl Layer {
    fn new() -> Self {
        let whole = Panel::whole(70, 300);
        let values = halves(&numbers(whole.parameters(), 3));
        Self { whole, x: numbers(33 * 300, 1), dz: numbers(33 * 70, 2), values }
    }

    fn state(&self, rule: &UpdateRule) -> Vec<f32> {
        let state = numbers(self.whole.parameters() * rule.state_per_parameter(), 4);
        state.into_iter().map(f32::abs).collect()
    }

    fn with_shards<R>(&self, then: impl FnOnce(&[&[Chunk]]) -> R) -> R {
        let chunk = |rows: std::ops::Range<usize>| Chunk {
            x: &self.x[rows.start * 300..rows.end * 300],
            dz: &self.dz[rows.start * 70..rows.end * 70],
            rows: rows.len(),
        };
        then(&[&[chunk(0..30)], &[chunk(30..31), chunk(31..33)]])
    }
}

#[test]
fn an_update_of_bf16_is_that_of_f32_rounded_by_the_bits_of_each_place() {
    let layer = Layer::new();
    let Panel { units, inputs, .. } = layer.whole;
    let rounding = StochasticRounding::new(&layer.whole, 9);
    for rule in RULES {
        let (mut values, mut state) = (layer.values.clone(), layer.state(&rule));
        let (mut wide, mut wide_state) = (expanded(&values), state.clone());
        layer.with_shards(|shards| {
            let params = ParametersMut::Bf16 { values: &mut values, key: 9 };
            update(&layer.whole, shards, params, &mut state, &rule, SCALE);
            update(&layer.whole, shards, &mut wide[..], &mut wide_state, &rule, SCALE);
        });
        let random = |index: usize| match index.checked_sub(units * inputs) {
            None => rounding.of_unit(index / inputs).at(index % inputs)[0],
            Some(unit) => rounding.of_biases().at(unit)[0],
        };
        let expected: Vec<u16> = (0..)
            .zip(&wide)
            .map(|(index, value)| round_stochastically(*value, random(index)).to_bits())
            .collect();
        assert_eq!(half_bits(&values), expected, "{rule:?}");
        assert_eq!(bits(&state), bits(&wide_state), "state of {rule:?}");
    }
}

#[test]
fn an_update_of_a_master_is_that_of_f32_and_its_bf16_is_the_nearest() {
    let layer = Layer::new();
    for rule in RULES {
        let (mut rounded, mut state) = (layer.values.clone(), layer.state(&rule));
        let (mut master, mut state_of_f32) = (numbers(rounded.len(), 3), state.clone());
        let mut f32 = master.clone();
        layer.with_shards(|shards| {
            let params = ParametersMut::Bf16Master { rounded: &mut rounded, master: &mut master };
            update(&layer.whole, shards, params, &mut state, &rule, SCALE);
            update(&layer.whole, shards, &mut f32[..], &mut state_of_f32, &rule, SCALE);
        });
        assert_eq!(bits(&master), bits(&f32), "{rule:?}");
        assert_eq!(half_bits(&rounded), half_bits(&halves(&f32)), "{rule:?}");
        assert_eq!(bits(&state), bits(&state_of_f32), "state of {rule:?}");
    }
}

#[test]
fn neither_panels_nor_threads_nor_forming_the_gradient_first_change_how_bf16_is_rounded() {
    let layer = Layer::new();
    let (rule, key) = (RULES[0], 9);
    let mut reference = layer.values.clone();
    let mut other_key = layer.values.clone();
    layer.with_shards(|shards| {
        for (values, key) in [(&mut reference, key), (&mut other_key, 10)] {
            update(&layer.whole, shards, ParametersMut::Bf16 { values, key }, &mut [], &rule, SCALE);
        }
    });
    assert_ne!(half_bits(&reference), half_bits(&other_key), "another key is another rounding");
    let (reference, start) = (expanded(&reference), expanded(&layer.values));
    for (threads, parts) in [(2, 1), (3, 1), (1, 3), (3, 7)] {
        for panel in panels(70, 300, parts) {
            let expected = bits(&panel_params(&panel, &reference));
            let mut values = halves(&panel_params(&panel, &start));
            let mut at_once = values.clone();
            layer.with_shards(|shards| {
                with_threads(threads, || {
                    let params = ParametersMut::Bf16 { values: &mut values, key };
                    update(&panel, shards, params, &mut [], &rule, SCALE);
                });
                let mut sum = vec![f32::NAN; panel.parameters()];
                gradient(&panel, shards, &mut sum);
                let params = ParametersMut::Bf16 { values: &mut at_once, key };
                apply(&panel, &sum, params, &mut [], &rule, SCALE);
            });
            assert_eq!(bits(&expanded(&values)), expected, "{threads} threads, {panel:?}");
            assert_eq!(bits(&expanded(&at_once)), expected, "gradient first, {panel:?}");
        }
    }
}

#[test]
fn updates_far_below_the_last_bit_add_up_on_average() {
    // Weights of 1, and 200 updates by a fortieth of the last bit: to the nearest, none would move.
    let panel = Panel::whole(100, 100);
    let gradient = vec![1.0; panel.parameters()];
    let rule = UpdateRule::Sgd { learning_rate: 1.0 / 128.0 / 40.0 };
    let mut values = vec![bf16::ONE; panel.parameters()];
    for key in 0..200 {
        apply(&panel, &gradient, ParametersMut::Bf16 { values: &mut values, key }, &mut [], &rule, 1.0);
    }
    let sum: f64 = values.iter().map(|value| f64::from(expand(*value))).sum();
    let (mean, expected) = (sum / values.len() as f64, 1.0 - 200.0 / 128.0 / 40.0);
    assert!((mean - expected).abs() < 5e-4, "{mean}, not {expected}");
}
