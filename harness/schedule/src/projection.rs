//! The cost model: what a trial takes on a described machine, without running anything. Pure, as everything here:
//! it replays the plan's own operations, so a strategy, a weave or a budget that changes changes its price too.
//!
//! - [`tables`] reads a machine's tables; `work` says what an operation costs; `replay` executes the operations of all
//!   ranks by these costs, with one disk, one pool of buffers and bounded queues, until a step is as the next one.
//! - Where a step has too many operations for that, `closed_form` divides bytes by bandwidth and operations by rate,
//!   and takes the longer of the two.
//!
//! Every figure is a prediction and is labelled so wherever it is shown.

mod closed_form;
mod disk;
mod place;
mod replay;
pub mod tables;
mod work;

use spillbench_schema::{
    Machine, Prediction,
    config::{Config, StorageMode},
    event::Split,
    prediction::{Bottleneck, Method, StepShares},
};

use self::{disk::DiskModel, tables::MachineTables};
use crate::{extent::ExtentKind, plan::Plan};

/// What the program itself takes beside what is planned: code, stacks, tables.
const PROGRAM_BYTES: u64 = 24 << 20;

/// Initial weights that a thread draws in a second, and bytes that are hashed in a second at the end.
const DRAWN_PER_S: f64 = 5e8;
const HASHED_PER_S: f64 = 1.5e9;

/// Operations of a replay: about a second.
const MOST_OPERATIONS: u64 = 2_000_000;

/// What a step comes to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct StepCost {
    /// Wall time.
    step_s: f64,
    /// Seconds of the busiest rank's operations.
    compute_s: f64,
    /// Of these, where memory is what limits them.
    memory_bound_s: f64,
    /// Seconds that the disk reads, and writes.
    read_s: f64,
    write_s: f64,
    bytes_read: f64,
    bytes_written: f64,
    shares: StepShares,
}

/// What the cost model says of a plan on a machine.
pub fn project(plan: &Plan, config: &Config, machine: &Machine) -> Prediction {
    project_within(plan, config, machine, MOST_OPERATIONS)
}

fn project_within(plan: &Plan, config: &Config, machine: &Machine, operations: u64) -> Prediction {
    let rates = MachineTables::new(machine);
    let disk = DiskModel::new(plan, config, &rates);
    let replayed = replay::replay(plan, config, &rates, &disk, operations);
    let method = if replayed.is_some() { Method::Replay } else { Method::ClosedForm };
    let step = replayed.unwrap_or_else(|| closed_form::step(plan, &rates, &disk));
    let spilled = config.storage.mode != StorageMode::Memory;
    let disk_bytes = if spilled { plan.disk_bytes() } else { 0 };
    let steps = plan.timeline.steps as f64;
    // Slots but the first are written after a generation.
    let initial_bytes = disk_bytes / plan.slots();
    let generations = plan.generations.and_then(|_| plan.traffic_within(config.storage.mode, operations));
    let generations_bytes = generations.map_or(0.0, |traffic| traffic.generations_written as f64);
    let set_up_s = set_up_s(plan, &rates, &disk, initial_bytes);
    let generations_s = disk.seconds(generations_bytes, 1.0);
    let evaluated_s = |split| closed_form::evaluation_s(plan, split, &rates, &disk);
    let evaluation_s = validations(plan) * evaluated_s(Split::Validation) + evaluated_s(Split::Test);
    Prediction {
        machine: machine.name.clone(),
        speed: None,
        method,
        step_time_s: step.step_s,
        bottleneck: bottleneck(&step),
        shares: step.shares,
        peak_memory_bytes: plan.memory.total() + PROGRAM_BYTES,
        disk_bytes,
        bytes_read_per_step: step.bytes_read.round() as u64,
        bytes_written_per_step: step.bytes_written.round() as u64,
        bytes_written: steps * step.bytes_written + generations_bytes + initial_bytes as f64,
        set_up_s,
        evaluation_s,
        time_to_finish_s: set_up_s + steps * step.step_s + generations_s + evaluation_s,
    }
}

/// The resource that is busy the longest part of a step; communication, where ranks wait for each other longer.
fn bottleneck(step: &StepCost) -> Bottleneck {
    let io_s = step.read_s + step.write_s;
    let waiting_s = step.shares.comm_wait * step.step_s;
    if waiting_s > step.compute_s.max(io_s) {
        Bottleneck::Communication
    } else if io_s > step.compute_s {
        if step.read_s >= step.write_s { Bottleneck::DiskRead } else { Bottleneck::DiskWrite }
    } else if 2.0 * step.memory_bound_s > step.compute_s {
        Bottleneck::Memory
    } else {
        Bottleneck::Compute
    }
}

/// Initial weights drawn and written, what is pinned read, all read again and hashed at the end.
fn set_up_s(plan: &Plan, rates: &MachineTables, disk: &DiskModel, initial_bytes: u64) -> f64 {
    let weights = plan.bytes_of(ExtentKind::Weights) as f64;
    let parameters = plan.network.parameters() as f64;
    let drawn_s = parameters / (DRAWN_PER_S * rates.cores() as f64);
    // As f32, whatever they are kept in.
    let hashed_s = 4.0 * parameters / HASHED_PER_S;
    if initial_bytes == 0 {
        return drawn_s + hashed_s;
    }
    let read = plan.memory.pinned as f64;
    let written_s = disk.seconds(initial_bytes as f64 + plan.memory.pinned as f64, 1.0);
    drawn_s.max(written_s) + disk.seconds(read, 0.0) + hashed_s.max(disk.seconds(weights, 0.0))
}

/// How often the validation split is evaluated.
fn validations(plan: &Plan) -> f64 {
    let timeline = &plan.timeline;
    if timeline.validation == 0 { 0.0 } else { timeline.steps.div_ceil(timeline.next_evaluation(0)) as f64 }
}

#[cfg(test)]
mod tests;
