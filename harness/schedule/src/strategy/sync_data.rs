//! Synchronous data parallelism on one machine: ranks share one copy of the parameters, each computes the gradient
//! of its shards, and the parts are combined in rank order as a binary tree.
//!
//! Every power of two ranks up to the number of shards gives the bits of `single` with the same shards: a rank's
//! own shards are a subtree of that tree.

use spillbench_schema::event::Split;

use super::{
    Strategy, Workspace,
    chain::Chain,
    passage::Passage,
    sweep::{self, first_slots, live, one_slot},
};
use crate::{
    activations::ActivationPlan,
    network::{Network, PanelId},
    op::{Op, Rank, Slot, SlotRange, Source},
    timeline::Timeline,
};

pub struct SyncData {
    network: Network,
    timeline: Timeline,
    whole: Chain,
    ranks: usize,
    activations: ActivationPlan,
}

impl SyncData {
    /// `ranks` must divide the timeline's shards.
    pub fn new(network: Network, timeline: Timeline, ranks: usize, activations: ActivationPlan) -> Self {
        assert!(timeline.shards.is_multiple_of(ranks), "shards must be a multiple of ranks");
        let whole = Chain::whole(&network);
        Self { network, timeline, whole, ranks, activations }
    }

    /// Chunks of a rank: those of its contiguous shards.
    fn slots(&self) -> SlotRange {
        first_slots(self.timeline.chunks() / self.ranks)
    }

    /// Panels take turns, so that the work of reducing is spread over the ranks.
    fn owner(&self, panel: PanelId) -> Rank {
        Rank((panel.0 as usize % self.ranks) as u16)
    }
}

impl Strategy for SyncData {
    fn ranks(&self) -> usize {
        self.ranks
    }

    fn step(&self, rank: Rank, step: u64, ops: &mut Vec<Op>) {
        let slots = self.slots();
        let first_chunk = rank.0 * slots.count;
        let reduce = |panel, ops: &mut Vec<Op>| {
            ops.push(Op::Reduce { panel, chunks: slots, owner: self.owner(panel) });
        };
        Passage::new(&self.network, &self.activations, slots, step, first_chunk, ops).step(reduce);
    }

    /// Each rank takes every `ranks`-th chunk of the split. All do the same number of rounds, the last ones perhaps
    /// without samples, because a shared panel is let go only when every rank has used it.
    fn evaluate(&self, rank: Rank, split: Split, ops: &mut Vec<Op>) {
        let slot = Slot(self.slots().count);
        let ranks = self.ranks as u32;
        for round in 0..self.timeline.evaluation_chunks(split).div_ceil(ranks) {
            let chunk = round * ranks + u32::from(rank.0);
            ops.push(Op::Load { source: Source::Evaluate { split, chunk }, slot, values: true });
            sweep::forward(&self.network, 0..self.network.depth(), one_slot(slot), live, ops);
            ops.push(Op::Score { slot, split, chunk });
        }
    }

    fn workspace(&self, _: Rank) -> Workspace {
        self.whole.workspace(Rank(0), usize::from(self.slots().count)).less_pool(&self.activations)
    }

    fn passes_whole_network(&self) -> bool {
        true
    }

    fn owned_layers(&self, _: Rank) -> Vec<usize> {
        (0..self.network.depth()).collect()
    }

    fn shares_panels(&self) -> bool {
        true
    }

    fn queue_capacity(&self) -> usize {
        0
    }

    /// Each rank's part of a gradient, while its owner waits for the others.
    fn queue_bytes(&self) -> u64 {
        let largest = self.network.panels().iter().map(|panel| 4 * panel.parameters()).max().unwrap_or(0);
        2 * self.ranks as u64 * largest
    }

    fn speedup_bound(&self) -> f64 {
        self.ranks as f64
    }
}
