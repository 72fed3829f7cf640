//! What a scenario expands to: precedence, merging, the matrix, and the way back from a resolved trial.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::json;
use spillbench_schema::{Document, Study, Trial, config::Parallelism};

const GOOD: &str = include_str!("comm_interval.yaml");

fn expand(text: &str, sets: &[&str]) -> Study {
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    let document = Document::from_text(Path::new("s.yaml"), text, &sets);
    document.and_then(|document| Study::expand(&document)).unwrap_or_else(|problems| panic!("{problems}"))
}

fn labels(study: &Study) -> Vec<String> {
    let mut labels: Vec<_> =
        study.trials.iter().map(|trial| format!("{} s{}", trial.label(), trial.seed)).collect();
    labels.dedup();
    labels
}

/// A scenario of one seed with more keys at its end.
fn small(more: &str) -> String {
    format!(
        "schema_version: 1\nname: small\nquestion: q\ndata: {{ source: digits }}\nnetwork:\n  input: [28, 28]\n  \
         layers:\n    - linear: {{ units: 20, activation: gelu, repeat: 2 }}\n    - linear: {{ units: 10 }}\n\
         train: {{ optimizer: {{ sgd: {{ learning_rate: 0.1 }} }}, batch_size: 8, steps: 4 }}\n{more}"
    )
}

#[test]
fn the_interval_scenario_has_sixteen_configurations_of_five_seeds() {
    let study = expand(GOOD, &[]);
    assert_eq!(study.trials.len(), 80);
    let configurations: BTreeSet<_> = study.trials.iter().map(Trial::label).collect();
    assert_eq!(configurations.len(), 16);
    let ids: BTreeSet<_> = study.trials.iter().map(Trial::id).collect();
    assert_eq!(ids.len(), 80);
    let first: Vec<_> = labels(&study).into_iter().take(7).collect();
    assert_eq!(
        first,
        [
            "single s1",
            "single s2",
            "single s3",
            "single s4",
            "single s5",
            "weights (interval=1) s1",
            "weights (interval=1) s2"
        ]
    );
    assert_eq!(study.trials[79].factors["parallelism.layerwise.interval"], json!(1000));
    assert_eq!(study.trials[0].config.execution.threads, None);
}

#[test]
fn every_trial_comes_back_from_its_resolved_yaml() {
    let text = small(
        "storage: { mode: direct, memory_budget: 1.5GiB }\narms:\n  adam: { train: { optimizer: { adam: { learning_rate: 1 } } } }\n  \
         step: { train: { schedule: { decay: { step: { every: 3, factor: 0.1 } } } } }\n\
         matrix: { grid: { train.optimizer.adam.weight_decay: [0.0, 1e-3], storage.queue_depth: [8, 16] } }\n",
    );
    let study = expand(&text, &[]);
    assert_eq!(study.trials.len(), 6);
    for trial in study.trials.into_iter().chain(expand(GOOD, &[]).trials) {
        let yaml = trial.resolved_yaml();
        let back = Trial::from_resolved_yaml(&yaml).unwrap_or_else(|error| panic!("{error}: {yaml}"));
        assert_eq!(back, trial);
        assert_eq!(back.id(), trial.id());
    }
}

#[test]
fn a_scenario_without_arms_has_one_called_default() {
    assert_eq!(labels(&expand(&small(""), &[])), ["default s1"]);
}

#[test]
fn another_tag_replaces_and_the_same_tag_merges() {
    let study = expand(
        &small(
            "parallelism: { layerwise: { exchange: weights, interval: 3 } }\narms:\n  \
             same: { parallelism: { layerwise: { interval: 7 } } }\n  other: { parallelism: { data: { sync: { ranks: 1 } } } }\n",
        ),
        &[],
    );
    let Parallelism::Layerwise(same) = &study.trials[0].config.parallelism else { panic!("{study:?}") };
    assert_eq!((same.interval, study.trials[0].config.parallelism.name()), (7, "layerwise.weights"));
    assert_eq!(study.trials[1].config.parallelism.name(), "data.sync");
}

#[test]
fn an_activation_stays_with_its_layer_when_layers_are_counted() {
    let study = expand(&small("parallelism: { model: { pipeline: { ranks: 3 } } }\n"), &[]);
    assert_eq!(study.trials[0].config.network.layer_count(), 3);
}

#[test]
fn flags_win_over_arms_and_arms_over_the_base() {
    let text = small("arms:\n  a: {}\n  b: { train: { batch_size: 16 } }\n");
    let sizes = |sets: &[&str]| -> Vec<usize> {
        expand(&text, sets).trials.iter().map(|trial| trial.config.train.batch_size).collect()
    };
    assert_eq!(sizes(&[]), [8, 16]);
    assert_eq!(sizes(&["train.batch_size=32"]), [32, 32]);
    assert_eq!(sizes(&["arms.b.train.batch_size=64"]), [8, 64]);
}

#[test]
fn flags_reach_lists_seeds_and_keys_of_the_matrix() {
    let study = expand(
        &small("matrix: { grid: { train.batch_size: [8, 16] } }\n"),
        &[
            "network.layers.0.linear.units=30",
            "train.steps=null",
            "train.epochs=1",
            "matrix.seeds=[7, 9]",
            "matrix.grid.storage.queue_depth=[4]",
            "train.batch_size=64",
        ],
    );
    assert_eq!(
        labels(&study),
        ["default (queue_depth=4, batch_size=64) s7", "default (queue_depth=4, batch_size=64) s9"]
    );
    let config = &study.trials[0].config;
    assert_eq!((config.train.epochs, config.train.steps), (Some(1), None));
    assert_eq!(config.network.layer_count(), 3);
}

#[test]
fn the_grid_takes_all_combinations_and_zip_goes_row_by_row() {
    let study = expand(
        &small(
            "arms:\n  single: {}\n  sync: { parallelism: { data: { sync: { ranks: 1 } } } }\nmatrix:\n  \
             grid: { train.batch_size: [16, 8] }\n  \
             zip: { train.shards: [2, 4, 4], parallelism.data.sync.ranks: [1, 1, 2] }\n",
        ),
        &[],
    );
    assert_eq!(
        labels(&study),
        [
            "single (batch_size=16, shards=2) s1",
            "single (batch_size=16, shards=4) s1",
            "single (batch_size=8, shards=2) s1",
            "single (batch_size=8, shards=4) s1",
            "sync (ranks=1, batch_size=16, shards=2) s1",
            "sync (ranks=1, batch_size=16, shards=4) s1",
            "sync (ranks=2, batch_size=16, shards=4) s1",
            "sync (ranks=1, batch_size=8, shards=2) s1",
            "sync (ranks=1, batch_size=8, shards=4) s1",
            "sync (ranks=2, batch_size=8, shards=4) s1",
        ]
    );
}

#[test]
fn arms_that_the_matrix_does_not_name_are_run_as_they_are() {
    let study = expand(
        &small(
            "arms:\n  memory: {}\n  direct: { storage: { mode: direct } }\nmatrix:\n  arms: [direct]\n  \
             grid: { storage.memory_budget: [1MiB, 2MiB] }\n  seeds: 2\n",
        ),
        &[],
    );
    assert_eq!(
        labels(&study),
        [
            "memory s1",
            "memory s2",
            "direct (memory_budget=1MiB) s1",
            "direct (memory_budget=1MiB) s2",
            "direct (memory_budget=2MiB) s1",
            "direct (memory_budget=2MiB) s2",
        ]
    );
    assert_eq!(study.trials[0].config.storage.memory_budget, None);
}

#[test]
fn a_matrix_key_with_a_default_needs_only_its_tag() {
    let study = expand(&small("matrix: { grid: { train.schedule.warmup_steps: [0, 2] } }\n"), &[]);
    assert_eq!(study.trials.len(), 2);
    assert_eq!(study.trials[1].config.train.schedule.warmup_steps, 2);
}

#[test]
fn an_alias_stands_for_its_anchor() {
    let text = small("").replace("steps: 4", "steps: &n 4, evaluate_every: *n");
    assert_eq!(expand(&text, &[]).trials[0].config.train.evaluate_every, Some(4));
}

#[test]
fn a_file_inherits_along_a_chain() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("parts")).unwrap();
    fs::write(dir.path().join("parts/base.yaml"), small("")).unwrap();
    fs::write(
        dir.path().join("middle.yaml"),
        "schema_version: 1\nname: middle\nextends: parts/base.yaml\ntrain: { steps: null, epochs: 2 }\n",
    )
    .unwrap();
    let top = dir.path().join("top.yaml");
    fs::write(&top, "schema_version: 1\nname: top\nextends: ./middle.yaml\ntrain: { batch_size: 32 }\n")
        .unwrap();
    let study = Study::load(&top, &[]).unwrap();
    let train = &study.trials[0].config.train;
    assert_eq!((study.name.as_str(), study.question.as_str()), ("top", "q"));
    assert_eq!((train.batch_size, train.epochs, train.steps), (32, Some(2), None));
}

#[test]
fn a_problem_in_an_inherited_file_names_that_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("base.yaml"), small("").replace("steps: 4", "stepz: 4")).unwrap();
    let top = dir.path().join("top.yaml");
    fs::write(&top, "schema_version: 1\nname: top\nextends: base.yaml\ntrain: { steps: 4 }\n").unwrap();
    let problems = Study::load(&top, &[]).unwrap_err();
    assert_eq!(problems.as_slice().len(), 1, "{problems}");
    let problem = problems.as_slice()[0].to_json();
    assert!(problem["file"].as_str().unwrap().ends_with("base.yaml"), "{problem}");
    assert_eq!((problem["line"].clone(), problem["column"].clone()), (json!(10), json!(69)));
}

#[test]
fn a_cycle_of_files_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for (name, extends) in [("a", "b"), ("b", "c"), ("c", "b")] {
        let text = format!("schema_version: 1\nname: {name}\nextends: {extends}.yaml\n");
        fs::write(dir.path().join(format!("{name}.yaml")), text).unwrap();
    }
    let problems = Study::load(&dir.path().join("a.yaml"), &[]).unwrap_err();
    let message = problems.as_slice()[0].message.replace(&format!("{}/", dir.path().display()), "");
    assert_eq!(message, "`extends` comes back to itself: b.yaml → c.yaml → b.yaml");
}

#[test]
fn a_file_that_is_not_there_is_a_problem() {
    let problems = Study::load(Path::new("/nowhere/s.yaml"), &[]).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "/nowhere/s.yaml:1:1: cannot read this file: No such file or directory (os error 2)"
    );
}

/// A small generator with a fixed seed: the same texts on every machine.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn damaged_scenarios_are_refused_or_read_but_never_panic() {
    const SCRAPS: [&str; 16] = [
        "",
        "{",
        "]",
        ": ",
        "- ",
        "null",
        "-1",
        "99999999999999999999999",
        ".inf",
        "&a ",
        "*a",
        "!!str ",
        "\t",
        "\n",
        "é",
        "{}",
    ];
    let mut random = Xorshift(0x5eed);
    let mut read = 0;
    for _ in 0..1500 {
        let mut lines: Vec<String> = GOOD.lines().map(str::to_owned).collect();
        for _ in 0..=random.below(3) {
            let index = random.below(lines.len());
            match random.below(4) {
                0 => drop(lines.remove(index)),
                1 => lines[index] = lines[index].replace(['e', ','], ""),
                2 => lines.insert(index, lines[random.below(lines.len())].clone()),
                _ => {
                    let line = &mut lines[index];
                    let places: Vec<_> = line.char_indices().map(|(at, _)| at).collect();
                    let at = if places.is_empty() { 0 } else { places[random.below(places.len())] };
                    line.insert_str(at, SCRAPS[random.below(SCRAPS.len())]);
                }
            }
        }
        let text = lines.join("\n");
        let study = Document::from_text(Path::new("s.yaml"), &text, &[]).and_then(|d| Study::expand(&d));
        match study {
            Ok(_) => read += 1,
            Err(problems) => assert!(!problems.to_string().is_empty()),
        }
    }
    assert!((50..1450).contains(&read), "{read} texts were read: the damage is too great or too small");
}
