//! A rectangle with two axes, in which curves and marks are drawn, and beside which they are named.

use super::{
    axis::Axis,
    canvas::{Align, Canvas, Color, FAINT, GREY, LABEL, Lettering, Marker, Place, Stroke, text_width},
    labels::spread,
};
use crate::error::DrawingError;

/// Room left of a panel for tick labels and the axis's name.
pub const LEFT: f64 = 62.0;
/// Room below a panel for the same.
pub const BELOW: f64 = 46.0;
const LABEL_ROOM: f64 = 15.0;

/// Where a panel is and what its axes mean.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Its upper left corner.
    pub corner: Place,
    /// Its size in points.
    pub size: (f64, f64),
    /// Left to right.
    pub x: Axis,
    /// Bottom to top.
    pub y: Axis,
}

/// The name of a line, to be written at its right end.
#[derive(Debug, Clone, PartialEq)]
pub struct EndLabel {
    /// The name.
    pub text: String,
    /// The value beside which it belongs.
    pub value: f64,
    /// The line's colour.
    pub color: Color,
    /// The line's marker.
    pub marker: Option<Marker>,
    /// The line's end, from which a leader goes to the label.
    pub from_x: f64,
}

impl Panel {
    /// Draws the grid, the ticks and the axes' names. Tick labels that would touch their neighbour are left out.
    pub fn frame(&self, canvas: &Canvas<'_>, x_name: &str, y_name: &str) -> Result<(), DrawingError> {
        let grid = Stroke { color: FAINT, width: 0.5, dash: None };
        let (bottom, right) = (self.corner.1 + self.size.1, self.corner.0 + self.size.0);
        for (value, label) in &self.y.ticks {
            let y = self.place(0.0, self.y.position(*value)).1;
            canvas.line(&[(self.corner.0, y), (right, y)], grid)?;
            canvas.text(label, (self.corner.0 - 6.0, y), Align::Right, LABEL)?;
        }
        let mut free_from = f64::NEG_INFINITY;
        for (value, label) in &self.x.ticks {
            let x = self.place(self.x.position(*value), 0.0).0;
            let half = text_width(label, LABEL) / 2.0;
            canvas.line(&[(x, self.corner.1), (x, bottom)], grid)?;
            canvas.line(&[(x, bottom), (x, bottom + 4.0)], Stroke { color: GREY, ..grid })?;
            if x - half >= free_from {
                canvas.text(label, (x, bottom + 14.0), Align::Center, LABEL)?;
                free_from = x + half + 5.0;
            }
        }
        let edge = Stroke { color: GREY, width: 1.0, dash: None };
        canvas.line(&[self.corner, (self.corner.0, bottom), (right, bottom)], edge)?;
        canvas.text(x_name, (self.corner.0 + self.size.0 / 2.0, bottom + 33.0), Align::Center, LABEL)?;
        canvas.text_upwards(y_name, (self.corner.0 - LEFT + 10.0, self.corner.1 + self.size.1 / 2.0), LABEL)
    }

    /// The place of unit coordinates: (0, 0) is the lower left corner.
    fn place(&self, x: f64, y: f64) -> Place {
        (self.corner.0 + x * self.size.0, self.corner.1 + (1.0 - y) * self.size.1)
    }

    /// The place of a value; none above and below the panel.
    pub fn at(&self, x: f64, y: f64) -> Option<Place> {
        let height = self.y.position(y);
        (0.0..=1.0).contains(&height).then(|| self.place(self.x.position(x), height))
    }

    /// The place on the lower edge under a value: for marks that have no value of their own.
    pub fn foot(&self, x: f64) -> Place {
        self.place(self.x.position(x), 0.0)
    }

    /// The same panel some points to the right: for lines that would hide each other.
    #[must_use]
    pub fn beside(&self, aside: f64) -> Self {
        Self { corner: (self.corner.0 + aside, self.corner.1), ..self.clone() }
    }

    /// A marker at a value, where it is in the panel.
    pub fn mark(
        &self,
        canvas: &Canvas<'_>,
        marker: Marker,
        (x, y): (f64, f64),
        radius: f64,
        (color, opacity): (Color, f64),
    ) -> Result<(), DrawingError> {
        self.at(x, y).map_or(Ok(()), |place| canvas.marker(marker, place, radius, color, opacity))
    }

    /// A line through values, cut at the panel's edge.
    pub fn curve(
        &self,
        canvas: &Canvas<'_>,
        points: &[(f64, f64)],
        stroke: Stroke,
    ) -> Result<(), DrawingError> {
        let path: Vec<(f64, f64)> =
            points.iter().map(|(x, y)| (self.x.position(*x), self.y.position(*y))).collect();
        canvas.clipped(&path, |(x, y)| self.place(x, y), stroke)
    }

    /// The area between two lines that share their x, kept within the panel.
    pub fn band(
        &self,
        canvas: &Canvas<'_>,
        points: &[(f64, f64, f64)],
        color: Color,
        opacity: f64,
    ) -> Result<(), DrawingError> {
        let edge = |x: f64, y: f64| self.place(self.x.position(x), self.y.position(y).clamp(0.0, 1.0));
        let lower = points.iter().map(|(x, low, _)| edge(*x, *low));
        let upper = points.iter().rev().map(|(x, _, high)| edge(*x, *high));
        canvas.polygon(&lower.chain(upper).collect::<Vec<_>>(), color, opacity)
    }

    /// Writes names at the right of the panel, apart from each other, with a leader to each line's end.
    pub fn name_lines(&self, canvas: &Canvas<'_>, labels: &[EndLabel]) -> Result<(), DrawingError> {
        let wanted: Vec<f64> = labels
            .iter()
            .map(|label| self.place(0.0, self.y.position(label.value).clamp(0.0, 1.0)).1)
            .collect();
        let (top, bottom) = (self.corner.1 - 8.0, self.corner.1 + self.size.1 + 8.0);
        let right = self.corner.0 + self.size.0;
        for ((label, from), to) in labels.iter().zip(&wanted).zip(spread(&wanted, LABEL_ROOM, top, bottom)) {
            let end = self.place(self.x.position(label.from_x).clamp(0.0, 1.0), 0.0).0;
            let leader = Stroke { color: label.color, width: 0.5, dash: None };
            // Inside the panel a leader is dotted: the line that it leads from has ended.
            canvas.line(&[(end, *from), (right, *from)], Stroke { dash: Some((1, 4)), ..leader })?;
            canvas.line(&[(right, *from), (right + 2.0, *from), (right + 12.0, to)], leader)?;
            let mut x = right + 15.0;
            if let Some(marker) = label.marker {
                canvas.marker(marker, (x + 4.0, to), 3.5, label.color, 1.0)?;
                x += 13.0;
            }
            canvas.text(&label.text, (x, to), Align::Left, LABEL)?;
        }
        Ok(())
    }
}

/// The room that [`Panel::name_lines`] needs right of the panel.
pub fn label_width<'a>(labels: impl IntoIterator<Item = &'a str>) -> f64 {
    let lettering: Lettering = LABEL;
    let widest = labels.into_iter().map(|label| text_width(label, lettering)).fold(0.0, f64::max);
    widest + 15.0 + 13.0 + 8.0
}
