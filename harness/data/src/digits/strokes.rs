//! How digits are written: strokes in a box one unit high and wide, the origin at the top left, y downwards.

/// A position, x then y.
pub(super) type Point = [f32; 2];

/// A movement of the pen.
pub(super) enum Stroke {
    /// Straight from point to point.
    Line(&'static [Point]),
    /// A Catmull–Rom spline from the first to the last point, through all others.
    Curve(&'static [Point]),
    /// A closed Catmull–Rom spline: the first point follows the last.
    Loop(&'static [Point]),
}

use Stroke::{Curve, Line, Loop};

/// Pieces of a straight part: enough for the elastic map to bend it.
const PIECES_OF_LINE: u8 = 5;
/// Pieces of a spline between two of its points: about two pixels each.
const PIECES_OF_CURVE: u8 = 4;

impl Stroke {
    /// Passes each straight piece of the stroke to `piece`, in order.
    pub(super) fn flatten(&self, mut piece: impl FnMut(Point, Point)) {
        match self {
            Line(points) => {
                for ends in points.windows(2) {
                    cut(PIECES_OF_LINE, |t| mix(ends[0], ends[1], t), &mut piece);
                }
            }
            Curve(points) => {
                let last = points.len() - 1;
                for i in 0..last {
                    let around = [i.saturating_sub(1), i, i + 1, (i + 2).min(last)];
                    let knots = around.map(|knot| points[knot]);
                    cut(PIECES_OF_CURVE, |t| spline(knots, t), &mut piece);
                }
            }
            Loop(points) => {
                let count = points.len();
                for i in 0..count {
                    let around = [i + count - 1, i, i + 1, i + 2];
                    let knots = around.map(|knot| points[knot % count]);
                    cut(PIECES_OF_CURVE, |t| spline(knots, t), &mut piece);
                }
            }
        }
    }
}

fn cut(pieces: u8, at: impl Fn(f32) -> Point, piece: &mut impl FnMut(Point, Point)) {
    let mut from = at(0.0);
    for i in 1..=pieces {
        let to = at(f32::from(i) / f32::from(pieces));
        piece(from, to);
        from = to;
    }
}

fn mix(a: Point, b: Point, t: f32) -> Point {
    [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])]
}

/// The uniform Catmull–Rom spline from the second to the third knot.
fn spline([a, b, c, d]: [Point; 4], t: f32) -> Point {
    let coordinate = |a: f32, b: f32, c: f32, d: f32| {
        let cubic = 3.0 * (b - c) + d - a;
        let square = 2.0 * a - 5.0 * b + 4.0 * c - d;
        0.5 * (((cubic * t + square) * t + (c - a)) * t + 2.0 * b)
    };
    [coordinate(a[0], b[0], c[0], d[0]), coordinate(a[1], b[1], c[1], d[1])]
}

/// For each digit the ways of writing it, each a list of strokes.
pub(super) const DIGITS: [&[&[Stroke]]; 10] = [ZERO, ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN, EIGHT, NINE];

const ZERO: &[&[Stroke]] = &[
    &[Loop(&[
        [0.50, 0.00],
        [0.24, 0.15],
        [0.16, 0.50],
        [0.24, 0.86],
        [0.50, 1.00],
        [0.76, 0.86],
        [0.84, 0.50],
        [0.77, 0.15],
    ])],
    &[Curve(&[
        [0.64, 0.07],
        [0.36, 0.05],
        [0.18, 0.40],
        [0.25, 0.84],
        [0.52, 1.00],
        [0.80, 0.76],
        [0.82, 0.35],
        [0.66, 0.08],
        [0.48, 0.10],
    ])],
];

const ONE: &[&[Stroke]] = &[
    &[Line(&[[0.50, 0.00], [0.50, 1.00]])],
    &[Line(&[[0.32, 0.22], [0.52, 0.00], [0.52, 1.00]])],
    &[Line(&[[0.34, 0.18], [0.52, 0.00], [0.52, 1.00]]), Line(&[[0.28, 1.00], [0.76, 1.00]])],
];

const TWO: &[&[Stroke]] = &[
    &[
        Curve(&[
            [0.20, 0.25],
            [0.30, 0.06],
            [0.55, 0.00],
            [0.78, 0.16],
            [0.74, 0.42],
            [0.48, 0.72],
            [0.18, 1.00],
        ]),
        Line(&[[0.18, 1.00], [0.85, 0.98]]),
    ],
    &[Curve(&[
        [0.22, 0.20],
        [0.46, 0.00],
        [0.76, 0.16],
        [0.68, 0.52],
        [0.40, 0.86],
        [0.20, 0.97],
        [0.15, 0.85],
        [0.32, 0.79],
        [0.56, 0.94],
        [0.86, 0.96],
    ])],
];

const THREE: &[&[Stroke]] = &[
    &[
        Curve(&[[0.20, 0.12], [0.46, 0.00], [0.74, 0.12], [0.70, 0.36], [0.42, 0.47]]),
        Curve(&[[0.42, 0.47], [0.74, 0.56], [0.80, 0.80], [0.52, 1.00], [0.18, 0.88]]),
    ],
    &[
        Line(&[[0.20, 0.02], [0.76, 0.02], [0.44, 0.42]]),
        Curve(&[[0.44, 0.42], [0.75, 0.52], [0.80, 0.78], [0.50, 1.00], [0.18, 0.88]]),
    ],
];

const FOUR: &[&[Stroke]] = &[
    &[Line(&[[0.28, 0.00], [0.18, 0.55], [0.84, 0.55]]), Line(&[[0.68, 0.08], [0.65, 1.00]])],
    &[Line(&[[0.64, 1.00], [0.66, 0.00], [0.15, 0.65], [0.88, 0.65]])],
    &[
        Curve(&[[0.24, 0.02], [0.20, 0.34], [0.32, 0.51], [0.54, 0.51], [0.74, 0.40]]),
        Line(&[[0.78, 0.02], [0.70, 1.00]]),
    ],
];

const FIVE: &[&[Stroke]] = &[
    &[
        Line(&[[0.78, 0.00], [0.30, 0.00], [0.26, 0.42]]),
        Curve(&[[0.26, 0.42], [0.50, 0.36], [0.78, 0.50], [0.78, 0.80], [0.50, 1.00], [0.18, 0.90]]),
    ],
    &[Curve(&[
        [0.82, 0.02],
        [0.54, 0.04],
        [0.34, 0.12],
        [0.29, 0.38],
        [0.50, 0.46],
        [0.71, 0.62],
        [0.68, 0.86],
        [0.45, 1.00],
        [0.18, 0.93],
    ])],
];

const SIX: &[&[Stroke]] = &[
    &[Curve(&[
        [0.70, 0.00],
        [0.40, 0.20],
        [0.22, 0.55],
        [0.25, 0.88],
        [0.50, 1.00],
        [0.76, 0.86],
        [0.72, 0.61],
        [0.50, 0.51],
        [0.26, 0.66],
    ])],
    &[Curve(&[
        [0.44, 0.00],
        [0.26, 0.40],
        [0.22, 0.76],
        [0.40, 0.99],
        [0.68, 0.95],
        [0.76, 0.72],
        [0.52, 0.59],
        [0.25, 0.76],
    ])],
];

const SEVEN: &[&[Stroke]] = &[
    &[Line(&[[0.18, 0.02], [0.80, 0.02], [0.42, 1.00]])],
    &[Line(&[[0.18, 0.02], [0.80, 0.02], [0.44, 1.00]]), Line(&[[0.36, 0.50], [0.78, 0.48]])],
    &[
        Line(&[[0.18, 0.18], [0.20, 0.04], [0.80, 0.02]]),
        Curve(&[[0.80, 0.02], [0.62, 0.38], [0.50, 0.70], [0.48, 1.00]]),
    ],
];

const EIGHT: &[&[Stroke]] = &[
    &[Loop(&[
        [0.72, 0.12],
        [0.50, 0.00],
        [0.28, 0.12],
        [0.32, 0.32],
        [0.50, 0.47],
        [0.72, 0.64],
        [0.76, 0.85],
        [0.50, 1.00],
        [0.24, 0.85],
        [0.28, 0.64],
        [0.50, 0.47],
        [0.68, 0.32],
    ])],
    &[
        Loop(&[[0.50, 0.00], [0.29, 0.10], [0.29, 0.36], [0.50, 0.46], [0.71, 0.36], [0.71, 0.10]]),
        Loop(&[[0.50, 0.46], [0.24, 0.60], [0.24, 0.88], [0.50, 1.00], [0.76, 0.88], [0.76, 0.60]]),
    ],
];

const NINE: &[&[Stroke]] = &[
    &[
        Loop(&[[0.74, 0.24], [0.60, 0.02], [0.36, 0.04], [0.24, 0.26], [0.36, 0.47], [0.60, 0.45]]),
        Line(&[[0.74, 0.20], [0.68, 1.00]]),
    ],
    &[
        Loop(&[[0.74, 0.24], [0.60, 0.02], [0.36, 0.04], [0.24, 0.26], [0.36, 0.47], [0.60, 0.45]]),
        Curve(&[[0.75, 0.18], [0.74, 0.60], [0.58, 0.92], [0.28, 1.00]]),
    ],
];
