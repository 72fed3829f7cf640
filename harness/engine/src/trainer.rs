//! One trial, from its configuration to its summary.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, PoisonError},
    thread,
};

use spillbench_data::{DataLocations, Dataset};
use spillbench_kernels::{Operation, kernel_name};
use spillbench_schedule::{ActivationExtent, Extent, ExtentKind, LayerKind, Plan, Rank, SampleCounts};
use spillbench_schema::{
    Rates, Summary, Trial,
    config::{Precision, StorageMode},
    event::Split,
    summary::Status,
};
use spillbench_storage::{
    BufferedStore, DirectOptions, DirectStore, ExtentId, ExtentSpec, Fault, MemoryStore, MmapStore,
    PageCacheOptions, Store,
};

use crate::{
    EngineError, EventLog, Progress,
    clock::Instant,
    generation::{self, Generation, Generations, Origin},
    hash, layer,
    ledger::Ledger,
    machine, precision,
    rank::{Executor, RankReport, Shared},
    recorder::{Record, Recorder},
    reduction::Reducer,
    residency::Domain,
    team::{Team, lock},
    threads,
    transport::{self, Endpoint},
};

/// What a trial is given by its surroundings.
pub struct Environment<'a> {
    /// What a machine is taken to do in a second. A trial that goes on must be planned with what it began with.
    pub rates: &'a Rates,
    /// Where extents lie. A generation of the same trial that lies there is gone on from.
    pub state_dir: &'a Path,
    /// Where data sets lie.
    pub locations: &'a DataLocations,
    /// The event log.
    pub events: &'a mut dyn EventLog,
    /// Told how far the trial has come.
    pub progress: &'a mut (dyn FnMut(Progress) + Send),
    /// Told once what is used, before the first step.
    pub opened: &'a mut dyn FnMut(Opened) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
    /// An operation of a direct store to make fail: for tests of what happens then.
    pub fault: Option<Fault>,
}

/// What a trial uses, known once its store is open.
pub struct Opened {
    /// The store's own description.
    pub storage: String,
    /// The kernel of each product.
    pub kernels: BTreeMap<String, String>,
    /// Steps done and steps in all, where a run that was cut off goes on.
    pub resumed_at: Option<(u64, u64)>,
}

/// The schedule of a trial on this machine, without loading data or opening a store.
///
/// # Errors
/// The data set does not have the samples, or the budget is too small.
pub fn open_plan(trial: &Trial, rates: &Rates) -> Result<Plan, EngineError> {
    open_plan_on(trial, rates, machine::cores())
}

/// The schedule of a trial on a machine of so many cores.
///
/// # Errors
/// As [`open_plan`].
pub fn open_plan_on(trial: &Trial, rates: &Rates, cores: usize) -> Result<Plan, EngineError> {
    let data = &trial.config.data;
    let [train, validation, test] = spillbench_data::counts(data)?;
    let bytes = spillbench_data::resident_bytes(data, &trial.config.network.input);
    let samples = SampleCounts { train, validation, test, bytes };
    Ok(Plan::new(trial, samples, cores, rates)?)
}

/// Trains one trial.
///
/// # Errors
/// See [`EngineError`]; of several ranks that fail, the first one's error.
pub fn train(trial: &Trial, environment: Environment) -> Result<Summary, EngineError> {
    let began = Instant::now();
    let Environment { rates, state_dir, locations, events, progress, opened, fault } = environment;
    let config = &trial.config;
    let plan = open_plan(trial, rates)?;
    let input = &config.network.input;
    let data = spillbench_data::load_from(&config.data, locations, input, plan.network.classes())?;
    let kernels = kernels(&plan);
    let fingerprint = generation::fingerprint(trial, rates, &kernels);
    let OpenStore { store, direct, payload } =
        open_store(trial, &plan, state_dir, fault).map_err(|error| error.with_last_step(state_dir))?;
    let decode = |payload: Vec<u8>| Generation::recovered(&payload, &fingerprint, state_dir);
    let recovered = payload.map(decode).transpose()?;
    let resumed_at = recovered.as_ref().map(|past| (past.step, plan.timeline.steps));
    opened(Opened { storage: store.describe(), kernels, resumed_at }).map_err(EngineError::Opened)?;
    let past = if let Some(past) = recovered {
        past
    } else {
        let fill = || initialise(store.as_ref(), &plan, config.train.precision, trial.seed);
        threads::within_pool(machine::cores(), "set-up", fill)?;
        Generation::beginning(fingerprint, plan.ranks())
    };
    events.cut(past.recorder.log_bytes).map_err(EngineError::Log)?;
    let origin = Origin { past: &past, before: store.counters() };
    let generations = direct.as_deref().map(|store| Generations::new(store, origin));

    let optimizer_rate = config.train.optimizer.learning_rate();
    let steps = plan.timeline.steps;
    let recorder = Recorder::new(
        &plan.timeline,
        config.parallelism.interval(),
        move |step| optimizer_rate * config.train.schedule.factor(step, steps),
        began,
        past.recorder.clone(),
        events,
        progress,
    );
    let (reports, handed_over) =
        run_ranks(trial, &plan, &data, &store, &recorder, origin, generations.as_ref())
            .map_err(|error| error.with_last_step(state_dir))?;
    store.flush()?;
    let moved = origin.moved(store.as_ref());
    let weights_hash = hash::weights(store.as_ref(), &plan, config.train.precision)
        .map_err(|error| error.with_last_step(state_dir))?
        .ok_or_else(|| recorder.weights_diverged())?;
    let record = recorder.finish(moved)?;

    let wall_s = past.recorder.wall_s + began.elapsed().as_secs_f64();
    let traffic = plan.traffic(config.storage.mode);
    // Whenever the run goes on, what is pinned is brought back once more.
    let brought_back = past.resumed * plan.memory.pinned;
    let outcome = Outcome {
        ledgers: reports.iter().map(|report| report.ledger).collect(),
        // What moved beside the training steps is the schedule's own count: pinned extents, evaluations, generations.
        bytes_read: moved.read - traffic.other_read - brought_back,
        bytes_written: moved.written - traffic.other_written - traffic.generations_written,
        io_planned: traffic.train_read + traffic.train_written,
        bytes_communicated: past.handed_over
            + handed_over
            + reports.iter().map(|report| report.bytes_sent).sum::<u64>(),
        weights_hash,
        resumed: past.resumed,
        wall_s,
        peak_rss_bytes: past.peak_rss_bytes.max(machine::peak_resident_bytes()),
    };
    Ok(summary(trial, &plan, &record, outcome))
}

/// What a run yields beside its record.
struct Outcome {
    ledgers: Vec<Ledger>,
    bytes_read: u64,
    bytes_written: u64,
    io_planned: u64,
    bytes_communicated: u64,
    weights_hash: String,
    resumed: u64,
    wall_s: f64,
    peak_rss_bytes: u64,
}

fn summary(trial: &Trial, plan: &Plan, record: &Record, outcome: Outcome) -> Summary {
    let config = &trial.config;
    let test = record.evaluations.get(&Split::Test);
    Summary {
        status: Status::Finished,
        trial_id: trial.id(),
        scenario: trial.scenario.clone(),
        arm: trial.arm.clone(),
        factors: trial.factors.clone(),
        seed: trial.seed,
        science_hash: trial.science_hash(),
        parallelism: config.parallelism.name().to_owned(),
        storage_mode: config.storage.mode.name().to_owned(),
        ranks: plan.ranks(),
        threads: plan.threads,
        parameters: plan.network.parameters(),
        steps: plan.timeline.steps,
        test_accuracy: test.map_or(f64::NAN, |test| test.accuracy),
        test_loss: test.map_or(f64::NAN, |test| test.loss),
        validation_accuracy: record.evaluations.get(&Split::Validation).map(|split| split.accuracy),
        train_loss: record.train_loss,
        resumed: outcome.resumed,
        wall_s: outcome.wall_s,
        train_s: record.train_s,
        step_time_s: record.step_time_s,
        samples_per_s: record.samples as f64 / record.train_s,
        peak_rss_bytes: outcome.peak_rss_bytes,
        memory_budget_bytes: config.storage.memory_budget.map(|budget| budget.0),
        bytes_read: outcome.bytes_read,
        bytes_written: outcome.bytes_written,
        io_planned_bytes: outcome.io_planned,
        io_floor_bytes: plan.floor_bytes(config.storage.mode),
        bytes_communicated: outcome.bytes_communicated,
        time_s: Ledger::mean(&outcome.ledgers),
        weights_hash: outcome.weights_hash,
        predicted: None,
    }
}

/// A trial's store.
struct OpenStore {
    store: Arc<dyn Store>,
    /// The same, where generations are committed.
    direct: Option<Arc<DirectStore>>,
    /// Of the generation that it was recovered from.
    payload: Option<Vec<u8>>,
}

impl OpenStore {
    fn new(store: impl Store + 'static) -> Self {
        Self { store: Arc::new(store), direct: None, payload: None }
    }

    fn with_generations(store: DirectStore, payload: Option<Vec<u8>>) -> Self {
        let direct = Arc::new(store);
        Self { store: Arc::clone(&direct) as Arc<dyn Store>, direct: Some(direct), payload }
    }
}

fn open_store(
    trial: &Trial,
    plan: &Plan,
    state_dir: &Path,
    fault: Option<Fault>,
) -> Result<OpenStore, EngineError> {
    let storage = &trial.config.storage;
    let panels = plan.extents.iter().map(|extent| spec(plan, extent));
    let activations = plan.activations.extents().map(|extent| activation_spec(plan, extent));
    let specs: Vec<ExtentSpec> = panels.chain(activations).collect();
    let capacity_bytes = plan.memory.store_bytes();
    let through_page_cache =
        PageCacheOptions { capacity_bytes, chunk_bytes: storage.chunk.0, checksums: true };
    Ok(match storage.mode {
        StorageMode::Memory => OpenStore::new(MemoryStore::new(&specs)?),
        StorageMode::Direct => {
            let options = DirectOptions {
                queue_depth: storage.queue_depth,
                chunk_bytes: storage.chunk.0,
                generations: plan.generations.map_or(0, |generations| generations.keep),
                fault,
                ..DirectOptions::new(capacity_bytes)
            };
            if plan.generations.is_none() {
                OpenStore::new(DirectStore::open(state_dir, &specs, options)?)
            } else if let Some((store, payload)) = DirectStore::recover(state_dir, &specs, options)? {
                OpenStore::with_generations(store, Some(payload))
            } else {
                OpenStore::with_generations(DirectStore::open(state_dir, &specs, options)?, None)
            }
        }
        StorageMode::Buffered => OpenStore::new(BufferedStore::open(state_dir, &specs, through_page_cache)?),
        StorageMode::Mmap => OpenStore::new(MmapStore::open(state_dir, &specs, through_page_cache)?),
    })
}

/// That the disk has room for a trial's extents in `state_dir`, whether or not it exists yet.
///
/// # Errors
/// It has not: with both numbers.
pub fn check_space(trial: &Trial, plan: &Plan, state_dir: &Path) -> Result<(), EngineError> {
    if trial.config.storage.mode == StorageMode::Memory {
        return Ok(());
    }
    Ok(spillbench_storage::check_space(state_dir, plan.disk_bytes())?)
}

fn spec(plan: &Plan, extent: Extent) -> ExtentSpec {
    let panel = plan.network.panel(extent.panel);
    let kind = plan.extents.name(extent.kind);
    let name = format!("layer {} panel {} {kind}", panel.layer.0, panel.index);
    ExtentSpec { name, bytes: plan.extents.payload(extent) }
}

fn activation_spec(plan: &Plan, ActivationExtent { rank, slot, at }: ActivationExtent) -> ExtentSpec {
    let name = format!("values at boundary {} in slot {} of rank {}", at.0, slot.0, rank.0);
    ExtentSpec { name, bytes: plan.activations.payload(at) }
}

/// Writes initial weights and masters, and zeros wherever else: a file's first write costs more than later ones, and should not
/// show in the first step.
fn initialise(store: &dyn Store, plan: &Plan, precision: Precision, seed: u64) -> Result<(), EngineError> {
    for extent in plan.extents.iter() {
        let id = ExtentId(plan.extents.index(extent) as u32);
        let mut panel = store.allocate(id)?;
        let buffer = Arc::get_mut(&mut panel).expect("a new panel has one holder");
        let geometry = plan.network.panel(extent.panel);
        match extent.kind {
            ExtentKind::Weights => {
                precision::fill_weights(precision, &plan.network, geometry, seed, buffer);
            }
            ExtentKind::State => precision::fill_state(precision, &plan.network, geometry, seed, buffer),
            ExtentKind::Snapshot => {}
        }
        store.begin_write(id, panel)?;
    }
    for index in 0..plan.activations.extents().count() {
        let id = ExtentId((plan.extents.len() + index) as u32);
        store.begin_write(id, store.allocate(id)?)?;
    }
    store.flush()?;
    Ok(())
}

fn kernels(plan: &Plan) -> BTreeMap<String, String> {
    let rows = plan.timeline.chunk_rows();
    let linear = plan.network.layers().iter().filter(|layer| matches!(layer.kind, LayerKind::Linear(_)));
    linear
        .flat_map(|layer| {
            [
                (Operation::Forward, "forward"),
                (Operation::InputError, "input_error"),
                (Operation::Gradient, "gradient"),
            ]
            .map(|(operation, name)| {
                let kernel = kernel_name(operation, rows);
                (format!("{name} {rows}x{}x{}", layer.inputs, layer.outputs), kernel.to_owned())
            })
        })
        .collect()
}

/// Runs all ranks to their end. Of several errors, the first that is not about a peer counts.
fn run_ranks(
    trial: &Trial,
    plan: &Plan,
    data: &Dataset,
    store: &Arc<dyn Store>,
    recorder: &Recorder,
    origin: Origin,
    generations: Option<&Generations>,
) -> Result<(Vec<RankReport>, u64), EngineError> {
    let ranks = plan.ranks();
    let team = Team::new(ranks);
    let reducer = Reducer::new(ranks);
    let layers: Vec<_> = plan.network.layers().iter().map(layer::build).collect();
    let users = if plan.strategy().shares_panels() { ranks } else { 1 };
    let domains: Vec<Domain> = (0..ranks / users)
        .map(|_| Domain::new(Arc::clone(store), &plan.extents, users, origin.past.step))
        .collect();
    let shared = Shared {
        plan,
        train: &trial.config.train,
        seed: trial.seed,
        data,
        layers: &layers,
        store: store.as_ref(),
        domains: &domains,
        team: &team,
        reducer: &reducer,
        recorder,
        origin,
        generations,
    };
    let first_error = std::sync::Mutex::new(None::<EngineError>);
    let reports = std::sync::Mutex::new(Vec::new());
    let fail = |error| {
        let mut first = lock(&first_error);
        if matches!(*first, None | Some(EngineError::PeerFailed { .. })) {
            *first = Some(error);
        }
        team.fail();
    };
    thread::scope(|scope| {
        for (rank, endpoint) in (0..).zip(transport::chain(ranks, plan.strategy().queue_capacity())) {
            let (shared, fail, reports) = (&shared, &fail, &reports);
            let started = threads::spawn(scope, move || match run_rank(shared, Rank(rank), endpoint) {
                Ok(report) => lock(reports).push(report),
                Err(error) => fail(error),
            });
            if let Err(error) = started {
                // Those that have started wait for it: they are told.
                return fail(error);
            }
        }
    });
    match first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => {
            Ok((reports.into_inner().unwrap_or_else(PoisonError::into_inner), reducer.bytes_handed_over()))
        }
    }
}

fn run_rank<'a>(
    shared: &'a Shared<'a, '_>,
    rank: Rank,
    endpoint: Endpoint,
) -> Result<RankReport, EngineError> {
    // A panic must not leave the others waiting.
    let alarm = Alarm(shared.team);
    let ran = threads::within_pool(shared.plan.threads, &format!("rank-{}", rank.0), || {
        Executor::new(shared, rank, endpoint).run()
    });
    std::mem::forget(alarm);
    ran
}

/// Tells the team when it is dropped, which only a panic does.
struct Alarm<'a>(&'a Team);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.0.fail();
    }
}
