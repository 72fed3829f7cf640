//! `spillbench run`: the trials that are not finished, then the report.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::Context;
use serde_json::json;
use spillbench_runner::{Display, Interrupt, Options, Planned, Style, TrialFolder};
use spillbench_schema::{
    Machine, Study,
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
    let planned = refuse_what_cannot_run(&study, arguments, machine.as_ref())?;
    let scenario = fs::read(&arguments.study.scenario)?;
    let options = Options {
        program: std::env::current_exe().context("cannot find this program's own file")?,
        results: arguments.study.results.clone(),
        scenario,
        planned,
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
        let written = report::write(&folder, study)?;
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
/// that are not there. Returns what is planned of the rest, by trial.
fn refuse_what_cannot_run(
    study: &Study,
    arguments: &RunArguments,
    machine: Option<&Machine>,
) -> Result<BTreeMap<String, Planned>, Failure> {
    let folder = arguments.study.folder(study);
    let mut planned = BTreeMap::new();
    // Seeds change nothing that is planned.
    let mut seen: Vec<(String, Planned)> = Vec::new();
    let mut loaded: Vec<&DataConfig> = Vec::new();
    let mut refusals = Vec::new();
    for trial in &study.trials {
        let place = TrialFolder::at(folder.join(trial.id()));
        if place.summary().is_some() {
            continue;
        }
        let label = trial.label();
        let rates = machine::rates(trial, (!arguments.fresh).then_some(&place), machine);
        let same = |(seen, planned): &&(String, Planned)| *seen == label && planned.rates == rates;
        if let Some((_, before)) = seen.iter().find(same) {
            planned.insert(trial.id(), before.clone());
            continue;
        }
        let plan = spillbench_engine::open_plan(trial, &rates);
        let prediction = match plan.and_then(|plan| {
            spillbench_engine::check_space(trial, &plan, &place.state(trial))?;
            Ok(plan)
        }) {
            Ok(plan) => machine.map(|machine| spillbench_schedule::project(&plan, &trial.config, machine)),
            Err(error) => {
                refusals.push(format!("{label}: {error}"));
                None
            }
        };
        let this = Planned { rates, prediction };
        planned.insert(trial.id(), this.clone());
        seen.push((label, this));
        let config = &trial.config;
        // What is generated cannot be missing.
        if config.data.source == DataSource::Mnist && !loaded.contains(&&config.data) {
            loaded.push(&config.data);
            if let Err(error) = spillbench_data::load(&config.data, &config.network.input, 10) {
                refusals.push(error.to_string());
            }
        }
    }
    if refusals.is_empty() { Ok(planned) } else { Err(Failure::usage(refusals.join("\n"))) }
}
