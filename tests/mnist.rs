//! The real data set, where it is at hand.

mod support;

use std::{env, path::PathBuf};

use support::{Study, end, skipped};

const SCENARIO: &str = "
schema_version: 1
name: small
question: Does it learn to read?
data: { source: mnist, train: 12000, validation: 1000, test: 2000 }
network:
  input: [784]
  layers:
    - linear: { units: 128, activation: relu }
    - linear: { units: 10 }
train:
  optimizer: { sgd: { learning_rate: 0.2 } }
  batch_size: 32
  epochs: 2
";

#[test]
fn two_epochs_of_a_fifth_of_mnist_reach_ninety_percent() {
    let Some(sets) = env::var_os("SPILLBENCH_DATA").map(PathBuf::from) else {
        return skipped("SPILLBENCH_DATA is not set");
    };
    if !sets.join("mnist").is_dir() {
        return skipped(&format!("there is no mnist in {}", sets.display()));
    }
    let study = Study::new(&[SCENARIO]);
    // The study runs in a folder of its own, where a relative path leads elsewhere.
    let sets = sets.canonicalize().expect("it exists");
    end(study.command("run", &[]).env("SPILLBENCH_DATA", sets)).expect(0, &[]);
    let summaries = study.summaries();
    let summary = summaries.values().next().expect("one trial");
    for accuracy in ["test_accuracy", "validation_accuracy"] {
        assert!(summary[accuracy].as_f64() > Some(90.0), "{accuracy}: {}", summary[accuracy]);
    }
}
