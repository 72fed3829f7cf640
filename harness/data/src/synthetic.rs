//! `synthetic`: noisy class prototypes in the shape of any input, for networks whose size is the question.
//!
//! No prototype is kept: a class's prototype is the stream of a generator seeded by the class, read along with
//! the sample, so that a set costs its own bytes and nothing more.

use std::ops::Range;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use crate::split::Split;
use crate::{DataError, Dataset, Samples};

/// Weights of the own prototype, of another class's and of noise, in 1/256.
const OWN: u64 = 102;
const OTHER: u64 = 64;
const NOISE: u64 = 256 - OWN - OTHER;

/// Streams of the generators are told apart by the upper half of their seeds.
const PROTOTYPE: u64 = 0x5350_494c << 32;
const TRAIN: u64 = 0x5452_4149 << 32;
const TEST: u64 = 0x5445_5354 << 32;

/// # Errors
///
/// When there is no class.
pub(crate) fn generate(split: &Split, features: usize, classes: usize) -> Result<Dataset, DataError> {
    if classes == 0 {
        return Err(DataError::NoClasses);
    }
    let classes = classes.min(256);
    Ok(Dataset {
        train: samples(TRAIN, &split.train, features, classes),
        validation: samples(TRAIN, &split.validation, features, classes),
        test: samples(TEST, &split.test, features, classes),
        classes,
    })
}

fn samples(stream: u64, range: &Range<usize>, features: usize, classes: usize) -> Samples {
    let mut pixels = vec![0; range.len() * features];
    let mut labels = vec![0; range.len()];
    pixels.par_chunks_exact_mut(features).zip(labels.par_iter_mut()).zip(range.clone()).for_each(
        |((pixels, label), i)| {
            *label = draw(stream ^ i as u64, classes as u64, pixels);
        },
    );
    Samples::new(pixels, labels, features)
}

/// Draws a sample and returns its label.
fn draw(seed: u64, classes: u64, pixels: &mut [u8]) -> u8 {
    let mut noise = Xoshiro256PlusPlus::seed_from_u64(seed);
    let choice = noise.next_u64();
    let label = (choice & 0xffff_ffff) % classes;
    let other = (choice >> 32) % classes;
    let mut own = Xoshiro256PlusPlus::seed_from_u64(PROTOTYPE ^ label);
    let mut foreign = Xoshiro256PlusPlus::seed_from_u64(PROTOTYPE ^ other);
    let mut next = || mix(own.next_u64(), foreign.next_u64(), noise.next_u64()).to_le_bytes();
    let (whole, rest) = pixels.as_chunks_mut::<8>();
    for pixels in whole {
        *pixels = next();
    }
    if !rest.is_empty() {
        rest.copy_from_slice(&next()[..rest.len()]);
    }
    label as u8
}

/// The weighted mean of three times eight bytes, rounded down: four bytes at a time, each in 16 bits, where
/// the largest sum, 255 × 256, has room.
fn mix(own: u64, other: u64, noise: u64) -> u64 {
    const LANES: u64 = 0x00ff_00ff_00ff_00ff;
    let four = |shift: u32| {
        let weighed = |bytes: u64, weight: u64| ((bytes >> shift) & LANES) * weight;
        let sum = weighed(own, OWN) + weighed(other, OTHER) + weighed(noise, NOISE);
        ((sum >> 8) & LANES) << shift
    };
    four(0) | four(8)
}

#[cfg(test)]
mod tests;
