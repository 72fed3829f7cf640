//! The description of a machine that predictions are made for.

use std::path::{Path, PathBuf};

use spillbench_schema::Machine;

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
