//! A panel: some consecutive rows of a layer's weight matrix, with their biases.

use std::ops::Range;

/// The rows `first_unit .. first_unit + units` of a weight matrix `[total_units × inputs]`.
///
/// A panel's parameters are one slice: `units × inputs` weights, row-major, then `units` biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panel {
    /// Output width of the whole layer.
    pub total_units: usize,
    /// Input width of the layer.
    pub inputs: usize,
    /// The layer's unit that is this panel's first.
    pub first_unit: usize,
    /// Units in this panel.
    pub units: usize,
}

impl Panel {
    /// A whole layer as one panel.
    pub const fn whole(units: usize, inputs: usize) -> Self {
        Self { total_units: units, inputs, first_unit: 0, units }
    }

    /// Weights, without biases.
    pub const fn weights(&self) -> usize {
        self.units * self.inputs
    }

    /// Weights and biases.
    pub const fn parameters(&self) -> usize {
        self.weights() + self.units
    }

    /// The columns of the layer's output that this panel makes.
    pub const fn columns(&self) -> Range<usize> {
        self.first_unit..self.first_unit + self.units
    }

    /// Floating-point operations of one product of this panel with `rows` samples.
    pub(crate) const fn product_flops(&self, rows: usize) -> usize {
        2 * rows * self.weights()
    }

    /// Whether the panel is a part of its layer, and not empty.
    pub const fn is_inside_layer(&self) -> bool {
        self.inputs > 0 && self.units > 0 && self.first_unit + self.units <= self.total_units
    }

    /// # Panics
    /// If the panel is not inside its layer: a bug of the caller.
    pub(crate) fn assert_inside_layer(&self) {
        assert!(self.is_inside_layer(), "not a part of a layer: {self:?}");
    }
}
