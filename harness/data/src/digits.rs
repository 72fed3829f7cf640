//! `digits`: drawn digits, in MNIST's shapes and sizes, for whoever has no files.
//!
//! A sample is a digit in one of several ways of writing it, under a random affine map and a mild elastic one,
//! drawn with a pen of random width and ink. It depends on its set and its number alone, so that a set is made
//! in parallel and only as far as it is asked for. The arithmetic is addition, multiplication, division and
//! square root, which IEEE 754 rounds alike everywhere: the data set is the same bytes on each machine.

mod hand;
mod raster;
mod strokes;

use std::ops::Range;

use hand::Hand;
use raster::Canvas;
use rayon::prelude::*;

use crate::mnist::{CLASSES, FEATURES};
use crate::split::Split;
use crate::{Dataset, Samples};

/// The sets are told apart by the upper half of their samples' seeds.
const TRAIN: u64 = 0x6469_6774 << 32;
const TEST: u64 = 0x6469_6765 << 32;

pub(crate) fn generate(split: &Split) -> Dataset {
    Dataset {
        train: samples(TRAIN, &split.train),
        validation: samples(TRAIN, &split.validation),
        test: samples(TEST, &split.test),
        classes: CLASSES,
    }
}

fn samples(set: u64, range: &Range<usize>) -> Samples {
    let mut pixels = vec![0; range.len() * FEATURES];
    let mut labels = vec![0; range.len()];
    pixels.par_chunks_exact_mut(FEATURES).zip(labels.par_iter_mut()).zip(range.clone()).for_each_init(
        Canvas::new,
        |canvas, ((pixels, label), i)| {
            *label = draw(canvas, set ^ i as u64, pixels);
        },
    );
    Samples::new(pixels, labels, FEATURES)
}

/// Draws a sample and returns its label.
fn draw(canvas: &mut Canvas, seed: u64, pixels: &mut [u8]) -> u8 {
    let mut hand = Hand::new(seed);
    let label = hand.below(CLASSES);
    let ways = strokes::DIGITS[label];
    let way = ways[hand.below(ways.len())];
    let warp = hand.warp();
    canvas.clear();
    for stroke in way {
        stroke.flatten(|from, to| canvas.segment(warp.apply(from), warp.apply(to)));
    }
    let pen = hand.pen();
    canvas.ink(&pen, || hand.grain(), pixels);
    label as u8
}

#[cfg(test)]
mod tests;
