//! A trial's schedule as a whole, and its price.

use serde::Serialize;
use spillbench_schema::{
    Rates, Trial,
    config::{Config, GenerationsConfig, Parallelism, StorageMode},
};
use thiserror::Error;

use crate::{
    activations::{self, ActivationPlan, Candidate, Price},
    budget::{BudgetError, Demand, MemoryPlan, owned_extents},
    extent::{Extent, ExtentKind, Extents},
    network::Network,
    op::{Op, Phase, Rank},
    size::{self, SizeError},
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
    /// It asks for more than can be planned.
    #[error(transparent)]
    Size(#[from] SizeError),
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
    /// Which values stay between forward and backward.
    pub activations: ActivationPlan,
    /// What a machine was taken to do in a second where one way was weighed against another.
    pub rates: Rates,
    /// What a step costs with them, as counted.
    pub price: Price,
    /// Of a pipeline whose stages do not stay resident: the orders of its loops that fit, and what a step costs in each.
    pub orders: Vec<(Order, Price)>,
    /// Where memory goes.
    pub memory: MemoryPlan,
    /// Compute threads of each rank.
    pub threads: usize,
    /// When generations are committed and how many are kept, if any.
    pub generations: Option<GenerationsConfig>,
    strategy: Box<dyn Strategy>,
}

/// Bytes that a schedule moves between memory and a store, and operations it does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Read for training steps.
    pub train_read: u64,
    /// Written for training steps.
    pub train_written: u64,
    /// Values of spilled activations among those read for training steps.
    pub activations_read: u64,
    /// Values of spilled activations among those written for training steps.
    pub activations_written: u64,
    /// Read before the first step, after the last, and for evaluations.
    pub other_read: u64,
    /// Written before the first step, after the last, and for evaluations.
    pub other_written: u64,
    /// Generations committed.
    pub generations: u64,
    /// Written for generations, beside what training writes anyway.
    pub generations_written: u64,
    /// Operations of all ranks.
    pub operations: u64,
}

/// Memory that evaluation slots are cut to; the same for every budget, because the cut may show in the last bits.
const EVALUATION_BYTES: usize = 8 << 20;
const EVALUATION_ROWS: std::ops::RangeInclusive<usize> = 16..=500;

impl Plan {
    /// The schedule of a trial, on a machine with `cores`. The `rates` decide between ways to have the same result, and
    /// never whether there is one.
    ///
    /// # Errors
    /// The budget is too small, or there is no step to do.
    pub fn new(trial: &Trial, samples: SampleCounts, cores: usize, rates: &Rates) -> Result<Self, PlanError> {
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
        size::check(config, &network, &timeline)?;
        let ranks = config.parallelism.ranks(network.written_layers());
        let threads = config.execution.threads.unwrap_or((cores / ranks).max(1));
        // Slots matter to those strategies alone that let values leave, and those do not depend on the order.
        let nothing_held = ActivationPlan::kept(&network, &timeline, 0, 0);
        let plain =
            strategy::build(&config.parallelism, &network, &timeline, Order::LayerMajor, &nothing_held);
        let extents = Extents::new(
            &network,
            config.train.precision,
            config.train.optimizer.state_per_parameter(),
            plain.has_snapshots(),
        );
        let request = Request {
            config,
            network: &network,
            timeline: &timeline,
            extents: &extents,
            data: samples.bytes,
            threads: (threads * ranks) as u64,
            rates,
        };
        let kept = ActivationPlan::kept(&network, &timeline, plain.workspace(Rank(0)).slots, ranks as u16);
        let Choice { strategy, memory, activations, price, orders } = if plain.passes_whole_network() {
            request.cheapest(&kept)?
        } else {
            request.with_everything_kept(kept)?
        };
        Ok(Self {
            network,
            timeline,
            extents,
            activations,
            rates: rates.clone(),
            price,
            orders,
            memory,
            threads,
            generations: config.storage.generations,
            strategy,
        })
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
        self.operations_from(rank, 0)
    }

    /// What a rank does after the generation of `step`: what it would have done anyway, after bringing back what is
    /// pinned.
    pub fn operations_from(&self, rank: Rank, step: u64) -> Box<dyn Iterator<Item = Op> + '_> {
        let every = self.generations.map(|generations| generations.every);
        let stream = Stream::new(self.strategy(), &self.timeline, rank, every).starting_at(step);
        if self.brings(rank) {
            let residency = &self.memory.residency[self.domain(rank)];
            Box::new(Weave::new(stream, &self.extents, residency, &self.owned_extents(rank)))
        } else {
            Box::new(stream.map(|(_, op)| op))
        }
    }

    /// Slots of an extent on disk: one, and one more for each generation that is kept.
    pub fn slots(&self) -> u64 {
        1 + self.generations.map_or(0, |generations| u64::from(generations.keep))
    }

    /// Bytes that extents and spilled activations take on disk, in all slots.
    pub fn disk_bytes(&self) -> u64 {
        let extents: u64 = self.extents.iter().map(|extent| self.extents.bytes(extent)).sum();
        // What one step spills is overwritten by the next.
        (extents + self.activations.spilled_bytes()) * self.slots()
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
                traffic.add(&op, &self.extents, &self.activations);
                traffic.generations += u64::from(rank == 0 && matches!(op, Op::Generation { .. }));
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

/// What a plan is made for.
struct Request<'a> {
    config: &'a Config,
    network: &'a Network,
    timeline: &'a Timeline,
    extents: &'a Extents,
    /// Bytes of the data set.
    data: u64,
    /// Compute threads of all ranks.
    threads: u64,
    rates: &'a Rates,
}

/// What is decided for it.
struct Choice {
    strategy: Box<dyn Strategy>,
    memory: MemoryPlan,
    activations: ActivationPlan,
    price: Price,
    orders: Vec<(Order, Price)>,
}

impl Request<'_> {
    /// The cheapest step among the ways to let values leave that fit the budget; that which keeps everything where all
    /// fits.
    fn cheapest(&self, kept: &ActivationPlan) -> Result<Choice, BudgetError> {
        let storage = &self.config.storage;
        let spills = storage.mode != StorageMode::Memory;
        let mut best: Option<Choice> = None;
        let mut refusal: Option<BudgetError> = None;
        for candidate in activations::candidates(
            kept,
            storage.activations,
            spills,
            self.network,
            self.timeline,
            self.rates,
        ) {
            match self.choice(candidate, Order::MicroBatchMajor) {
                Ok(choice) if choice.activations.all_kept() && choice.memory.resident => return Ok(choice),
                Ok(choice) => {
                    if best.as_ref().is_none_or(|best| choice.price.is_less_than(&best.price)) {
                        best = Some(choice);
                    }
                }
                Err(error) => {
                    if refusal.as_ref().is_none_or(|other| error.least() < other.least()) {
                        refusal = Some(error);
                    }
                }
            }
        }
        best.ok_or_else(|| refusal.expect("there is a candidate, and it fits or not"))
    }

    /// For strategies that keep all values.
    fn with_everything_kept(&self, kept: ActivationPlan) -> Result<Choice, BudgetError> {
        let candidate = Candidate { plan: kept, overlaps: true };
        let choice = self.choice(candidate.clone(), Order::MicroBatchMajor);
        match self.config.parallelism {
            Parallelism::Model(_) if !choice.as_ref().is_ok_and(|choice| choice.memory.resident) => {
                self.cheaper_order(choice, self.choice(candidate, Order::LayerMajor))
            }
            _ => choice,
        }
    }

    /// A pipeline whose stages do not stay resident overlaps them and reads a panel once a micro-batch, or reads it once
    /// a sweep and lets stages take turns: the cheaper of the two, where both fit.
    fn cheaper_order(
        &self,
        overlapping: Result<Choice, BudgetError>,
        taking_turns: Result<Choice, BudgetError>,
    ) -> Result<Choice, BudgetError> {
        let priced = |order, choice: Result<Choice, BudgetError>| {
            choice.map(|choice| Choice { price: self.price_of_order(order, &choice), ..choice })
        };
        let overlapping = priced(Order::MicroBatchMajor, overlapping);
        let taking_turns = priced(Order::LayerMajor, taking_turns);
        let prices = |order, choice: &Result<Choice, BudgetError>| {
            choice.as_ref().ok().map(|choice| (order, choice.price))
        };
        let orders = [prices(Order::MicroBatchMajor, &overlapping), prices(Order::LayerMajor, &taking_turns)];
        let orders = orders.into_iter().flatten().collect();
        let chosen = match (overlapping, taking_turns) {
            (Ok(overlapping), Ok(turns)) if overlapping.price.is_less_than(&turns.price) => Ok(overlapping),
            // Less memory for errors: what refuses this refuses the other.
            (_, turns) => turns,
        };
        chosen.map(|choice| Choice { orders, ..choice })
    }

    /// What a step of a pipeline costs, whose ranks share the machine and its drive. In turns one rank computes at a
    /// time; overlapping ones compute together, less the bubble, and read absent weights for each micro-batch, forward
    /// and backward, and once more to update them.
    fn price_of_order(&self, order: Order, choice: &Choice) -> Price {
        let (ranks, chunks) = (choice.strategy.ranks() as f64, self.timeline.chunks() as u64);
        let weights: u64 = self
            .extents
            .iter()
            .filter(|extent| extent.kind == ExtentKind::Weights)
            .map(|extent| self.extents.bytes(extent))
            .sum();
        let absent = weights.saturating_sub(choice.memory.store_capacity());
        let forward: u64 = (0..self.network.depth()).map(|layer| self.network.forward_flops(layer)).sum();
        let compute = self.rates.compute_s(ranks * 3.0 * self.timeline.batch_size as f64 * forward as f64);
        let (compute, read_bytes) = match order {
            Order::MicroBatchMajor => {
                let bubble = 1.0 + (ranks - 1.0) / chunks as f64;
                let overlapped = compute * bubble / choice.strategy.speedup_bound();
                (overlapped, choice.price.read_bytes + (2 * chunks - 1) * absent)
            }
            Order::LayerMajor => (compute, choice.price.read_bytes),
        };
        let io = self.rates.io_s(read_bytes, choice.price.written_bytes);
        Price { read_bytes, seconds: compute.max(io), ..choice.price }
    }

    fn choice(&self, candidate: Candidate, order: Order) -> Result<Choice, BudgetError> {
        let &Self { config, network, timeline, extents, .. } = self;
        let strategy = strategy::build(&config.parallelism, network, timeline, order, &candidate.plan);
        let demand = Demand {
            network,
            extents,
            timeline,
            strategy: strategy.as_ref(),
            activations: &candidate.plan,
            data: self.data,
            threads: self.threads,
            spills: config.storage.mode != StorageMode::Memory,
        };
        let memory = demand.divide(config.storage.memory_budget)?;
        let price = candidate.price(network, extents, timeline, memory.store_capacity(), self.rates);
        Ok(Choice { strategy, memory, activations: candidate.plan, price, orders: Vec::new() })
    }
}

impl Traffic {
    /// Saturating: a total beyond 64 bits is as good as none, and no reason to stop.
    fn add(&mut self, op: &Op, extents: &Extents, activations: &ActivationPlan) {
        let add = |total: &mut u64, bytes: u64| *total = total.saturating_add(bytes);
        match *op {
            Op::Fetch { at, .. } => {
                add(&mut self.train_read, activations.bytes(at));
                add(&mut self.activations_read, activations.bytes(at));
            }
            Op::Spill { at, .. } => {
                add(&mut self.train_written, activations.bytes(at));
                add(&mut self.activations_written, activations.bytes(at));
            }
            Op::Read { extent, phase: Phase::Train } => add(&mut self.train_read, extents.bytes(extent)),
            Op::Read { extent, .. } => add(&mut self.other_read, extents.bytes(extent)),
            Op::Write { extent, phase: Phase::Train } => add(&mut self.train_written, extents.bytes(extent)),
            Op::Write { extent, .. } => add(&mut self.other_written, extents.bytes(extent)),
            Op::Flush { extent } => add(&mut self.generations_written, extents.bytes(extent)),
            Op::Publish { panel } => {
                add(&mut self.train_written, extents.bytes(Extent::snapshot(panel)));
            }
            _ => {}
        }
    }
}

fn evaluation_rows(network: &Network) -> usize {
    let width: usize = network.layers().iter().map(|layer| layer.inputs + layer.outputs).sum();
    (EVALUATION_BYTES / (4 * width)).clamp(*EVALUATION_ROWS.start(), *EVALUATION_ROWS.end())
}
