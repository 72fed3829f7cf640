//! `spillbench run`: the trials that are not finished, then the report.

use std::{fs, time::Duration};

use anyhow::Context;
use serde_json::json;
use spillbench_runner::{Display, Interrupt, Options, Style};

use crate::{
    arguments::RunArguments,
    exit::{Exit, Failure},
    report,
};

pub fn run(arguments: &RunArguments) -> Result<Exit, Failure> {
    let study = arguments.study.load()?;
    let scenario = fs::read(&arguments.study.scenario)?;
    let options = Options {
        program: std::env::current_exe().context("cannot find this program's own file")?,
        results: arguments.study.results.clone(),
        scenario,
        fail_fast: arguments.fail_fast,
        timeout: arguments.timeout.map(Duration::from_secs),
    };
    let style = if arguments.json { Style::Json } else { Style::detect() };
    let interrupt = Interrupt::catch()?;
    let mut display = Display::new(style, study.trials.len());
    let outcome = spillbench_runner::run(&study, &options, &interrupt, &mut display)?;
    if outcome.interrupted {
        eprintln!("interrupted; run the same command again to finish what is missing");
        return Ok(Exit::Interrupted);
    }
    if outcome.finished + outcome.skipped > 0 {
        let written = report::write(&arguments.study.folder(&study))?;
        if arguments.json {
            println!("{}", json!({ "reason": "report-written", "version": 1, "html": written.html }));
        } else {
            println!("{}\nreport: {}", written.table, written.html.display());
        }
    }
    Ok(match (outcome.failed.is_empty(), outcome.finished + outcome.skipped) {
        (false, _) => Exit::TrialFailed,
        (true, 0) => Exit::Nothing,
        (true, _) => Exit::Fine,
    })
}
