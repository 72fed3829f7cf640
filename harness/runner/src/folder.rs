//! The folders of results: one a study, one a trial, each file written whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use spillbench_lock::Lock;
use spillbench_schema::{
    Prediction, Rates, Study, Trial, TrialResult,
    summary::Failure,
    trial::{Kept, RESOLVED, ResolvedError},
};
use tempfile::{NamedTempFile, TempPath};

use crate::{RunnerError, error::Context, scratch::Scratch};

/// The locks of a study's trials. They are beside the trials' folders, which are removed and made again.
const LOCKS: &str = ".locks";

/// What the name of a folder ends in while it is removed.
const REMOVED: &str = ".removed";

/// What it was planned with.
const RATES: &str = "rates.json";

/// `results/<scenario>`, which any number of runs may use: each trial is held by one of them at a time.
pub struct StudyFolder {
    path: PathBuf,
    synced: bool,
}

/// `results/<scenario>/<trial-id>`.
#[derive(Debug, Clone)]
pub struct TrialFolder {
    path: PathBuf,
}

impl StudyFolder {
    /// Makes the folder of a study, and saves the study in it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(results: &Path, study: &Study) -> Result<Self, RunnerError> {
        let path = results.join(&study.name);
        let locks = path.join(LOCKS);
        fs::create_dir_all(&locks).context("create", &locks)?;
        write_json(&path.join("study.json"), study)?;
        let synced = sync_folder(&path).context("sync", &path)?;
        Ok(Self { path, synced })
    }

    /// Whether the names of its files survive a power cut.
    pub const fn is_synced(&self) -> bool {
        self.synced
    }

    /// The folder of a trial.
    pub fn trial(&self, trial: &Trial) -> TrialFolder {
        TrialFolder::of(&self.path, trial)
    }

    /// Holds a trial against other runs, as long as the lock lives; `None` if another run has it.
    ///
    /// # Errors
    /// The lock can be neither created nor taken.
    pub fn lock(&self, trial: &Trial) -> Result<Option<Lock>, RunnerError> {
        let path = self.path.join(LOCKS).join(trial.id());
        Lock::take(&path).context("lock", &path)
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

    /// The folder of a trial, within its study's.
    pub fn of(study: &Path, trial: &Trial) -> Self {
        Self { path: trial.folder_in(study) }
    }

    /// Where a trial's extents lie: in a folder of its own on the disk that it says, else in its folder.
    pub fn state(&self, trial: &Trial) -> PathBuf {
        match &trial.config.storage.dir {
            Some(dir) => Scratch::of(&self.path, &trial.scenario).find(dir),
            None => self.path.join("state"),
        }
    }

    /// Makes the place of a trial's extents its own, before anything is written there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn own_state(&self, trial: &Trial) -> Result<PathBuf, RunnerError> {
        match &trial.config.storage.dir {
            Some(dir) => Scratch::of(&self.path, &trial.scenario).own(dir),
            None => Ok(self.path.join("state")),
        }
    }

    /// Removes a trial's extents, and with them its last generation. The trial is held by this run.
    ///
    /// # Errors
    /// They cannot be removed.
    pub fn remove_state(&self, trial: &Trial) -> Result<(), RunnerError> {
        let state = self.state(trial);
        remove_whole(&state)?;
        if let (Some(_), Some(study)) = (&trial.config.storage.dir, state.parent()) {
            // Fails where other trials have their extents beside it.
            let _ = fs::remove_dir(study);
        }
        Ok(())
    }

    /// The result, if the trial has one and the folder holds exactly this trial.
    ///
    /// # Errors
    /// It holds another one, or does not say which.
    pub fn finished(&self, trial: &Trial) -> Result<Option<TrialResult>, RunnerError> {
        let Some(result) = self.result() else { return Ok(None) };
        let path = self.path.join(RESOLVED);
        match trial.compare_with(&self.path) {
            Ok(Kept::Same) => Ok(Some(result)),
            Ok(Kept::Other(difference)) => Err(RunnerError::OtherTrial { path, difference }),
            Ok(Kept::Nothing) => Err(RunnerError::Unresolved { path, cause: ResolvedError::Missing }),
            Err(cause) => Err(RunnerError::Unresolved { path, cause }),
        }
    }

    /// The result, if a trial has one here: it finished, or it diverged.
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
        if let Ok(Kept::Other(difference)) = trial.compare_with(&self.path) {
            return Err(RunnerError::OtherTrial { path: self.path.join(RESOLVED), difference });
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
            && matches!(trial.compare_with(&self.path), Ok(Kept::Same));
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

/// Removes a folder with all that is in it, if it is there. A removal that is cut off leaves no part under its name.
pub(crate) fn remove_whole(path: &Path) -> Result<(), RunnerError> {
    let mut doomed = path.as_os_str().to_owned();
    doomed.push(REMOVED);
    let doomed = PathBuf::from(doomed);
    let absent_or = |done: io::Result<()>, path: &Path| match done {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause).context("remove", path),
        _ => Ok(()),
    };
    absent_or(fs::remove_dir_all(&doomed), &doomed)?;
    absent_or(fs::rename(path, &doomed), path)?;
    absent_or(fs::remove_dir_all(&doomed), &doomed)
}

pub(crate) fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), RunnerError> {
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
        let mut file = temporary_file(folder)?;
        file.write_all(contents)?;
        file.as_file().sync_data()?;
        file.persist(path)?;
        sync_folder(folder).map(drop)
    };
    write().context("write", path)
}

/// A new file in `folder`, readable by all, removed unless it is given a name. Not by the crate's own way, whose errors hide
/// their number.
fn temporary_file(folder: &Path) -> io::Result<NamedTempFile> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".tmp-{}-{number}", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path) {
            Ok(file) => return Ok(NamedTempFile::from_parts(file, TempPath::try_from_path(path)?)),
            // Left by a process of this number that was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes the names in a folder survive a power cut; false where the file system cannot, or may not be asked.
fn sync_folder(folder: &Path) -> io::Result<bool> {
    match File::open(folder)?.sync_all() {
        Ok(()) => Ok(true),
        Err(error) if is_refusal(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the error says that a call is not to be had here, rather than that it went wrong.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL | libc::EPERM | libc::EACCES)
    )
}
