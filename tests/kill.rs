//! The program and its trial killed at any moment, again and again: what is run again to its end has the weights of a
//! run that was left alone.

mod support;

use std::{
    collections::BTreeMap,
    fs, thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{SMALL, Study};

/// Kills, unless `SPILLBENCH_KILLS` says how many.
const KILLS: u64 = 15;

/// Optimizers with state, ranks of every kind, windows and pinned extents, one generation and more kept; a fifth of a second each on an idle machine.
const ARMS: &str = "
arms:
  single:
    train: { optimizer: { adam: { learning_rate: 0.001 } } }
  windows:
    train: { optimizer: { momentum: { learning_rate: 0.01 } }, steps: 100 }
    storage: { memory_budget: 1KiB, generations: { keep: 3 } }
  sync:
    parallelism: { data: { sync: { ranks: 2 } } }
    storage: { generations: { keep: 2 } }
  pipeline:
    train: { optimizer: { adam: { learning_rate: 0.001 } } }
    parallelism: { model: { pipeline: { ranks: 2 } } }
  stale:
    train: { optimizer: { momentum: { learning_rate: 0.01 } } }
    parallelism: { layerwise: { exchange: stale_boundary, interval: 6, ranks: 2 } }
";

fn study() -> Study {
    let base = SMALL.replace("  steps: 8\n", "  steps: 300\n");
    let storage = "storage: { mode: direct, memory_budget: 64MiB, generations: { every: 8 } }\n";
    let least = Study::new(&[&base, storage, ARMS]).least_budgets();
    Study::new(&[&base, storage, &ARMS.replace("1KiB", &least["windows"])])
}

/// What every way of running a trial must agree in.
fn outcomes(study: &Study) -> BTreeMap<String, Vec<Value>> {
    let lasting =
        ["weights_hash", "train_loss", "test_accuracy", "bytes_read", "bytes_written", "io_planned_bytes"];
    let of = |summary: Value| lasting.iter().map(|key| summary[key].clone()).collect();
    study.summaries().into_iter().map(|(trial, summary)| (trial, of(summary))).collect()
}

fn resumed(study: &Study) -> u64 {
    study.summaries().values().filter_map(|summary| summary["resumed"].as_u64()).sum()
}

/// The sequence of Sebastiano Vigna's `SplitMix64`, as parts of one.
struct Uniform(u64);

impl Uniform {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Lets a run go on for `time`, then kills it with its trial; false if it ended before.
fn run_and_kill(study: &Study, time: Duration) -> bool {
    let mut run = study.start();
    let started = Instant::now();
    while started.elapsed() < time && !run.has_ended() {
        thread::sleep(Duration::from_millis(1).min(time));
    }
    run.kill_with_children(study)
}

#[test]
fn a_run_killed_again_and_again_at_any_moment_ends_with_the_weights_of_one_left_alone() {
    let kills = std::env::var("SPILLBENCH_KILLS").map_or(KILLS, |count| count.parse().expect("a count"));
    let alone = study();
    let started = Instant::now();
    alone.spillbench("run", &[]).expect(0, &[]);
    let duration = started.elapsed();
    let expected = outcomes(&alone);
    assert_eq!(expected.len(), 5);

    let killed = study();
    let mut uniform = Uniform(2026);
    let (mut done, mut finished, mut resumptions) = (0, 0, 0);
    while done < kills {
        // A run goes on where the one before was killed: up to half its length, or most would come to their end.
        if run_and_kill(&killed, duration.mul_f64(uniform.next() / 2.0)) {
            done += 1;
        } else {
            assert_eq!(outcomes(&killed), expected, "after {done} kills");
            (finished, resumptions) = (finished + 1, resumptions + resumed(&killed));
            fs::remove_dir_all(killed.path("results")).expect("results");
        }
    }
    killed.spillbench("run", &[]).expect(0, &[]);
    assert_eq!(outcomes(&killed), expected, "after {done} kills");
    (finished, resumptions) = (finished + 1, resumptions + resumed(&killed));
    println!(
        "{done} kills in runs of {duration:.1?}: {resumptions} trials resumed, {finished} runs finished"
    );
    assert!(resumptions * 8 > kills, "hardly a kill met a trial with a generation");
    for (trial, folder) in killed.trials() {
        assert!(!folder.join("state").exists(), "{trial} has left its state");
    }
}
