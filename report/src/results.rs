//! Reads a study's folder. Nothing but this module touches what runs have written.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use spillbench_schema::{
    Divergence, Event, Machine, Study, Summary, Trial, TrialResult,
    summary::{Failure, Manifest},
    trial::{Kept, RESOLVED, ResolvedError},
};

use crate::error::ReportError;

/// A study and what has become of its trials so far, in the study's order.
#[derive(Debug, Clone)]
pub struct Results {
    /// The scenario, expanded.
    pub study: Study,
    /// The trials that finished.
    pub runs: Vec<Run>,
    /// The trials that diverged.
    pub diverged: Vec<Diverged>,
    /// The trials that have no result: failed, cut off, or never started.
    pub unfinished: Vec<Unfinished>,
    /// The machine, where it was probed: `machine.json` beside the study's folder.
    pub machine: Option<Machine>,
}

/// A finished trial.
#[derive(Debug, Clone)]
pub struct Run {
    /// What was run.
    pub trial: Trial,
    /// What it came to.
    pub summary: Summary,
    /// Its log, in order.
    pub log: Vec<Event>,
    /// The machine and versions; none if the file is missing.
    pub manifest: Option<Manifest>,
}

/// A trial that diverged. It has no accuracy, no final loss and no weights.
#[derive(Debug, Clone)]
pub struct Diverged {
    /// What was run.
    pub trial: Trial,
    /// Where it diverged.
    pub divergence: Divergence,
}

/// A trial that has no summary.
#[derive(Debug, Clone)]
pub struct Unfinished {
    /// What was to be run.
    pub trial: Trial,
    /// Why it ended, if it failed.
    pub failure: Option<Failure>,
}

impl Results {
    /// Loads the folder of each trial of `study` from `study_dir`. Other folders are left alone: they belong to other
    /// versions of the scenario.
    ///
    /// # Errors
    /// If a finished trial's files cannot be read or understood. A trial without a summary, and a log whose last line
    /// is torn, are no errors.
    pub fn load(study_dir: &Path, study: Study) -> Result<Self, ReportError> {
        let (mut runs, mut diverged, mut unfinished) = (Vec::new(), Vec::new(), Vec::new());
        for trial in study.trials.clone() {
            let folder = trial.folder_in(study_dir);
            let Some(result) = optional(read_json(&folder.join("summary.json"), "summary"))? else {
                let failure = optional(read_json(&folder.join("failure.json"), "failure"))?;
                unfinished.push(Unfinished { trial, failure });
                continue;
            };
            check_is_of(&trial, &folder)?;
            let summary = match result {
                TrialResult::Finished(summary) => *summary,
                TrialResult::Diverged(divergence) => {
                    diverged.push(Diverged { trial, divergence });
                    continue;
                }
            };
            let log = read_log(&folder.join("events.jsonl"))?;
            let manifest = optional(read_json(&folder.join("manifest.json"), "manifest"))?;
            runs.push(Run { trial, summary, log, manifest });
        }
        let beside = study_dir.parent().unwrap_or(Path::new("."));
        // Whoever predicts with a description that cannot be read says so; results do not depend on it.
        let machine = Machine::load(&beside.join("machine.json")).ok();
        Ok(Self { study, runs, diverged, unfinished, machine })
    }

    /// The finished trials by configuration, in the study's order; never an empty group.
    pub fn configurations(&self) -> Vec<Configuration<'_>> {
        let mut found: Vec<Configuration<'_>> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for run in &self.runs {
            let label = run.trial.label();
            if let Some(place) = places.get(&label) {
                found[*place].runs.push(run);
            } else {
                places.insert(label.clone(), found.len());
                found.push(Configuration { label, runs: vec![run] });
            }
        }
        found
    }
}

/// The finished trials that differ in their seed alone.
#[derive(Debug, Clone)]
pub struct Configuration<'a> {
    /// How tables name it: the arm and its factors.
    pub label: String,
    /// At least one.
    pub runs: Vec<&'a Run>,
}

impl Configuration<'_> {
    /// One number of each run's summary.
    pub fn sample(&self, value: impl Fn(&Summary) -> f64) -> Vec<f64> {
        self.runs.iter().map(|run| value(&run.summary)).collect()
    }

    /// Seconds of a step as the cost model predicted them before the runs, of those that it was asked about.
    pub fn predicted_step_times(&self) -> Vec<f64> {
        let predictions = self.runs.iter().filter_map(|run| run.summary.predicted.as_ref());
        predictions.map(|prediction| prediction.step_time_s).collect()
    }

    /// The trial of its first seed: all that is said of it but the seed holds for the others.
    pub fn trial(&self) -> &Trial {
        &self.runs[0].trial
    }
}

/// That what a folder holds is of this trial, and of no other that has its name.
fn check_is_of(trial: &Trial, folder: &Path) -> Result<(), ReportError> {
    let path = folder.join(RESOLVED);
    match trial.compare_with(folder) {
        Ok(Kept::Same) => Ok(()),
        Ok(Kept::Other(difference)) => Err(ReportError::OtherTrial { path, difference }),
        Ok(Kept::Nothing) => Err(ReportError::Unresolved { path, cause: ResolvedError::Missing }),
        Err(cause) => Err(ReportError::Unresolved { path, cause }),
    }
}

fn read_json<T: DeserializeOwned>(path: &Path, expected: &'static str) -> Result<T, ReportError> {
    let bytes = fs::read(path).map_err(ReportError::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(malformed(path, expected))
}

/// Each line an event. A process that was killed leaves its last line torn: that one is dropped.
fn read_log(path: &Path) -> Result<Vec<Event>, ReportError> {
    let bytes = optional(fs::read(path).map_err(ReportError::io("read", path)))?
        .ok_or_else(|| ReportError::NoLog { path: path.to_owned() })?;
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let torn = !bytes.ends_with(b"\n");
    let mut log = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        match serde_json::from_slice(line) {
            Ok(event) => log.push(event),
            Err(_) if torn && index + 1 == lines.len() => {}
            Err(source) => return Err(malformed(path, "log of events")(source)),
        }
    }
    Ok(log)
}

fn malformed(path: &Path, expected: &'static str) -> impl FnOnce(serde_json::Error) -> ReportError {
    let path = PathBuf::from(path);
    move |source| ReportError::Malformed { path, expected, source }
}

/// A missing file is none; every other error stays one.
fn optional<T>(read: Result<T, ReportError>) -> Result<Option<T>, ReportError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(ReportError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
