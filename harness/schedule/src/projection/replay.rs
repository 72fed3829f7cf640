//! The operations of all ranks, executed by their costs: each rank does one thing at a time, as the engine does;
//! whatever waits there waits here. Time moves from one event to the next: a rank's operation ends, the disk has moved an
//! extent, a message arrives.
//!
//! After some steps to warm up, a few are measured. Initial reads of what is pinned count as done, and evaluations take
//! no time: they are no part of a step.

use std::collections::{HashMap, HashSet, VecDeque};

use spillbench_schema::{
    config::{Config, StorageMode},
    prediction::StepShares,
};

use super::{
    StepCost,
    disk::DiskModel,
    place::{Domain, Store, Target},
    tables::MachineTables,
    work::{Work, begins_evaluation},
};
use crate::{
    activations::{ActivationExtent, Policy},
    extent::Extent,
    network::{Boundary, LayerId, PanelId},
    op::{Message, Op, Phase, Rank, Slot, SlotRange, Source, Version},
    plan::Plan,
};

/// Steps measured where ranks talk at every step; otherwise one interval.
const MEASURED: u64 = 3;

/// What a rank waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Read,
    Write,
    Peer,
}

/// What an operation comes to when it is tried.
enum Tried {
    /// It takes time; then it is tried again.
    Takes(Work),
    Waits(Wait),
    Done,
}

/// A rank on its way.
struct Worker<'a> {
    rank: Rank,
    ops: Box<dyn Iterator<Item = Op> + 'a>,
    current: Option<Op>,
    /// Parts of the current operation that are done.
    stage: u8,
    task: Option<Task>,
    wait: Option<Wait>,
    rows: Vec<u64>,
    step: u64,
    barriers: u64,
    /// Seconds computing, of them bound by memory, waiting for reads, writes, peers.
    ledger: [f64; 5],
    evaluating: bool,
    finished: bool,
}

/// Work under way.
struct Task {
    work: Work,
    /// The part that is left.
    left: f64,
    /// Seconds of the whole, and of them bound by memory, as things are.
    seconds: f64,
    bound: f64,
}

/// Messages from one rank to another, with the time at which each can be received.
type Channel = VecDeque<f64>;

struct Replay<'a> {
    plan: &'a Plan,
    rates: &'a MachineTables<'a>,
    disk: &'a DiskModel,
    stays: bool,
    now: f64,
    domains: Vec<Domain>,
    store: Store,
    /// Activations that are being read.
    coming: HashSet<usize>,
    channels: HashMap<(Rank, Rank), Channel>,
    arrivals: Vec<u64>,
    parts: HashMap<PanelId, usize>,
    operations: u64,
}

/// What has been counted when a step ended.
#[derive(Clone)]
struct Mark {
    step: u64,
    at: f64,
    ledgers: Vec<[f64; 5]>,
    bytes: [f64; 2],
    seconds: [f64; 2],
}

/// The cost of a step once warm; none where more than `most` operations would have to be replayed.
pub(super) fn replay(
    plan: &Plan,
    config: &Config,
    rates: &MachineTables,
    disk: &DiskModel,
    most: u64,
) -> Option<StepCost> {
    let interval = config.parallelism.interval().min(plan.timeline.steps);
    let measured = if interval > 1 { interval } else { MEASURED };
    // A part of an interval would count its exchange too often.
    let warms_up = if interval > 1 { 2 * interval <= plan.timeline.steps } else { plan.timeline.steps > 1 };
    let warm = if warms_up { interval } else { 0 };
    let last = (warm + measured).min(plan.timeline.steps);
    let ranks = plan.ranks();
    let users = if plan.strategy().shares_panels() { ranks } else { 1 };
    let mut replay = Replay {
        plan,
        rates,
        disk,
        stays: config.storage.mode == StorageMode::Memory,
        now: 0.0,
        domains: (0..ranks / users).map(|_| Domain::new(&plan.extents, users)).collect(),
        store: Store::new(plan.memory.store_bytes()),
        coming: HashSet::new(),
        channels: HashMap::new(),
        arrivals: vec![0; ranks],
        parts: HashMap::new(),
        operations: 0,
    };
    let mut workers: Vec<Worker> = (0..ranks).map(|rank| Worker::new(plan, Rank(rank as u16))).collect();
    let mut from = (warm == 0).then(|| replay.mark(&workers));
    loop {
        let step_ended = replay.let_go_on(&mut workers);
        let scribe = &workers[ranks - 1];
        if from.is_none() && scribe.step >= warm {
            from = Some(replay.mark(&workers));
        }
        let over = workers.iter().all(|worker| worker.finished);
        if let Some(from) = &from
            && scribe.step > from.step
            && (scribe.step >= last || over || replay.operations > most)
        {
            return Some(cost(from, &replay.mark(&workers)));
        }
        if replay.operations > most || over {
            return None;
        }
        if !step_ended {
            replay.next_event(&mut workers);
        }
    }
}

/// The mean of the steps between two marks.
fn cost(from: &Mark, to: &Mark) -> StepCost {
    let steps = (to.step - from.step) as f64;
    let wall = to.at - from.at;
    let ranks = to.ledgers.len() as f64;
    let spent = |of: usize| to.ledgers.iter().zip(&from.ledgers).map(move |(to, from)| to[of] - from[of]);
    let share = |of: usize| if wall > 0.0 { spent(of).sum::<f64>() / ranks / wall } else { 0.0 };
    let each = |to: [f64; 2], from: [f64; 2]| [(to[0] - from[0]) / steps, (to[1] - from[1]) / steps];
    let ([read_s, write_s], [bytes_read, bytes_written]) =
        (each(to.seconds, from.seconds), each(to.bytes, from.bytes));
    StepCost {
        step_s: wall / steps,
        compute_s: spent(0).fold(0.0, f64::max) / steps,
        memory_bound_s: spent(1).fold(0.0, f64::max) / steps,
        read_s,
        write_s,
        bytes_read,
        bytes_written,
        shares: StepShares {
            compute: share(0),
            read_wait: share(2),
            buffer_wait: share(3),
            comm_wait: share(4),
        },
    }
}

impl<'a> Worker<'a> {
    fn new(plan: &'a Plan, rank: Rank) -> Self {
        let slots = usize::from(plan.strategy().workspace(rank).slots) + 1;
        Self {
            rank,
            ops: plan.operations(rank),
            current: None,
            stage: 0,
            task: None,
            wait: None,
            rows: vec![plan.timeline.chunk_rows() as u64; slots],
            step: 0,
            barriers: 0,
            ledger: [0.0; 5],
            evaluating: false,
            finished: false,
        }
    }

    fn rows(&self, slot: Slot) -> u64 {
        self.rows[usize::from(slot.0)]
    }

    fn rows_of(&self, chunks: SlotRange) -> u64 {
        chunks.iter().map(|slot| self.rows(slot)).sum()
    }

    /// Counts seconds of what it is doing.
    fn pass(&mut self, seconds: f64) {
        if let Some(task) = &self.task {
            self.ledger[0] += seconds;
            self.ledger[1] += seconds * task.bound / task.seconds.max(f64::MIN_POSITIVE);
        } else if let Some(wait) = self.wait {
            let of = match wait {
                Wait::Read => 2,
                Wait::Write => 3,
                Wait::Peer => 4,
            };
            self.ledger[of] += seconds;
        }
    }
}

impl Replay<'_> {
    fn mark(&self, workers: &[Worker]) -> Mark {
        let scribe = &workers[workers.len() - 1];
        Mark {
            step: scribe.step,
            at: self.now,
            ledgers: workers.iter().map(|worker| worker.ledger).collect(),
            bytes: self.store.bytes,
            seconds: self.store.seconds,
        }
    }

    /// Lets every rank go on that does not compute, until all compute or wait, or a step has ended: what follows it is
    /// not to be counted with it. Returns whether one has.
    fn let_go_on(&mut self, workers: &mut [Worker]) -> bool {
        loop {
            let mut progress = false;
            for worker in workers.iter_mut() {
                let step = worker.step;
                while worker.task.is_none() && !worker.finished && self.advance(worker) {
                    progress = true;
                    if worker.step > step {
                        return true;
                    }
                }
            }
            if !progress {
                return false;
            }
        }
    }

    /// Tries a worker's operation; whether it came further.
    fn advance(&mut self, worker: &mut Worker) -> bool {
        let Some(op) = worker.current.or_else(|| worker.ops.next()) else {
            worker.finished = true;
            worker.wait = None;
            return true;
        };
        worker.current = Some(op);
        worker.evaluating |= begins_evaluation(&op);
        match self.try_op(worker, &op) {
            Tried::Takes(_) if worker.evaluating => {
                worker.stage += 1;
                true
            }
            Tried::Takes(work) => {
                worker.wait = None;
                worker.task = Some(Task { work, left: 1.0, seconds: 0.0, bound: 0.0 });
                true
            }
            Tried::Waits(wait) => {
                worker.wait = Some(wait);
                false
            }
            Tried::Done => {
                self.operations += 1;
                worker.wait = None;
                worker.current = None;
                worker.stage = 0;
                true
            }
        }
    }

    /// Moves time to the next event.
    fn next_event(&mut self, workers: &mut [Worker]) {
        let threads = self.plan.threads;
        let active: usize = workers
            .iter()
            .filter_map(|worker| worker.task.as_ref())
            .map(|task| task.work.threads(threads))
            .sum();
        let all_cores = active >= self.rates.cores();
        let compute_share = if all_cores && self.store.is_busy() { self.disk.compute_share } else { 1.0 };
        let mut next = f64::INFINITY;
        let mut first = None;
        for (index, worker) in workers.iter_mut().enumerate() {
            let Some(task) = &mut worker.task else { continue };
            let (seconds, bound) = task.work.seconds(self.rates, threads, active);
            (task.seconds, task.bound) = (seconds / compute_share, bound / compute_share);
            if task.left * task.seconds < next {
                (next, first) = (task.left * task.seconds, Some(index));
            }
        }
        let disk_share = if all_cores { self.disk.disk_share } else { 1.0 };
        let service = self.store.service(self.disk, disk_share);
        let mut disk_is_first = false;
        if let Some((seconds, _)) = service
            && seconds < next
        {
            (next, first, disk_is_first) = (seconds, None, true);
        }
        let arrivals = self.channels.values().filter_map(VecDeque::front);
        if let Some(arrival) = arrivals.copied().filter(|at| *at > self.now).min_by(f64::total_cmp)
            && arrival - self.now < next
        {
            (next, first, disk_is_first) = (arrival - self.now, None, false);
            self.now = arrival;
        } else {
            self.now += next;
        }
        assert!(next.is_finite(), "nobody can go on: a bug in the schedule or in its replay");
        for (index, worker) in workers.iter_mut().enumerate() {
            worker.pass(next);
            if let Some(task) = &mut worker.task {
                task.left -= next / task.seconds.max(f64::MIN_POSITIVE);
                if Some(index) == first || task.left <= 0.0 {
                    worker.task = None;
                    worker.stage += 1;
                }
            }
        }
        if let Some((_, seconds_per_byte)) = service
            && let Some(job) = self.store.serve(next, seconds_per_byte, disk_is_first)
        {
            match job.target {
                Target::Extent { domain, index } => self.domains[domain].arrived(index),
                Target::Values { index } => {
                    self.coming.remove(&index);
                }
                Target::Disk => {}
            }
        }
    }

    fn try_op(&mut self, worker: &mut Worker, op: &Op) -> Tried {
        let plan = self.plan;
        match *op {
            Op::Load { source, slot, values } => self.load(worker, source, slot, values),
            Op::Forward { layer, panel, version, slot } => {
                if self.values_are_coming(worker, layer, [slot]) {
                    return Tried::Waits(Wait::Read);
                }
                let work = Work::forward(plan, layer, panel, worker.rows(slot));
                self.look(worker, panel, version, work)
            }
            Op::Backward { layer, panel, version, slot, flow } => {
                if self.values_are_coming(worker, layer, [slot]) {
                    return Tried::Waits(Wait::Read);
                }
                let work = Work::backward(plan, layer, panel, worker.rows(slot), flow);
                self.look(worker, panel, version, work)
            }
            Op::Loss { slot, at, .. } => {
                once(worker, Work::values(worker.rows(slot), plan.network.width(at), 16.0))
            }
            Op::Score { slot, .. } => {
                once(worker, Work::values(worker.rows(slot), plan.network.classes(), 16.0))
            }
            Op::Update { panel, chunks } | Op::Reduce { panel, chunks, .. }
                if self.values_are_coming(worker, plan.network.panel(panel).layer, chunks.iter()) =>
            {
                Tried::Waits(Wait::Read)
            }
            Op::Update { panel, chunks } => self.update(worker, panel, chunks),
            Op::Reduce { panel, chunks, owner } => self.reduce(worker, panel, chunks, owner),
            Op::Send { to, message, slot } => {
                let work = self.copied(message, worker.rows(slot));
                self.send(worker, to, Some(work))
            }
            Op::SendKept { to, .. } => self.send(worker, to, None),
            Op::Receive { from, message, slot } => {
                let work = self.copied(message, worker.rows(slot));
                self.receive(worker, from, Some(work))
            }
            Op::ReceiveKept { from, .. } => self.receive(worker, from, None),
            Op::Keep { message, slot } | Op::Recall { message, slot } => {
                once(worker, self.copied(message, worker.rows(slot)))
            }
            Op::Publish { panel } => self.publish(worker, panel),
            Op::Barrier => self.barrier(worker),
            Op::StepEnd { .. } => {
                worker.step += 1;
                Tried::Done
            }
            Op::EvaluationEnd { .. } => {
                worker.evaluating = false;
                Tried::Done
            }
            Op::Read { extent, phase } => self.read(worker, extent, phase),
            Op::Write { extent, phase } => self.leave(worker, extent, Some(phase)),
            Op::Release { extent } => self.leave(worker, extent, None),
            Op::Allocate { at, .. } => self.hold_values(at),
            Op::Discard { at, .. } => {
                if !self.stays {
                    self.store.give_back(plan.activations.bytes(at));
                }
                Tried::Done
            }
            Op::Spill { at, .. } => {
                self.store.ask(Target::Disk, plan.activations.bytes(at), Phase::Train);
                Tried::Done
            }
            Op::Fetch { slot, at } => self.fetch(worker, slot, at),
            Op::Reload { source, slot } => self.load(worker, source, slot, true),
            // Between steps: what a generation takes is no part of one.
            Op::Flush { .. } | Op::Generation { .. } => Tried::Done,
        }
    }

    fn load(&self, worker: &mut Worker, source: Source, slot: Slot, values: bool) -> Tried {
        let timeline = &self.plan.timeline;
        let rows = match source {
            Source::Train { step, chunk } => {
                timeline.chunk(timeline.batch(step).1.len(), usize::from(chunk)).len()
            }
            Source::Evaluate { split, chunk } => timeline.evaluation_chunk(split, chunk).len(),
        };
        worker.rows[usize::from(slot.0)] = rows as u64;
        if !values {
            return Tried::Done;
        }
        // A pixel is read as one byte and written as four.
        once(worker, Work::values(rows as u64, self.plan.network.width(Boundary(0)), 5.0))
    }

    /// Memory for a slot's values.
    fn hold_values(&mut self, at: Boundary) -> Tried {
        let bytes = self.plan.activations.bytes(at);
        if self.stays {
            return Tried::Done;
        }
        if !self.store.has_room(bytes) {
            return Tried::Waits(Wait::Write);
        }
        self.store.hold(bytes);
        Tried::Done
    }

    fn fetch(&mut self, worker: &Worker, slot: Slot, at: Boundary) -> Tried {
        let held = self.hold_values(at);
        if matches!(held, Tried::Done) {
            let activations = &self.plan.activations;
            let index = activations.index(ActivationExtent { rank: worker.rank, slot, at });
            self.store.ask(Target::Values { index }, activations.bytes(at), Phase::Train);
            self.coming.insert(index);
        }
        held
    }

    /// Whether values beside a layer are still being read.
    fn values_are_coming(
        &self,
        worker: &Worker,
        layer: LayerId,
        slots: impl IntoIterator<Item = Slot>,
    ) -> bool {
        let layer = self.plan.network.layer(layer);
        let is_coming = |slot, at| {
            self.plan.activations.policy(at) == Policy::Spill
                && self.coming.contains(&self.plan.activations.index(ActivationExtent {
                    rank: worker.rank,
                    slot,
                    at,
                }))
        };
        !self.coming.is_empty()
            && slots.into_iter().any(|slot| [layer.input, layer.output].iter().any(|at| is_coming(slot, *at)))
    }

    fn domain(&mut self, worker: &Worker) -> &mut Domain {
        &mut self.domains[self.plan.domain(worker.rank)]
    }

    fn copied(&self, message: Message, rows: u64) -> Work {
        Work::values(rows, self.plan.network.width(message.boundary()), 8.0)
    }

    /// An operation that looks at a panel.
    fn look(&mut self, worker: &mut Worker, panel: Option<PanelId>, version: Version, work: Work) -> Tried {
        let Some(panel) = panel else { return once(worker, work) };
        let extent = match version {
            Version::Live => Extent::weights(panel),
            Version::Snapshot => Extent::snapshot(panel),
        };
        let index = self.plan.extents.index(extent);
        let (rank, step, stage) = (worker.rank, worker.step, worker.stage);
        let domain = self.domain(worker);
        match stage {
            0 if !domain.is_here(index, step) => Tried::Waits(Wait::Read),
            0 => Tried::Takes(work),
            _ => {
                domain.used(index, rank);
                Tried::Done
            }
        }
    }

    /// Extents of a panel that an update changes.
    fn changed(&self, panel: PanelId) -> impl Iterator<Item = usize> + use<> {
        let extents = &self.plan.extents;
        let state = extents.has_state().then(|| extents.index(Extent::state(panel)));
        [Some(extents.index(Extent::weights(panel))), state].into_iter().flatten()
    }

    fn update(&mut self, worker: &mut Worker, panel: PanelId, chunks: SlotRange) -> Tried {
        let changed = self.changed(panel);
        let (step, stage, rows) = (worker.step, worker.stage, worker.rows_of(chunks));
        let plan = self.plan;
        let domain = self.domain(worker);
        if stage == 0 {
            let here = changed.into_iter().all(|index| domain.is_here(index, step));
            return if here {
                Tried::Takes(Work::update(plan, panel, rows))
            } else {
                Tried::Waits(Wait::Read)
            };
        }
        changed.for_each(|index| domain.updated(index));
        Tried::Done
    }

    /// The gradient's part; the owner then waits for the others and applies them all.
    fn reduce(&mut self, worker: &mut Worker, panel: PanelId, chunks: SlotRange, owner: Rank) -> Tried {
        let (plan, rank, step) = (self.plan, worker.rank, worker.step);
        let weights = plan.extents.index(Extent::weights(panel));
        let changed = self.changed(panel);
        match worker.stage {
            0 if !self.domain(worker).is_here(weights, step) => Tried::Waits(Wait::Read),
            0 => Tried::Takes(Work::update(plan, panel, worker.rows_of(chunks))),
            1 if rank == owner => {
                let others = self.parts.get(&panel).copied().unwrap_or(0);
                if others + 1 < plan.ranks() {
                    return Tried::Waits(Wait::Peer);
                }
                let domain = self.domain(worker);
                if !changed.into_iter().all(|index| domain.is_here(index, step)) {
                    return Tried::Waits(Wait::Read);
                }
                self.parts.remove(&panel);
                Tried::Takes(Work::combine(plan, panel, plan.ranks()))
            }
            _ => {
                if rank != owner {
                    *self.parts.entry(panel).or_default() += 1;
                }
                let domain = self.domain(worker);
                for index in changed {
                    domain.used(index, rank);
                    if rank == owner {
                        domain.updated(index);
                    }
                }
                Tried::Done
            }
        }
    }

    fn send(&mut self, worker: &mut Worker, to: Rank, work: Option<Work>) -> Tried {
        if let (0, Some(work)) = (worker.stage, work) {
            return Tried::Takes(work);
        }
        let capacity = self.plan.strategy().queue_capacity();
        let channel = self.channels.entry((worker.rank, to)).or_default();
        if channel.len() >= capacity.max(1) {
            return Tried::Waits(Wait::Peer);
        }
        channel.push_back(self.now + self.rates.hand_over_s());
        Tried::Done
    }

    fn receive(&mut self, worker: &mut Worker, from: Rank, work: Option<Work>) -> Tried {
        if worker.stage > 0 {
            return Tried::Done;
        }
        let channel = self.channels.entry((from, worker.rank)).or_default();
        if channel.front().is_none_or(|arrival| *arrival > self.now) {
            return Tried::Waits(Wait::Peer);
        }
        channel.pop_front();
        work.map_or(Tried::Done, Tried::Takes)
    }

    fn publish(&mut self, worker: &mut Worker, panel: PanelId) -> Tried {
        let (live, snapshot) = (Extent::weights(panel), Extent::snapshot(panel));
        let (index, bytes) = (self.plan.extents.index(live), self.plan.extents.bytes(snapshot));
        let step = worker.step;
        match worker.stage {
            0 if !self.domain(worker).is_here(index, step) => Tried::Waits(Wait::Read),
            0 if !self.stays && !self.store.has_room(bytes) => Tried::Waits(Wait::Write),
            0 => {
                if !self.stays {
                    self.store.hold(bytes);
                }
                Tried::Takes(Work::copy(2.0 * bytes as f64))
            }
            _ => {
                if !self.stays {
                    self.store.ask(Target::Disk, bytes, Phase::Train);
                }
                Tried::Done
            }
        }
    }

    fn barrier(&mut self, worker: &mut Worker) -> Tried {
        if worker.stage == 0 {
            worker.stage = 1;
            worker.barriers += 1;
            self.arrivals[usize::from(worker.rank.0)] = worker.barriers;
        }
        let all = self.arrivals.iter().all(|arrivals| *arrivals >= worker.barriers);
        if all { Tried::Done } else { Tried::Waits(Wait::Peer) }
    }

    fn read(&mut self, worker: &Worker, extent: Extent, phase: Phase) -> Tried {
        let (index, bytes) = (self.plan.extents.index(extent), self.plan.extents.bytes(extent));
        if self.stays || phase == Phase::SetUp {
            if !self.stays {
                self.store.hold(bytes);
            }
            self.domain(worker).arrived(index);
            return Tried::Done;
        }
        if !self.store.has_room(bytes) {
            return Tried::Waits(Wait::Write);
        }
        self.store.hold(bytes);
        if phase == Phase::Evaluate {
            self.domain(worker).arrived(index);
        } else {
            self.store.ask(Target::Extent { domain: self.plan.domain(worker.rank), index }, bytes, phase);
            self.domain(worker).coming(index);
        }
        Tried::Done
    }

    /// A release, or a write where there is a phase.
    fn leave(&mut self, worker: &Worker, extent: Extent, written: Option<Phase>) -> Tried {
        let (index, bytes) = (self.plan.extents.index(extent), self.plan.extents.bytes(extent));
        let rank = worker.rank;
        let domain = self.domain(worker);
        if !domain.may_leave(index, rank) {
            return Tried::Waits(if written.is_some() { Wait::Write } else { Wait::Read });
        }
        domain.left(index);
        match written {
            _ if self.stays => {}
            Some(phase) => self.store.ask(Target::Disk, bytes, phase),
            None => self.store.give_back(bytes),
        }
        Tried::Done
    }
}

/// An operation that waits for nothing.
const fn once(worker: &Worker, work: Work) -> Tried {
    if worker.stage == 0 { Tried::Takes(work) } else { Tried::Done }
}
