//! From segments to pixels: the distance to the nearest segment, then ink.

use super::strokes::Point;
use crate::mnist::{FEATURES, SIDE};

/// Beyond this distance in pixels no pen reaches.
const REACH: f32 = 2.25;

/// A pen: its tip is a disc.
pub(super) struct Pen {
    /// In pixels, at most [`REACH`] less half a pixel.
    pub(super) radius: f32,
    /// The value of a pixel fully covered, at most 1.
    pub(super) ink: f32,
}

/// The squared distance of each pixel's centre to the nearest segment, where that is within reach.
pub(super) struct Canvas {
    distances: [f32; FEATURES],
}

impl Canvas {
    pub(super) fn new() -> Self {
        Self { distances: [f32::INFINITY; FEATURES] }
    }

    pub(super) fn clear(&mut self) {
        self.distances.fill(f32::INFINITY);
    }

    /// Adds a segment, given in pixels.
    pub(super) fn segment(&mut self, from: Point, to: Point) {
        let [dx, dy] = [to[0] - from[0], to[1] - from[1]];
        let per_length_squared = 1.0 / (dx * dx + dy * dy).max(1e-12);
        let rows = within_reach(from[1], to[1]);
        let columns = within_reach(from[0], to[0]);
        for row in rows {
            let y = row as f32 + 0.5 - from[1];
            let start = row * SIDE;
            let distances = &mut self.distances[start + columns.start..start + columns.end];
            for (column, distance) in columns.clone().zip(distances) {
                let x = column as f32 + 0.5 - from[0];
                let along = ((x * dx + y * dy) * per_length_squared).clamp(0.0, 1.0);
                let [away_x, away_y] = [x - along * dx, y - along * dy];
                *distance = distance.min(away_x * away_x + away_y * away_y);
            }
        }
    }

    /// Draws with `pen`; an edge takes about a pixel (anti-aliasing). `grain` is asked once for each pixel
    /// with ink, in order.
    pub(super) fn ink(&self, pen: &Pen, mut grain: impl FnMut() -> f32, pixels: &mut [u8]) {
        let edge = pen.radius + 0.5;
        for (pixel, &squared) in pixels.iter_mut().zip(&self.distances) {
            *pixel = if squared < edge * edge {
                let covered = (edge - squared.sqrt()).min(1.0);
                (covered * pen.ink * grain() * 255.0 + 0.5) as u8
            } else {
                0
            };
        }
    }
}

/// The pixels along one axis that a segment between two positions can reach.
fn within_reach(a: f32, b: f32) -> std::ops::Range<usize> {
    // A cast from a negative number gives 0.
    let start = (a.min(b) - REACH) as usize;
    let end = (a.max(b) + REACH).ceil() as usize;
    start.min(SIDE)..end.min(SIDE)
}
