//! Strategies: each yields, step by step, the operations of every rank.
//!
//! A strategy is one file. It knows the network and the timeline, and neither where parameters live nor how much
//! memory there is; [`crate::weave`] adds what those make necessary.

mod chain;
mod groups;
mod local_loss;
mod passage;
mod pipeline;
mod single;
mod stale_boundary;
mod sweep;
mod sync_data;
mod weights;
mod workspace;

use std::collections::VecDeque;

pub use pipeline::Order;
use spillbench_schema::{
    config::{DataParallel, Exchange, ModelParallel, Parallelism},
    event::Split,
};

pub use self::workspace::{Places, Workspace};
use self::{
    local_loss::LocalLoss, pipeline::Pipeline, single::Single, stale_boundary::StaleBoundary,
    sync_data::SyncData, weights::Weights,
};
use crate::{
    activations::ActivationPlan,
    network::{Boundary, Network},
    op::{Message, Op, Phase, Rank},
    timeline::Timeline,
};

/// What a strategy asks of the machine and does on it.
pub trait Strategy: Send + Sync {
    /// Workers.
    fn ranks(&self) -> usize;

    /// Appends what `rank` does in training step `step` (from 0), exchanges before it and after it included.
    fn step(&self, rank: Rank, step: u64, ops: &mut Vec<Op>);

    /// Appends what `rank` does to evaluate a split.
    fn evaluate(&self, rank: Rank, split: Split, ops: &mut Vec<Op>);

    /// The workspace a rank needs.
    fn workspace(&self, rank: Rank) -> Workspace;

    /// Layers whose panels a rank updates; it keeps their weights and state.
    fn owned_layers(&self, rank: Rank) -> Vec<usize>;

    /// Whether all ranks share one resident copy of every panel. Otherwise each keeps its own panels.
    fn shares_panels(&self) -> bool {
        false
    }

    /// Whether ranks read snapshots of each other's weights.
    fn has_snapshots(&self) -> bool {
        false
    }

    /// Whether every rank passes the whole network forward, then backward, in each step, so that the values between
    /// may leave memory.
    fn passes_whole_network(&self) -> bool {
        false
    }

    /// Whether, after `done` steps of every rank, no rank holds samples or errors of coming steps and no message is
    /// under way: what is in the store is then all there is, and a generation may be committed.
    fn is_consistent(&self, _done: u64) -> bool {
        true
    }

    /// Messages that may wait between two ranks.
    fn queue_capacity(&self) -> usize;

    /// Bytes that may wait between all ranks together.
    fn queue_bytes(&self) -> u64;

    /// How much faster than one rank it can be at most, by counted work: Σ cost / the largest rank's cost.
    fn speedup_bound(&self) -> f64;
}

impl Message {
    /// Where it lies.
    pub const fn boundary(self) -> Boundary {
        match self {
            Self::Values(boundary) | Self::Errors(boundary) => boundary,
        }
    }
}

/// Adds to `network` what `parallelism` needs beside it: the heads of local losses.
pub fn add_heads(network: &mut Network, parallelism: &Parallelism) {
    if let Parallelism::Layerwise(layerwise) = parallelism
        && layerwise.exchange == Exchange::LocalLoss
    {
        let classes = network.classes();
        let groups = groups::layers_of_groups(network, layerwise);
        for group in &groups[..groups.len() - 1] {
            network.push_head(Boundary(group.end as u16), classes);
        }
    }
}

/// The strategy of a scenario, for a network that [`add_heads`] has seen. Only strategies that pass the whole network
/// let values leave memory; the others keep them.
pub fn build(
    parallelism: &Parallelism,
    network: &Network,
    timeline: &Timeline,
    order: Order,
    activations: &ActivationPlan,
) -> Box<dyn Strategy> {
    let activations = activations.clone();
    let (network, timeline) = (network.clone(), timeline.clone());
    match parallelism {
        Parallelism::Single {} => Box::new(Single::new(network, timeline, activations)),
        Parallelism::Data(DataParallel::Sync(sync)) => {
            Box::new(SyncData::new(network, timeline, sync.ranks, activations))
        }
        Parallelism::Model(ModelParallel::Pipeline(pipeline)) => {
            Box::new(Pipeline::new(network, timeline, pipeline.ranks, order))
        }
        Parallelism::Layerwise(layerwise) => match layerwise.exchange {
            Exchange::Weights => Box::new(Weights::new(network, timeline, layerwise)),
            Exchange::StaleBoundary => Box::new(StaleBoundary::new(network, timeline, layerwise)),
            Exchange::LocalLoss => Box::new(LocalLoss::new(network, timeline, layerwise)),
        },
    }
}

/// All operations of a rank, from a step to the last, produced as they are asked for.
pub struct Stream<'a> {
    strategy: &'a dyn Strategy,
    timeline: &'a Timeline,
    rank: Rank,
    /// Steps done.
    step: u64,
    /// Steps from one generation to the next.
    generations: Option<u64>,
    /// A generation is to be committed when the strategy allows it.
    generation_due: bool,
    ready: VecDeque<(Phase, Op)>,
    scratch: Vec<Op>,
}

impl<'a> Stream<'a> {
    /// The operations of `rank`, with a generation once in so many steps.
    pub fn new(
        strategy: &'a dyn Strategy,
        timeline: &'a Timeline,
        rank: Rank,
        generations: Option<u64>,
    ) -> Self {
        let (ready, scratch) = (VecDeque::new(), Vec::new());
        Self { strategy, timeline, rank, step: 0, generations, generation_due: false, ready, scratch }
    }

    /// Those that follow the generation after `step` steps (all of them, at 0).
    #[must_use]
    pub const fn starting_at(mut self, step: u64) -> Self {
        self.step = step;
        self
    }

    fn produce_step(&mut self) {
        self.strategy.step(self.rank, self.step, &mut self.scratch);
        self.scratch.push(Op::StepEnd { step: self.step });
        self.ready.extend(self.scratch.drain(..).map(|op| (Phase::Train, op)));
        self.step += 1;
        for split in self.timeline.evaluations(self.step) {
            self.strategy.evaluate(self.rank, split, &mut self.scratch);
            self.scratch.push(Op::EvaluationEnd { split, step: self.step });
            self.ready.extend(self.scratch.drain(..).map(|op| (Phase::Evaluate, op)));
        }
        self.produce_generation();
    }

    /// A generation where one is due and the strategy holds nothing; at the end there is nothing to go on to.
    fn produce_generation(&mut self) {
        let Some(every) = self.generations else { return };
        self.generation_due |= self.step.is_multiple_of(every);
        if self.generation_due && self.step < self.timeline.steps && self.strategy.is_consistent(self.step) {
            self.generation_due = false;
            self.ready.push_back((Phase::Train, Op::Generation { step: self.step }));
        }
    }
}

impl Iterator for Stream<'_> {
    type Item = (Phase, Op);

    fn next(&mut self) -> Option<(Phase, Op)> {
        while self.ready.is_empty() && self.step < self.timeline.steps {
            self.produce_step();
        }
        self.ready.pop_front()
    }
}
