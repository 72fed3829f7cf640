//! The shape of a network.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits;
use crate::units::Bytes;

/// A network: its input shape and its layers, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Dimensions of one sample, e.g. `[784]`.
    #[schemars(length(min = 1), inner(range(min = 1, max = limits::WIDTH)))]
    pub input: Vec<usize>,
    /// The layers, input to output.
    #[schemars(length(min = 1))]
    pub layers: Vec<LayerSpec>,
    /// The most bytes of weights in one panel, the unit of residency and I/O, at 4 bytes a weight whatever
    /// `train.precision` is. The cut into panels depends on this and the layer's shape alone.
    #[serde(default = "default_panel")]
    pub panel: Bytes,
}

const fn default_panel() -> Bytes {
    Bytes(16 << 20)
}

/// One layer as a scenario writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerSpec {
    /// A fully connected layer: y = activation(x·Wᵀ + b).
    Linear(Linear),
}

/// A fully connected layer: y = activation(x·Wᵀ + b).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Output width.
    #[schemars(range(min = 1, max = limits::WIDTH))]
    pub units: usize,
    /// The function applied to each output.
    #[serde(default)]
    pub activation: Activation,
    /// How many such layers follow each other.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = limits::LAYERS))]
    pub repeat: usize,
}

const fn one() -> usize {
    1
}

/// The function applied to each output of a layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// z
    #[default]
    Identity,
    /// max(z, 0)
    Relu,
    /// z if z > 0, else 0.01 z
    LeakyRelu,
    /// 1 / (1 + e⁻ᶻ)
    Sigmoid,
    /// tanh z
    Tanh,
    /// z Φ(z), in the tanh approximation (Hendrycks and Gimpel 2016)
    Gelu,
    /// z · sigmoid(z) (also called swish)
    Silu,
}

/// The most units in a panel of a layer of so many inputs: whole rows of weights that fit, at least one.
pub fn panel_rows(panel: Bytes, inputs: usize) -> usize {
    let row_bytes = 4_u64.saturating_mul(inputs as u64).max(1);
    let fitting = usize::try_from((panel.0 / row_bytes).max(1)).unwrap_or(usize::MAX);
    // Whole vectors of rows where a panel holds several: products are fastest on them.
    if fitting >= 16 { fitting / 16 * 16 } else { fitting }
}

impl NetworkConfig {
    /// Layers after `repeat`. A layer's activation belongs to it, also where it is computed apart (GELU, `SiLU`).
    pub fn layer_count(&self) -> usize {
        self.layers.iter().fold(0, |count, LayerSpec::Linear(linear)| count.saturating_add(linear.repeat))
    }

    /// Weights and biases; none where the sum overflows.
    pub fn parameters(&self) -> Option<u64> {
        self.shapes()?.try_fold(0_u64, |sum, (inputs, units, repeat)| {
            inputs.checked_add(1)?.checked_mul(units)?.checked_mul(repeat)?.checked_add(sum)
        })
    }

    /// Panels that the layers are cut into; none where the sum overflows.
    pub fn panel_count(&self) -> Option<u64> {
        self.shapes()?.try_fold(0_u64, |sum, (inputs, units, repeat)| {
            let rows = usize::try_from(inputs).map_or(1, |inputs| panel_rows(self.panel, inputs));
            units.div_ceil(u64::try_from(rows).ok()?).checked_mul(repeat)?.checked_add(sum)
        })
    }

    /// Inputs, units and how many, of layers that follow each other and have the same shape.
    fn shapes(&self) -> Option<impl Iterator<Item = (u64, u64, u64)>> {
        let mut width = self.input_len()? as u64;
        Some(self.layers.iter().flat_map(move |LayerSpec::Linear(linear)| {
            let (inputs, units) = (width, linear.units as u64);
            width = units;
            [(inputs, units, 1), (units, units, (linear.repeat as u64).saturating_sub(1))]
        }))
    }

    /// Values in one sample; none where the product overflows.
    pub fn input_len(&self) -> Option<usize> {
        self.input.iter().try_fold(1_usize, |product, dimension| product.checked_mul(*dimension))
    }
}
