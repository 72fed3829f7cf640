//! A trial's schedule as a whole, and its price.

use serde::Serialize;
use spillbench_schema::{
    Trial,
    config::{Parallelism, StorageMode},
};
use thiserror::Error;

use crate::{
    budget::{BudgetError, Demand, MemoryPlan, owned_extents},
    extent::{Extent, ExtentKind, Extents},
    network::Network,
    op::{Op, Phase, Rank},
    strategy::{self, Order, Strategy, Stream},
    timeline::Timeline,
    weave::Weave,
};

/// What a data set holds, known without loading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleCounts {
    /// To train on.
    pub train: usize,
    /// Held out.
    pub validation: usize,
    /// To test on.
    pub test: usize,
    /// Bytes in memory.
    pub bytes: u64,
}

/// Why a trial has no schedule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// The budget is too small.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// Incomplete mini-batches are dropped, and there is no complete one.
    #[error(
        "{samples} training samples do not fill one mini-batch of {batch_size}, and train.drop_last drops the rest"
    )]
    NoStep {
        /// Training samples.
        samples: usize,
        /// Samples in a mini-batch.
        batch_size: usize,
    },
}

/// A trial's schedule: what each rank does, and where each byte is meanwhile.
pub struct Plan {
    /// The network, with the strategy's heads.
    pub network: Network,
    /// Steps, mini-batches and chunks.
    pub timeline: Timeline,
    /// What the store holds.
    pub extents: Extents,
    /// Where memory goes.
    pub memory: MemoryPlan,
    /// Compute threads of each rank.
    pub threads: usize,
    strategy: Box<dyn Strategy>,
}

/// Bytes that a schedule moves between memory and a store, and operations it does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Read for training steps.
    pub train_read: u64,
    /// Written for training steps.
    pub train_written: u64,
    /// Read before the first step, after the last, and for evaluations.
    pub other_read: u64,
    /// Written before the first step, after the last, and for evaluations.
    pub other_written: u64,
    /// Operations of all ranks.
    pub operations: u64,
}

/// Memory that evaluation slots are cut to; the same for every budget, because the cut may show in the last bits.
const EVALUATION_BYTES: usize = 8 << 20;
const EVALUATION_ROWS: std::ops::RangeInclusive<usize> = 16..=500;

impl Plan {
    /// The schedule of a trial, on a machine with `cores`.
    ///
    /// # Errors
    /// The budget is too small, or there is no step to do.
    pub fn new(trial: &Trial, samples: SampleCounts, cores: usize) -> Result<Self, PlanError> {
        let config = &trial.config;
        let mut network = Network::new(&config.network);
        strategy::add_heads(&mut network, &config.parallelism);
        let timeline = Timeline::new(
            &config.train,
            samples.train,
            samples.validation,
            samples.test,
            evaluation_rows(&network),
        )
        .ok_or(PlanError::NoStep { samples: samples.train, batch_size: config.train.batch_size })?;
        let snapshots =
            strategy::build(&config.parallelism, &network, &timeline, Order::LayerMajor).has_snapshots();
        let extents = Extents::new(&network, config.train.optimizer.state_per_parameter(), snapshots);
        let ranks = config.parallelism.ranks(network.written_layers());
        let threads = config.execution.threads.unwrap_or((cores / ranks).max(1));
        let divide = |strategy: &dyn Strategy| {
            Demand {
                network: &network,
                extents: &extents,
                timeline: &timeline,
                strategy,
                data: samples.bytes,
                threads: (threads * ranks) as u64,
                spills: config.storage.mode != StorageMode::Memory,
            }
            .divide(config.storage.memory_budget)
        };
        let order = |order| strategy::build(&config.parallelism, &network, &timeline, order);
        let mut strategy = order(Order::MicroBatchMajor);
        let memory = divide(strategy.as_ref())?;
        if !memory.resident && matches!(config.parallelism, Parallelism::Model(_)) {
            strategy = order(Order::LayerMajor);
        }
        Ok(Self { network, timeline, extents, memory, threads, strategy })
    }

    /// Workers.
    pub fn ranks(&self) -> usize {
        self.strategy.ranks()
    }

    /// The strategy.
    pub fn strategy(&self) -> &dyn Strategy {
        self.strategy.as_ref()
    }

    /// Which residency a rank's panels are in: its own, or the one that all share.
    pub fn domain(&self, rank: Rank) -> usize {
        if self.strategy.shares_panels() { 0 } else { usize::from(rank.0) }
    }

    /// Whether a rank reads and writes; the others use what it brings.
    pub fn brings(&self, rank: Rank) -> bool {
        !self.strategy.shares_panels() || rank == Rank(0)
    }

    /// The extents that a rank keeps.
    pub fn owned_extents(&self, rank: Rank) -> Vec<Extent> {
        owned_extents(self.strategy(), &self.network, &self.extents, rank)
    }

    /// What a rank does, first step to last, reads and writes included.
    pub fn operations(&self, rank: Rank) -> Box<dyn Iterator<Item = Op> + '_> {
        let stream = Stream::new(self.strategy(), &self.timeline, rank);
        if self.brings(rank) {
            let residency = &self.memory.residency[self.domain(rank)];
            Box::new(Weave::new(stream, &self.extents, residency, &self.owned_extents(rank)))
        } else {
            Box::new(stream.map(|(_, op)| op))
        }
    }

    /// Bytes that the whole run moves.
    ///
    /// # Panics
    /// Never: no run has 2⁶⁴ operations.
    pub fn traffic(&self, mode: StorageMode) -> Traffic {
        self.traffic_within(mode, u64::MAX).expect("no run has that many operations")
    }

    /// Bytes that the whole run moves; none where it has more than `most` operations, which take long to count.
    pub fn traffic_within(&self, mode: StorageMode, most: u64) -> Option<Traffic> {
        let mut traffic = Traffic::default();
        for rank in 0..self.ranks() {
            for op in self.operations(Rank(rank as u16)) {
                traffic.operations += 1;
                traffic.add(&op, &self.extents);
                if traffic.operations > most {
                    return None;
                }
            }
        }
        if mode == StorageMode::Memory {
            traffic = Traffic { operations: traffic.operations, ..Traffic::default() };
        }
        Some(traffic)
    }

    /// The least bytes that any schedule moves in these training steps under this budget.
    pub fn floor_bytes(&self, mode: StorageMode) -> u64 {
        self.timeline.steps.saturating_mul(self.floor_bytes_per_step(mode))
    }

    /// The least bytes that any schedule moves in a training step under this budget: 3w + 2s − 3C while the memory C
    /// for parameters is smaller than the weights w, then 2(w + s − C); nothing where all fits.
    pub fn floor_bytes_per_step(&self, mode: StorageMode) -> u64 {
        if mode == StorageMode::Memory {
            return 0;
        }
        let (w, s) = (self.bytes_of(ExtentKind::Weights), self.bytes_of(ExtentKind::State));
        let c = self.memory.store_capacity();
        if c <= w { 3 * w + 2 * s - 3 * c } else { 2 * (w + s).saturating_sub(c) }
    }

    /// Bytes of all extents: what a store takes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.extents.iter().map(|extent| self.extents.bytes(extent)).sum()
    }

    /// Bytes of all extents of a kind.
    pub fn bytes_of(&self, kind: ExtentKind) -> u64 {
        self.extents.iter().filter(|extent| extent.kind == kind).map(|e| self.extents.bytes(e)).sum()
    }

    /// Floating-point operations of one training step of `single`: forward, error and gradient, 6 a weight and sample,
    /// less the error at the network's input. A float: a large network's step has more than 2⁶⁴.
    pub fn flops_per_step(&self) -> f64 {
        let flops = |layer| self.network.forward_flops(layer) as f64;
        let forward: f64 = (0..self.network.depth()).map(flops).sum();
        self.timeline.batch_size as f64 * (3.0 * forward - flops(0))
    }
}

impl Traffic {
    fn add(&mut self, op: &Op, extents: &Extents) {
        match *op {
            Op::Read { extent, phase: Phase::Train } => self.train_read += extents.bytes(extent),
            Op::Read { extent, .. } => self.other_read += extents.bytes(extent),
            Op::Write { extent, phase: Phase::Train } => self.train_written += extents.bytes(extent),
            Op::Write { extent, .. } => self.other_written += extents.bytes(extent),
            Op::Publish { panel } => self.train_written += extents.bytes(Extent::snapshot(panel)),
            _ => {}
        }
    }
}

fn evaluation_rows(network: &Network) -> usize {
    let width: usize = network.layers().iter().map(|layer| layer.inputs + layer.outputs).sum();
    (EVALUATION_BYTES / (4 * width)).clamp(*EVALUATION_ROWS.start(), *EVALUATION_ROWS.end())
}
