//! Layer-wise with local losses (decoupled greedy learning, Belilovsky et al. 2020): each group trains on a loss of
//! its own through a small auxiliary head. Activations flow forward in blocks of K mini-batches, first in first
//! out; nothing flows back.
//!
//! What a group computes is decided by the sequence of its inputs alone, so the result has the same bits for every
//! K, every number of ranks and every timing.

use std::ops::Range;

use spillbench_schema::{config::Layerwise, event::Split};

use super::{
    Places, Strategy, Workspace,
    groups::Groups,
    sweep::{self, first_slots, live},
};
use crate::{
    network::Network,
    op::{ErrorFlow, Op, Rank, Slot, SlotRange, Source},
    timeline::Timeline,
};

pub struct LocalLoss {
    network: Network,
    timeline: Timeline,
    groups: Groups,
}

impl LocalLoss {
    /// For a network whose heads are those of the groups, last group left out, in order.
    pub fn new(network: Network, timeline: Timeline, layerwise: &Layerwise) -> Self {
        let groups = Groups::new(&network, layerwise);
        Self { network, timeline, groups }
    }

    fn slots(&self) -> SlotRange {
        first_slots(self.timeline.chunks())
    }

    /// The layer that is a group's head; the last group needs none.
    fn head(&self, group: usize) -> Option<Range<usize>> {
        let head = self.network.depth() + group;
        (!self.groups.is_last(group)).then_some(head..head + 1)
    }

    /// Whether activations are passed on after `done` steps: K mini-batches are full, or all is drained because an
    /// evaluation or the end comes next.
    fn block_ends(&self, done: u64) -> bool {
        done.is_multiple_of(self.groups.interval) || self.timeline.next_evaluation(done - 1) == done
    }

    fn train_group(&self, group: usize, step: u64, ops: &mut Vec<Op>) {
        let slots = self.slots();
        let layers = self.groups.layers[group].clone();
        sweep::forward(&self.network, layers.clone(), slots, live, ops);
        if let Some(head) = self.head(group) {
            let at = self.network.layers()[head.start].output;
            sweep::forward(&self.network, head.clone(), slots, live, ops);
            ops.extend(slots.iter().map(|slot| Op::Loss { slot, at, record: None }));
            let flow = ErrorFlow::Assign;
            sweep::backward(&self.network, head, slots, live, flow, sweep::update(slots), ops);
        } else {
            let at = self.network.output();
            for (chunk, slot) in (0..).zip(slots.iter()) {
                ops.push(Op::Loss { slot, at, record: Some((step, chunk)) });
            }
        }
        sweep::backward(&self.network, layers, slots, live, ErrorFlow::Stop, sweep::update(slots), ops);
    }

    fn heads(&self, rank: Rank) -> impl Iterator<Item = usize> {
        self.groups.of(rank).filter_map(|group| self.head(group)).map(|head| head.start)
    }
}

impl Strategy for LocalLoss {
    fn ranks(&self) -> usize {
        self.groups.chain.ranks()
    }

    fn step(&self, rank: Rank, step: u64, ops: &mut Vec<Op>) {
        let from = self.groups.chain.values_from(rank);
        if let Some((from, message)) = from
            && (step == 0 || self.block_ends(step))
        {
            ops.push(Op::ReceiveKept { from, message });
        }
        for (chunk, slot) in (0..).zip(self.slots().iter()) {
            ops.push(Op::Load { source: Source::Train { step, chunk }, slot, values: from.is_none() });
            if let Some((_, message)) = from {
                ops.push(Op::Recall { message, slot });
            }
        }
        for group in self.groups.of(rank) {
            self.train_group(group, step, ops);
        }
        if let Some((to, message)) = self.groups.chain.values_to(rank) {
            ops.extend(self.slots().iter().map(|slot| Op::Keep { message, slot }));
            if self.block_ends(step + 1) {
                ops.push(Op::SendKept { to, message });
            }
        }
    }

    fn evaluate(&self, rank: Rank, split: Split, ops: &mut Vec<Op>) {
        let slot = Slot(self.slots().count);
        self.groups.chain.evaluate(&self.network, &self.timeline, rank, slot, split, ops);
    }

    fn workspace(&self, rank: Rank) -> Workspace {
        let mut workspace = self.groups.chain.workspace(rank, self.timeline.chunks());
        let own = self.groups.chain.boundaries(rank);
        let heads: Vec<_> = self.heads(rank).map(|head| &self.network.layers()[head]).collect();
        let outputs = heads.iter().map(|head| head.output);
        workspace.values = Places::own(&own.into_iter().chain(outputs).collect::<Vec<_>>());
        for head in heads {
            workspace.errors.add_beside(head.input, head.output);
        }
        let block = self.groups.interval.min(self.timeline.steps) * self.timeline.chunks() as u64;
        let neighbours = [self.groups.chain.values_from(rank), self.groups.chain.values_to(rank)];
        workspace.kept = neighbours.into_iter().flatten().map(|(_, message)| (message, block)).collect();
        workspace
    }

    fn owned_layers(&self, rank: Rank) -> Vec<usize> {
        self.groups.chain.span(rank).chain(self.heads(rank)).collect()
    }

    /// Within a block, ranks keep what they have not passed on.
    fn is_consistent(&self, done: u64) -> bool {
        self.block_ends(done)
    }

    /// A rank may be this many blocks ahead of the next.
    fn queue_capacity(&self) -> usize {
        2
    }

    fn queue_bytes(&self) -> u64 {
        let block =
            self.groups.interval.min(self.timeline.next_evaluation(0)) as usize * self.timeline.batch_size;
        let rows = block.max(self.timeline.evaluation_rows);
        self.queue_capacity() as u64 * self.groups.chain.boundary_bytes(&self.network, rows)
    }

    /// Σ cost of the network's layers / the largest rank's cost with its heads.
    fn speedup_bound(&self) -> f64 {
        let flops = |layers: &mut dyn Iterator<Item = usize>| -> u64 {
            layers.map(|layer| self.network.forward_flops(layer)).sum()
        };
        let cost = |rank| flops(&mut self.owned_layers(Rank(rank as u16)).into_iter());
        let largest = (0..self.ranks()).map(cost).max().unwrap_or(1).max(1);
        flops(&mut (0..self.network.depth())) as f64 / largest as f64
    }
}
