//! What the planner takes a machine to do decides how a trial is run, and never what comes out of it.

mod support;

use std::io::sink;

use serde_json::{Value, json};
use spillbench_engine::{EngineError, open_plan};
use spillbench_schedule::strategy::Order;
use spillbench_schema::{Rates, Trial};
use spillbench_storage::{Fault, FaultKind};
use support::{in_memory, run, spilled};

fn rates(machine: &str, bytes_per_s: u64, flops_per_s: u64) -> Rates {
    let machine = Some(machine.to_owned());
    Rates { machine, read_bytes_per_s: bytes_per_s, write_bytes_per_s: bytes_per_s, flops_per_s }
}

/// A machine that would rather read than compute, and one that would rather compute.
fn machines() -> [Rates; 2] {
    [rates("a quick disk", 1 << 40, 1 << 20), rates("a slow disk", 1 << 20, 1 << 40)]
}

fn deep(generations: &Value) -> Trial {
    spilled(&json!({ "single": {} }), 1, 24, generations)
}

#[test]
fn a_quick_disk_takes_values_that_a_slow_one_leaves_to_be_computed_again_and_weights_are_equal() {
    let trial = deep(&Value::Null);
    let plans = machines().map(|rates| open_plan(&trial, &rates).expect("a plan"));
    let [quick, slow] = plans.each_ref().map(|plan| plan.activations.spilled_bytes());
    assert!(quick > slow, "{quick} bytes, {slow} bytes");
    for (rates, plan) in machines().iter().zip(&plans) {
        assert_eq!(&plan.rates, rates);
        let dir = tempfile::tempdir().expect("a folder");
        let summary = run(&trial, rates, dir.path(), None, &mut sink()).expect("it trains");
        assert_eq!(summary.weights_hash, in_memory(&trial), "{rates:?}");
        assert_eq!(summary.bytes_read + summary.bytes_written, summary.io_planned_bytes, "{rates:?}");
    }
}

#[test]
fn stages_overlap_where_the_disk_is_quick_and_take_turns_where_it_is_slow_and_weights_are_equal() {
    let pipeline = json!({ "model": { "pipeline": { "ranks": 2 } } });
    // Overlapping stages need more memory: the least in which there is a choice.
    let mut trials = (0..64).map(|blocks| spilled(&pipeline, 4, 4 * blocks, &Value::Null));
    let chooses = |trial: &Trial| open_plan(trial, &Rates::default()).expect("a plan").orders.len() == 2;
    let trial = trials.find(chooses).expect("a budget in which both orders fit, and not all is resident");
    for (rates, order) in machines().iter().zip([Order::MicroBatchMajor, Order::LayerMajor]) {
        let plan = open_plan(&trial, rates).expect("a plan");
        let chosen = plan.orders.iter().find(|(_, price)| *price == plan.price).map(|(order, _)| *order);
        assert_eq!(chosen, Some(order), "{:?}", plan.orders);
        let dir = tempfile::tempdir().expect("a folder");
        let summary = run(&trial, rates, dir.path(), None, &mut sink()).expect("it trains");
        assert_eq!(summary.weights_hash, in_memory(&trial), "{rates:?}");
    }
}

#[test]
fn a_generation_is_gone_on_from_with_the_rates_it_was_planned_with_and_refused_with_others() {
    let trial = deep(&json!({ "every": 2 }));
    let [quick, slow] = machines();
    let plan = open_plan(&trial, &quick).expect("a plan");
    let operations = plan.operations(spillbench_schedule::Rank(0)).count() as u64;
    let dir = tempfile::tempdir().expect("a folder");
    let cut = Fault { operation: operations / 5, kind: FaultKind::Errno(5) };
    run(&trial, &quick, dir.path(), Some(cut), &mut sink()).expect_err("it is cut off");
    let committed = spillbench_storage::last_payload(&dir.path().join("state")).expect("it can be read");
    assert!(committed.is_some(), "after a generation");
    // Values that are spilled have extents; where none are, only the name of the machine differs.
    let renamed = Rates { machine: Some("the same disk".to_owned()), ..quick.clone() };
    for other in [&slow, &renamed] {
        let error = run(&trial, other, dir.path(), None, &mut sink()).expect_err("it is another plan");
        assert!(matches!(error, EngineError::OtherGeneration { .. } | EngineError::Storage(_)), "{error}");
        assert!(error.to_string().contains("`spillbench run --fresh`"), "{error}");
    }
    let summary = run(&trial, &quick, dir.path(), None, &mut sink()).expect("it goes on");
    assert_eq!((summary.weights_hash, summary.resumed), (in_memory(&trial), 1));
}
