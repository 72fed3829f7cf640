//! The folders of results: one a study, one a trial, each file written whole or not at all.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use spillbench_schema::{Prediction, Rates, Study, Trial, TrialResult, summary::Failure};

use crate::{RunnerError, error::Context};

/// The trial with every default filled, in its folder: the last thing written before its process starts.
const RESOLVED: &str = "resolved.yaml";

/// What it was planned with.
const RATES: &str = "rates.json";

/// `results/<scenario>`, held by one run at a time.
pub struct StudyFolder {
    path: PathBuf,
    /// Held as long as this value lives; the system lets go of it whatever happens to the process.
    _lock: File,
}

/// `results/<scenario>/<trial-id>`.
#[derive(Debug, Clone)]
pub struct TrialFolder {
    path: PathBuf,
}

impl StudyFolder {
    /// Makes and locks the folder of a study, and saves the study in it.
    ///
    /// # Errors
    /// It cannot be written, or another run uses it.
    pub fn open(results: &Path, study: &Study) -> Result<Self, RunnerError> {
        let path = results.join(&study.name);
        fs::create_dir_all(&path).context("create", &path)?;
        let lock_path = path.join(".lock");
        let lock = File::create(&lock_path).context("create", &lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RunnerError::InUse { path }),
            Err(TryLockError::Error(cause)) => return Err(cause).context("lock", &lock_path),
        }
        write_json(&path.join("study.json"), study)?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder of a trial.
    pub fn trial(&self, trial: &Trial) -> TrialFolder {
        TrialFolder { path: self.path.join(trial.id()) }
    }
}

impl TrialFolder {
    /// The folder at `path`.
    pub const fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a trial's extents lie: where it says, else in its folder.
    pub fn state(&self, trial: &Trial) -> PathBuf {
        match &trial.config.storage.dir {
            Some(dir) => dir.join(trial.id()),
            None => self.path.join("state"),
        }
    }

    /// Removes a trial's extents, and with them its last generation.
    ///
    /// # Errors
    /// They cannot be removed.
    pub fn remove_state(&self, trial: &Trial) -> Result<(), RunnerError> {
        let state = self.state(trial);
        // Renamed first: a removal that is cut off must not leave a part that looks like a state.
        let doomed = state.with_extension("removed");
        let absent_or = |done: io::Result<()>, what: &Path| match done {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause).context("remove", what),
            _ => Ok(()),
        };
        absent_or(fs::remove_dir_all(&doomed), &doomed)?;
        absent_or(fs::rename(&state, &doomed), &state)?;
        absent_or(fs::remove_dir_all(&doomed), &doomed)
    }

    /// The result, if the trial has one: it finished, or it diverged.
    pub fn result(&self) -> Option<TrialResult> {
        let text = fs::read(self.path.join("summary.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Makes the folder ready for the trial's process. What an interrupted run left is kept where the trial can go on
    /// from it, the rates it was planned with included, unless it is to start `fresh`; else it is removed. Returns
    /// whether the trial starts anew.
    ///
    /// # Errors
    /// It cannot be written, or what the trial was planned with cannot be read.
    pub fn prepare(
        &self,
        trial: &Trial,
        scenario: &[u8],
        rates: &Rates,
        fresh: bool,
    ) -> Result<bool, RunnerError> {
        if !fresh && self.rates_to_go_on_with(trial)?.is_some() {
            self.remove_failure()?;
            return Ok(false);
        }
        self.remove_state(trial)?;
        match fs::remove_dir_all(&self.path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(cause).context("remove what an interrupted run left in", &self.path);
            }
            _ => {}
        }
        fs::create_dir(&self.path).context("create", &self.path)?;
        write_atomically(&self.path.join("scenario.yaml"), scenario)?;
        write_json(&self.path.join(RATES), rates)?;
        write_atomically(&self.path.join(RESOLVED), trial.resolved_yaml().as_bytes())?;
        Ok(true)
    }

    /// What the trial was planned with, where what is here is of a trial that commits generations, and of exactly this
    /// one: what was learned of the machine since does not change its extents.
    ///
    /// # Errors
    /// It cannot be read, though there is a state that was made with it.
    pub fn rates_to_go_on_with(&self, trial: &Trial) -> Result<Option<Rates>, RunnerError> {
        let resumable = trial.config.storage.generations.is_some()
            && self.state(trial).exists()
            && fs::read(self.path.join(RESOLVED)).is_ok_and(|text| text == trial.resolved_yaml().as_bytes());
        resumable.then(|| self.rates()).transpose()
    }

    /// What the trial is planned with.
    ///
    /// # Errors
    /// The folder was not prepared.
    pub fn rates(&self) -> Result<Rates, RunnerError> {
        let path = self.path.join(RATES);
        let read = || Ok(serde_json::from_slice(&fs::read(&path)?)?);
        read().context("read (without it the trial cannot go on; `run --fresh` starts it again)", &path)
    }

    fn remove_failure(&self) -> Result<(), RunnerError> {
        let path = self.path.join("failure.json");
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause).context("remove", &path),
            _ => Ok(()),
        }
    }

    /// Saves what the cost model says of the trial, before it runs.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn predict(&self, prediction: &Prediction) -> Result<(), RunnerError> {
        write_json(&self.path.join("predicted.json"), prediction)
    }

    /// What the cost model said of the trial, where it was asked.
    pub fn prediction(&self) -> Option<Prediction> {
        let text = fs::read(self.path.join("predicted.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Saves how the trial failed.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn fail(&self, failure: &Failure) -> Result<(), RunnerError> {
        write_json(&self.path.join("failure.json"), failure)
    }

    /// Saves how the trial finished or diverged: the last thing that is written.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(&self, result: &TrialResult) -> Result<(), RunnerError> {
        write_json(&self.path.join("summary.json"), result)
    }
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), RunnerError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(io::Error::from).context("write", path)?;
    text.push(b'\n');
    write_atomically(path, &text)
}

/// Writes a file by a temporary one and a rename: a reader finds the old contents or the new, never a part.
///
/// # Errors
/// It cannot be written.
pub fn write_atomically(path: &Path, contents: &[u8]) -> Result<(), RunnerError> {
    let write = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let readable = fs::Permissions::from_mode(0o644);
        let mut file = tempfile::Builder::new().permissions(readable).tempfile_in(folder)?;
        file.write_all(contents)?;
        file.as_file().sync_data()?;
        file.persist(path)?;
        File::open(folder)?.sync_all()
    };
    write().context("write", path)
}
