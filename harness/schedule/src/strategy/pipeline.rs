//! `GPipe` (Huang et al. 2019): a stage of contiguous layers on each rank; all micro-batches forward, then all
//! backward.
//!
//! The gradient of a panel is formed when the last micro-batch has passed, over all of them in index order: the
//! same products in the same order as `single`, so the same bits. Where stages do not stay resident, all micro-batches
//! may pass a panel before the next: a panel is then read once a sweep and not once a micro-batch, and stages do not
//! overlap within a step. Which of the two is decided by its price.

use spillbench_schema::event::Split;

use super::{
    Places, Strategy, Workspace,
    chain::{Chain, with_errors},
    sweep::{self, first_slots, live, one_slot},
};
use crate::{
    network::{Network, PanelId},
    op::{ErrorFlow, Message, Op, Rank, Slot, SlotRange, Source},
    partition,
    timeline::Timeline,
};

/// Which of micro-batches and layers is the outer loop of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Each micro-batch passes the whole stage before the next: stages overlap.
    MicroBatchMajor,
    /// All micro-batches pass a panel before the next: a panel is read once a sweep.
    LayerMajor,
}

pub struct Pipeline {
    network: Network,
    timeline: Timeline,
    chain: Chain,
    order: Order,
}

impl Pipeline {
    /// Stages are balanced by counted work. `ranks` must not exceed the layers.
    pub fn new(network: Network, timeline: Timeline, ranks: usize, order: Order) -> Self {
        let costs: Vec<u64> = (0..network.written_layers())
            .map(|layer| network.layers_of_written(layer..layer + 1).map(|l| network.forward_flops(l)).sum())
            .collect();
        let stages = partition::balanced(&costs, ranks);
        let chain = Chain::new(stages.into_iter().map(|stage| network.layers_of_written(stage)).collect());
        Self { network, timeline, chain, order }
    }

    fn slots(&self) -> SlotRange {
        first_slots(self.timeline.chunks())
    }

    fn enter_forward(&self, rank: Rank, step: u64, slot: Slot, ops: &mut Vec<Op>) {
        let from = self.chain.values_from(rank);
        let source = Source::Train { step, chunk: slot.0 };
        ops.push(Op::Load { source, slot, values: from.is_none() });
        if let Some((from, message)) = from {
            ops.push(Op::Receive { from, message, slot });
        }
    }

    fn leave_forward(&self, rank: Rank, slot: Slot, ops: &mut Vec<Op>) {
        if let Some((to, message)) = self.chain.values_to(rank) {
            ops.push(Op::Send { to, message, slot });
        }
    }

    fn enter_backward(&self, rank: Rank, step: u64, slot: Slot, ops: &mut Vec<Op>) {
        match self.chain.values_to(rank) {
            Some((next, message)) => {
                ops.push(Op::Receive { from: next, message: Message::Errors(message.boundary()), slot });
            }
            None => {
                ops.push(Op::Loss { slot, at: self.network.output(), record: Some((step, slot.0)) });
            }
        }
    }

    fn leave_backward(&self, rank: Rank, slot: Slot, ops: &mut Vec<Op>) {
        if let Some((previous, message)) = self.chain.values_from(rank) {
            ops.push(Op::Send { to: previous, message: Message::Errors(message.boundary()), slot });
        }
    }

    fn micro_batch_major(&self, rank: Rank, step: u64, bottom: ErrorFlow, ops: &mut Vec<Op>) {
        let span = self.chain.span(rank);
        for slot in self.slots().iter() {
            self.enter_forward(rank, step, slot, ops);
            sweep::forward(&self.network, span.clone(), one_slot(slot), live, ops);
            self.leave_forward(rank, slot, ops);
        }
        for slot in self.slots().iter() {
            self.enter_backward(rank, step, slot, ops);
            sweep::backward(&self.network, span.clone(), one_slot(slot), live, bottom, sweep::no_update, ops);
            self.leave_backward(rank, slot, ops);
        }
        for layer in span.rev() {
            for panel in self.network.layers()[layer].panels.clone().rev() {
                ops.push(Op::Update { panel: PanelId(panel), chunks: self.slots() });
            }
        }
    }

    fn layer_major(&self, rank: Rank, step: u64, bottom: ErrorFlow, ops: &mut Vec<Op>) {
        let (span, slots) = (self.chain.span(rank), self.slots());
        for slot in slots.iter() {
            self.enter_forward(rank, step, slot, ops);
        }
        sweep::forward(&self.network, span.clone(), slots, live, ops);
        for slot in slots.iter() {
            self.leave_forward(rank, slot, ops);
        }
        for slot in slots.iter() {
            self.enter_backward(rank, step, slot, ops);
        }
        sweep::backward(&self.network, span, slots, live, bottom, sweep::update(slots), ops);
        for slot in slots.iter() {
            self.leave_backward(rank, slot, ops);
        }
    }
}

impl Strategy for Pipeline {
    fn ranks(&self) -> usize {
        self.chain.ranks()
    }

    fn step(&self, rank: Rank, step: u64, ops: &mut Vec<Op>) {
        let bottom = if rank == Rank(0) { ErrorFlow::Stop } else { ErrorFlow::Assign };
        match self.order {
            Order::MicroBatchMajor => self.micro_batch_major(rank, step, bottom, ops),
            Order::LayerMajor => self.layer_major(rank, step, bottom, ops),
        }
    }

    fn evaluate(&self, rank: Rank, split: Split, ops: &mut Vec<Op>) {
        let slot = Slot(self.slots().count);
        self.chain.evaluate(&self.network, &self.timeline, rank, slot, split, ops);
    }

    fn workspace(&self, rank: Rank) -> Workspace {
        let workspace = self.chain.workspace(rank, self.timeline.chunks());
        match self.order {
            // Gradients are formed when all micro-batches have passed all layers: every error is needed until then.
            Order::MicroBatchMajor => {
                let boundaries = self.chain.boundaries(rank);
                Workspace { errors: Places::own(with_errors(&boundaries)), ..workspace }
            }
            Order::LayerMajor => workspace,
        }
    }

    fn owned_layers(&self, rank: Rank) -> Vec<usize> {
        self.chain.span(rank).collect()
    }

    fn queue_capacity(&self) -> usize {
        self.timeline.chunks()
    }

    fn queue_bytes(&self) -> u64 {
        let evaluation = self.chain.boundary_bytes(&self.network, self.timeline.evaluation_rows);
        let training = 2 * self.chain.boundary_bytes(&self.network, self.timeline.chunk_rows());
        self.queue_capacity() as u64 * training.max(evaluation)
    }

    /// Where all micro-batches pass a stage before the next, stages take turns.
    fn speedup_bound(&self) -> f64 {
        match self.order {
            Order::MicroBatchMajor => self.chain.speedup_bound(&self.network),
            Order::LayerMajor => 1.0,
        }
    }
}
