//! Which values to keep, spill or recompute: ways to choose, and what each costs.
//!
//! - The backward pass needs the earliest values last: they are the first to leave, because the memory they free is
//!   free for longest (Belady's rule, on a palindrome).
//! - Of a boundary, spilling costs a write and a read of its bytes, whatever made them; recomputing costs the forward
//!   pass of the layer below, and a third read of its weights where these are not resident. Per byte the first is
//!   constant, the second grows with the layer's inputs: narrow and elementwise layers are recomputed, wide ones
//!   spilled.
//! - A run of recomputed boundaries is in memory at once when the backward pass comes to it. So recomputing needs
//!   boundaries between runs (Chen et al. 2016, sublinear memory): runs of every length are tried.
//!
//! What is compared is the time of a whole step, because a byte of memory that values do not take pins a byte of
//! parameters, and that saves I/O too: three bytes a step for weights, two for state.

use std::ops::Range;

use serde::Serialize;
use spillbench_schema::{Rates, config::ActivationPolicy};

use super::{ActivationPlan, Policy};
use crate::{
    extent::{ExtentKind, Extents},
    network::{Boundary, LayerId, Network},
    timeline::Timeline,
};

/// One way to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What becomes of the values at each boundary.
    pub plan: ActivationPlan,
    /// Whether the pool has room to read and write while layers compute.
    pub overlaps: bool,
}

/// What a step costs, as counted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Price {
    /// Bytes of parameters, optimizer state and values that are read.
    pub read_bytes: u64,
    /// Bytes of them that are written.
    pub written_bytes: u64,
    /// Floating-point operations spent on computing values again.
    pub recompute_flops: f64,
    /// Seconds, at the rates given.
    pub seconds: f64,
}

/// The ways to choose that `policy` allows, the one that keeps everything first, each made when it is asked for: it is
/// as long as the network is deep. `spills` is whether anything may leave memory.
pub fn candidates(
    kept: &ActivationPlan,
    policy: ActivationPolicy,
    spills: bool,
    network: &Network,
    timeline: &Timeline,
    rates: &Rates,
) -> impl Iterator<Item = Candidate> {
    let depth = kept.policies().len();
    let ways = match policy {
        ActivationPolicy::Keep => vec![Way::Kept],
        ActivationPolicy::Spill => vec![Way::Early { end: depth, mixed: false }],
        ActivationPolicy::Recompute => {
            let runs = run_lengths(depth).map(|run| Way::Runs { run, end: depth, between: Policy::Keep });
            runs.min_by_key(|way| way.plan(kept, &[]).pool()).into_iter().collect()
        }
        ActivationPolicy::Auto => automatic_ways(depth, spills),
    };
    let cheap: Vec<bool> =
        (0..depth).map(|at| recomputing_is_cheaper(kept, at, network, timeline, rates)).collect();
    ways.into_iter().flat_map(move |way| with_and_without_overlap(way.plan(kept, &cheap)))
}

/// A way to choose, by what tells it apart from others.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Everything stays.
    Kept,
    /// The earliest `end` boundaries are spilled; if `mixed`, recomputed where that is cheaper.
    Early { end: usize, mixed: bool },
    /// Of the earliest `end` boundaries, every `run`-th is `between`, the others are recomputed.
    Runs { run: usize, end: usize, between: Policy },
}

impl Way {
    /// `cheap` tells of each boundary whether recomputing it is cheaper than spilling it.
    fn plan(self, kept: &ActivationPlan, cheap: &[bool]) -> ActivationPlan {
        let depth = kept.policies().len();
        let alone = if matches!(self, Self::Early { mixed: true, .. }) { alone(cheap) } else { Vec::new() };
        let policy = |at: usize| match self {
            Self::Early { end, mixed: true } if at < end && alone[at] => Policy::Recompute,
            Self::Early { end, .. } if at < end => spill_or_reload(at),
            Self::Runs { run, end, between } if at < end => in_runs(at, run, between),
            _ => Policy::Keep,
        };
        if matches!(self, Self::Kept) {
            return kept.clone();
        }
        kept.with((0..depth).map(|at| if at + 1 == depth { Policy::Keep } else { policy(at) }).collect())
    }
}

/// Boundaries that are looked at in all, over the ways that are weighed: what planning costs. Networks of some 500 layers
/// stay below it.
const WEIGHED: usize = 1 << 22;

/// The ways between which `auto` decides. In very deep networks ends lie further apart; the last end, at which all that
/// may leave does, is always among them, so that a budget fits whatever is left out.
fn automatic_ways(depth: usize, spills: bool) -> Vec<Way> {
    let lengths = run_lengths(depth).count();
    let all: usize = 2 * depth + 2 * run_lengths(depth).map(|run| depth.div_ceil(run)).sum::<usize>();
    let families = 2 + 2 * lengths;
    let room = (WEIGHED / depth.max(1)).max(families);
    let stride = if all <= room { 1 } else { all.div_ceil(room) };
    let mut ways = vec![Way::Kept];
    for end in spread(1..depth, 1, stride) {
        if spills || end == 1 {
            ways.push(Way::Early { end, mixed: false });
        }
        if spills {
            ways.push(Way::Early { end, mixed: true });
        }
    }
    for run in run_lengths(depth) {
        for end in spread(run..depth + run, run, stride) {
            ways.push(Way::Runs { run, end, between: Policy::Keep });
            if spills {
                ways.push(Way::Runs { run, end, between: Policy::Spill });
            }
        }
    }
    ways
}

/// Every `step`-th of a range, of those every `stride`-th, and the first and the last.
fn spread(range: Range<usize>, step: usize, stride: usize) -> impl Iterator<Item = usize> {
    let count = range.len().div_ceil(step);
    range
        .step_by(step)
        .enumerate()
        .filter(move |(index, _)| index.is_multiple_of(stride) || index + 1 == count)
        .map(|(_, end)| end)
}

/// The input is never spilled: the samples are in memory anyway.
const fn spill_or_reload(at: usize) -> Policy {
    if at == 0 { Policy::Recompute } else { Policy::Spill }
}

/// Every `run`-th boundary stays in some way, those between are recomputed.
const fn in_runs(at: usize, run: usize, between: Policy) -> Policy {
    if at == 0 || !at.is_multiple_of(run) { Policy::Recompute } else { between }
}

/// Memory is least near the square root of the depth, and what is computed again grows with every length.
fn run_lengths(depth: usize) -> impl Iterator<Item = usize> {
    2..=(2 * depth.isqrt()).max(2)
}

/// By boundary, whether it is recomputed where every one that is cheaper to recompute is, but no two neighbours: a run
/// of them would be in memory at once.
fn alone(cheap: &[bool]) -> Vec<bool> {
    let mut run = 0_usize;
    let alone = |(at, cheap): (usize, &bool)| {
        run = if *cheap { run + 1 } else { 0 };
        at == 0 || run % 2 == 1
    };
    cheap.iter().enumerate().map(alone).collect()
}

fn recomputing_is_cheaper(
    plan: &ActivationPlan,
    at: usize,
    network: &Network,
    timeline: &Timeline,
    rates: &Rates,
) -> bool {
    let Some(layer) = at.checked_sub(1) else { return false };
    let flops = timeline.chunk_rows() as u64 * network.forward_flops(layer);
    let bytes = plan.bytes(Boundary(at as u16));
    rates.compute_s(flops as f64) < rates.io_s(bytes, bytes)
}

fn with_and_without_overlap(plan: ActivationPlan) -> Vec<Candidate> {
    if plan.spilled_bytes() == 0 {
        return vec![Candidate { plan, overlaps: true }];
    }
    let roomy = Candidate { plan: plan.clone().with_room_to_overlap(), overlaps: true };
    vec![roomy, Candidate { plan, overlaps: false }]
}

impl Price {
    /// By time; of equal times, where I/O hides behind what is computed, by bytes.
    pub fn is_less_than(&self, other: &Self) -> bool {
        let key = |price: &Self| (price.seconds, price.read_bytes + price.written_bytes);
        key(self) < key(other)
    }
}

impl Candidate {
    /// What a step costs where `capacity` bytes are left for parameters and optimizer state.
    pub fn price(
        &self,
        network: &Network,
        extents: &Extents,
        timeline: &Timeline,
        capacity: u64,
        rates: &Rates,
    ) -> Price {
        let bytes =
            |kind| -> u64 { extents.iter().filter(|e| e.kind == kind).map(|e| extents.bytes(e)).sum() };
        let (weights, state) = (bytes(ExtentKind::Weights), bytes(ExtentKind::State));
        let (absent_weights, absent) =
            (weights.saturating_sub(capacity), (weights + state).saturating_sub(capacity));
        let again: u64 = self.recomputed_layers().map(|layer| network.forward_flops(layer)).sum();
        let batch_size = timeline.batch_size as f64;
        let recompute_flops = batch_size * again as f64;
        let spilled = self.plan.spilled_bytes();
        // Weights are read forward, backward, and wherever values are computed again.
        let again: u64 = self.recomputed_layers().map(|layer| layer_weights(network, extents, layer)).sum();
        let again =
            if weights == 0 { 0 } else { (again as f64 * absent_weights as f64 / weights as f64) as u64 };
        let read_bytes = absent_weights + absent + again + spilled;
        let written_bytes = absent + spilled;
        let flops: u64 = (0..network.depth()).map(|layer| network.forward_flops(layer)).sum();
        let compute = rates.compute_s(3.0 * batch_size * flops as f64 + recompute_flops);
        let io = rates.io_s(read_bytes, written_bytes);
        let seconds = if self.overlaps { compute.max(io) } else { compute + io };
        Price { read_bytes, written_bytes, recompute_flops, seconds }
    }

    fn recomputed_layers(&self) -> impl Iterator<Item = usize> + '_ {
        let policies = self.plan.policies().iter().enumerate().skip(1);
        policies.filter(|(_, policy)| **policy == Policy::Recompute).map(|(at, _)| at - 1)
    }
}

fn layer_weights(network: &Network, extents: &Extents, layer: usize) -> u64 {
    let id = LayerId(layer as u16);
    let panels = network.layer(id).panels.clone();
    panels.map(|panel| extents.bytes(crate::Extent::weights(crate::PanelId(panel)))).sum()
}
