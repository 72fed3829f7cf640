//! `synthetic`: noisy class prototypes in the shape of any input, for networks whose size is the question.
//!
//! No prototype is kept: a class's prototype is the stream of a generator seeded by the class, read along with
//! the sample, so that a set costs its own bytes and nothing more, at some gigabytes a second.

use std::ops::Range;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use crate::split::Split;
use crate::{DataError, Dataset, Samples};

/// Weights of the own prototype, of another class's and of noise, in 1/256.
const OWN: u32 = 102;
const OTHER: u32 = 64;
const NOISE: u32 = 256 - OWN - OTHER;

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
    for pixels in pixels.chunks_mut(8) {
        let own = own.next_u64().to_le_bytes();
        let foreign = foreign.next_u64().to_le_bytes();
        let noise = noise.next_u64().to_le_bytes();
        for (i, pixel) in pixels.iter_mut().enumerate() {
            let mixed = OWN * u32::from(own[i]) + OTHER * u32::from(foreign[i]) + NOISE * u32::from(noise[i]);
            *pixel = (mixed >> 8) as u8;
        }
    }
    label as u8
}
