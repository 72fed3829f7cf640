//! `spillbench run`: the trials that are not finished, then the report.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::Context;
use serde_json::json;
use spillbench_report::Results;
use spillbench_runner::{Display, Interrupt, Options, Style, TrialFolder};
use spillbench_schema::{
    Machine, Prediction, Study,
    config::{DataConfig, DataSource},
};

use crate::{
    arguments::RunArguments,
    exit::{Exit, Failure},
    machine, report,
};

pub fn run(arguments: &RunArguments) -> Result<Exit, Failure> {
    let study = arguments.study.load()?;
    let folder = arguments.study.folder(&study);
    let machine = machine::load(None, &arguments.study.results)?;
    let predictions = refuse_what_cannot_run(&study, &folder, machine.as_ref())?;
    let scenario = fs::read(&arguments.study.scenario)?;
    let options = Options {
        program: std::env::current_exe().context("cannot find this program's own file")?,
        results: arguments.study.results.clone(),
        scenario,
        predictions,
        fail_fast: arguments.fail_fast,
        fresh: arguments.fresh,
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
        let written = report::write(&folder, &Results::load(&folder, study)?)?;
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

/// Finds what is known to fail before anything is run: budgets that are too small, disks that are too full, data sets
/// that are not there. Returns what the cost model says of the rest, by label, where the machine is known.
fn refuse_what_cannot_run(
    study: &Study,
    folder: &Path,
    machine: Option<&Machine>,
) -> Result<BTreeMap<String, Prediction>, Failure> {
    let mut predictions = BTreeMap::new();
    let mut seen = Vec::new();
    let mut loaded: Vec<&DataConfig> = Vec::new();
    let mut refusals = Vec::new();
    for trial in
        study.trials.iter().filter(|trial| TrialFolder::at(folder.join(trial.id())).summary().is_none())
    {
        let label = trial.label();
        if seen.contains(&label) {
            continue;
        }
        let place = TrialFolder::at(folder.join(trial.id()));
        let plan = spillbench_engine::open_plan(trial);
        match plan.and_then(|plan| {
            spillbench_engine::check_space(trial, &plan, &place.state(trial))?;
            Ok(plan)
        }) {
            Ok(plan) => {
                let predict = |machine| spillbench_schedule::project(&plan, &trial.config, machine);
                predictions.extend(machine.map(|machine| (label.clone(), predict(machine))));
            }
            Err(error) => refusals.push(format!("{label}: {error}")),
        }
        seen.push(label);
        let config = &trial.config;
        // What is generated cannot be missing.
        if config.data.source == DataSource::Mnist && !loaded.contains(&&config.data) {
            loaded.push(&config.data);
            if let Err(error) = spillbench_data::load(&config.data, &config.network.input, 10) {
                refusals.push(error.to_string());
            }
        }
    }
    if refusals.is_empty() { Ok(predictions) } else { Err(Failure::usage(refusals.join("\n"))) }
}
