//! One rank computes everything: the reference of every other strategy.

use spillbench_schema::event::Split;

use super::{
    Strategy, Workspace,
    chain::Chain,
    passage::Passage,
    sweep::{self, first_slots},
};
use crate::{
    activations::ActivationPlan,
    network::Network,
    op::{Op, Rank, Slot, SlotRange},
    timeline::Timeline,
};

pub struct Single {
    network: Network,
    timeline: Timeline,
    chain: Chain,
    activations: ActivationPlan,
}

impl Single {
    pub fn new(network: Network, timeline: Timeline, activations: ActivationPlan) -> Self {
        let chain = Chain::whole(&network);
        Self { network, timeline, chain, activations }
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
        let slots = self.slots();
        Passage::new(&self.network, &self.activations, slots, step, 0, ops).step(sweep::update(slots));
    }

    fn evaluate(&self, rank: Rank, split: Split, ops: &mut Vec<Op>) {
        let slot = Slot(self.slots().count);
        self.chain.evaluate(&self.network, &self.timeline, rank, slot, split, ops);
    }

    fn workspace(&self, rank: Rank) -> Workspace {
        self.chain.workspace(rank, self.timeline.chunks()).less_pool(&self.activations)
    }

    fn passes_whole_network(&self) -> bool {
        true
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
