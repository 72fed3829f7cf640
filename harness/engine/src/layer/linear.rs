//! The fully connected layer, y = activation(x·Wᵀ + b), on fused kernels.

use candle_core::{Result, Tensor};
use candle_nn::Module;
use spillbench_kernels::{self as kernels, Chunk, OutputActivation, Panel, ParametersMut};
use spillbench_schedule::PanelGeometry;
use spillbench_schema::config::Activation;

use super::{InputError, Layer, PanelView, UpdateContext};
/// A fully connected layer with an activation whose derivative is a function of its output.
pub struct Linear {
    inputs: usize,
    outputs: usize,
    activation: OutputActivation,
}

impl Linear {
    /// # Panics
    /// If the activation needs its input for its derivative: the schedule makes such ones layers of their own.
    pub fn new(inputs: usize, outputs: usize, activation: Activation) -> Self {
        let activation = match activation {
            Activation::Identity => OutputActivation::Identity,
            Activation::Relu => OutputActivation::Relu,
            Activation::LeakyRelu => OutputActivation::LeakyRelu,
            Activation::Sigmoid => OutputActivation::Sigmoid,
            Activation::Tanh => OutputActivation::Tanh,
            Activation::Gelu | Activation::Silu => panic!("{activation:?} is a layer of its own"),
        };
        Self { inputs, outputs, activation }
    }

    fn panel(&self, geometry: &PanelGeometry) -> Panel {
        Panel {
            total_units: self.outputs,
            inputs: self.inputs,
            first_unit: geometry.units.start,
            units: geometry.units.len(),
        }
    }
}

impl Layer for Linear {
    fn definition(&self, x: &Tensor, parameters: Option<(&PanelGeometry, &Tensor)>) -> Result<Tensor> {
        let Some((geometry, parameters)) = parameters else {
            candle_core::bail!("a linear layer has panels")
        };
        let units = geometry.units.len();
        let weights = parameters.narrow(0, 0, units * self.inputs)?.reshape((units, self.inputs))?;
        let biases = parameters.narrow(0, units * self.inputs, units)?;
        let z = candle_nn::Linear::new(weights, Some(biases)).forward(x)?;
        match self.activation {
            OutputActivation::Identity => Ok(z),
            OutputActivation::Relu => z.relu(),
            OutputActivation::LeakyRelu => candle_nn::ops::leaky_relu(&z, 0.01),
            OutputActivation::Sigmoid => candle_nn::ops::sigmoid(&z),
            OutputActivation::Tanh => z.tanh(),
        }
    }

    fn forward(&self, panel: Option<PanelView>, x: &[f32], y: &mut [f32], rows: usize) -> Result<()> {
        let Some(view) = panel else { candle_core::bail!("a linear layer has panels") };
        let panel = self.panel(view.geometry);
        kernels::forward(&panel, view.parameters, x, y, rows, self.activation);
        Ok(())
    }

    fn backward(
        &self,
        panel: Option<PanelView>,
        _x: &[f32],
        y: &[f32],
        dy: &mut [f32],
        dx: Option<InputError>,
        rows: usize,
    ) -> Result<()> {
        let Some(view) = panel else { candle_core::bail!("a linear layer has panels") };
        let panel = self.panel(view.geometry);
        kernels::activation_backward(&panel, y, dy, rows, self.activation);
        if let Some(InputError { values, accumulate }) = dx {
            kernels::input_error(&panel, view.parameters, dy, values, rows, accumulate);
        }
        Ok(())
    }

    fn gradient(&self, panel: PanelView, shards: &[&[Chunk]], out: &mut [f32]) -> Result<()> {
        kernels::gradient(&self.panel(panel.geometry), shards, out);
        Ok(())
    }

    fn update(
        &self,
        _: &PanelGeometry,
        context: &UpdateContext,
        parameters: ParametersMut,
        state: &mut [f32],
    ) -> Result<()> {
        let UpdateContext { panel, scale, .. } = context;
        match (context.folded, parameters, context.rule, context.shards) {
            (true, ParametersMut::F32(values), kernels::UpdateRule::Sgd { learning_rate }, [[chunk]]) => {
                kernels::update_folded(panel, chunk, values, learning_rate, *scale);
            }
            (_, parameters, rule, shards) => {
                kernels::update(panel, shards, parameters, state, &rule, *scale);
            }
        }
        Ok(())
    }
}
