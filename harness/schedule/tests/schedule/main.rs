//! What every schedule promises, shown by executing the operations of all ranks on simulated machines, for a table
//! of strategies, batches, optimizers and budgets.

mod generations;
mod projection;
mod simulator;
mod trials;

use std::collections::BTreeMap;

use serde_json::json;
use simulator::{
    clock, snapshots,
    team::{self, Record},
};
use spillbench_schedule::{Op, Plan, Policy, Rank};
use spillbench_schema::config::{ActivationPolicy, StorageMode};
use trials::{Case, TEST, TRAIN, VALIDATION};

fn for_every_plan(check: impl Fn(&Plan)) {
    for_every_budget(|_, plan| check(plan));
}

fn for_every_budget(check: impl Fn(Option<u64>, &Plan)) {
    for case in trials::table() {
        for (budget, plan) in case.plans() {
            let _named = trials::NameOnFailure(format!("{} with a budget of {budget:?}", case.name));
            check(budget, &plan);
        }
    }
}

/// Queues are bounded, messages must fit the slot they arrive in, panels must be in memory, and what is in memory
/// must fit: the simulated machines assert all that.
#[test]
fn every_rank_comes_to_its_end_on_a_machine_with_bounded_queues_and_memory() {
    for_every_plan(|plan| {
        team::run(plan);
    });
}

#[test]
fn every_panel_is_updated_once_a_step_with_all_chunks_of_the_mini_batch() {
    for_every_plan(|plan| {
        let Record { updates, .. } = team::run(plan);
        let mut chunks_of: BTreeMap<(u64, u32), Vec<u16>> = BTreeMap::new();
        for update in updates {
            chunks_of.entry((update.step, update.panel.0)).or_default().extend(update.chunks);
        }
        let every_chunk: Vec<u16> = (0..plan.timeline.chunks() as u16).collect();
        for chunks in chunks_of.values_mut() {
            chunks.sort_unstable();
            assert_eq!(*chunks, every_chunk);
        }
        let panels = plan.network.panels().len() as u64;
        assert_eq!(chunks_of.len() as u64, plan.timeline.steps * panels, "every panel in every step");
    });
}

#[test]
fn every_training_loss_is_recorded_once_and_every_evaluation_sees_every_sample_once() {
    for_every_plan(|plan| {
        let Record { mut losses, scores, .. } = team::run(plan);
        losses.sort_unstable();
        let chunks = plan.timeline.chunks() as u16;
        let every_loss: Vec<_> =
            (0..plan.timeline.steps).flat_map(|step| (0..chunks).map(move |chunk| (step, chunk))).collect();
        assert_eq!(losses, every_loss);

        let mut rows: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (done, split, chunk) in scores {
            rows.entry((done, split)).or_default().extend(plan.timeline.evaluation_chunk(split, chunk));
        }
        let mut evaluations = 0;
        for done in 1..=plan.timeline.steps {
            for split in plan.timeline.evaluations(done) {
                let seen = rows.get_mut(&(done, split)).expect("an evaluation that is due");
                seen.sort_unstable();
                assert!(seen.iter().copied().eq(0..plan.timeline.split_samples(split)));
                evaluations += 1;
            }
        }
        assert_eq!(rows.len(), evaluations);
    });
}

#[test]
fn a_snapshot_is_read_between_the_barriers_around_its_publication_and_the_next() {
    for_every_plan(snapshots::check);
}

#[test]
fn a_plan_never_takes_more_memory_than_its_budget() {
    for_every_budget(|budget, plan| {
        assert!(plan.memory.total() <= budget.unwrap_or(u64::MAX), "{:?}", plan.memory);
    });
}

fn moved_in_steps(plan: &Plan) -> u64 {
    let traffic = plan.traffic(StorageMode::Direct);
    traffic.train_read + traffic.train_written
}

#[test]
fn a_larger_budget_never_moves_more_bytes() {
    for case in trials::table() {
        // Where values are recomputed in a small budget, a larger one may spill them: more bytes, less time. Likewise
        // where stages of a pipeline take turns in a small one, and overlap in a larger.
        let case = case.with_policy(ActivationPolicy::Keep);
        if case.is_pipeline() {
            continue;
        }
        let moved: Vec<(u64, u64)> = case
            .plans()
            .iter()
            .filter_map(|(budget, plan)| budget.map(|budget| (budget, moved_in_steps(plan))))
            .collect();
        assert!(moved.windows(2).all(|pair| pair[1].1 <= pair[0].1), "{}: {moved:?}", case.name);
    }
}

#[test]
fn a_larger_budget_never_costs_more_time_by_the_planner_s_own_count() {
    for case in trials::table() {
        let plans = case.plans();
        let seconds: Vec<f64> =
            plans.iter().filter(|(budget, _)| budget.is_some()).map(|(_, plan)| plan.price.seconds).collect();
        assert!(seconds.windows(2).all(|pair| pair[1] <= pair[0]), "{}: {seconds:?}", case.name);
    }
}

#[test]
fn spilled_values_are_written_once_and_read_once_a_step() {
    for_every_plan(|plan| {
        let traffic = plan.traffic(StorageMode::Direct);
        let spilled = plan.timeline.steps * plan.activations.spilled_bytes();
        assert_eq!((traffic.activations_written, traffic.activations_read), (spilled, spilled));
    });
}

#[test]
fn the_least_budget_is_least_where_values_may_leave_in_every_way() {
    let train = json!({
        "optimizer": { "sgd": { "learning_rate": 0.1 } }, "batch_size": 4096, "steps": 1,
        "shards": 2, "micro_batches": 2,
    });
    let network = json!({
        "input": [64], "layers": [{ "linear": { "units": 64, "repeat": 12 } }, { "linear": { "units": 10 } }],
    });
    let case = || Case::large_batch(&network, &train);
    let least = |policy| case().with_policy(policy).least_budget();
    let (auto, keep) = (least(ActivationPolicy::Auto), least(ActivationPolicy::Keep));
    assert!(auto <= least(ActivationPolicy::Spill) && auto <= least(ActivationPolicy::Recompute));
    // Twelve boundaries of one MiB in all slots, and the input, of which two stay.
    assert_eq!(keep - auto, 11 << 20);
}

#[test]
fn no_schedule_moves_less_than_the_floor() {
    for_every_plan(|plan| {
        if !plan.strategy().has_snapshots() {
            assert!(moved_in_steps(plan) >= plan.floor_bytes(StorageMode::Direct));
        }
    });
}

#[test]
fn memory_mode_moves_nothing() {
    for_every_plan(|plan| {
        let traffic = plan.traffic(StorageMode::Memory);
        let moved = [traffic.train_read, traffic.train_written, traffic.other_read, traffic.other_written];
        assert_eq!(moved, [0; 4]);
        assert_eq!(plan.floor_bytes(StorageMode::Memory), 0);
    });
}

#[test]
fn nothing_moves_in_steps_where_all_is_resident() {
    for_every_plan(|plan| {
        if plan.memory.resident {
            assert_eq!(moved_in_steps(plan), 0);
        }
    });
}

#[test]
fn with_the_least_memory_a_step_of_sgd_reads_weights_twice_and_writes_them_once_less_what_the_window_saves() {
    let case = Case::single_sgd().with_policy(ActivationPolicy::Keep);
    let plan = case.least();
    let traffic = plan.traffic(StorageMode::Direct);
    let steps = plan.timeline.steps;
    let weights: u64 = plan.extents.iter().map(|extent| plan.extents.bytes(extent)).sum();
    let window = plan.memory.residency[0].capacity;
    assert_eq!(plan.memory.pinned, 0);
    // The turn at the top saves reads in every step; the turn at the bottom saves reads and writes between steps.
    let read = steps * (2 * weights - 2 * window)..=steps * 2 * weights;
    let written = steps * (weights - window)..=steps * weights;
    assert!(read.contains(&traffic.train_read), "{} not in {read:?}", traffic.train_read);
    assert!(written.contains(&traffic.train_written), "{} not in {written:?}", traffic.train_written);
}

#[test]
fn stages_that_do_not_stay_overlap_where_computing_takes_longer_than_reading_once_a_micro_batch() {
    for (batch_size, overlap) in [(8, false), (65536, true)] {
        let plan = Case::wide_pipeline(2, batch_size, 4).with_room_for_half();
        assert!(!plan.memory.resident);
        assert_eq!(plan.orders.len(), 2, "both are priced");
        assert_eq!(plan.strategy().speedup_bound() > 1.0, overlap, "{batch_size}: {:?}", plan.orders);
        team::run(&plan);
    }
}

/// Weights are read twice and written once, masters and optimizer state read and written once.
#[test]
fn a_step_moves_as_many_bytes_a_parameter_as_its_precision_and_optimizer_say() {
    let optimizer = |name: &str| json!({ name: { "learning_rate": 0.1 } });
    for (precision, optimizer, expected) in [
        ("f32", optimizer("sgd"), 12.0),
        ("f32", optimizer("momentum"), 20.0),
        ("f32", optimizer("adam"), 28.0),
        ("bf16", optimizer("sgd"), 6.0),
        ("bf16", optimizer("adam"), 22.0),
        ("bf16_master", optimizer("sgd"), 14.0),
        ("bf16_master", optimizer("momentum"), 22.0),
        ("bf16_master", optimizer("adam"), 30.0),
    ] {
        let plan = Case::large_panels(precision, &optimizer).least();
        let a_parameter =
            |bytes: u64| bytes as f64 / (plan.timeline.steps * plan.network.parameters()) as f64;
        let (floor, moved) =
            (a_parameter(plan.floor_bytes(StorageMode::Direct)), a_parameter(moved_in_steps(&plan)));
        // The smallest window spares a few panels of 64.
        for bytes in [floor, moved] {
            assert!(
                (0.9..1.02).contains(&(bytes / expected)),
                "{precision} {optimizer}: {bytes} of {expected}"
            );
        }
        assert!(moved >= floor, "{precision} {optimizer}");
    }
}

/// Huang et al. 2019, section 2: p stages and m micro-batches idle (p − 1) / m of the ideal time.
#[test]
fn the_bubble_of_a_pipeline_is_its_stages_less_one_over_its_micro_batches() {
    for (stages, micro_batches) in [(1, 1), (1, 4), (2, 1), (2, 4), (3, 2), (4, 8), (6, 3)] {
        let plan = Case::even_pipeline(stages, micro_batches).unlimited();
        let took = clock::first_step(&plan);
        let ideal = 2 * micro_batches as u64;
        assert_eq!(
            (took - ideal) * micro_batches as u64,
            (stages as u64 - 1) * ideal,
            "{stages} stages, {micro_batches} micro-batches"
        );
    }
}

#[test]
fn the_table_has_what_it_is_meant_to_have() {
    let plans: Vec<Plan> = trials::table().iter().flat_map(Case::plans).map(|(_, plan)| plan).collect();
    let some = |what: &dyn Fn(&Plan) -> bool| plans.iter().any(what);
    assert!(some(&|plan| plan.memory.pinned == 0 && plan.extents.has_state()), "windows only");
    assert!(some(&|plan| plan.memory.pinned > 0 && !plan.memory.resident), "pinned in part");
    assert!(some(&|plan| plan.memory.resident), "resident");
    for policy in [Policy::Spill, Policy::Recompute] {
        assert!(some(&|plan| plan.activations.policies()[1..].contains(&policy)), "{policy:?}");
    }
    assert!(some(&|plan| plan.timeline.batch(4).1.len() < plan.timeline.chunks()), "chunks without samples");
    assert!(some(&|plan| (0..plan.ranks()).any(|rank| {
        plan.operations(Rank(rank as u16)).any(|op| matches!(op, Op::Forward { panel: None, .. }))
    })));
    assert!(plans.iter().all(|plan| plan.timeline.samples == TRAIN));
    assert!(some(&|plan| plan.timeline.validation == VALIDATION && plan.timeline.test == TEST));
    assert!(some(&|plan| plan.timeline.validation == 0));
}
