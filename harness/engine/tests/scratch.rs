//! What the planner counts for the kernels is what they take.

use spillbench_kernels::Scratch;
use spillbench_schedule::budget::packed;

#[test]
fn the_planner_counts_as_much_scratch_as_any_kernel_takes() {
    let most = Scratch::most();
    let counted = Scratch {
        samples: packed::SAMPLES as usize,
        filling: packed::FILLING as usize,
        errors: packed::ERRORS as usize,
        units: packed::UNITS.map(|units| units as usize),
        inputs: packed::INPUTS as usize,
        thread: most.thread,
    };
    // The rest is for the sums of several shards.
    assert!(most.thread <= packed::THREAD as usize * 3 / 4, "{} bytes", most.thread);
    if cfg!(target_arch = "x86_64") {
        assert_eq!(counted, most);
    } else {
        // Plans are the same everywhere, and leave room for what only other CPUs take.
        assert!(counted.samples >= most.samples && counted.filling >= most.filling);
    }
}
