//! Layers: what they compute, defined by candle operations, and how the hot ones compute it.
//!
//! A layer is defined by [`Layer::definition`] alone: its other methods have defaults made from it by candle's
//! autograd. Layers on the hot path override them with fused kernels, and one conformance test holds every override
//! against its default.

mod elementwise;
mod linear;

use candle_core::{Device, Result, Tensor, Var};
use spillbench_kernels::{Chunk, Panel, Parameters, ParametersMut, UpdateRule};
use spillbench_schedule::{Layer as Geometry, LayerKind, PanelGeometry};

pub use self::{elementwise::Elementwise, linear::Linear};
use crate::tensor;

/// A panel in memory: which, and its parameters, `[W | b]`.
#[derive(Clone, Copy)]
pub struct PanelView<'a> {
    /// Which rows of the layer.
    pub geometry: &'a PanelGeometry,
    /// Their parameters.
    pub parameters: Parameters<'a>,
}

/// Where the error at a layer's input goes.
pub struct InputError<'a> {
    /// The error at the input, `[rows × inputs]`.
    pub values: &'a mut [f32],
    /// Added to what is there, rather than written over it.
    pub accumulate: bool,
}

/// What a gradient is formed from, and how it is applied.
pub struct UpdateContext<'a> {
    /// The panel, as kernels see it.
    pub panel: Panel,
    /// How the mean gradient changes parameters.
    pub rule: UpdateRule,
    /// 1 / samples of the mini-batch.
    pub scale: f32,
    /// The micro-batches of each shard.
    pub shards: &'a [&'a [Chunk<'a>]],
    /// The update is folded into the product.
    pub folded: bool,
}

/// One layer. Values and errors are matrices `[rows × width]`, row-major.
pub trait Layer: Send + Sync {
    /// What it computes: outputs `[rows × outputs]` from inputs `[rows × inputs]` and a panel's parameters, in
    /// operations that candle can differentiate. A layer with several panels is asked for one panel's outputs.
    ///
    /// # Errors
    /// A tensor operation failed.
    fn definition(&self, x: &Tensor, parameters: Option<(&PanelGeometry, &Tensor)>) -> Result<Tensor>;

    /// Writes the panel's columns of the output.
    ///
    /// # Errors
    /// A tensor operation failed.
    fn forward(&self, panel: Option<PanelView>, x: &[f32], y: &mut [f32], rows: usize) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        let parameters = panel.map(parameter_tensor).transpose()?;
        let x = matrix(x, rows)?;
        let output = self.definition(&x, panel.map(|panel| panel.geometry).zip(parameters.as_ref()))?;
        let output = output.contiguous()?;
        let output = tensor::Values::of(&output)?;
        let columns = panel.map(|panel| panel.geometry.units.clone());
        copy_columns(output.as_slice(), y, rows, columns);
        Ok(())
    }

    /// Takes the error at the panel's outputs, `dy`, and passes it on to the input. It may leave another quantity in
    /// the panel's columns of `dy`: whatever its own [`Layer::gradient`] takes as `dz`.
    ///
    /// # Errors
    /// A tensor operation failed.
    fn backward(
        &self,
        panel: Option<PanelView>,
        x: &[f32],
        _y: &[f32],
        dy: &mut [f32],
        dx: Option<InputError>,
        rows: usize,
    ) -> Result<()> {
        let Some(dx) = dx.filter(|_| rows > 0) else { return Ok(()) };
        let parameters = panel.map(parameter_tensor).transpose()?;
        let x = Var::from_tensor(&matrix(x, rows)?)?;
        let output = self.definition(&x, panel.map(|panel| panel.geometry).zip(parameters.as_ref()))?;
        let dy = matrix(dy, rows)?;
        let dy = match panel {
            Some(panel) => dy.narrow(1, panel.geometry.units.start, panel.geometry.units.len())?,
            None => dy,
        };
        let gradients = (output * dy)?.sum_all()?.backward()?;
        // An output that ignores its input passes no error on.
        let error = gradients.get(&x).map_or_else(|| x.zeros_like(), Tensor::contiguous)?;
        let error = tensor::Values::of(&error)?;
        let values = dx.values.iter_mut().zip(error.as_slice());
        if dx.accumulate {
            values.for_each(|(dx, error)| *dx += error);
        } else {
            values.for_each(|(dx, error)| *dx = *error);
        }
        Ok(())
    }

    /// Writes a panel's gradient, summed over all samples of all shards, to `out`, `[dW | db]`.
    ///
    /// # Errors
    /// A tensor operation failed.
    fn gradient(&self, panel: PanelView, shards: &[&[Chunk]], out: &mut [f32]) -> Result<()> {
        let mut parts: Vec<Vec<f32>> = Vec::with_capacity(shards.len());
        for shard in shards {
            let mut sum = vec![0.0; out.len()];
            for chunk in shard.iter().filter(|chunk| chunk.rows > 0) {
                let part = self.autograd_gradient(panel, chunk)?;
                spillbench_kernels::add(&mut sum, tensor::Values::of(&part)?.as_slice());
            }
            parts.push(sum);
        }
        crate::reduction::tree(&mut parts.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>());
        out.copy_from_slice(&parts[0]);
        Ok(())
    }

    /// The gradient of one chunk by candle's autograd, flat.
    ///
    /// # Errors
    /// A tensor operation failed.
    fn autograd_gradient(&self, panel: PanelView, chunk: &Chunk) -> Result<Tensor> {
        let parameters = Var::from_tensor(&parameter_tensor(panel)?)?;
        let output = self.definition(&matrix(chunk.x, chunk.rows)?, Some((panel.geometry, &parameters)))?;
        let dy = matrix(chunk.dz, chunk.rows)?.narrow(
            1,
            panel.geometry.units.start,
            panel.geometry.units.len(),
        )?;
        let gradients = (output * dy)?.sum_all()?.backward()?;
        match gradients.get(&parameters) {
            Some(gradient) => gradient.flatten_all()?.contiguous(),
            None => parameters.zeros_like(),
        }
    }

    /// Forms the gradient and applies it to `parameters` and the optimizer's `state`.
    ///
    /// # Errors
    /// A tensor operation failed.
    fn update(
        &self,
        geometry: &PanelGeometry,
        context: &UpdateContext,
        parameters: ParametersMut,
        state: &mut [f32],
    ) -> Result<()> {
        let view = PanelView { geometry, parameters: parameters.as_parameters() };
        let mut gradient = vec![0.0; view.parameters.len()];
        self.gradient(view, context.shards, &mut gradient)?;
        spillbench_kernels::apply(&context.panel, &gradient, parameters, state, &context.rule, context.scale);
        Ok(())
    }
}

/// The implementation of a layer.
pub fn build(layer: &Geometry) -> Box<dyn Layer> {
    match layer.kind {
        LayerKind::Linear(activation) => Box::new(Linear::new(layer.inputs, layer.outputs, activation)),
        LayerKind::Elementwise(activation) => Box::new(Elementwise::new(activation)),
    }
}

/// A panel as kernels see it.
pub fn kernel_panel(layer: &Geometry, panel: &PanelGeometry) -> Panel {
    Panel {
        total_units: layer.outputs,
        inputs: panel.inputs,
        first_unit: panel.units.start,
        units: panel.units.len(),
    }
}

fn parameter_tensor(panel: PanelView) -> Result<Tensor> {
    Tensor::from_vec(panel.parameters.to_f32(), panel.parameters.len(), &Device::Cpu)
}

fn matrix(values: &[f32], rows: usize) -> Result<Tensor> {
    Tensor::from_slice(values, (rows, values.len() / rows), &Device::Cpu)
}

/// Copies `rows` rows into columns of `y`; into all of them where `columns` is none.
fn copy_columns(values: &[f32], y: &mut [f32], rows: usize, columns: Option<std::ops::Range<usize>>) {
    let width = y.len() / rows;
    let columns = columns.unwrap_or(0..width);
    for (target, source) in y.chunks_exact_mut(width).zip(values.chunks_exact(columns.len())) {
        target[columns.clone()].copy_from_slice(source);
    }
}

#[cfg(test)]
mod tests;
