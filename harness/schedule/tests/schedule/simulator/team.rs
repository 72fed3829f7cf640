//! A team of ranks with bounded queues between them: each rank runs until something blocks it, in turn, until all
//! have come to their end or none can go on.

use std::collections::{HashMap, VecDeque};

use spillbench_schedule::{Message, Op, PanelId, Plan, Rank, Slot, SlotRange, Source};
use spillbench_schema::event::Split;

use super::{memory::Domain, workspace::Workspace};

/// What was done that counts.
#[derive(Default)]
pub struct Record {
    pub updates: Vec<PanelUpdate>,
    /// Training losses that are reported: step and chunk.
    pub losses: Vec<(u64, u16)>,
    /// Steps done, split, chunk.
    pub scores: Vec<(u64, Split, u32)>,
    /// Steps done at each generation.
    pub generations: Vec<u64>,
}

/// A rank's update of a panel, or its part of one.
pub struct PanelUpdate {
    pub step: u64,
    pub panel: PanelId,
    pub chunks: Vec<u16>,
}

struct Worker<'a> {
    rank: Rank,
    ops: Box<dyn Iterator<Item = Op> + 'a>,
    /// What it could not do yet.
    blocked: Option<Op>,
    workspace: Workspace<'a>,
    steps: u64,
    /// Barriers and generations so far.
    meetings: u64,
    waits_for_others: bool,
}

struct Team<'a> {
    plan: &'a Plan,
    queues: HashMap<(Rank, Rank), VecDeque<(Message, Vec<Source>)>>,
    domains: Vec<Domain<'a>>,
    /// Barriers and generations that each rank has come to.
    arrivals: Vec<u64>,
    /// Parts of a gradient that were handed to the owner.
    parts: HashMap<PanelId, usize>,
    record: Record,
}

/// Executes a plan; asserts that all ranks come to their end and leave nothing behind.
pub fn run(plan: &Plan) -> Record {
    let ranks = || (0..plan.ranks()).map(|rank| Rank(rank as u16));
    let mut workers: Vec<Worker> = ranks().map(|rank| Worker::new(plan, rank)).collect();
    let mut team = Team {
        plan,
        queues: HashMap::new(),
        domains: (0..plan.memory.residency.len()).map(|domain| Domain::new(plan, domain)).collect(),
        arrivals: vec![0; plan.ranks()],
        parts: HashMap::new(),
        record: Record::default(),
    };
    while workers.iter_mut().any(|worker| team.advance(worker)) {}
    let stuck: Vec<_> =
        workers.iter().filter_map(|worker| worker.blocked.map(|op| (worker.rank, op))).collect();
    assert!(stuck.is_empty(), "deadlock: {stuck:?}");
    assert!(team.queues.values().all(VecDeque::is_empty), "messages that nobody received: {:?}", team.queues);
    assert!(team.parts.values().all(|parts| *parts == 0), "gradients that nobody applied: {:?}", team.parts);
    team.domains.iter().for_each(Domain::assert_empty);
    for worker in &workers {
        worker.workspace.assert_nothing_kept();
        worker.workspace.assert_pool_is_empty();
        assert_eq!(worker.steps, plan.timeline.steps);
    }
    team.record
}

impl<'a> Worker<'a> {
    fn new(plan: &'a Plan, rank: Rank) -> Self {
        Self {
            rank,
            ops: plan.operations(rank),
            blocked: None,
            workspace: Workspace::new(plan, rank),
            steps: 0,
            meetings: 0,
            waits_for_others: false,
        }
    }
}

impl Team<'_> {
    /// Lets a worker go on until it blocks or is done; whether it did anything.
    fn advance(&mut self, worker: &mut Worker) -> bool {
        let mut progress = false;
        while let Some(op) = worker.blocked.take().or_else(|| worker.ops.next()) {
            if !self.execute(worker, op) {
                worker.blocked = Some(op);
                break;
            }
            progress = true;
        }
        progress
    }

    /// Executes an operation, unless it has to wait.
    fn execute(&mut self, worker: &mut Worker, op: Op) -> bool {
        let domain = self.plan.domain(worker.rank);
        if !self.has_what_it_touches(worker, &op) {
            return false;
        }
        let workspace = &mut worker.workspace;
        match op {
            Op::Load { source, slot, values } => {
                if let Source::Train { step, .. } = source {
                    assert!(step >= worker.steps, "samples of a step that is done");
                }
                workspace.load(slot, source, values);
            }
            Op::Forward { layer, panel, version, slot } => workspace.forward(layer, panel, version, slot),
            Op::Backward { layer, panel, version, slot, flow } => {
                workspace.backward(layer, panel, version, slot, flow);
            }
            Op::Loss { slot, at, record } => {
                workspace.loss(slot, at);
                if let Some((step, chunk)) = record {
                    assert_eq!(workspace.source(slot), Source::Train { step, chunk });
                    self.record.losses.push((step, chunk));
                }
            }
            Op::Score { slot, split, chunk } => {
                assert_eq!(workspace.source(slot), Source::Evaluate { split, chunk });
                workspace.complete_outputs(slot);
                self.record.scores.push((worker.steps, split, chunk));
            }
            Op::Update { panel, chunks } => self.update(worker, panel, chunks),
            Op::Reduce { panel, chunks, owner } => {
                if !self.reduce(worker.rank, panel, owner) {
                    return false;
                }
                self.update(worker, panel, chunks);
            }
            Op::Send { to, message, slot } => {
                if !self.has_room(worker.rank, to) {
                    return false;
                }
                let source = worker.workspace.pack(message, slot);
                self.send(worker.rank, to, message, vec![source]);
            }
            Op::SendKept { to, message } => {
                if !self.has_room(worker.rank, to) {
                    return false;
                }
                let sources = worker.workspace.take_kept(message);
                self.send(worker.rank, to, message, sources);
            }
            Op::Receive { from, message, slot } => {
                let Some(sources) = self.receive(from, worker.rank, message) else { return false };
                assert_eq!(sources.len(), 1);
                worker.workspace.unpack(message, slot, sources[0]);
            }
            Op::ReceiveKept { from, message } => {
                let Some(sources) = self.receive(from, worker.rank, message) else { return false };
                worker.workspace.keep(message, sources);
            }
            Op::Allocate { at, slot } => workspace.allocate(at, slot),
            Op::Discard { at, slot } => workspace.discard(at, slot),
            Op::Spill { at, slot } => workspace.spill(at, slot),
            Op::Fetch { at, slot } => workspace.fetch(at, slot),
            Op::Reload { source, slot } => {
                assert_eq!(workspace.source(slot), source, "other samples than before");
                workspace.reload(slot);
            }
            Op::Keep { message, slot } => {
                let source = workspace.pack(message, slot);
                workspace.keep(message, [source]);
            }
            Op::Recall { message, slot } => {
                let source = workspace.recall(message);
                workspace.unpack(message, slot, source);
            }
            Op::Barrier => {
                if !self.meet(worker) {
                    return false;
                }
                worker.workspace.barriers += 1;
            }
            Op::Generation { step } => return self.generation(worker, step),
            Op::Flush { extent } => return self.domains[domain].flush(worker.rank.0.into(), extent),
            Op::StepEnd { step } => {
                assert_eq!(step, worker.steps, "steps are done in order");
                worker.steps += 1;
            }
            Op::EvaluationEnd { step, .. } => assert_eq!(step, worker.steps),
            Op::Read { extent, .. } => self.domains[domain].read(extent),
            Op::Write { extent, .. } => {
                return self.domains[domain].leave(worker.rank.0.into(), extent, true);
            }
            Op::Release { extent } => return self.domains[domain].leave(worker.rank.0.into(), extent, false),
            Op::Publish { .. } => {}
        }
        for (extent, _) in op.touches(self.plan.extents.has_state()) {
            self.domains[domain].used(worker.rank.0.into(), extent);
        }
        true
    }

    /// Whether all have met and the generation is committed.
    fn generation(&mut self, worker: &mut Worker, step: u64) -> bool {
        if !worker.waits_for_others {
            assert_eq!(step, worker.steps);
            worker.workspace.assert_nothing_kept();
        }
        let met = self.meet(worker);
        if met {
            self.commit(worker.rank, step);
        }
        met
    }

    fn has_what_it_touches(&mut self, worker: &Worker, op: &Op) -> bool {
        let domain = &mut self.domains[self.plan.domain(worker.rank)];
        op.touches(self.plan.extents.has_state()).all(|(extent, _)| domain.can_use(extent, worker.steps))
    }

    fn update(&mut self, worker: &mut Worker, panel: PanelId, slots: SlotRange) {
        let step = worker.steps;
        let chunk = |workspace: &mut Workspace, slot: Slot| {
            workspace.assert_has_gradient(panel, slot);
            let Source::Train { step: source, chunk } = workspace.source(slot) else {
                panic!("an update on an evaluation's samples")
            };
            assert_eq!(source, step, "an update on another step's samples");
            chunk
        };
        let chunks: Vec<u16> = slots.iter().map(|slot| chunk(&mut worker.workspace, slot)).collect();
        assert!(chunks.windows(2).all(|pair| pair[0] + 1 == pair[1]), "chunks out of order: {chunks:?}");
        worker.workspace.updates[panel.0 as usize] += 1;
        if !self.plan.strategy().shares_panels() {
            self.apply(worker.rank, panel);
        }
        self.record.updates.push(PanelUpdate { step, panel, chunks });
    }

    /// Hands a part of a gradient to its owner, who applies all of them when the last has come.
    fn reduce(&mut self, rank: Rank, panel: PanelId, owner: Rank) -> bool {
        let parts = self.parts.entry(panel).or_default();
        if rank != owner {
            *parts += 1;
        } else if *parts + 1 == self.plan.ranks() {
            *parts = 0;
            self.apply(rank, panel);
        } else {
            return false;
        }
        true
    }

    fn apply(&mut self, rank: Rank, panel: PanelId) {
        let domain = &mut self.domains[self.plan.domain(rank)];
        let update = Op::Update { panel, chunks: SlotRange { first: Slot(0), count: 0 } };
        update.touches(self.plan.extents.has_state()).for_each(|(extent, _)| domain.updated(extent));
    }

    fn has_room(&self, from: Rank, to: Rank) -> bool {
        assert_eq!(from.0.abs_diff(to.0), 1, "ranks talk to neighbours only");
        let waiting = self.queues.get(&(from, to)).map_or(0, VecDeque::len);
        waiting < self.plan.strategy().queue_capacity()
    }

    fn send(&mut self, from: Rank, to: Rank, message: Message, sources: Vec<Source>) {
        self.queues.entry((from, to)).or_default().push_back((message, sources));
        let waiting: u64 =
            self.queues.values().flatten().map(|(message, sources)| self.bytes(*message, sources)).sum();
        let planned = self.plan.memory.messages;
        assert!(waiting <= planned, "{waiting} bytes are on their way, {planned} are planned");
    }

    fn receive(&mut self, from: Rank, to: Rank, message: Message) -> Option<Vec<Source>> {
        let (arrived, sources) = self.queues.entry((from, to)).or_default().pop_front()?;
        assert_eq!(arrived, message, "{to:?} got another message");
        Some(sources)
    }

    fn bytes(&self, message: Message, sources: &[Source]) -> u64 {
        let timeline = &self.plan.timeline;
        let rows = |source: &Source| match *source {
            Source::Train { step, chunk } => timeline.chunk(timeline.batch(step).1.len(), chunk.into()).len(),
            Source::Evaluate { split, chunk } => timeline.evaluation_chunk(split, chunk).len(),
        };
        let width = self.plan.network.width(message.boundary());
        4 * (sources.iter().map(rows).sum::<usize>() * width) as u64
    }

    /// All ranks are here: what is on disk is all there is.
    fn commit(&mut self, rank: Rank, step: u64) {
        let first_to_go_on = self.record.generations.last() != Some(&step);
        if first_to_go_on {
            assert!(self.queues.values().all(VecDeque::is_empty), "messages under way: {:?}", self.queues);
            assert!(self.parts.values().all(|parts| *parts == 0), "gradients under way: {:?}", self.parts);
            self.domains.iter().for_each(Domain::assert_written);
            self.record.generations.push(step);
        }
        assert!(self.record.generations.contains(&step), "{rank:?} has a generation of its own");
    }

    /// Waits until all have come to as many barriers and generations.
    fn meet(&mut self, worker: &mut Worker) -> bool {
        if !worker.waits_for_others {
            worker.waits_for_others = true;
            worker.meetings += 1;
            self.arrivals[usize::from(worker.rank.0)] = worker.meetings;
        }
        if self.arrivals.iter().any(|arrivals| *arrivals < worker.meetings) {
            return false;
        }
        worker.waits_for_others = false;
        true
    }
}
