//! `spillbench plan`: what a scenario would do and cost.

use serde_json::json;
use spillbench_schedule::{Plan, Policy, Rank, strategy::Order};
use spillbench_schema::{Bytes, Trial, config::StorageMode};

use crate::{
    arguments::PlanArguments,
    exit::{Exit, Failure},
};

pub fn plan(arguments: &PlanArguments) -> Result<Exit, Failure> {
    let study = arguments.study.load()?;
    let mut refused = 0;
    // Seeds change nothing that is planned.
    let mut seen = Vec::new();
    for trial in &study.trials {
        let label = trial.label();
        if seen.contains(&label) {
            continue;
        }
        seen.push(label);
        match spillbench_engine::open_plan(trial) {
            Ok(plan) if arguments.json => println!("{}", to_json(trial, &plan)),
            Ok(plan) => {
                print(trial, &plan);
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

fn print(trial: &Trial, plan: &Plan) {
    let config = &trial.config;
    let memory = &plan.memory;
    let timeline = &plan.timeline;
    let traffic = plan.traffic(config.storage.mode);
    let per_step = |bytes: u64| Bytes(bytes / timeline.steps);
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
        plan.flops_per_step() as f64 / 1e9
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
    if config.storage.mode != StorageMode::Memory {
        println!(
            "  storage      {} on disk; a step reads {}, writes {}, no schedule less than {} in all",
            Bytes(plan.disk_bytes()),
            per_step(traffic.train_read),
            per_step(traffic.train_written),
            per_step(plan.floor_bytes(config.storage.mode))
        );
    }
    for (order, price) in &plan.orders {
        let how = match order {
            Order::MicroBatchMajor => "overlapping stages, a panel read once a micro-batch",
            Order::LayerMajor => "stages taking turns, a panel read once a sweep",
        };
        let bytes = Bytes(price.read_bytes + price.written_bytes);
        println!("  order        {how}: at least {bytes} and {:.3} s a step", price.seconds);
    }
    print_activations(plan, per_step(traffic.activations_written), per_step(traffic.activations_read));
    if let Some(every) = plan.generations {
        let each = traffic.generations_written.checked_div(traffic.generations).unwrap_or(0);
        println!(
            "  generations  {}, one in {every} steps or more; each writes {} beside what steps write",
            traffic.generations,
            Bytes(each)
        );
    }
    println!("  operations   {} in all\n", traffic.operations);
}

/// What becomes of values, where not all are kept: by boundary, consecutive ones together, and what it costs.
fn print_activations(plan: &Plan, written: Bytes, read: Bytes) {
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
    println!(
        "               spilled: {written} written and {read} read a step; recomputed: {:.2} GFLOP more; \
         {:.3} s a step expected",
        plan.price.recompute_flops as f64 / 1e9,
        plan.price.seconds
    );
}

fn to_json(trial: &Trial, plan: &Plan) -> serde_json::Value {
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
        "activations": { "policies": plan.activations.policies(), "price": plan.price },
        "traffic": plan.traffic(trial.config.storage.mode),
        "disk_bytes": if trial.config.storage.mode == StorageMode::Memory { 0 } else { plan.disk_bytes() },
        "floor_bytes": plan.floor_bytes(trial.config.storage.mode),
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
