//! The trials of a study, one after the other.

use std::{
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};
use spillbench_schema::{Prediction, Rates, Study, Trial, TrialResult, summary::Failure};

use crate::{
    RunnerError, StudyFolder, TrialFolder,
    child::{self, Ending},
    display::Display,
    job::Job,
    program::Program,
    signal,
};

/// How a study is run.
pub struct Options<'a> {
    /// The program that has the command `trial`: this one.
    pub program: Program,
    /// The folder of all results.
    pub results: PathBuf,
    /// The scenario file as written.
    pub scenario: Vec<u8>,
    /// What a trial is planned with: what it was begun with, where it is to go on.
    pub rates: &'a dyn Fn(&Trial, &TrialFolder) -> Result<Rates, RunnerError>,
    /// What the cost model says of a trial that is about to start, where it can be asked.
    pub predict: &'a dyn Fn(&Trial, &TrialFolder, &Rates) -> Option<Prediction>,
    /// Stop at the first failed trial.
    pub fail_fast: bool,
    /// Start trials that were cut off again, and not from their last generation.
    pub fresh: bool,
    /// The longest a trial may take.
    pub timeout: Option<Duration>,
}

/// What became of a study's trials.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// Finished now.
    pub finished: usize,
    /// Finished before.
    pub skipped: usize,
    /// Diverged, now or before: a result, and no failure.
    pub diverged: usize,
    /// Failed, with what they said.
    pub failed: Vec<Failure>,
    /// In another run's hands.
    pub elsewhere: usize,
    /// The user interrupted.
    pub interrupted: bool,
}

/// Whether the user has asked to end (SIGINT or SIGTERM).
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches SIGINT and SIGTERM from now on; a second one ends the process at once.
    ///
    /// # Errors
    /// Signals cannot be caught.
    pub fn catch() -> Result<Self, RunnerError> {
        let set = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, 130, Arc::clone(&set))
                .map_err(RunnerError::Signals)?;
            flag::register(signal, Arc::clone(&set)).map_err(RunnerError::Signals)?;
        }
        Ok(Self(set))
    }

    /// Whether a signal has come.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Said once of a folder whose names cannot be synced.
const UNSYNCED: &str =
    "folders of results cannot be synced here (fsync is refused): a power cut may cost what was written last";

/// Runs all trials that are not finished. A failed one does not stop the others.
///
/// # Errors
/// The results cannot be written, or a process cannot be started.
pub fn run(
    study: &Study,
    options: &Options<'_>,
    interrupt: &Interrupt,
    display: &mut Display,
) -> Result<Outcome, RunnerError> {
    let job = Job::control()?;
    let folder = StudyFolder::open(&options.results, study)?;
    if !folder.is_synced() {
        display.note(UNSYNCED);
    }
    let mut outcome = Outcome::default();
    let mut held = Vec::new();
    for trial in &study.trials {
        match take(trial, &folder, options, (interrupt, &job), display, &mut outcome)? {
            Taken::Held => held.push(trial),
            Taken::Stop => break,
            Taken::Done => {}
        }
    }
    // Their runs may have finished them meanwhile, or ended.
    let goes_on = !outcome.interrupted && (!options.fail_fast || outcome.failed.is_empty());
    if goes_on {
        for trial in held {
            match take(trial, &folder, options, (interrupt, &job), display, &mut outcome)? {
                Taken::Held => {
                    outcome.elsewhere += 1;
                    display.elsewhere(trial);
                }
                Taken::Stop => break,
                Taken::Done => {}
            }
        }
    }
    display.done();
    Ok(outcome)
}

/// What a run has done about a trial.
enum Taken {
    /// All there is to do.
    Done,
    /// Nothing: another run has it.
    Held,
    /// No other trial is to be started.
    Stop,
}

/// Runs a trial that is not finished, unless another run has it.
fn take(
    trial: &Trial,
    folder: &StudyFolder,
    options: &Options<'_>,
    (interrupt, job): (&Interrupt, &Job),
    display: &mut Display,
    outcome: &mut Outcome,
) -> Result<Taken, RunnerError> {
    let Some(_lock) = folder.lock(trial)? else { return Ok(Taken::Held) };
    let place = folder.trial(trial);
    let before = place.finished(trial)?;
    let diverged_before = matches!(before, Some(TrialResult::Diverged(_)));
    if before.is_some() && !(diverged_before && options.fresh) {
        // The run that finished it may have been killed before it removed them.
        place.remove_state(trial)?;
        if diverged_before {
            outcome.diverged += 1;
            display.diverged_before(trial);
        } else {
            outcome.skipped += 1;
            display.skipped(trial);
        }
        return Ok(Taken::Done);
    }
    match run_trial(trial, &place, options, (interrupt, job), display)? {
        None if interrupt.is_set() => {
            outcome.interrupted = true;
            return Ok(Taken::Stop);
        }
        None if matches!(place.result(), Some(TrialResult::Diverged(_))) => outcome.diverged += 1,
        None => outcome.finished += 1,
        Some(failure) => {
            // On a full disk not even this can be written; the user is told all the same.
            let saved = place.fail(&failure);
            display.failed(trial, &failure);
            if let Err(error) = saved {
                display.note(&error.to_string());
            }
            outcome.failed.push(failure);
            if options.fail_fast {
                return Ok(Taken::Stop);
            }
        }
    }
    Ok(Taken::Done)
}

/// Runs one trial; returns how it failed, if it did.
fn run_trial(
    trial: &Trial,
    place: &TrialFolder,
    options: &Options<'_>,
    (interrupt, job): (&Interrupt, &Job),
    display: &mut Display,
) -> Result<Option<Failure>, RunnerError> {
    let rates = (options.rates)(trial, place)?;
    let anew = place.prepare(trial, &options.scenario, &rates, options.fresh)?;
    display.started(trial);
    // Of a trial that goes on, what was said before its first part stands.
    let prediction = if anew { (options.predict)(trial, place, &rates) } else { None };
    if interrupt.is_set() {
        return Ok(None);
    }
    if let Some(prediction) = prediction {
        place.predict(&prediction)?;
    }
    let (ending, took) =
        child::run(&options.program, place.path(), options.timeout, (interrupt, job), |line| {
            if line.resumed {
                display.resumed(trial, &line);
            }
            display.progress(trial, &line);
        })?;
    // What was cut off, or failed on something outside it, goes on from its last generation when it is run again.
    if trial.config.storage.generations.is_none() || place.result().is_some() {
        place.remove_state(trial)?;
    }
    let failure = |message: String, status: Option<ExitStatus>| {
        Some(Failure {
            trial_id: trial.id(),
            message,
            exit_code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
        })
    };
    Ok(match ending {
        Ending::Interrupted => None,
        Ending::TimedOut => {
            let seconds = options.timeout.unwrap_or_default().as_secs_f64();
            failure(format!("took longer than the {seconds} s that --timeout allows"), None)
        }
        Ending::Exited(status, said) => match place.result() {
            Some(result) if status.success() => {
                match result {
                    TrialResult::Finished(summary) => display.finished(trial, &summary, took),
                    TrialResult::Diverged(divergence) => display.diverged(trial, &divergence),
                }
                None
            }
            _ => failure(message(status, &said), Some(status)),
        },
    })
}

fn message(status: ExitStatus, said: &str) -> String {
    match (status.signal(), said.is_empty()) {
        (Some(number), true) => signal::told(number),
        // A panic or the allocator said something before the signal.
        (Some(number), false) => format!("{}; it said: {said}", signal::told(number)),
        (None, true) => format!("ended without a summary ({status})"),
        // The process prints its error as the program does; here it is quoted.
        (None, false) => said.strip_prefix("error: ").unwrap_or(said).to_owned(),
    }
}
