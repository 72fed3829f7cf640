//! What an operation costs: products, memory traffic beside them, and waits of a fixed length.

use spillbench_schema::machine::Product;

use super::tables::MachineTables;
use crate::{
    extent::Extent,
    network::{LayerId, LayerKind, PanelId},
    op::{ErrorFlow, Op},
    plan::Plan,
};

/// The cost of a part of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Work {
    /// Which product, of how many samples, with how many bytes of weights.
    product: Option<(Product, u64, u64)>,
    flops: f64,
    /// Bytes read and written in memory beside the product's own.
    memory: f64,
    /// Of the product, that it cannot do without.
    streamed: f64,
    /// By one thread.
    alone: bool,
}

/// Reads and writes of memory for each value that an elementwise layer passes on, by tensor operations.
const ELEMENTWISE_PASSES: f64 = 12.0;

impl Work {
    /// Memory traffic by one thread.
    pub fn copy(bytes: f64) -> Self {
        Self { memory: bytes, alone: true, ..Self::default() }
    }

    /// Memory traffic by all threads of a rank.
    fn traffic(bytes: f64) -> Self {
        Self { memory: bytes, ..Self::default() }
    }

    /// Threads that it keeps busy, of a rank that has `threads`.
    pub const fn threads(&self, threads: usize) -> usize {
        if self.alone { 1 } else { threads }
    }

    /// Seconds that it takes by `threads` threads while `active` threads compute in all, these included; and of them
    /// those in which memory is the limit.
    pub fn seconds(&self, rates: &MachineTables, threads: usize, active: usize) -> (f64, f64) {
        let usable = active.min(rates.cores());
        let part = self.threads(threads) as f64 / active as f64;
        let memory = rates.memory(usable) * part;
        let mut seconds = self.memory / memory;
        let mut bound = seconds;
        if let Some((product, rows, weights)) = self.product {
            let product_s = self.flops / (rates.product(product, rows, weights, usable) * part);
            seconds += product_s;
            if self.streamed / memory > 0.6 * product_s {
                bound += product_s;
            }
        }
        (seconds, bound)
    }

    /// A panel's part of a forward product.
    pub fn forward(plan: &Plan, layer: LayerId, panel: Option<PanelId>, rows: u64) -> Self {
        match panel {
            Some(panel) => Self::multiply(plan, Product::Forward, panel, rows),
            None => Self::elementwise(plan, layer, rows),
        }
    }

    /// A panel's errors, and their way to the layer's input.
    pub fn backward(plan: &Plan, layer: LayerId, panel: Option<PanelId>, rows: u64, flow: ErrorFlow) -> Self {
        let Some(panel) = panel else { return Self::elementwise(plan, layer, rows) };
        let units = plan.network.panel(panel).units.len() as f64;
        // y and dy are read, dz is written.
        let activation = 12.0 * rows as f64 * units;
        match flow {
            ErrorFlow::Stop => Self::traffic(activation),
            _ => Self { memory: activation, ..Self::multiply(plan, Product::InputError, panel, rows) },
        }
    }

    /// A panel's gradient of `rows` samples, applied.
    pub fn update(plan: &Plan, panel: PanelId, rows: u64) -> Self {
        let state = if plan.extents.has_state() { plan.extents.payload(Extent::state(panel)) } else { 0 };
        // State is read and written.
        Self { memory: 2.0 * state as f64, ..Self::multiply(plan, Product::Update, panel, rows) }
    }

    /// The parts of `ranks` ranks combined and applied, by one thread.
    pub fn combine(plan: &Plan, panel: PanelId, ranks: usize) -> Self {
        // Parts are f32, whatever parameters are kept in.
        let bytes = 4.0 * plan.network.panel(panel).parameters() as f64;
        let state = if plan.extents.has_state() { plan.extents.payload(Extent::state(panel)) } else { 0 };
        Self::copy(3.0 * ranks as f64 * bytes + 2.0 * state as f64)
    }

    /// Rows of values at a boundary's width, `bytes` of traffic for each value.
    pub fn values(rows: u64, width: usize, bytes: f64) -> Self {
        Self::copy(bytes * rows as f64 * width as f64)
    }

    fn multiply(plan: &Plan, product: Product, panel: PanelId, rows: u64) -> Self {
        let geometry = plan.network.panel(panel);
        let (units, inputs) = (geometry.units.len() as f64, geometry.inputs as f64);
        let weights = 4.0 * units * inputs;
        let passes = if product == Product::Update { 2.0 } else { 1.0 };
        Self {
            product: Some((product, rows, weights as u64)),
            flops: 2.0 * rows as f64 * units * inputs,
            streamed: passes * plan.extents.payload(Extent::weights(panel)) as f64,
            ..Self::default()
        }
    }

    fn elementwise(plan: &Plan, layer: LayerId, rows: u64) -> Self {
        let layer = plan.network.layer(layer);
        debug_assert!(matches!(layer.kind, LayerKind::Elementwise(_)), "only these have no panels");
        Self::copy(4.0 * ELEMENTWISE_PASSES * rows as f64 * layer.outputs as f64)
    }
}

/// Whether an operation belongs to an evaluation.
pub(super) const fn begins_evaluation(op: &Op) -> bool {
    matches!(op, Op::Load { source: crate::op::Source::Evaluate { .. }, .. })
}
