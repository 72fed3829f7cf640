//! One trial, from its configuration to its summary.

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    sync::{Arc, PoisonError},
    thread,
    time::Instant,
};

use spillbench_data::{DataLocations, Dataset};
use spillbench_kernels::{Operation, kernel_name};
use spillbench_schedule::{Extent, ExtentKind, LayerKind, Plan, Rank, SampleCounts};
use spillbench_schema::{Summary, Trial, config::StorageMode, event::Split, summary::Status};
use spillbench_storage::{
    BufferedStore, DirectOptions, DirectStore, ExtentId, ExtentSpec, MemoryStore, MmapStore,
    PageCacheOptions, Store,
};

use crate::{
    EngineError, Progress, hash, initial, layer,
    ledger::Ledger,
    machine,
    rank::{Executor, RankReport, Shared},
    recorder::{Record, Recorder},
    reduction::Reducer,
    residency::Domain,
    team::{Team, lock},
    transport::{self, Endpoint},
};

/// What a trial is given by its surroundings.
pub struct Environment<'a> {
    /// Where extents lie.
    pub state_dir: &'a Path,
    /// Where data sets lie.
    pub locations: &'a DataLocations,
    /// The event log.
    pub events: &'a mut (dyn Write + Send),
    /// Told how far the trial has come.
    pub progress: &'a mut (dyn FnMut(Progress) + Send),
    /// Told once what is used, before the first step.
    pub opened: &'a mut dyn FnMut(Opened) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
}

/// What a trial uses, known once its store is open.
pub struct Opened {
    /// The store's own description.
    pub storage: String,
    /// The kernel of each product.
    pub kernels: BTreeMap<String, String>,
}

/// The schedule of a trial on this machine, without loading data or opening a store.
///
/// # Errors
/// The data set does not have the samples, or the budget is too small.
pub fn open_plan(trial: &Trial) -> Result<Plan, EngineError> {
    let data = &trial.config.data;
    let [train, validation, test] = spillbench_data::counts(data)?;
    let bytes = spillbench_data::resident_bytes(data, &trial.config.network.input);
    let samples = SampleCounts { train, validation, test, bytes };
    Ok(Plan::new(trial, samples, machine::cores())?)
}

/// Trains one trial.
///
/// # Errors
/// See [`EngineError`]; of several ranks that fail, the first one's error.
pub fn train(trial: &Trial, environment: Environment) -> Result<Summary, EngineError> {
    let began = Instant::now();
    let Environment { state_dir, locations, events, progress, opened } = environment;
    let config = &trial.config;
    let plan = open_plan(trial)?;
    let input = &config.network.input;
    let data = spillbench_data::load_from(&config.data, locations, input, plan.network.classes())?;
    let store = open_store(trial, &plan, state_dir)?;
    opened(Opened { storage: store.describe(), kernels: kernels(&plan) }).map_err(EngineError::Opened)?;
    initialise(store.as_ref(), &plan, trial.seed)?;
    let before = store.counters();

    let optimizer_rate = config.train.optimizer.learning_rate();
    let steps = plan.timeline.steps;
    let recorder = Recorder::new(
        &plan.timeline,
        config.parallelism.interval(),
        move |step| optimizer_rate * config.train.schedule.factor(step, steps),
        began,
        events,
        progress,
    );
    let (reports, handed_over) = run_ranks(trial, &plan, &data, &store, &recorder)?;
    let record = recorder.finish(store.counters())?;
    store.flush()?;
    let after = store.counters();
    let weights_hash = hash::weights(store.as_ref(), &plan.network, &plan.extents)?;

    let traffic = plan.traffic(config.storage.mode);
    let moved = (after.bytes_read - before.bytes_read, after.bytes_written - before.bytes_written);
    let outcome = Outcome {
        ledgers: reports.iter().map(|report| report.ledger).collect(),
        // What moved beside the training steps is the schedule's own count: pinned extents and evaluations.
        bytes_read: moved.0 - traffic.other_read,
        bytes_written: moved.1 - traffic.other_written,
        io_planned: traffic.train_read + traffic.train_written,
        bytes_communicated: handed_over + reports.iter().map(|report| report.bytes_sent).sum::<u64>(),
        weights_hash,
        wall_s: began.elapsed().as_secs_f64(),
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
    wall_s: f64,
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
        wall_s: outcome.wall_s,
        train_s: record.train_s,
        step_time_s: record.step_time_s,
        samples_per_s: record.samples as f64 / record.train_s,
        peak_rss_bytes: machine::peak_resident_bytes(),
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

fn open_store(trial: &Trial, plan: &Plan, state_dir: &Path) -> Result<Arc<dyn Store>, EngineError> {
    let storage = &trial.config.storage;
    let specs: Vec<ExtentSpec> = plan.extents.iter().map(|extent| spec(plan, extent)).collect();
    let capacity_bytes = plan.memory.store_capacity();
    let through_page_cache =
        PageCacheOptions { capacity_bytes, chunk_bytes: storage.chunk.0, checksums: true };
    Ok(match storage.mode {
        StorageMode::Memory => Arc::new(MemoryStore::new(&specs)?),
        StorageMode::Direct => {
            let options = DirectOptions {
                queue_depth: storage.queue_depth,
                chunk_bytes: storage.chunk.0,
                ..DirectOptions::new(capacity_bytes)
            };
            Arc::new(DirectStore::open(state_dir, &specs, options)?)
        }
        StorageMode::Buffered => Arc::new(BufferedStore::open(state_dir, &specs, through_page_cache)?),
        StorageMode::Mmap => Arc::new(MmapStore::open(state_dir, &specs, through_page_cache)?),
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
    let kind = match extent.kind {
        ExtentKind::Weights => "weights",
        ExtentKind::State => "optimizer state",
        ExtentKind::Snapshot => "snapshot",
    };
    let name = format!("layer {} panel {} {kind}", panel.layer.0, panel.index);
    ExtentSpec { name, bytes: plan.extents.payload(extent) }
}

/// Writes initial weights, and zeros wherever else: a file's first write costs more than later ones, and should not
/// show in the first step.
fn initialise(store: &dyn Store, plan: &Plan, seed: u64) -> Result<(), EngineError> {
    for extent in plan.extents.iter() {
        let id = ExtentId(plan.extents.index(extent) as u32);
        let mut panel = store.allocate(id)?;
        if extent.kind == ExtentKind::Weights {
            let parameters = Arc::get_mut(&mut panel).expect("a new panel has one holder").as_f32_mut();
            initial::fill(&plan.network, plan.network.panel(extent.panel), seed, parameters);
        }
        store.begin_write(id, panel)?;
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
                let kernel = kernel_name(operation, rows, layer.inputs, layer.outputs);
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
) -> Result<(Vec<RankReport>, u64), EngineError> {
    let ranks = plan.ranks();
    let team = Team::new(ranks);
    let reducer = Reducer::new(ranks);
    let layers: Vec<_> = plan.network.layers().iter().map(layer::build).collect();
    let users = if plan.strategy().shares_panels() { ranks } else { 1 };
    let domains: Vec<Domain> =
        (0..ranks / users).map(|_| Domain::new(Arc::clone(store), &plan.extents, users)).collect();
    let shared = Shared {
        plan,
        train: &trial.config.train,
        data,
        layers: &layers,
        store: store.as_ref(),
        domains: &domains,
        team: &team,
        reducer: &reducer,
        recorder,
    };
    let first_error = std::sync::Mutex::new(None::<EngineError>);
    let reports = std::sync::Mutex::new(Vec::new());
    thread::scope(|scope| {
        for (rank, endpoint) in (0..).zip(transport::chain(ranks, plan.strategy().queue_capacity())) {
            let (shared, first_error, reports) = (&shared, &first_error, &reports);
            scope.spawn(move || match run_rank(shared, Rank(rank), endpoint, trial.seed) {
                Ok(report) => lock(reports).push(report),
                Err(error) => {
                    let mut first = lock(first_error);
                    if matches!(*first, None | Some(EngineError::PeerFailed { .. })) {
                        *first = Some(error);
                    }
                    shared.team.fail();
                }
            });
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
    seed: u64,
) -> Result<RankReport, EngineError> {
    // A panic must not leave the others waiting.
    let alarm = Alarm(shared.team);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(shared.plan.threads)
        .thread_name(move |thread| format!("rank-{}-{thread}", rank.0))
        .build()
        .map_err(|cause| EngineError::Threads { rank: rank.0, cause: cause.to_string() })?;
    let report = pool.install(|| Executor::new(shared, rank, endpoint, seed)?.run());
    std::mem::forget(alarm);
    report
}

/// Tells the team when it is dropped, which only a panic does.
struct Alarm<'a>(&'a Team);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.0.fail();
    }
}
