//! What differs from one drawing to the next: everything random about a sample.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use super::raster::Pen;
use super::strokes::Point;
use crate::mnist::SIDE;

/// Knots a side of the elastic map's grid over the unit box.
const KNOTS: usize = 4;

/// The source of a sample's randomness. The order of the calls is part of the data set.
pub(super) struct Hand(Xoshiro256PlusPlus);

impl Hand {
    pub(super) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A number below `bound`, which is small.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((self.0.next_u64() >> 32) as usize * bound) >> 32
    }

    pub(super) fn warp(&mut self) -> Warp {
        let half_turn = self.normal(0.09).clamp(-0.25, 0.25);
        let (cosine, sine) = rotation(half_turn);
        let shear = self.normal(0.18).clamp(-0.45, 0.45);
        let height = self.between(16.0, 22.0);
        let width = height * self.between(0.65, 1.1);
        let center = SIDE as f32 / 2.0;
        let shift = [center + self.normal(1.3).clamp(-3.0, 3.0), center + self.normal(1.1).clamp(-2.5, 2.5)];
        let mut bend = [[[0.0; 2]; KNOTS]; KNOTS];
        for knot in bend.iter_mut().flatten() {
            *knot = [self.normal(0.034), self.normal(0.034)];
        }
        // Rotation · shear · scale: the columns are the images of the axes.
        let x = [cosine * width, sine * width];
        let y = [(-cosine * shear - sine) * height, (cosine - sine * shear) * height];
        Warp { bend, x, y, shift }
    }

    pub(super) fn pen(&mut self) -> Pen {
        Pen { radius: self.between(0.55, 1.65), ink: self.between(0.75, 1.0) }
    }

    /// What the paper takes of the ink at a pixel.
    pub(super) fn grain(&mut self) -> f32 {
        self.between(0.8, 1.0)
    }

    /// Uniform, of 24 bits.
    fn between(&mut self, low: f32, high: f32) -> f32 {
        let unit = (self.0.next_u64() >> 40) as f32 / (1 << 24) as f32;
        low + (high - low) * unit
    }

    /// Nearly normal, about 0: the sum of four uniform numbers, which needs no transcendental function.
    fn normal(&mut self, deviation: f32) -> f32 {
        let bits = self.0.next_u64();
        let sum: u64 = (0..4).map(|i| (bits >> (16 * i)) & 0xffff).sum();
        let centered = sum as f32 / 65_536.0 - 2.0;
        // Four uniform numbers have a variance of 4/12.
        centered * 3.0_f32.sqrt() * deviation
    }
}

/// Cosine and sine of an angle, from the tangent of its half.
fn rotation(tangent_of_half: f32) -> (f32, f32) {
    let square = tangent_of_half * tangent_of_half;
    ((1.0 - square) / (1.0 + square), 2.0 * tangent_of_half / (1.0 + square))
}

/// Takes the unit box to pixels: first bent elastically, then mapped affinely about its centre.
pub(super) struct Warp {
    bend: [[Point; KNOTS]; KNOTS],
    x: Point,
    y: Point,
    shift: Point,
}

impl Warp {
    pub(super) fn apply(&self, point: Point) -> Point {
        let bend = self.bend_at(point);
        let [x, y] = [point[0] + bend[0] - 0.5, point[1] + bend[1] - 0.5];
        [self.shift[0] + x * self.x[0] + y * self.y[0], self.shift[1] + x * self.x[1] + y * self.y[1]]
    }

    /// Displacement at a point, bilinear between the knots.
    fn bend_at(&self, point: Point) -> Point {
        let cell = |coordinate: f32| {
            let position = coordinate.clamp(0.0, 1.0) * (KNOTS - 1) as f32;
            let knot = (position as usize).min(KNOTS - 2);
            (knot, position - knot as f32)
        };
        let (column, right) = cell(point[0]);
        let (row, down) = cell(point[1]);
        let knots = &self.bend;
        [0, 1].map(|axis| {
            let above = knots[row][column][axis] * (1.0 - right) + knots[row][column + 1][axis] * right;
            let below =
                knots[row + 1][column][axis] * (1.0 - right) + knots[row + 1][column + 1][axis] * right;
            above * (1.0 - down) + below * down
        })
    }
}
