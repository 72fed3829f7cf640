//! The description of a machine that trials are planned with and predictions are made for.

use std::path::{Path, PathBuf};

use spillbench_runner::{RunnerError, TrialFolder};
use spillbench_schema::{Machine, Rates, Trial};

use crate::exit::Failure;

/// The name of the file in the folder of all results.
pub const MACHINE_FILE: &str = "machine.json";

/// The machine of `--machine`, else the one that `spillbench probe` measured, if it did.
///
/// # Errors
/// The file cannot be read or understood.
pub fn load(given: Option<&PathBuf>, results: &Path) -> Result<Option<Machine>, Failure> {
    let probed = results.join(MACHINE_FILE);
    let path = match given {
        Some(path) => path,
        None if probed.exists() => &probed,
        None => return Ok(None),
    };
    Machine::load(path).map(Some).map_err(Failure::usage)
}

/// What a trial is planned with.
#[derive(Clone, PartialEq)]
pub struct PlannedWith {
    pub rates: Rates,
    /// Whether they are those with which the trial was begun.
    pub kept: bool,
}

/// What a trial is planned with: what it was begun with where it is to go on, else what the machine does with `cores`, else
/// defaults.
///
/// # Errors
/// What it was begun with cannot be read.
pub fn rates(
    trial: &Trial,
    place: Option<&TrialFolder>,
    machine: Option<&Machine>,
    cores: usize,
) -> Result<PlannedWith, RunnerError> {
    let kept = place.map(|place| place.rates_to_go_on_with(trial)).transpose()?.flatten();
    Ok(match (kept, machine) {
        (Some(rates), _) => PlannedWith { rates, kept: true },
        (None, Some(machine)) => {
            let rates = spillbench_schedule::rates_on(machine, &trial.config, cores);
            PlannedWith { rates, kept: false }
        }
        (None, None) => PlannedWith { rates: Rates::default(), kept: false },
    })
}
