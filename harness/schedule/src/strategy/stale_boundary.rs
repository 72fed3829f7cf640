//! Layer-wise with stale boundaries: at an exchange, the mini-batches of the coming K steps go once through the
//! network as it is, and each group keeps its inputs and the errors at its outputs. Then it makes K updates by
//! itself, with these fixed inputs and errors but its own fresh forward pass and local derivative. The last group
//! has the labels, so its error is fresh.
//!
//! At K = 1 this is `single`, bit for bit. It is the reading nearest to the time model T = T₁/L + (N/K)·t.

use std::ops::Range;

use spillbench_schema::{config::Layerwise, event::Split};

use super::{
    Strategy, Workspace,
    groups::Groups,
    sweep::{self, first_slots, live, one_slot},
};
use crate::{
    network::{Boundary, Network},
    op::{ErrorFlow, Message, Op, Rank, Slot, SlotRange, Source},
    timeline::Timeline,
};

pub struct StaleBoundary {
    network: Network,
    timeline: Timeline,
    groups: Groups,
}

impl StaleBoundary {
    pub fn new(network: Network, timeline: Timeline, layerwise: &Layerwise) -> Self {
        let groups = Groups::new(&network, layerwise);
        Self { network, timeline, groups }
    }

    fn chunk_slots(&self) -> SlotRange {
        first_slots(self.timeline.chunks())
    }

    /// Chunks that a rank sends forward before it waits for the first error: one forward, one backward after that.
    fn lead(&self, rank: Rank) -> u64 {
        (self.ranks() - 1 - usize::from(rank.0)) as u64
    }

    fn slots(&self, rank: Rank) -> usize {
        self.timeline.chunks().max(self.lead(rank) as usize + 1)
    }

    /// All chunks of the interval once through the network, forward and backward, without an update.
    fn exchange(&self, rank: Rank, interval: Range<u64>, ops: &mut Vec<Op>) {
        let chunks = self.timeline.chunks() as u64;
        let first = interval.start * chunks;
        let passes = (interval.end - interval.start) * chunks;
        let lead = self.lead(rank).min(passes);
        let slot = |pass: u64| Slot((pass % (self.lead(rank) + 1)) as u16);
        for pass in 0..passes + lead {
            if pass < passes {
                let number = first + pass;
                let source = Source::Train { step: number / chunks, chunk: (number % chunks) as u16 };
                self.exchange_forward(rank, source, slot(pass), ops);
            }
            if pass >= lead {
                self.exchange_backward(rank, slot(pass - lead), ops);
            }
        }
    }

    fn exchange_forward(&self, rank: Rank, source: Source, slot: Slot, ops: &mut Vec<Op>) {
        let from = self.groups.chain.values_from(rank);
        ops.push(Op::Load { source, slot, values: from.is_none() });
        if let Some((from, message)) = from {
            ops.push(Op::Receive { from, message, slot });
        }
        sweep::forward(&self.network, self.groups.chain.span(rank), one_slot(slot), live, ops);
        for message in self.kept_values(rank) {
            ops.push(Op::Keep { message, slot });
        }
        if let Some((to, message)) = self.groups.chain.values_to(rank) {
            ops.push(Op::Send { to, message, slot });
        }
    }

    fn exchange_backward(&self, rank: Rank, slot: Slot, ops: &mut Vec<Op>) {
        match self.groups.chain.values_to(rank) {
            Some((next, message)) => {
                ops.push(Op::Receive { from: next, message: Message::Errors(message.boundary()), slot });
            }
            None => ops.push(Op::Loss { slot, at: self.network.output(), record: None }),
        }
        for group in self.groups.of(rank).rev() {
            let layers = self.groups.layers[group].clone();
            if !self.groups.is_last(group) {
                ops.push(Op::Keep { message: errors_at(layers.end), slot });
            }
            // Nobody asks for the error at the network's input.
            if group > 0 {
                let flow = ErrorFlow::Assign;
                sweep::backward(&self.network, layers, one_slot(slot), live, flow, sweep::no_update, ops);
            }
        }
        if let Some((previous, message)) = self.groups.chain.values_from(rank) {
            ops.push(Op::Send { to: previous, message: Message::Errors(message.boundary()), slot });
        }
    }

    /// One update of a group, from what it kept.
    fn update_group(&self, group: usize, step: u64, ops: &mut Vec<Op>) {
        let slots = self.chunk_slots();
        let layers = self.groups.layers[group].clone();
        for (chunk, slot) in (0..).zip(slots.iter()) {
            ops.push(Op::Load { source: Source::Train { step, chunk }, slot, values: group == 0 });
            if group > 0 {
                ops.push(Op::Recall { message: values_at(layers.start), slot });
            }
        }
        sweep::forward(&self.network, layers.clone(), slots, live, ops);
        for (chunk, slot) in (0..).zip(slots.iter()) {
            ops.push(if self.groups.is_last(group) {
                Op::Loss { slot, at: self.network.output(), record: Some((step, chunk)) }
            } else {
                Op::Recall { message: errors_at(layers.end), slot }
            });
        }
        sweep::backward(&self.network, layers, slots, live, ErrorFlow::Stop, sweep::update(slots), ops);
    }

    fn kept_values(&self, rank: Rank) -> impl Iterator<Item = Message> {
        self.groups
            .of(rank)
            .filter(|group| *group > 0)
            .map(|group| values_at(self.groups.layers[group].start))
    }

    fn kept_errors(&self, rank: Rank) -> impl Iterator<Item = Message> {
        self.groups
            .of(rank)
            .filter(|group| !self.groups.is_last(*group))
            .map(|group| errors_at(self.groups.layers[group].end))
    }
}

const fn values_at(boundary: usize) -> Message {
    Message::Values(Boundary(boundary as u16))
}

const fn errors_at(boundary: usize) -> Message {
    Message::Errors(Boundary(boundary as u16))
}

impl Strategy for StaleBoundary {
    fn ranks(&self) -> usize {
        self.groups.chain.ranks()
    }

    fn step(&self, rank: Rank, step: u64, ops: &mut Vec<Op>) {
        if let Some(interval) = self.groups.interval_from(step, &self.timeline) {
            self.exchange(rank, interval, ops);
        }
        for group in self.groups.of(rank) {
            self.update_group(group, step, ops);
        }
    }

    fn evaluate(&self, rank: Rank, split: Split, ops: &mut Vec<Op>) {
        let slot = Slot(self.slots(rank) as u16);
        self.groups.chain.evaluate(&self.network, &self.timeline, rank, slot, split, ops);
    }

    fn workspace(&self, rank: Rank) -> Workspace {
        let steps = self.groups.interval.min(self.timeline.steps);
        let count = steps * self.timeline.chunks() as u64;
        let kept =
            self.kept_values(rank).chain(self.kept_errors(rank)).map(|message| (message, count)).collect();
        Workspace { kept, ..self.groups.chain.workspace(rank, self.slots(rank)) }
    }

    fn owned_layers(&self, rank: Rank) -> Vec<usize> {
        self.groups.chain.span(rank).collect()
    }

    /// Between exchanges, groups keep the inputs and errors of the interval.
    fn is_consistent(&self, done: u64) -> bool {
        done.is_multiple_of(self.groups.interval)
    }

    fn queue_capacity(&self) -> usize {
        self.ranks() + 1
    }

    fn queue_bytes(&self) -> u64 {
        let rows = self.timeline.evaluation_rows.max(2 * self.timeline.chunk_rows());
        self.queue_capacity() as u64 * self.groups.chain.boundary_bytes(&self.network, rows)
    }

    /// Each rank goes through its own layers twice forward and backward; `single` once.
    fn speedup_bound(&self) -> f64 {
        self.groups.chain.speedup_bound(&self.network) / 2.0
    }
}
