use spillbench_schema::{
    Bytes, Rates,
    config::{Activation, ActivationPolicy, LayerSpec, Linear, NetworkConfig, TrainConfig},
};

use super::{ActivationPlan, Candidate, Policy, candidates};
use crate::{extent::Extents, network::Network, timeline::Timeline};

const ROWS: usize = 1024;

fn network(units: usize, layers: usize) -> Network {
    let layers = vec![LayerSpec::Linear(Linear { units, activation: Activation::Relu, repeat: layers })];
    Network::new(&NetworkConfig { input: vec![units], layers, panel: Bytes(1 << 20) })
}

fn timeline() -> Timeline {
    let train: TrainConfig = serde_json::from_value(serde_json::json!({
        "optimizer": { "sgd": { "learning_rate": 0.1 } }, "batch_size": ROWS, "steps": 1,
    }))
    .expect("a configuration");
    Timeline::new(&train, ROWS, 0, 0, 16).expect("there is a step")
}

fn ways(network: &Network, policy: ActivationPolicy) -> Vec<Candidate> {
    let kept = ActivationPlan::kept(network, &timeline(), 1, 1);
    candidates(&kept, policy, true, network, &timeline(), &Rates::default()).collect()
}

/// Boundaries of 4 MiB in one slot.
const BOUNDARY: u64 = 4 << 20;

#[test]
fn a_pool_holds_the_input_and_the_output_of_a_layer_where_all_else_is_spilled() {
    for layers in [3, 4, 12] {
        let spill = &ways(&network(1024, layers), ActivationPolicy::Spill);
        assert_eq!(spill.iter().map(|way| way.plan.pool()).min(), Some(2 * BOUNDARY), "{layers} layers");
        assert_eq!(spill[0].plan.spilled_bytes(), (layers as u64 - 2) * BOUNDARY);
    }
}

#[test]
fn recomputing_takes_memory_like_the_square_root_of_the_depth() {
    for (layers, most) in [(16, 8), (64, 16), (100, 20)] {
        let recompute = &ways(&network(64, layers), ActivationPolicy::Recompute)[0].plan;
        let boundary = BOUNDARY / 16;
        assert!(recompute.pool() <= most * boundary, "{layers}: {} boundaries", recompute.pool() / boundary);
    }
}

#[test]
fn where_all_that_may_leave_is_recomputed_in_one_run_no_memory_is_saved() {
    let kept = ActivationPlan::kept(&network(1024, 8), &timeline(), 1, 1);
    let mut policies = vec![Policy::Recompute; 8];
    policies[7] = Policy::Keep;
    assert_eq!(kept.with(policies).pool(), 8 * BOUNDARY);
}

/// The cheapest way in a pool of a third of the boundaries, where no parameters stay in memory.
fn cheapest(units: usize) -> Vec<Policy> {
    let network = network(units, 24);
    let extents = Extents::new(&network, spillbench_schema::config::Precision::F32, 0, false);
    let price = |way: &Candidate| way.price(&network, &extents, &timeline(), 0, &Rates::default());
    let room = 8 * (4 * ROWS * units) as u64;
    let ways = ways(&network, ActivationPolicy::Auto);
    let fitting = ways.iter().filter(|way| !way.plan.all_kept() && way.plan.pool() <= room);
    let cheapest = fitting.reduce(|a, b| if price(b).is_less_than(&price(a)) { b } else { a });
    cheapest.expect("some way fits").plan.policies().to_vec()
}

#[test]
fn wide_layers_are_spilled_and_narrow_ones_recomputed_as_far_as_runs_allow() {
    let count = |policies: &[Policy], policy| policies[1..].iter().filter(|other| **other == policy).count();
    let (wide, narrow) = (cheapest(2048), cheapest(64));
    assert!(count(&wide, Policy::Spill) > 0 && count(&wide, Policy::Recompute) == 0, "{wide:?}");
    assert!(count(&narrow, Policy::Recompute) >= count(&narrow, Policy::Spill), "{narrow:?}");
}

#[test]
fn the_earliest_values_leave_first() {
    let wide = cheapest(2048);
    let first_kept = wide.iter().position(|policy| *policy == Policy::Keep).expect("the last is kept");
    assert!(first_kept > 1 && wide[first_kept..].iter().all(|policy| *policy == Policy::Keep), "{wide:?}");
}

#[test]
fn extents_are_numbered_in_the_order_they_are_listed() {
    let mut kept = ActivationPlan::kept(&network(64, 6), &timeline(), 3, 2);
    kept = kept.with(vec![
        Policy::Recompute,
        Policy::Spill,
        Policy::Recompute,
        Policy::Spill,
        Policy::Keep,
        Policy::Keep,
    ]);
    let indices: Vec<usize> = kept.extents().map(|extent| kept.index(extent)).collect();
    assert_eq!(indices, (0..2 * 3 * 2).collect::<Vec<_>>());
}
