//! A step without a replay: bytes over bandwidth, operations over rate, and the longer of the two. What ranks wait
//! for each other, and what a short window cannot overlap, is left out.

use spillbench_schema::{event::Split, machine::Product, prediction::StepShares};

use super::{StepCost, disk::DiskModel, tables::MachineTables};
use crate::{extent::ExtentKind, network::Network, plan::Plan};

/// The cost of a step.
pub(super) fn step(plan: &Plan, rates: &MachineTables, disk: &DiskModel) -> StepCost {
    let timeline = &plan.timeline;
    let batch = timeline.batch_size as f64;
    let threads = plan.threads.min(rates.cores());
    let concurrent = concurrent_ranks(plan, rates);
    let mut compute_s = 0.0;
    for (index, layer) in plan.network.layers().iter().enumerate() {
        let flops = batch * plan.network.forward_flops(index) as f64;
        let Some(weights) = panel_weights(&plan.network, index) else { continue };
        for product in Product::ALL {
            if product == Product::InputError && layer.input.0 == 0 {
                continue;
            }
            let rows = match product {
                Product::Update => timeline.batch_size,
                Product::Forward | Product::InputError => timeline.chunk_rows(),
            };
            compute_s += flops / rates.product(product, rows as u64, weights, threads);
        }
    }
    compute_s /= concurrent;
    if plan.price.recompute_flops > 0.0 {
        let weights = (0..plan.network.depth()).find_map(|layer| panel_weights(&plan.network, layer));
        let rate =
            rates.product(Product::Forward, timeline.chunk_rows() as u64, weights.unwrap_or(0), threads);
        compute_s += plan.price.recompute_flops / rate / concurrent;
    }
    let state_s = 2.0 * plan.bytes_of(ExtentKind::State) as f64 / rates.memory(threads);
    compute_s += state_s / concurrent;
    let [forward_read, backward] = moved(plan);
    let spilled = plan.activations.spilled_bytes() as f64;
    let (forward_s, backward_s) = (disk.seconds(forward_read, 0.0), disk.seconds(2.0 * backward, 0.5));
    let spilled_s = disk.seconds(2.0 * spilled, 0.5);
    let io_s = forward_s + backward_s + spilled_s;
    if io_s > 0.0 && threads >= rates.cores() {
        // The disk takes its share of the cores as long as it streams.
        compute_s += (1.0 - disk.compute_share) * io_s.min(compute_s / disk.compute_share);
    }
    let step_s = compute_s.max(io_s);
    let compute = if step_s > 0.0 { compute_s / step_s } else { 0.0 };
    let both_ways_s = 0.5 * (backward_s + spilled_s);
    let (read_s, write_s) = (forward_s + both_ways_s, both_ways_s);
    StepCost {
        step_s,
        compute_s,
        read_s,
        write_s,
        bytes_read: forward_read + backward + spilled,
        bytes_written: backward + spilled,
        shares: StepShares { compute, read_wait: 1.0 - compute, ..StepShares::default() },
        ..StepCost::default()
    }
}

/// Seconds of one evaluation of a split.
pub(super) fn evaluation_s(plan: &Plan, split: Split, rates: &MachineTables, disk: &DiskModel) -> f64 {
    let timeline = &plan.timeline;
    let samples = timeline.split_samples(split) as f64;
    let threads = plan.threads.min(rates.cores());
    let compute_s: f64 = (0..plan.network.depth())
        .filter_map(|layer| {
            let weights = panel_weights(&plan.network, layer)?;
            let flops = samples * plan.network.forward_flops(layer) as f64;
            Some(flops / rates.product(Product::Forward, timeline.evaluation_rows as u64, weights, threads))
        })
        .sum();
    let [forward_read, _] = moved(plan);
    let read_s = f64::from(timeline.evaluation_chunks(split)) * disk.seconds(forward_read, 0.0);
    (compute_s / concurrent_ranks(plan, rates)).max(read_s)
}

/// Bytes that a step reads for the forward sweep; and for the backward sweep, which reads and writes as many.
fn moved(plan: &Plan) -> [f64; 2] {
    if plan.memory.resident {
        return [0.0, 0.0];
    }
    let pinned = |kind| -> u64 {
        let of_kind = plan.extents.iter().filter(|extent| extent.kind == kind);
        of_kind
            .filter(|extent| plan.memory.residency.iter().any(|r| r.pinned[plan.extents.index(*extent)]))
            .map(|extent| plan.extents.bytes(extent))
            .sum()
    };
    let weights = plan.bytes_of(ExtentKind::Weights) - pinned(ExtentKind::Weights);
    let state = plan.bytes_of(ExtentKind::State) - pinned(ExtentKind::State);
    // What the window holds where the forward sweep ends is not read again for the backward one.
    let turn = plan.memory.window.min(weights);
    [(weights - turn) as f64, (weights + state) as f64]
}

/// Ranks that compute at once, as far as there are cores for them.
fn concurrent_ranks(plan: &Plan, rates: &MachineTables) -> f64 {
    let room = (rates.cores() as f64 / plan.threads as f64).max(1.0);
    plan.strategy().speedup_bound().min(room).max(1.0)
}

/// Bytes of weights in a layer's first panel.
fn panel_weights(network: &Network, layer: usize) -> Option<u64> {
    let panels = network.layers()[layer].panels.clone();
    let panel = network.panels().get(panels.start as usize).filter(|_| !panels.is_empty())?;
    Some(4 * panel.units.len() as u64 * panel.inputs as u64)
}
