//! Generations: where they may be, what they write, and that a run goes on from one as if it had never stopped.

use spillbench_schedule::{Op, Phase, Plan, Rank, plan::Traffic};
use spillbench_schema::config::StorageMode;

use crate::{
    simulator::team,
    trials::{self, NameOnFailure},
};

fn for_every_plan(check: impl Fn(u64, &Plan)) {
    for every in [1, 3] {
        for case in trials::table() {
            let case = case.with_generations(every);
            for (budget, plan) in case.plans() {
                let _named = NameOnFailure(format!("{} with a budget of {budget:?}", case.name));
                check(every, &plan);
            }
        }
    }
}

fn ranks(plan: &Plan) -> impl Iterator<Item = Rank> {
    (0..plan.ranks() as u16).map(Rank)
}

/// The simulated machines assert that at a generation nothing is under way, kept, or changed and not written.
#[test]
fn all_ranks_commit_the_same_generations_at_which_the_store_has_everything() {
    for_every_plan(|every, plan| {
        let steps = plan.timeline.steps;
        let generations = team::run(plan).generations;
        let consistent = (1..steps).filter(|step| plan.strategy().is_consistent(*step));
        if every == 1 {
            assert!(generations.iter().copied().eq(consistent), "{generations:?}");
        } else {
            let due = |step: u64| (1..steps).find(|s| *s >= step && plan.strategy().is_consistent(*s));
            let mut expected: Vec<u64> =
                (1..steps).filter(|step| step % every == 0).filter_map(due).collect();
            expected.dedup();
            assert_eq!(generations, expected);
        }
    });
}

#[test]
fn what_follows_a_generation_is_the_same_whether_the_run_was_cut_off_there_or_not() {
    for_every_plan(|_, plan| {
        for rank in ranks(plan) {
            let ops: Vec<Op> = plan.operations(rank).collect();
            for (position, op) in ops.iter().enumerate() {
                let Op::Generation { step } = *op else { continue };
                let brought_back = |op: &Op| matches!(op, Op::Read { phase: Phase::SetUp, .. });
                let resumed: Vec<Op> = plan.operations_from(rank, step).skip_while(brought_back).collect();
                assert_eq!(resumed, ops[position + 1..], "after step {step}");
            }
        }
    });
}

#[test]
fn a_generation_writes_what_is_pinned_and_costs_training_a_window_of_reads_at_most() {
    for every in [1, 3] {
        for case in trials::table() {
            let without = case.plans();
            let case = case.with_generations(every);
            for ((budget, plan), (_, without)) in case.plans().into_iter().zip(without) {
                let _named = NameOnFailure(format!("{} with a budget of {budget:?}", case.name));
                let [with, without] = [&plan, &without].map(|plan| plan.traffic(StorageMode::Direct));
                assert_eq!(with.generations_written, with.generations * plan.memory.pinned);
                let window: u64 =
                    plan.memory.residency.iter().map(|residency| residency.capacity.min(1 << 30)).sum();
                // What leaves early may leave before an evaluation and not in it: the sums count.
                let moved = |traffic: &Traffic| {
                    [traffic.train_read + traffic.other_read, traffic.train_written + traffic.other_written]
                };
                for (more, less) in moved(&with).into_iter().zip(moved(&without)) {
                    assert!(more <= less + with.generations * window, "{more} B, {less} B without");
                }
            }
        }
    }
}
