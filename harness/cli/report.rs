//! `spillbench report`: tables, charts and pages from what has been run.

use std::path::{Path, PathBuf};

use spillbench_report::{Baseline, Results};

use crate::{
    arguments::StudyArguments,
    exit::{Exit, Failure},
};

/// A report on disk.
pub struct Written {
    /// The comparison of configurations.
    pub table: String,
    /// The page to open.
    pub html: PathBuf,
}

pub fn report(arguments: &StudyArguments) -> Result<Exit, Failure> {
    let study = arguments.load()?;
    let written = write(&arguments.folder(&study))?;
    println!("{}\nreport: {}", written.table, written.html.display());
    Ok(Exit::Fine)
}

/// Writes the report of a study's folder.
///
/// # Errors
/// Results cannot be read, or the report cannot be written.
pub fn write(folder: &Path) -> Result<Written, Failure> {
    let results = Results::load(folder)?;
    let baseline = committed_baseline(folder)?;
    let verdicts = spillbench_report::check(&results, baseline.as_ref());
    let paths = spillbench_report::write(&results, &verdicts, &folder.join("report"))?;
    Ok(Written { table: spillbench_report::comparison_text(&results), html: paths.html })
}

/// `baselines/<scenario>.json` beside the study's folder, if there is one.
///
/// # Errors
/// It cannot be read.
pub fn committed_baseline(folder: &Path) -> Result<Option<Baseline>, Failure> {
    let Some((results, name)) = folder.parent().zip(folder.file_name()) else { return Ok(None) };
    let path = results.join("baselines").join(name).with_extension("json");
    if path.exists() { Ok(Some(Baseline::load(&path)?)) } else { Ok(None) }
}
