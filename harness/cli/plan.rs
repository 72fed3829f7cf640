//! `spillbench plan`: what a scenario would do and cost.

use std::collections::BTreeMap;

use serde_json::json;
use spillbench_runner::TrialFolder;
use spillbench_schedule::{Plan, Policy, Rank, plan::Traffic, strategy::Order};
use spillbench_schema::{
    Bytes, Prediction, Trial,
    config::{GenerationsConfig, StorageMode},
    prediction::{Bottleneck, Method},
};

use crate::{
    arguments::PlanArguments,
    exit::{Exit, Failure},
    machine::{self, PlannedWith},
};

/// Operations that are counted one by one; the bytes of longer runs are those of their steps, multiplied.
const COUNTED_OPERATIONS: u64 = 3_000_000;

/// A year, for runs that take some.
const YEAR_S: f64 = 365.25 * DAY_S;
const DAY_S: f64 = 86_400.0;

pub fn plan(arguments: &PlanArguments) -> Result<Exit, Failure> {
    let study = arguments.study.load()?;
    let machine = machine::load(arguments.machine.as_ref(), &arguments.study.results)?;
    // A machine that is named is planned for with all its cores; of this one, a process may be allowed fewer than there are.
    let named = machine.as_ref().filter(|_| arguments.machine.is_some());
    let cores = named.map_or_else(spillbench_engine::cores, |machine| machine.cores);
    let folder = arguments.study.folder(&study);
    let mut refused = 0;
    // Seeds change nothing that is planned but by the rates that a trial which goes on keeps.
    let mut seen: BTreeMap<String, Vec<PlannedWith>> = BTreeMap::new();
    for trial in &study.trials {
        // For a machine that is named, what was begun on this one does not matter.
        let place = TrialFolder::of(&folder, trial);
        let place = named.is_none().then_some(&place);
        let with = machine::rates(trial, place, machine.as_ref(), cores)?;
        let alike = seen.entry(trial.label()).or_default();
        if alike.contains(&with) {
            continue;
        }
        alike.push(with.clone());
        match spillbench_engine::open_plan_on(trial, &with.rates, cores) {
            Ok(plan) => {
                let traffic = plan.traffic_within(trial.config.storage.mode, COUNTED_OPERATIONS);
                let prediction = machine
                    .as_ref()
                    .map(|machine| spillbench_schedule::project(&plan, &trial.config, machine));
                if arguments.json {
                    println!("{}", to_json(trial, &plan, traffic.as_ref(), prediction.as_ref()));
                    continue;
                }
                print(trial, &plan, traffic.as_ref());
                print_rates(&with);
                match &prediction {
                    Some(prediction) => print_prediction(prediction, arguments.endurance),
                    None => println!("  times        no machine.json: run `spillbench probe` for times"),
                }
                println!();
                if let Some(count) = arguments.operations {
                    print_operations(&plan, count);
                }
            }
            Err(error) => {
                refused += 1;
                if arguments.json {
                    let (arm, error) = (trial.label(), error.to_string());
                    println!(
                        "{}",
                        json!({ "reason": "refused", "version": 1, "label": arm, "error": error })
                    );
                } else {
                    println!("{}\n  refused: {error}\n", trial.label());
                }
            }
        }
    }
    let trials = study.trials.len();
    if !arguments.json {
        println!("{} configurations, {trials} trials, {refused} configurations refused", seen.len());
    }
    Ok(if refused > 0 { Exit::Usage } else { Exit::Fine })
}

fn print(trial: &Trial, plan: &Plan, traffic: Option<&Traffic>) {
    let config = &trial.config;
    let memory = &plan.memory;
    let timeline = &plan.timeline;
    println!("{}", trial.label());
    println!(
        "  network      {} parameters in {} layers, {} panels",
        plan.network.parameters(),
        plan.network.depth(),
        plan.network.panels().len()
    );
    println!(
        "  steps        {} of {} samples ({} an epoch), {:.2} GFLOP each",
        timeline.steps,
        timeline.batch_size,
        timeline.steps_per_epoch,
        plan.flops_per_step() / 1e9
    );
    println!(
        "  ranks        {} x {} threads, {}; at most {:.2} times one rank's speed by counted work",
        plan.ranks(),
        plan.threads,
        config.parallelism.name(),
        plan.strategy().speedup_bound()
    );
    println!(
        "  memory       {}: data {}, activations {}, messages {}, scratch {}, pinned {}, window {}",
        Bytes(memory.total()),
        Bytes(memory.data),
        Bytes(memory.activations),
        Bytes(memory.messages),
        Bytes(memory.scratch),
        Bytes(memory.pinned),
        Bytes(memory.window)
    );
    let spills = config.storage.mode != StorageMode::Memory;
    if spills {
        println!("  disk         {}", Bytes(plan.disk_bytes()));
    }
    for (order, price) in &plan.orders {
        let how = match order {
            Order::MicroBatchMajor => "overlapping stages, a panel read once a micro-batch",
            Order::LayerMajor => "stages taking turns, a panel read once a sweep",
        };
        let bytes = Bytes(price.read_bytes + price.written_bytes);
        println!("  order        {how}: at least {bytes} and {:.3} s a step by counted work", price.seconds);
    }
    print_activations(plan, traffic);
    let floor = Bytes(plan.floor_bytes_per_step(config.storage.mode));
    match traffic {
        Some(traffic) => {
            let per_step = |bytes: u64| Bytes(bytes / timeline.steps);
            let (read, written) = (per_step(traffic.train_read), per_step(traffic.train_written));
            if spills {
                println!(
                    "  storage      a step reads {read}, writes {written}, no schedule less than {floor} in all"
                );
            }
            if let Some(GenerationsConfig { every, keep }) = plan.generations {
                let each = traffic.generations_written.checked_div(traffic.generations).unwrap_or(0);
                println!(
                    "  generations  {}, one in {every} steps or more, of which {keep} stay; each writes {} beside what steps write",
                    traffic.generations,
                    Bytes(each)
                );
            }
            println!("  operations   {} in all", traffic.operations);
        }
        None if spills => println!("  storage      no schedule moves less than {floor} a step"),
        None => {}
    }
}

/// What the ways to run the trial were weighed by.
fn print_rates(with: &PlannedWith) {
    let PlannedWith { rates, kept } = with;
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    println!(
        "  rates        {:.2} GB/s read, {:.2} GB/s written, {:.1} GFLOP/s: {}{}",
        gigabytes(rates.read_bytes_per_s),
        gigabytes(rates.write_bytes_per_s),
        rates.flops_per_s as f64 / 1e9,
        rates.machine.as_deref().unwrap_or("the defaults, for a machine that was not probed"),
        if *kept { "; with these the trial was begun" } else { "" }
    );
}

/// What the cost model says. Every figure is labelled: none is measured.
fn print_prediction(prediction: &Prediction, endurance_tb: Option<f64>) {
    let Prediction { step_time_s, bottleneck, shares, .. } = prediction;
    println!("  predicted    for {}, {}", prediction.machine, method(prediction.method));
    println!(
        "    step       {}, limited by {}; computing {:.0} %, waiting for reads {:.0} %, for memory {:.0} %, for ranks \
         {:.0} %",
        duration(*step_time_s),
        Bottleneck::name(*bottleneck),
        100.0 * shares.compute,
        100.0 * shares.read_wait,
        100.0 * shares.buffer_wait,
        100.0 * shares.comm_wait
    );
    println!(
        "    finish     {}, of which set-up {}, evaluations {}",
        duration(prediction.time_to_finish_s),
        duration(prediction.set_up_s),
        duration(prediction.evaluation_s)
    );
    println!("    memory     {} at its peak", Bytes(prediction.peak_memory_bytes));
    if prediction.disk_bytes == 0 {
        return;
    }
    println!(
        "    storage    {} on disk; a step reads {}, writes {}",
        Bytes(prediction.disk_bytes),
        Bytes(prediction.bytes_read_per_step),
        Bytes(prediction.bytes_written_per_step)
    );
    let a_day = prediction.bytes_written_per_step as f64 / step_time_s * DAY_S;
    println!("    wear       {} written a day, {} in all", decimal(a_day), decimal(prediction.bytes_written));
    if let Some(endurance) = endurance_tb.map(|terabytes| terabytes * 1e12) {
        let lasts = if a_day > 0.0 { duration(endurance / a_day * DAY_S) } else { "for ever".to_owned() };
        let part = prediction.bytes_written / endurance;
        let used = if part > 1.0 {
            format!("{} drives", digits(part))
        } else {
            format!("{} % of a drive", digits(100.0 * part))
        };
        println!(
            "    endurance  this run uses up {used} of {}; at its rate a drive lasts {lasts}",
            decimal(endurance)
        );
    }
}

const fn method(method: Method) -> &'static str {
    match method {
        Method::Replay => "by a replay of the schedule",
        Method::ClosedForm => "by bytes over bandwidth and operations over rate",
    }
}

/// A duration in the unit that fits: milliseconds to years.
fn duration(seconds: f64) -> String {
    let units = [(YEAR_S, "years"), (DAY_S, "days"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms")];
    let fits = units.iter().find(|(size, _)| seconds >= 2.0 * size || (*size <= 1.0 && seconds >= *size));
    let (size, unit) = fits.copied().unwrap_or((1e-6, "µs"));
    format!("{} {unit}", digits(seconds / size))
}

/// Bytes in decimal units, as drives are sold: 1.2 PB.
fn decimal(bytes: f64) -> String {
    let units = [
        (1e24, "YB"),
        (1e21, "ZB"),
        (1e18, "EB"),
        (1e15, "PB"),
        (1e12, "TB"),
        (1e9, "GB"),
        (1e6, "MB"),
        (1e3, "kB"),
    ];
    let (size, unit) = units.iter().find(|(size, _)| bytes >= *size).copied().unwrap_or((1.0, "B"));
    format!("{} {unit}", digits(bytes / size))
}

/// Three significant digits, all those before the point.
fn digits(value: f64) -> String {
    let decimals = if value >= 100.0 || value == 0.0 { 0 } else { 2 - usize::from(value >= 10.0) };
    format!("{value:.decimals$}")
}

/// What becomes of values, where not all are kept: by boundary, consecutive ones together, and what it costs.
fn print_activations(plan: &Plan, traffic: Option<&Traffic>) {
    if plan.activations.all_kept() {
        return;
    }
    let policies = plan.activations.policies();
    let runs = policies.iter().enumerate().collect::<Vec<_>>();
    let runs = runs.chunk_by(|(_, one), (_, other)| one == other).map(|run| {
        let (first, last) = (run[0].0, run[run.len() - 1].0);
        let places = if first == last { first.to_string() } else { format!("{first}-{last}") };
        match run[0].1 {
            Policy::Keep => format!("{places} kept"),
            Policy::Spill => format!("{places} spilled"),
            Policy::Recompute if last == 0 => "0 loaded again".to_owned(),
            Policy::Recompute => format!("{places} recomputed"),
        }
    });
    println!("  activations  boundaries {}", runs.collect::<Vec<_>>().join(", "));
    if let Some(traffic) = traffic {
        let per_step = |bytes: u64| Bytes(bytes / plan.timeline.steps);
        let (written, read) = (per_step(traffic.activations_written), per_step(traffic.activations_read));
        println!("               spilled: {written} written and {read} read a step");
    }
    println!(
        "               recomputed: {:.2} GFLOP more; {:.3} s a step by counted work",
        plan.price.recompute_flops / 1e9,
        plan.price.seconds
    );
}

fn to_json(
    trial: &Trial,
    plan: &Plan,
    traffic: Option<&Traffic>,
    prediction: Option<&Prediction>,
) -> serde_json::Value {
    let memory = &plan.memory;
    json!({
        "reason": "plan",
        "version": 1,
        "label": trial.label(),
        "parameters": plan.network.parameters(),
        "steps": plan.timeline.steps,
        "ranks": plan.ranks(),
        "threads": plan.threads,
        "flops_per_step": plan.flops_per_step(),
        "speedup_bound": plan.strategy().speedup_bound(),
        "memory_bytes": {
            "total": memory.total(),
            "data": memory.data,
            "activations": memory.activations,
            "activation_pools": memory.activation_pools,
            "messages": memory.messages,
            "scratch": memory.scratch,
            "pinned": memory.pinned,
            "window": memory.window,
        },
        "rates": plan.rates,
        "activations": { "policies": plan.activations.policies(), "price": plan.price },
        "disk_bytes": if trial.config.storage.mode == StorageMode::Memory { 0 } else { plan.disk_bytes() },
        "traffic": traffic,
        "floor_bytes_per_step": plan.floor_bytes_per_step(trial.config.storage.mode),
        "predicted": prediction,
    })
}

fn print_operations(plan: &Plan, count: usize) {
    for rank in 0..plan.ranks() {
        println!("  rank {rank}");
        for op in plan.operations(Rank(rank as u16)).take(count) {
            println!("    {op:?}");
        }
    }
    println!();
}

#[cfg(test)]
mod tests {
    use super::{decimal, duration};

    #[test]
    fn durations_and_sizes_are_told_in_the_unit_that_fits() {
        for (seconds, text) in [
            (0.0, "0 µs"),
            (2.5e-5, "25.0 µs"),
            (0.0123, "12.3 ms"),
            (1.5, "1.50 s"),
            (90.0, "90.0 s"),
            (7200.0, "2.00 h"),
            (1.8e5, "2.08 days"),
            (1e9, "31.7 years"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        for (bytes, text) in [(12.0, "12.0 B"), (6e14, "600 TB"), (1.2e15, "1.20 PB"), (4e21, "4.00 ZB")] {
            assert_eq!(decimal(bytes), text);
        }
    }
}
