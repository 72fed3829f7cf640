//! Generations: what a run needs, beside the extents in its store, to go on as if it had never been cut off.
//!
//! Samples, learning rates and random streams are functions of the step, so they need not be kept.

use std::{collections::BTreeMap, path::Path, sync::Mutex};

use serde::{Deserialize, Serialize};
use spillbench_schedule::Rank;
use spillbench_schema::{Rates, Trial};
use spillbench_storage::{Counters, DirectStore, Store};

use crate::{
    EngineError, machine,
    rank::RankReport,
    recorder::{self, Recorder},
    reduction::Reducer,
    team::lock,
};

/// What a run has done so far. The run's beginning is the one after no steps.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Generation {
    /// Of the trial, the program and its kernels: nothing else may go on from here.
    fingerprint: String,
    /// Steps done.
    pub step: u64,
    /// Times that the run was cut off and went on.
    pub resumed: u64,
    /// What was reported.
    pub recorder: recorder::State,
    /// What each rank did.
    pub ranks: Vec<RankReport>,
    /// Bytes of gradients handed from rank to rank.
    pub handed_over: u64,
    /// Bytes that the store has moved since it was initialised.
    pub moved: Moved,
    /// The most resident memory of a process.
    pub peak_rss_bytes: u64,
}

/// Bytes that a store has moved.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Moved {
    /// Read.
    pub read: u64,
    /// Written.
    pub written: u64,
}

impl Generation {
    /// Before the first step of `ranks`.
    pub fn beginning(fingerprint: String, ranks: usize) -> Self {
        Self { fingerprint, ranks: vec![RankReport::default(); ranks], ..Self::default() }
    }

    /// What was committed in the store of `dir`, to go on from.
    ///
    /// # Errors
    /// It is of another trial, program or kind of processor.
    pub fn recovered(payload: &[u8], fingerprint: &str, dir: &Path) -> Result<Self, EngineError> {
        let committed = serde_json::from_slice(payload).ok();
        let Some(mut generation) = committed.filter(|found: &Self| found.fingerprint == fingerprint) else {
            return Err(EngineError::OtherGeneration { dir: dir.to_owned() });
        };
        generation.resumed += 1;
        Ok(generation)
    }

    /// Steps done in the last generation on record in `dir`; `None` if there is none, or none that can be read.
    pub fn last_step(dir: &Path) -> Option<u64> {
        let payload = spillbench_storage::last_payload(dir).ok()??;
        serde_json::from_slice::<Self>(&payload).ok().map(|last| last.step)
    }
}

/// What decides the bits of a run (its trial, this very program, its kernels on this processor) and what its plan was
/// chosen by: another choice has other extents.
pub fn fingerprint(trial: &Trial, rates: &Rates, kernels: &BTreeMap<String, String>) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(trial.resolved_yaml().as_bytes());
    hasher.update(format!("{rates:?}").as_bytes());
    hasher.update(env!("CARGO_PKG_VERSION").as_bytes());
    // A program built again may compute otherwise. Where its file cannot be read, its version must do.
    if let Ok(program) = std::env::current_exe().and_then(std::fs::File::open) {
        let _ = hasher.update_reader(program);
    }
    for (product, kernel) in kernels {
        hasher.update(format!("\n{product}: {kernel}").as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// What a part of a run goes on from.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    /// What was done before.
    pub past: &'a Generation,
    /// The store's counters at that time.
    pub before: Counters,
}

impl Origin<'_> {
    /// What the store has moved since it was initialised, earlier parts included.
    pub fn moved(&self, store: &dyn Store) -> Moved {
        let now = store.counters();
        Moved {
            read: self.past.moved.read + now.bytes_read - self.before.bytes_read,
            written: self.past.moved.written + now.bytes_written - self.before.bytes_written,
        }
    }
}

/// Commits the generations of a run.
pub struct Generations<'a> {
    store: &'a DirectStore,
    origin: Origin<'a>,
    reports: Mutex<Vec<RankReport>>,
}

impl<'a> Generations<'a> {
    /// Those of a run that goes on from `origin`.
    pub fn new(store: &'a DirectStore, origin: Origin<'a>) -> Self {
        Self { store, origin, reports: Mutex::new(origin.past.ranks.clone()) }
    }

    /// Takes what a rank has done so far.
    pub fn report(&self, rank: Rank, report: RankReport) {
        lock(&self.reports)[usize::from(rank.0)] = report;
    }

    /// Commits a generation after `step` steps. All ranks have reported and given the store everything that they
    /// changed, and wait.
    ///
    /// # Errors
    /// The store or the log cannot be written.
    pub fn commit(&self, step: u64, recorder: &Recorder, reducer: &Reducer) -> Result<(), EngineError> {
        // What was written is counted when it is complete.
        self.store.flush()?;
        let past = self.origin.past;
        let generation = Generation {
            fingerprint: past.fingerprint.clone(),
            step,
            resumed: past.resumed,
            recorder: recorder.state()?,
            ranks: lock(&self.reports).clone(),
            handed_over: past.handed_over + reducer.bytes_handed_over(),
            moved: self.origin.moved(self.store),
            peak_rss_bytes: past.peak_rss_bytes.max(machine::peak_resident_bytes()),
        };
        let payload = serde_json::to_vec(&generation).map_err(|error| EngineError::Log(error.into()))?;
        self.store.commit(&payload)?;
        Ok(())
    }
}
