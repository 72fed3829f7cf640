//! Activations whose derivative needs their input: layers of their own, without parameters, by autograd.

use candle_core::{Result, Tensor};
use spillbench_schedule::PanelGeometry;
use spillbench_schema::config::Activation;

use super::Layer;

/// y = activation(x).
pub struct Elementwise {
    activation: Activation,
}

impl Elementwise {
    /// # Panics
    /// If the activation is one that the linear layer fuses.
    pub fn new(activation: Activation) -> Self {
        assert!(matches!(activation, Activation::Gelu | Activation::Silu), "{activation:?} is fused");
        Self { activation }
    }
}

impl Layer for Elementwise {
    fn definition(&self, x: &Tensor, _: Option<(&PanelGeometry, &Tensor)>) -> Result<Tensor> {
        match self.activation {
            Activation::Silu => x.silu(),
            _ => x.gelu(),
        }
    }
}
