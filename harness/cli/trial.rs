//! `spillbench trial`: one prepared trial, in this process.

use std::{
    fs::{self, OpenOptions},
    io::{BufWriter, ErrorKind, Read, Write},
    path::Path,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use spillbench_data::DataLocations;
use spillbench_engine::{EngineError, Environment, Opened, Progress};
use spillbench_runner::{ChildLine, TrialFolder, stop_within, watch_parent, write_atomically};
use spillbench_schema::{Trial, TrialResult, config::StorageMode, summary::Manifest};

use crate::exit::{Exit, Failure};

pub fn trial(folder: &Path) -> Result<Exit, Failure> {
    watch_parent()?;
    stop_within(spillbench_engine::stopped_while)?;
    // Started through a handle, it would be listed under the handle's number; where it cannot be named, that stands.
    let _ = fs::write("/proc/self/comm", "spillbench");
    let place = TrialFolder::at(folder.to_owned());
    let path = folder.join("resolved.yaml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let trial = Trial::from_resolved_yaml(&text).with_context(|| format!("in {}", path.display()))?;
    let log_path = folder.join("events.jsonl");
    // Not truncated: a run that goes on keeps what was logged up to its last generation.
    let log = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&log_path)
        .with_context(|| format!("cannot create {}", log_path.display()))?;
    let mut events = BufWriter::new(log);
    let mut progress = |progress: Progress| {
        let Progress { step, steps, loss } = progress;
        say(&ChildLine { step, steps, loss, resumed: false });
    };
    let state = if trial.config.storage.mode == StorageMode::Memory {
        place.state(&trial)
    } else {
        place.own_state(&trial)?
    };
    let trained = spillbench_engine::train(
        &trial,
        Environment {
            rates: &place.rates()?,
            state_dir: &state,
            locations: &DataLocations::from_env(),
            events: &mut events,
            progress: &mut progress,
            opened: &mut |opened| {
                if let Some((step, steps)) = opened.resumed_at {
                    say(&ChildLine { step, steps, loss: None, resumed: true });
                }
                Ok(write_manifest(folder, &trial, opened)?)
            },
            fault: None,
        },
    );
    if let Err(EngineError::Diverged(diverged)) = trained {
        events.flush().with_context(|| log_path.display().to_string())?;
        place.finish(&TrialResult::Diverged(diverged.result(&trial)))?;
        return Ok(Exit::Fine);
    }
    let mut summary = trained.map_err(|error| match error {
        // The engine knows a log, but not where it lies.
        EngineError::Log(cause) => {
            let remedy = match cause.kind() {
                ErrorKind::FileTooLarge => "; raise the file size limit: `ulimit -f unlimited`",
                _ => "",
            };
            anyhow::anyhow!("cannot write the event log {}: {cause}{remedy}", log_path.display())
        }
        error => error.into(),
    })?;
    summary.predicted = place.prediction();
    place.finish(&TrialResult::Finished(Box::new(summary)))?;
    Ok(Exit::Fine)
}

fn say(line: &ChildLine) {
    if let Ok(line) = serde_json::to_string(line) {
        // Nobody may be listening.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

fn write_manifest(folder: &Path, trial: &Trial, opened: Opened) -> Result<(), anyhow::Error> {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let manifest = Manifest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        git_revision: git_revision(),
        started_unix_s: started.as_secs(),
        machine: spillbench_engine::machine(),
        storage_requested: trial.config.storage.mode.name().to_owned(),
        storage_used: opened.storage,
        kernels: opened.kernels,
    };
    let mut text = serde_json::to_vec_pretty(&manifest)?;
    text.push(b'\n');
    Ok(write_atomically(&folder.join("manifest.json"), &text)?)
}

/// The revision of the checkout that this program is run in, if it is one.
fn git_revision() -> Option<String> {
    let mut command = Command::new("git");
    command.args(["describe", "--always", "--dirty", "--abbrev=12"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut git = command.spawn().ok()?;
    // Not by `output`, which panics where its pipes cannot be set to not block.
    let mut revision = String::new();
    let read = git.stdout.take()?.read_to_string(&mut revision);
    let revision = revision.trim().to_owned();
    (git.wait().ok()?.success() && read.is_ok() && !revision.is_empty()).then_some(revision)
}
