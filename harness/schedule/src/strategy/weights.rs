//! Layer-wise, exchanging weights: once in K steps all groups publish their weights. In between, each group runs
//! the published network with its own live layers, and updates only these.
//!
//! At K = 1 every group computes the gradient of `single`, bit for bit.

use spillbench_schema::{config::Layerwise, event::Split};

use super::{
    Places, Strategy, Workspace,
    groups::Groups,
    sweep::{self, first_slots},
};
use crate::{
    network::{Boundary, Network, PanelId},
    op::{ErrorFlow, Op, Rank, Slot, SlotRange, Source, Version},
    timeline::Timeline,
};

pub struct Weights {
    network: Network,
    timeline: Timeline,
    groups: Groups,
}

impl Weights {
    pub fn new(network: Network, timeline: Timeline, layerwise: &Layerwise) -> Self {
        let groups = Groups::new(&network, layerwise);
        Self { network, timeline, groups }
    }

    fn slots(&self) -> SlotRange {
        first_slots(self.timeline.chunks())
    }

    fn publish(&self, rank: Rank, ops: &mut Vec<Op>) {
        ops.push(Op::Barrier);
        for layer in self.groups.chain.span(rank) {
            for panel in self.network.layers()[layer].panels.clone() {
                ops.push(Op::Publish { panel: PanelId(panel) });
            }
        }
        ops.push(Op::Barrier);
    }

    /// The published network with this group's live layers: forward through all of it, backward down to the group.
    fn train_group(&self, group: usize, step: u64, ops: &mut Vec<Op>) {
        let slots = self.slots();
        let own = self.groups.layers[group].clone();
        let depth = self.network.depth();
        let version = |layer| if own.contains(&layer) { Version::Live } else { Version::Snapshot };
        sweep::forward(&self.network, 0..depth, slots, version, ops);
        for (chunk, slot) in (0..).zip(slots.iter()) {
            let record = self.groups.is_last(group).then_some((step, chunk));
            ops.push(Op::Loss { slot, at: self.network.output(), record });
        }
        let above = own.end..depth;
        if !above.is_empty() {
            let flow = ErrorFlow::Assign;
            sweep::backward(&self.network, above, slots, version, flow, sweep::no_update, ops);
        }
        let update = sweep::update(slots);
        sweep::backward(&self.network, own.clone(), slots, version, ErrorFlow::Stop, update, ops);
    }
}

impl Strategy for Weights {
    fn ranks(&self) -> usize {
        self.groups.chain.ranks()
    }

    fn step(&self, rank: Rank, step: u64, ops: &mut Vec<Op>) {
        if self.groups.interval_from(step, &self.timeline).is_some() {
            self.publish(rank, ops);
        }
        for (chunk, slot) in (0..).zip(self.slots().iter()) {
            ops.push(Op::Load { source: Source::Train { step, chunk }, slot, values: true });
        }
        for group in self.groups.of(rank) {
            self.train_group(group, step, ops);
        }
    }

    fn evaluate(&self, rank: Rank, split: Split, ops: &mut Vec<Op>) {
        let slot = Slot(self.slots().count);
        self.groups.chain.evaluate(&self.network, &self.timeline, rank, slot, split, ops);
    }

    fn workspace(&self, rank: Rank) -> Workspace {
        let boundaries: Vec<_> =
            (0..=self.network.depth()).map(|boundary| Boundary(boundary as u16)).collect();
        Workspace {
            values: Places::own(&boundaries),
            errors: Places::alternating(&boundaries[1..]),
            ..self.groups.chain.workspace(rank, self.timeline.chunks())
        }
    }

    fn owned_layers(&self, rank: Rank) -> Vec<usize> {
        self.groups.chain.span(rank).collect()
    }

    fn has_snapshots(&self) -> bool {
        true
    }

    fn queue_capacity(&self) -> usize {
        2
    }

    fn queue_bytes(&self) -> u64 {
        2 * self.groups.chain.boundary_bytes(&self.network, self.timeline.evaluation_rows)
    }

    /// Forward through the network for every group, and backward down to it.
    fn speedup_bound(&self) -> f64 {
        let flops = |layers: std::ops::Range<usize>| -> u64 {
            layers.map(|layer| self.network.forward_flops(layer)).sum()
        };
        let depth = self.network.depth();
        let cost = |rank| -> u64 {
            self.groups
                .of(Rank(rank as u16))
                .map(|group| {
                    let own = self.groups.layers[group].clone();
                    flops(0..depth) + flops(own.end..depth) + 2 * flops(own)
                })
                .sum()
        };
        let largest = (0..self.ranks()).map(cost).max().unwrap_or(1).max(1);
        3.0 * flops(0..depth) as f64 / largest as f64
    }
}
