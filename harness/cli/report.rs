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
    let folder = arguments.folder(&study);
    if !folder.exists() {
        return Ok(nothing_run(arguments));
    }
    let results = Results::load(&folder, study)?;
    let written = write(&folder, &results)?;
    if results.runs.is_empty() {
        eprintln!(
            "no trial has finished in {}; run again: spillbench run {}",
            folder.display(),
            arguments.scenario.display()
        );
        println!("report: {}", written.html.display());
        return Ok(Exit::Nothing);
    }
    println!("{}\nreport: {}", written.table, written.html.display());
    Ok(Exit::Fine)
}

/// Says what comes first.
pub fn nothing_run(arguments: &StudyArguments) -> Exit {
    eprintln!(
        "no results in {}; first: spillbench run {}",
        arguments.results.display(),
        arguments.scenario.display()
    );
    Exit::Nothing
}

/// Writes the report of a study's folder.
///
/// # Errors
/// The baseline cannot be read, or the report cannot be written.
pub fn write(folder: &Path, results: &Results) -> Result<Written, Failure> {
    let baseline = committed_baseline(folder)?;
    let verdicts = spillbench_report::check(results, baseline.as_ref());
    let paths = spillbench_report::write(results, &verdicts, &folder.join("report"))?;
    Ok(Written { table: spillbench_report::comparison_text(results), html: paths.html })
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
