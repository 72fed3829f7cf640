//! The numbers that parameters are kept in, and how results become such numbers.
//!
//! Products read parameters as f32 or bf16 and expand the latter as they read, so that no f32 copy of a panel ever
//! exists; updates are computed in f32 and rounded as they are stored. bf16 is the upper half of an f32, so every
//! bf16 value is an f32, and a product with bf16 parameters has the bits of one with the same values in f32.

#[cfg(target_arch = "x86_64")]
mod avx2;

use half::bf16;

use crate::panel::Panel;
use crate::vectorised::{LANES, Lanes, lanes};

/// A panel's parameters, `[W | b]`.
#[derive(Debug, Clone, Copy)]
pub enum Parameters<'a> {
    /// 4 bytes each.
    F32(&'a [f32]),
    /// 2 bytes each.
    Bf16(&'a [bf16]),
}

/// A panel's parameters, `[W | b]`, to be changed.
#[derive(Debug)]
pub enum ParametersMut<'a> {
    /// 4 bytes each.
    F32(&'a mut [f32]),
    /// 2 bytes each; changed values are rounded stochastically.
    Bf16 {
        /// The parameters.
        values: &'a mut [bf16],
        /// What the random bits are made from, with each parameter's place: another for each layer and update.
        key: u64,
    },
    /// Each as an f32 master, which changes, and as what products read: the master rounded to the nearest bf16.
    Bf16Master {
        /// What products read.
        rounded: &'a mut [bf16],
        /// What updates change.
        master: &'a mut [f32],
    },
}

impl<'a> From<&'a [f32]> for Parameters<'a> {
    fn from(parameters: &'a [f32]) -> Self {
        Self::F32(parameters)
    }
}

impl<'a> From<&'a [bf16]> for Parameters<'a> {
    fn from(parameters: &'a [bf16]) -> Self {
        Self::Bf16(parameters)
    }
}

impl<'a> From<&'a mut [f32]> for ParametersMut<'a> {
    fn from(parameters: &'a mut [f32]) -> Self {
        Self::F32(parameters)
    }
}

impl Parameters<'_> {
    /// How many there are.
    pub const fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their values.
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::F32(values) => values.to_vec(),
            Self::Bf16(values) => values.iter().map(|value| expand(*value)).collect(),
        }
    }
}

impl ParametersMut<'_> {
    /// What products read of them.
    pub const fn as_parameters(&self) -> Parameters<'_> {
        match self {
            Self::F32(values) => Parameters::F32(values),
            Self::Bf16 { values, .. } => Parameters::Bf16(values),
            Self::Bf16Master { rounded, .. } => Parameters::Bf16(rounded),
        }
    }

    /// How many there are.
    ///
    /// # Panics
    /// If there are not as many masters as rounded ones.
    pub(crate) const fn len(&self) -> usize {
        if let Self::Bf16Master { rounded, master } = self {
            assert!(rounded.len() == master.len(), "a master of each parameter");
        }
        self.as_parameters().len()
    }
}

/// The f32 that a bf16 is.
#[allow(clippy::inline_always)]
#[inline(always)]
pub(crate) fn expand(value: bf16) -> f32 {
    f32::from_bits(u32::from(value.to_bits()) << 16)
}

/// The nearest bf16, of two the one with an even significand.
#[allow(clippy::inline_always)]
#[inline(always)]
pub fn round_to_nearest(value: f32) -> bf16 {
    let bits = value.to_bits();
    let half = 0x7fff + ((bits >> 16) & 1);
    rounded(value, half)
}

/// One of the two bf16 around `value`, the larger in size if `random` of 16 bits, added below its last bit, carries:
/// of all `random`, a share in proportion to its nearness. A value that is a bf16 stays.
fn round_stochastically(value: f32, random: u32) -> bf16 {
    rounded(value, random)
}

/// What is left of `value` in the upper half after `lower` is added; not-a-number stays that.
#[allow(clippy::inline_always)]
#[inline(always)]
fn rounded(value: f32, lower: u32) -> bf16 {
    let bits = value.to_bits();
    let quiet = bits | 0x0040_0000;
    let sum = if value.is_nan() { quiet } else { bits.wrapping_add(lower) };
    bf16::from_bits((sum >> 16) as u16)
}

/// The random bits of one layer's rounding in one update.
///
/// A parameter's bits are a function of the key and of its place in the layer alone (a counter-based generator, as
/// of Salmon et al. 2011), so no cut into panels, tiles or threads changes them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StochasticRounding {
    key: u64,
    /// The layer's unit that is the panel's first.
    first_unit: u64,
    /// Where biases count as one row more, behind the layer's last unit.
    total_units: u64,
}

impl StochasticRounding {
    /// The rounding of `panel` under the `key` of its layer and the update.
    pub(crate) const fn new(panel: &Panel, key: u64) -> Self {
        Self { key, first_unit: panel.first_unit as u64, total_units: panel.total_units as u64 }
    }

    /// The random bits of the inputs of the panel's `unit`.
    pub(crate) fn of_unit(self, unit: usize) -> RowBits {
        RowBits::new(self.key, self.first_unit + unit as u64, 0)
    }

    /// The random bits of the panel's biases.
    pub(crate) fn of_biases(self) -> RowBits {
        RowBits::new(self.key, self.total_units, self.first_unit as u32)
    }
}

/// The random bits of a row of parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowBits {
    first: u32,
    second: u32,
    /// Column of the first.
    column: u32,
}

impl RowBits {
    /// The row's two keys are the halves of a 64-bit hash (the finaliser of `SplitMix64`, Steele et al. 2014).
    #[inline]
    fn new(key: u64, row: u64, column: u32) -> Self {
        let hash = key.wrapping_add(row.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let hash = hash ^ (hash >> 31);
        Self { first: hash as u32, second: (hash >> 32) as u32, column }
    }

    /// The same row from `columns` further on.
    #[inline]
    pub(crate) const fn skip(self, columns: usize) -> Self {
        Self { column: self.column.wrapping_add(columns as u32), ..self }
    }

    /// Sixteen bits for each of the parameters from `offset` columns on: an integer hash of two multiplications
    /// (Wellons's lowbias32), with a key before each, whose upper half is the better one.
    fn at(self, offset: usize) -> [u32; LANES] {
        let first = self.column.wrapping_add(offset as u32);
        std::array::from_fn(|lane| {
            let hash = first.wrapping_add(lane as u32) ^ self.first;
            let hash = (hash ^ (hash >> 16)).wrapping_mul(FIRST_MULTIPLIER).wrapping_add(self.second);
            (hash ^ (hash >> 15)).wrapping_mul(SECOND_MULTIPLIER) >> 16
        })
    }
}

const FIRST_MULTIPLIER: u32 = 0x7feb_352d;
const SECOND_MULTIPLIER: u32 = 0x846c_a68b;

/// [`expand`] of eight.
///
/// # Safety
/// If `WIDE`, the CPU has AVX2 and FMA.
#[allow(clippy::inline_always)]
#[inline(always)]
unsafe fn expand_lanes<const WIDE: bool>(halves: &[bf16; LANES]) -> Lanes {
    #[cfg(target_arch = "x86_64")]
    if WIDE {
        // SAFETY: the CPU has the features, says the caller.
        return unsafe { avx2::expand(halves) };
    }
    halves.map(expand)
}

/// [`round_stochastically`] of eight, by the bits of `row` from `offset` on.
///
/// # Safety
/// If `WIDE`, the CPU has AVX2 and FMA.
#[allow(clippy::inline_always)]
#[inline(always)]
unsafe fn round_lanes<const WIDE: bool>(values: &Lanes, row: RowBits, offset: usize) -> [bf16; LANES] {
    #[cfg(target_arch = "x86_64")]
    if WIDE {
        // SAFETY: the CPU has the features, says the caller.
        return unsafe { avx2::round_stochastically(values, row, offset) };
    }
    let random = row.at(offset);
    std::array::from_fn(|lane| round_stochastically(values[lane], random[lane]))
}

/// Where the results of an update go: parameters that lie one after the other.
pub(crate) trait Target {
    /// How many they are.
    fn count(&self) -> usize;

    /// The `count` from `at`, then zeros; at most [`LANES`].
    fn load(&self, at: usize, count: usize) -> Lanes;

    /// Changes the `count` from `at` to the first of `values`.
    fn store(&mut self, at: usize, count: usize, values: Lanes);
}

impl Target for &mut [f32] {
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn count(&self) -> usize {
        self.len()
    }

    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn load(&self, at: usize, count: usize) -> Lanes {
        lanes(&self[at..at + count])
    }

    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn store(&mut self, at: usize, count: usize, values: Lanes) {
        self[at..at + count].copy_from_slice(&values[..count]);
    }
}

/// bf16 parameters of a row, rounded stochastically; in code for AVX2 if `WIDE`.
pub(crate) struct Stochastic<'a, const WIDE: bool> {
    values: &'a mut [bf16],
    bits: RowBits,
}

impl<'a, const WIDE: bool> Stochastic<'a, WIDE> {
    /// Those `values`, whose random bits are `bits`.
    ///
    /// # Safety
    /// If `WIDE`, the CPU has AVX2 and FMA.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) const unsafe fn new(values: &'a mut [bf16], bits: RowBits) -> Self {
        Self { values, bits }
    }
}

impl<const WIDE: bool> Target for Stochastic<'_, WIDE> {
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn count(&self) -> usize {
        self.values.len()
    }

    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn load(&self, at: usize, count: usize) -> Lanes {
        // SAFETY: whoever made this value knew the CPU.
        unsafe { expand_lanes::<WIDE>(&lanes(&self.values[at..at + count])) }
    }

    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn store(&mut self, at: usize, count: usize, values: Lanes) {
        // SAFETY: whoever made this value knew the CPU.
        let rounded = unsafe { round_lanes::<WIDE>(&values, self.bits, at) };
        self.values[at..at + count].copy_from_slice(&rounded[..count]);
    }
}

/// Parameters with an f32 master.
pub(crate) struct Mastered<'a> {
    pub rounded: &'a mut [bf16],
    pub master: &'a mut [f32],
}

impl Target for Mastered<'_> {
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn count(&self) -> usize {
        self.master.len()
    }

    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn load(&self, at: usize, count: usize) -> Lanes {
        lanes(&self.master[at..at + count])
    }

    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn store(&mut self, at: usize, count: usize, values: Lanes) {
        self.master[at..at + count].copy_from_slice(&values[..count]);
        let mut rounded = [bf16::ZERO; LANES];
        for lane in 0..LANES {
            rounded[lane] = round_to_nearest(values[lane]);
        }
        self.rounded[at..at + count].copy_from_slice(&rounded[..count]);
    }
}

#[cfg(test)]
mod tests;
