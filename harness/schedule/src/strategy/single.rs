//! One rank computes everything: the reference of every other strategy.

use spillbench_schema::event::Split;

use super::{
    Strategy, Workspace,
    chain::Chain,
    sweep::{self, first_slots, live},
};
use crate::{
    network::Network,
    op::{ErrorFlow, Op, Rank, Slot, SlotRange, Source},
    timeline::Timeline,
};

pub struct Single {
    network: Network,
    timeline: Timeline,
    chain: Chain,
}

impl Single {
    pub fn new(network: Network, timeline: Timeline) -> Self {
        let chain = Chain::whole(&network);
        Self { network, timeline, chain }
    }

    fn slots(&self) -> SlotRange {
        first_slots(self.timeline.chunks())
    }
}

impl Strategy for Single {
    fn ranks(&self) -> usize {
        1
    }

    fn step(&self, _: Rank, step: u64, ops: &mut Vec<Op>) {
        let (slots, at) = (self.slots(), self.network.output());
        let layers = 0..self.network.depth();
        for (chunk, slot) in (0..).zip(slots.iter()) {
            ops.push(Op::Load { source: Source::Train { step, chunk }, slot, values: true });
        }
        sweep::forward(&self.network, layers.clone(), slots, live, ops);
        for (chunk, slot) in (0..).zip(slots.iter()) {
            ops.push(Op::Loss { slot, at, record: Some((step, chunk)) });
        }
        sweep::backward(&self.network, layers, slots, live, ErrorFlow::Stop, sweep::update(slots), ops);
    }

    fn evaluate(&self, rank: Rank, split: Split, ops: &mut Vec<Op>) {
        let slot = Slot(self.slots().count);
        self.chain.evaluate(&self.network, &self.timeline, rank, slot, split, ops);
    }

    fn workspace(&self, rank: Rank) -> Workspace {
        self.chain.workspace(rank, self.timeline.chunks())
    }

    fn owned_layers(&self, _: Rank) -> Vec<usize> {
        (0..self.network.depth()).collect()
    }

    fn queue_capacity(&self) -> usize {
        0
    }

    fn queue_bytes(&self) -> u64 {
        0
    }

    fn speedup_bound(&self) -> f64 {
        1.0
    }
}
