//! What the cost model promises for every plan: it comes to an end, and counts the bytes that the plan counts.

use spillbench_schedule::project;
use spillbench_schema::{Machine, config::StorageMode, prediction::Method};

use super::trials::{self, NameOnFailure};

const MACHINE: &str = r#"{
    "version": 1, "name": "by hand", "cores": 2, "memory": "1GiB",
    "compute": { "products": [{ "threads": 1, "weights": "1MiB", "gflops": { "1": 1, "64": 20 } }] },
    "memory_gb_per_s": { "1": 8, "2": 12 },
    "hand_over_us": 5,
    "disk": { "rates": [{ "queue_depth": 32, "chunk": "1MiB", "read_gb_per_s": 1, "write_gb_per_s": 1 }] }
}"#;

#[test]
fn every_plan_can_be_replayed_and_moves_the_bytes_it_says() {
    let machine: Machine = serde_json::from_str(MACHINE).expect("a machine");
    for case in trials::table() {
        for (budget, plan) in case.plans() {
            let _named = NameOnFailure(format!("{} with a budget of {budget:?}", case.name));
            let prediction = project(&plan, &case.direct(), &machine);
            assert_eq!(prediction.method, Method::Replay);
            assert!(prediction.step_time_s > 0.0 && prediction.step_time_s < 1.0, "{prediction:?}");
            let shares = prediction.shares;
            let all = shares.compute + shares.read_wait + shares.buffer_wait + shares.comm_wait;
            assert!(all > 0.2 && all <= 1.0 + 1e-6, "{prediction:?}");
            let traffic = plan.traffic(StorageMode::Direct);
            let moved = prediction.bytes_read_per_step + prediction.bytes_written_per_step;
            // Steps before an evaluation read what it left in memory, and the last ones read nothing ahead.
            let mean = (traffic.train_read + traffic.train_written) as f64 / plan.timeline.steps as f64;
            assert!((moved as f64) < 2.5 * mean + 1.0, "{moved} bytes a step, {mean} in the mean");
            assert_eq!(moved > 0, mean > 0.0);
        }
    }
}
