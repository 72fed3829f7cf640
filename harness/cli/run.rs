//! `spillbench run`: the trials that are not finished, then the report.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::Context;
use serde_json::json;
use spillbench_report::Results;
use spillbench_runner::{Display, Interrupt, Options, Program, RunnerError, Style, TrialFolder};
use spillbench_schema::{
    Machine, Prediction, Rates, Study, Trial,
    config::{DataConfig, DataSource},
    machine::Speed,
};

use crate::{
    arguments::RunArguments,
    exit::{Exit, Failure},
    machine,
    output::try_line,
    report,
};

pub fn run(arguments: &RunArguments) -> Result<Exit, Failure> {
    let study = arguments.study.load()?;
    let folder = arguments.study.folder(&study);
    let machine = machine::load(None, &arguments.study.results)?;
    refuse_what_cannot_run(&study, arguments, machine.as_ref())?;
    let rates = |trial: &Trial, place: &TrialFolder| rates(trial, place, arguments, machine.as_ref());
    let predict = |trial: &Trial, place: &TrialFolder, rates: &Rates| {
        prediction(trial, place, rates, machine.as_ref()?)
    };
    let scenario = fs::read(&arguments.study.scenario)?;
    let options = Options {
        program: Program::this().context("cannot open this program's own file, /proc/self/exe")?,
        results: arguments.study.results.clone(),
        scenario,
        rates: &rates,
        predict: &predict,
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
    let mut exit = Exit::Nothing;
    if outcome.finished + outcome.skipped + outcome.diverged > 0 {
        let written = report::write(&folder, &Results::load(&folder, study)?)?;
        let told = if arguments.json {
            json!({ "reason": "report-written", "version": 1, "html": written.html }).to_string()
        } else {
            format!("{}\nreport: {}", written.table, written.html.display())
        };
        exit = if try_line(format_args!("{told}")) { Exit::Fine } else { Exit::Unread };
    }
    if outcome.elsewhere > 0 {
        let trials = if outcome.elsewhere == 1 { "trial is" } else { "trials are" };
        eprintln!(
            "{} {trials} in the hands of another run; run the same command again when it has ended",
            outcome.elsewhere
        );
    }
    // A reader that went away, as of `spillbench run … | head`, does not hide that a trial failed.
    Ok(match (outcome.failed.is_empty(), outcome.elsewhere) {
        (false, _) => Exit::TrialFailed,
        (true, 0) => exit,
        (true, _) => Exit::Elsewhere,
    })
}

/// What a trial is planned with here.
fn rates(
    trial: &Trial,
    place: &TrialFolder,
    arguments: &RunArguments,
    machine: Option<&Machine>,
) -> Result<Rates, RunnerError> {
    let place = (!arguments.fresh).then_some(place);
    Ok(machine::rates(trial, place, machine, spillbench_engine::cores())?.rates)
}

/// What the cost model says of a trial that is about to run, at the speed that the machine's speed of this moment lets
/// expect over the trial; where that cannot be measured, as it was probed.
fn prediction(trial: &Trial, place: &TrialFolder, rates: &Rates, machine: &Machine) -> Option<Prediction> {
    let plan = spillbench_engine::open_plan(trial, rates).ok()?;
    let state = place.state(trial);
    let dir = state.parent().unwrap_or(&state);
    let speed = spillbench_engine::speed(machine, &trial.config.storage, dir)
        .map_err(|error| {
            eprintln!("predicted at the probed speed, as that of the moment is not to be had: {error}");
        })
        .ok();
    let project = |machine: &Machine| spillbench_schedule::project(&plan, &trial.config, machine);
    let Some(speed) = speed else { return Some(project(machine)) };
    let at = |speed: Speed| project(&machine.clone().at(&speed));
    let expected = speed.over(at(speed).time_to_finish_s);
    Some(Prediction { speed: Some(speed), ..at(expected) })
}

/// Finds what is known to fail before anything is run: budgets that are too small, disks that are too full, data sets
/// that are not there.
fn refuse_what_cannot_run(
    study: &Study,
    arguments: &RunArguments,
    machine: Option<&Machine>,
) -> Result<(), Failure> {
    let folder = arguments.study.folder(study);
    // Seeds change nothing that is planned but by the rates that a trial which goes on keeps.
    let mut seen: BTreeMap<String, Vec<Rates>> = BTreeMap::new();
    let mut loaded: Vec<&DataConfig> = Vec::new();
    let mut refusals = Vec::new();
    for trial in &study.trials {
        let place = TrialFolder::of(&folder, trial);
        if place.finished(trial)?.is_some() {
            continue;
        }
        let rates = rates(trial, &place, arguments, machine)?;
        let label = trial.label();
        let alike = seen.entry(label.clone()).or_default();
        if alike.contains(&rates) {
            continue;
        }
        let plan = spillbench_engine::open_plan(trial, &rates);
        let checked = plan.and_then(|plan| spillbench_engine::check_space(trial, &plan, &place.state(trial)));
        refusals.extend(checked.err().map(|error| format!("{label}: {error}")));
        alike.push(rates);
        let config = &trial.config;
        // What is generated cannot be missing.
        if config.data.source == DataSource::Mnist && !loaded.contains(&&config.data) {
            loaded.push(&config.data);
            if let Err(error) = spillbench_data::load(&config.data, &config.network.input, 10) {
                refusals.push(error.to_string());
            }
        }
    }
    if refusals.is_empty() { Ok(()) } else { Err(Failure::usage(refusals.join("\n"))) }
}
