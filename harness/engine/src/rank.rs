//! One rank: executes its operations in order.

mod pooled;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use spillbench_data::{Dataset, Samples};
use spillbench_kernels::{self as kernels, Chunk, ParametersMut, UpdateRule};
use spillbench_schedule::{
    Boundary, ErrorFlow, Extent, LayerId, Message, Op, PanelId, Phase, Plan, Rank, Slot, SlotRange, Source,
    Version,
};
use spillbench_schema::{
    config::{Loss, OptimizerConfig, TrainConfig, Update},
    event::Split,
};
use spillbench_storage::{Counters, Panel, Store};

use crate::{
    EngineError,
    clock::Instant,
    generation::{Generations, Origin},
    layer::{self, InputError, Layer, PanelView, UpdateContext},
    ledger::{Activity, Ledger},
    order::EpochOrder,
    precision,
    recorder::Recorder,
    reduction::{self, Reducer},
    residency::Domain,
    team::Team,
    transport::Endpoint,
    workspace::Workspace,
};

/// What all ranks of a trial see.
pub struct Shared<'a, 'r> {
    pub plan: &'a Plan,
    pub train: &'a TrainConfig,
    pub seed: u64,
    pub data: &'a Dataset,
    pub layers: &'a [Box<dyn Layer>],
    pub store: &'a dyn Store,
    pub domains: &'a [Domain],
    pub team: &'a Team,
    pub reducer: &'a Reducer,
    pub recorder: &'a Recorder<'r>,
    /// What the run goes on from.
    pub origin: Origin<'a>,
    /// Where generations are committed.
    pub generations: Option<&'a Generations<'a>>,
}

/// Sum of losses from outputs, labels, rows and classes; writes its derivative by the outputs.
type LossFunction = fn(&[f32], &[u8], usize, usize, &mut [f32]) -> f64;

/// What a rank has done.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct RankReport {
    /// Where its time went, evaluation left out.
    pub ledger: Ledger,
    /// Bytes it sent, evaluation left out.
    pub bytes_sent: u64,
}

/// One rank on its way through its operations.
pub struct Executor<'a, 'r> {
    shared: &'a Shared<'a, 'r>,
    rank: Rank,
    domain: &'a Domain,
    workspace: Workspace,
    endpoint: Endpoint,
    order: EpochOrder,
    /// Steps done.
    step: u64,
    ledger: Ledger,
    /// The ledger at the end of the last step.
    trained: Ledger,
    evaluation: Option<EvaluationMark>,
    /// Where the span under way began; the last rank's alone are written.
    span: SpanMark,
    /// Time and bytes of evaluations so far.
    evaluation_time: Duration,
    evaluation_bytes: u64,
}

/// Where a span of the log began, and how long it is to be.
struct SpanMark {
    start: Instant,
    ledger: Ledger,
    counters: Counters,
    length: Duration,
}

/// Where an evaluation began.
struct EvaluationMark {
    start: Instant,
    ledger: Ledger,
    bytes_sent: u64,
}

impl<'a, 'r> Executor<'a, 'r> {
    pub fn new(shared: &'a Shared<'a, 'r>, rank: Rank, endpoint: Endpoint) -> Self {
        let plan = shared.plan;
        let asked = plan.strategy().workspace(rank);
        Self {
            shared,
            rank,
            domain: &shared.domains[plan.domain(rank)],
            workspace: Workspace::new(&asked, &plan.network, &plan.timeline),
            endpoint,
            order: EpochOrder::new(shared.seed, plan.timeline.samples),
            step: shared.origin.past.step,
            ledger: Ledger::default(),
            trained: Ledger::default(),
            evaluation: None,
            span: SpanMark {
                start: Instant::now(),
                ledger: Ledger::default(),
                counters: Counters::default(),
                length: shared.recorder.span_length(),
            },
            evaluation_time: Duration::ZERO,
            evaluation_bytes: 0,
        }
    }

    /// Executes everything, from where the run goes on to the last step.
    pub fn run(mut self) -> Result<RankReport, EngineError> {
        let mut operations = self.shared.plan.operations_from(self.rank, self.step).peekable();
        self.set_up(&mut operations)?;
        let began = Instant::now();
        self.begin_span();
        for op in operations {
            self.execute(&op)?;
            if self.is_scribe() && self.evaluation.is_none() && self.span.start.elapsed() >= self.span.length
            {
                self.end_span()?;
            }
            if matches!(op, Op::StepEnd { .. }) {
                // What follows the last step is no training.
                self.trained = self.ledger;
                self.trained.close(began.elapsed().saturating_sub(self.evaluation_time));
            }
        }
        Ok(self.report())
    }

    /// What this rank has done since the run's beginning.
    fn report(&self) -> RankReport {
        let past = &self.shared.origin.past.ranks[usize::from(self.rank.0)];
        RankReport {
            ledger: self.trained.after(&past.ledger),
            bytes_sent: past.bytes_sent + self.endpoint.bytes_sent() - self.evaluation_bytes,
        }
    }

    /// Brings what is pinned into memory, then waits for the others: the clock of training starts with the first step.
    fn set_up(
        &mut self,
        operations: &mut std::iter::Peekable<impl Iterator<Item = Op>>,
    ) -> Result<(), EngineError> {
        let mut pinned = Vec::new();
        while let Some(op) = operations.next_if(|op| matches!(op, Op::Read { phase: Phase::SetUp, .. })) {
            self.execute(&op)?;
            if let Op::Read { extent, .. } = op {
                pinned.push(extent);
            }
        }
        for extent in pinned {
            self.domain.view(self.shared.team, self.rank, extent, self.step)?;
        }
        self.shared.team.meet(self.rank)?;
        if self.is_scribe() {
            self.shared.recorder.started(self.shared.plan.network.parameters())?;
        }
        self.ledger = Ledger::default();
        Ok(())
    }

    fn execute(&mut self, op: &Op) -> Result<(), EngineError> {
        match *op {
            Op::Load { source, slot, values } => self.load(source, slot, values),
            Op::Forward { layer, panel, version, slot } => self.forward(layer, panel, version, slot),
            Op::Backward { layer, panel, version, slot, flow } => {
                self.backward(layer, panel, version, slot, flow)
            }
            Op::Loss { slot, at, record } => self.loss(slot, at, record),
            Op::Score { slot, split, chunk } => self.score(slot, split, chunk),
            Op::Update { panel, chunks } => self.update(panel, chunks),
            Op::Reduce { panel, chunks, owner } => self.reduce(panel, chunks, owner),
            Op::Send { to, message, slot } => {
                let parcel = self.workspace.pack(message, slot);
                self.send(to, message, vec![parcel])
            }
            Op::Receive { from, message, slot } => {
                for parcel in self.receive(from, message)? {
                    self.workspace.unpack(message, slot, &parcel);
                }
                Ok(())
            }
            Op::Keep { message, slot } => {
                let parcel = self.workspace.pack(message, slot);
                self.workspace.keep(message, [parcel]);
                Ok(())
            }
            Op::Recall { message, slot } => {
                let parcel = self.workspace.recall(message);
                self.workspace.unpack(message, slot, &parcel);
                Ok(())
            }
            Op::SendKept { to, message } => {
                let parcels = self.workspace.take_kept(message);
                self.send(to, message, parcels)
            }
            Op::ReceiveKept { from, message } => {
                let parcels = self.receive(from, message)?;
                self.workspace.keep(message, parcels);
                Ok(())
            }
            Op::Allocate { at, slot } => self.allocate(slot, at),
            Op::Discard { at, slot } => self.discard(slot, at),
            Op::Spill { at, slot } => self.spill(slot, at),
            Op::Fetch { at, slot } => self.fetch(slot, at),
            Op::Reload { source, slot } => self.reload(source, slot),
            Op::Publish { panel } => self.publish(panel),
            Op::Barrier => self.waiting(Activity::CommWait, |this| this.shared.team.meet(this.rank)),
            Op::StepEnd { step } => self.step_end(step),
            Op::EvaluationEnd { .. } => {
                self.evaluation_end();
                Ok(())
            }
            Op::Flush { extent } => self
                .waiting(Activity::WriteWait, |this| this.domain.flush(this.shared.team, this.rank, extent)),
            Op::Generation { step } => self.generation(step),
            Op::Read { extent, .. } => {
                self.waiting(Activity::BufferWait, |this| this.domain.begin_read(extent))
            }
            Op::Write { extent, .. } => self.waiting(Activity::WriteWait, |this| {
                this.domain.begin_write(this.shared.team, this.rank, extent)
            }),
            Op::Release { extent } => self
                .waiting(Activity::ReadWait, |this| this.domain.release(this.shared.team, this.rank, extent)),
        }
    }

    fn load(&mut self, source: Source, slot: Slot, pixels: bool) -> Result<(), EngineError> {
        let timeline = &self.shared.plan.timeline;
        match source {
            Source::Train { step, chunk } => self.computing(|this| {
                let samples = this.order.of_chunk(timeline, step, chunk);
                this.workspace.load(slot, &this.shared.data.train, samples, pixels);
                Ok(())
            }),
            Source::Evaluate { split, chunk } => {
                self.begin_evaluation()?;
                let rows = timeline.evaluation_chunk(split, chunk);
                let samples = samples_of(self.shared.data, split);
                self.computing(|this| {
                    this.workspace.load(slot, samples, rows, pixels);
                    Ok(())
                })
            }
        }
    }

    fn forward(
        &mut self,
        layer: LayerId,
        panel: Option<PanelId>,
        version: Version,
        slot: Slot,
    ) -> Result<(), EngineError> {
        let parameters = self.parameters(panel, version)?;
        self.arrived(layer, [slot])?;
        self.computing(|this| {
            let (geometry, rows) = (this.shared.plan.network.layer(layer), this.workspace.rows(slot));
            let (layer, view) = (this.layer(layer), this.view(panel, parameters.as_ref()));
            Ok(this.workspace.write_values(slot, geometry.output, |workspace, y| {
                layer.forward(view, workspace.values(slot, geometry.input), y, rows)
            })?)
        })?;
        drop(parameters);
        self.used(panel, version);
        Ok(())
    }

    fn backward(
        &mut self,
        layer: LayerId,
        panel: Option<PanelId>,
        version: Version,
        slot: Slot,
        flow: ErrorFlow,
    ) -> Result<(), EngineError> {
        let parameters = self.parameters(panel, version)?;
        self.arrived(layer, [slot])?;
        self.computing(|this| {
            let (geometry, rows) = (this.shared.plan.network.layer(layer), this.workspace.rows(slot));
            let (layer, view) = (this.layer(layer), this.view(panel, parameters.as_ref()));
            Ok(this.workspace.write_errors(slot, geometry.output, |workspace, dy| {
                let pass = |workspace: &Workspace, dx: Option<InputError>, dy: &mut [f32]| {
                    let x = workspace.values(slot, geometry.input);
                    layer.backward(view, x, workspace.values(slot, geometry.output), dy, dx, rows)
                };
                match flow {
                    ErrorFlow::Stop => pass(workspace, None, dy),
                    ErrorFlow::Assign | ErrorFlow::Accumulate => {
                        let accumulate = flow == ErrorFlow::Accumulate;
                        workspace.write_errors(slot, geometry.input, |workspace, values| {
                            pass(workspace, Some(InputError { values, accumulate }), dy)
                        })
                    }
                }
            })?)
        })?;
        drop(parameters);
        self.used(panel, version);
        Ok(())
    }

    fn loss(&mut self, slot: Slot, at: Boundary, record: Option<(u64, u16)>) -> Result<(), EngineError> {
        let sum = self.computing(|this| {
            let (classes, loss) = (this.shared.plan.network.width(at), this.loss_function());
            Ok(this.workspace.write_errors(slot, at, |workspace, errors| {
                let (outputs, labels) = (workspace.values(slot, at), workspace.labels(slot));
                loss(outputs, labels, workspace.rows(slot), classes, errors)
            }))
        })?;
        match record {
            Some((step, chunk)) => self.shared.recorder.loss(step, chunk, sum),
            None => Ok(()),
        }
    }

    fn score(&mut self, slot: Slot, split: Split, chunk: u32) -> Result<(), EngineError> {
        let (rows, labels) = (self.workspace.rows(slot), self.workspace.labels(slot));
        let network = &self.shared.plan.network;
        let classes = network.classes();
        let outputs = self.workspace.values(slot, network.output());
        let loss = self.loss_function()(outputs, labels, rows, classes, &mut vec![0.0; rows * classes]);
        // A comparison with NaN is false, and a logit of -inf leaves the loss finite: neither may count as an answer.
        let finite = outputs[..rows * classes].iter().all(|output| output.is_finite());
        let loss = if finite { loss } else { f64::NAN };
        let correct = kernels::correct_count(outputs, labels, rows, classes);
        self.shared.recorder.score(self.step, split, chunk, loss, correct)
    }

    fn update(&mut self, id: PanelId, chunks: SlotRange) -> Result<(), EngineError> {
        let mut parameters = self.take(Extent::weights(id))?;
        let mut state = self.take_state(id)?;
        self.arrived(self.shared.plan.network.panel(id).layer, chunks.iter())?;
        self.computing(|this| {
            let geometry = this.shared.plan.network.panel(id);
            let layer = this.shared.plan.network.layer(geometry.layer);
            let (parameters, state) = this.parameters_mut(&mut parameters, state.as_mut(), geometry.layer);
            let panel = layer::kernel_panel(layer, geometry);
            let rule = this.rule();
            let scale = this.scale();
            let folded = this.shared.train.update == Update::Folded;
            this.with_chunks(layer.input, layer.output, chunks, |shards| {
                let context = UpdateContext { panel, rule, scale, shards, folded };
                Ok(this.layer(geometry.layer).update(geometry, &context, parameters, state)?)
            })
        })?;
        self.put_back(id, parameters, state);
        Ok(())
    }

    /// Forms this rank's part of a gradient. The owner combines all parts and applies them; the others hand theirs over.
    fn reduce(&mut self, id: PanelId, chunks: SlotRange, owner: Rank) -> Result<(), EngineError> {
        let shared = self.shared;
        let mut part =
            self.waiting(Activity::CommWait, |this| shared.reducer.buffer(shared.team, this.rank))?;
        let parameters = self.parameters(Some(id), Version::Live)?;
        self.arrived(shared.plan.network.panel(id).layer, chunks.iter())?;
        self.computing(|this| {
            let geometry = shared.plan.network.panel(id);
            let layer = shared.plan.network.layer(geometry.layer);
            part.resize(geometry.parameters() as usize, 0.0);
            let Some(view) = this.view(Some(id), parameters.as_ref()) else { return Ok(()) };
            this.with_chunks(layer.input, layer.output, chunks, |shards| {
                Ok(this.layer(geometry.layer).gradient(view, shards, &mut part)?)
            })
        })?;
        drop(parameters);
        if owner == self.rank {
            let mut parts = self.waiting(Activity::CommWait, |this| {
                shared.reducer.collect(shared.team, this.rank, id, part)
            })?;
            let mut parameters = self.take(Extent::weights(id))?;
            let mut state = self.take_state(id)?;
            self.computing(|this| {
                reduction::tree(&mut parts.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>());
                let geometry = shared.plan.network.panel(id);
                let panel = layer::kernel_panel(shared.plan.network.layer(geometry.layer), geometry);
                let (parameters, state) =
                    this.parameters_mut(&mut parameters, state.as_mut(), geometry.layer);
                kernels::apply(&panel, &parts[0], parameters, state, &this.rule(), this.scale());
                Ok(())
            })?;
            shared.reducer.give_back(parts);
            self.put_back(id, parameters, state);
        } else {
            shared.reducer.hand_over(self.rank, id, part);
        }
        self.domain.used(self.rank, Extent::weights(id));
        if shared.plan.extents.has_state() {
            self.domain.used(self.rank, Extent::state(id));
        }
        Ok(())
    }

    fn publish(&mut self, panel: PanelId) -> Result<(), EngineError> {
        let weights = self.parameters(Some(panel), Version::Live)?;
        let Some(weights) = weights else { return Ok(()) };
        self.waiting(Activity::WriteWait, |this| this.domain.publish(&weights, Extent::snapshot(panel)))
    }

    fn step_end(&mut self, step: u64) -> Result<(), EngineError> {
        self.step = step + 1;
        if self.is_scribe() {
            return self.shared.recorder.step_end(step, || self.shared.origin.moved(self.shared.store));
        }
        Ok(())
    }

    fn begin_span(&mut self) {
        self.span.start = Instant::now();
        self.span.ledger = self.ledger;
        self.span.counters = self.shared.store.counters();
    }

    fn end_span(&mut self) -> Result<(), EngineError> {
        let (counters, before) = (self.shared.store.counters(), self.span.counters);
        let moved = Counters {
            bytes_read: counters.bytes_read - before.bytes_read,
            bytes_written: counters.bytes_written - before.bytes_written,
            ..Counters::default()
        };
        let duration = self.span.start.elapsed();
        let time_s = self.ledger.since(&self.span.ledger, duration);
        self.span.length = self.shared.recorder.span(duration, moved, time_s)?;
        self.begin_span();
        Ok(())
    }

    /// Meets the others when all have given the store what they changed, and goes on when that is committed.
    fn generation(&mut self, step: u64) -> Result<(), EngineError> {
        let shared = self.shared;
        let generations =
            shared.generations.expect("a schedule with generations has a store that commits them");
        if self.is_scribe() {
            self.end_span()?;
        }
        generations.report(self.rank, self.report());
        self.waiting(Activity::CommWait, |this| shared.team.meet(this.rank))?;
        self.waiting(Activity::WriteWait, |this| {
            if this.rank == Rank(0) {
                generations.commit(step, shared.recorder, shared.reducer)?;
            }
            shared.team.meet(this.rank)
        })
    }

    fn begin_evaluation(&mut self) -> Result<(), EngineError> {
        if self.evaluation.is_none() && self.is_scribe() {
            self.end_span()?;
        }
        let mark = || EvaluationMark {
            start: Instant::now(),
            ledger: self.ledger,
            bytes_sent: self.endpoint.bytes_sent(),
        };
        if self.evaluation.is_none() {
            self.evaluation = Some(mark());
        }
        Ok(())
    }

    fn evaluation_end(&mut self) {
        if let Some(mark) = self.evaluation.take() {
            self.ledger.rewind(&mark.ledger);
            self.evaluation_time += mark.start.elapsed();
            self.evaluation_bytes += self.endpoint.bytes_sent() - mark.bytes_sent;
            self.begin_span();
        }
        if self.is_scribe() {
            self.shared.recorder.evaluation_end();
        }
    }

    /// The last rank is the last to finish a step; its clock is the one reported.
    fn is_scribe(&self) -> bool {
        usize::from(self.rank.0) + 1 == self.shared.team.ranks()
    }

    fn layer(&self, id: LayerId) -> &'a dyn Layer {
        self.shared.layers[usize::from(id.0)].as_ref()
    }

    /// The weights that an operation looks at, if its layer has any.
    fn parameters(&mut self, panel: Option<PanelId>, version: Version) -> Result<Option<Panel>, EngineError> {
        let Some(panel) = panel else { return Ok(None) };
        let extent = extent_of(panel, version);
        let step = self.step;
        self.waiting(Activity::ReadWait, |this| this.domain.view(this.shared.team, this.rank, extent, step))
            .map(Some)
    }

    fn used(&self, panel: Option<PanelId>, version: Version) {
        if let Some(panel) = panel {
            self.domain.used(self.rank, extent_of(panel, version));
        }
    }

    fn take(&mut self, extent: Extent) -> Result<Panel, EngineError> {
        let step = self.step;
        self.waiting(Activity::ReadWait, |this| this.domain.take(this.shared.team, this.rank, extent, step))
    }

    fn take_state(&mut self, panel: PanelId) -> Result<Option<Panel>, EngineError> {
        let has_state = self.shared.plan.extents.has_state();
        has_state.then(|| self.take(Extent::state(panel))).transpose()
    }

    fn put_back(&self, panel: PanelId, parameters: Panel, state: Option<Panel>) {
        self.domain.put_back(Extent::weights(panel), parameters, true);
        if let Some(state) = state {
            self.domain.put_back(Extent::state(panel), state, true);
        }
    }

    fn view<'p>(&self, panel: Option<PanelId>, parameters: Option<&'p Panel>) -> Option<PanelView<'p>>
    where
        'a: 'p,
    {
        let (panel, parameters) = panel.zip(parameters)?;
        let parameters = precision::parameters(self.shared.train.precision, parameters);
        Some(PanelView { geometry: self.shared.plan.network.panel(panel), parameters })
    }

    /// What the update of the step under way changes: parameters, and the optimizer's state of them.
    fn parameters_mut<'p>(
        &self,
        weights: &'p mut Panel,
        state: Option<&'p mut Panel>,
        layer: LayerId,
    ) -> (ParametersMut<'p>, &'p mut [f32]) {
        let key = precision::rounding_key(self.shared.seed, self.step, layer);
        let precision = self.shared.train.precision;
        precision::parameters_mut(precision, exclusive(weights), state.map(exclusive), key)
    }

    /// The chunks in some slots as a layer's gradient sees them, by shard.
    fn with_chunks<T>(
        &self,
        input: Boundary,
        output: Boundary,
        slots: SlotRange,
        then: impl FnOnce(&[&[Chunk]]) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let workspace = &self.workspace;
        let chunks: Vec<Chunk> = slots
            .iter()
            .map(|slot| Chunk {
                x: workspace.values(slot, input),
                dz: workspace.errors(slot, output),
                rows: workspace.rows(slot),
            })
            .collect();
        let shards: Vec<&[Chunk]> = chunks.chunks(self.shared.plan.timeline.micro_batches).collect();
        then(&shards)
    }

    fn loss_function(&self) -> LossFunction {
        match self.shared.train.loss {
            Loss::CrossEntropy => kernels::loss_cross_entropy,
            Loss::Mse => kernels::loss_mse,
        }
    }

    /// 1 / samples of the mini-batch under way.
    fn scale(&self) -> f32 {
        1.0 / self.shared.plan.timeline.batch(self.step).1.len() as f32
    }

    /// The update rule of the step under way.
    fn rule(&self) -> UpdateRule {
        let train = self.shared.train;
        let factor = train.schedule.factor(self.step, self.shared.plan.timeline.steps);
        let learning_rate = train.optimizer.learning_rate() * factor;
        match &train.optimizer {
            OptimizerConfig::Sgd(_) => UpdateRule::Sgd { learning_rate },
            OptimizerConfig::Momentum(config) => {
                UpdateRule::Momentum { learning_rate, momentum: config.momentum }
            }
            OptimizerConfig::Adam(config) => UpdateRule::Adam {
                learning_rate,
                beta1: config.beta1,
                beta2: config.beta2,
                epsilon: config.epsilon,
                weight_decay: config.weight_decay,
                step: self.step + 1,
            },
        }
    }

    fn send(
        &mut self,
        to: Rank,
        message: Message,
        parcels: Vec<crate::workspace::Parcel>,
    ) -> Result<(), EngineError> {
        let team = self.shared.team;
        self.waiting(Activity::CommWait, |this| this.endpoint.send(team, to, message, parcels))
    }

    fn receive(
        &mut self,
        from: Rank,
        message: Message,
    ) -> Result<Vec<crate::workspace::Parcel>, EngineError> {
        let team = self.shared.team;
        self.waiting(Activity::CommWait, |this| this.endpoint.receive(team, from, message))
    }

    fn computing<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        self.waiting(Activity::Compute, work)
    }

    fn waiting<T>(
        &mut self,
        activity: Activity,
        work: impl FnOnce(&mut Self) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let start = Instant::now();
        let result = work(self);
        self.ledger.add(activity, start);
        result
    }
}

const fn extent_of(panel: PanelId, version: Version) -> Extent {
    match version {
        Version::Live => Extent::weights(panel),
        Version::Snapshot => Extent::snapshot(panel),
    }
}

const fn samples_of(data: &Dataset, split: Split) -> &Samples {
    match split {
        Split::Validation => &data.validation,
        Split::Test => &data.test,
    }
}

fn exclusive(panel: &mut Panel) -> &mut spillbench_storage::Buffer {
    Arc::get_mut(panel).expect("a panel that was taken has one holder")
}
