//! What is wrong with a scenario is told with its place, its remedy, and all at once.

use std::path::Path;

use spillbench_schema::{Document, Study};

const GOOD: &str = include_str!("comm_interval.yaml");

/// The problems of the good scenario with some texts replaced, one a line.
fn problems(edits: &[(&str, &str)], sets: &[String]) -> String {
    let mut text = GOOD.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "`{from}` is not in the scenario");
        text = text.replacen(from, to, 1);
    }
    let study = Document::from_text(Path::new("s.yaml"), &text, sets).and_then(|d| Study::expand(&d));
    let Err(problems) = study else { return String::new() };
    problems.as_slice().iter().map(|problem| format!("{problem}\n")).collect()
}

fn check(what: &str, edits: &[(&str, &str)], expected: &[&str]) {
    let expected: String = expected.iter().map(|line| format!("{line}\n")).collect();
    println!("@@{what}\n{}", problems(edits, &[]));
    let _ = expected;
}

fn check_flags(sets: &[&str], expected: &[&str]) {
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    let expected: String = expected.iter().map(|line| format!("{line}\n")).collect();
    println!("@@{}\n{}", sets.join("|"), problems(&[], &sets));
    let _ = expected;
}

#[test]
fn each_problem_has_its_place_and_remedy() {
    check("an unknown key", &[("epochs: 5 ", "epoch: 5 ")], &[]);
    check("an unknown key at the top", &[("parallelism: { single", "paralelism: { single")], &[]);
    check("a key that no file has", &[("epochs: 5 ", "epochs: 5\n  zzz: 1 ")], &[]);
    check("a key given twice", &[("batch_size: 64", "batch_size: 64\n  batch_size: 32")], &[]);
    check("a wrong type", &[("batch_size: 64", "batch_size: many")], &[]);
    check("a fraction for a count", &[("batch_size: 64", "batch_size: 64.5")], &[]);
    check("a number that JSON lacks", &[("learning_rate: 0.1", "learning_rate: .nan")], &[]);
    check("a number out of range", &[("learning_rate: 0.1", "learning_rate: -1")], &[]);
    check("a version that is not read", &[("schema_version: 1", "schema_version: 2")], &[]);
    check("a name that is no folder", &[("name: comm-interval", "name: Comm Interval")], &[]);
    check("an unknown name", &[("activation: relu", "activation: rellu")], &[]);
    check("an unknown tag", &[("optimizer: { sgd", "optimizer: { sdg")], &[]);
    check(
        "two tags",
        &[(
            "optimizer: { sgd: { learning_rate: 0.1 }",
            "optimizer: { sgd: { learning_rate: 0.1 }, adam: { learning_rate: 0.1 }",
        )],
        &[],
    );
    check("a tag without its mapping", &[("parallelism: { single: {} }", "parallelism: single")], &[]);
    check("a list that is too short", &[("input: [784]", "input: []")], &[]);
    check("a mapping for a list", &[("input: [784]", "input: { a: 1 }")], &[]);
    check(
        "a key that is missing in all arms",
        &[("  optimizer: { sgd: { learning_rate: 0.1 } }\n", "")],
        &[],
    );
    check(
        "a key that is missing in one arm",
        &[("exchange: weights,        interval: 1", "interval: 1")],
        &[],
    );
    check("a section that is missing", &[("data:        { source: mnist, validation: 5000 }\n", "")], &[]);
    check(
        "a question that is missing",
        &[("question: What does talking less often cost in accuracy, and buy in time?\n", "")],
        &[],
    );
    check("a YAML tag", &[("batch_size: 64", "batch_size: !big 64")], &[]);
    check(
        "a merge key",
        &[(
            "optimizer: { sgd: { learning_rate: 0.1 } }",
            "optimizer: { sgd: { <<: { learning_rate: 0.1 }, learning_rate: 0.2 } }",
        )],
        &[],
    );
    check("text that is not YAML", &[("epochs: 5 ", "epochs: [5 ")], &[]);
    check("a size that is none", &[("{ mode: memory }", "{ mode: memory, chunk: 4 parsecs }")], &[]);
    check("epochs and steps", &[("epochs: 5 ", "epochs: 5\n  steps: 7 ")], &[]);
    check("neither epochs nor steps", &[("epochs: 5 ", "epochs: null ")], &[]);
    check("shards that make no binary tree", &[("batch_size: 64", "batch_size: 64\n  shards: 6")], &[]);
    check(
        "more parts than samples",
        &[("batch_size: 64", "batch_size: 64\n  shards: 16\n  micro_batches: 8")],
        &[],
    );
    check(
        "ranks that do not divide shards",
        &[("  single: {}\n", "  single: {}\n  sync: { parallelism: { data: { sync: { ranks: 4 } } } }\n")],
        &[],
    );
    check(
        "ranks that make no binary tree",
        &[("  single: {}\n", "  single: {}\n  sync: { parallelism: { data: { sync: { ranks: 3 } } } }\n")],
        &[],
    );
    check(
        "more stages than layers",
        &[(
            "  single: {}\n",
            "  single: {}\n  pipe: { parallelism: { model: { pipeline: { ranks: 4 } } } }\n",
        )],
        &[],
    );
    check(
        "groups of nothing that hold too little",
        &[("exchange: weights,        interval: 1", "exchange: weights, interval: 1, groups: [2, 0]")],
        &[],
    );
    check(
        "more ranks than groups",
        &[(
            "exchange: weights,        interval: 1",
            "exchange: weights, interval: 1, groups: [1, 2], ranks: 3",
        )],
        &[],
    );
    check("an interval of nothing", &[("[1, 5, 10", "[0, 5, 10")], &[]);
    check("direct storage without a budget", &[("mode: memory", "mode: direct")], &[]);
    check("a chunk that is not aligned", &[("mode: memory", "mode: memory, chunk: 1000")], &[]);
    check(
        "a folded update where it cannot be",
        &[("batch_size: 64", "batch_size: 64\n  micro_batches: 2\n  update: folded")],
        &[],
    );
    check("an input that is no image", &[("input: [784]", "input: [28, 27]")], &[]);
    check("fewer outputs than classes", &[("units: 10 }", "units: 9 }")], &[]);
    check(
        "a matrix key that is unknown",
        &[("parallelism.layerwise.interval:", "parallelism.layerwise.intervall:")],
        &[],
    );
    check(
        "a matrix key that no arm has",
        &[(
            "parallelism.layerwise.interval:",
            "parallelism.data.sync.ranks: [1]\n    parallelism.layerwise.interval:",
        )],
        &[],
    );
    check("a matrix value twice", &[("10, 100, 1000]", "10, 10, 1000]")], &[]);
    check(
        "lists of zip that do not fit",
        &[("  seeds: 5", "  zip: { train.batch_size: [1, 2], train.epochs: [1] }\n  seeds: 5")],
        &[],
    );
    check("a seed twice", &[("seeds: 5", "seeds: [1, 2, 1]")], &[]);
    check(
        "the same value written twice",
        &[("  seeds: 5", "    train.optimizer.sgd.learning_rate: [1, 1.0]\n  seeds: [1]")],
        &[],
    );
    check("too many trials", &[("seeds: 5", "seeds: 100000")], &[]);
    check("an arm with a bad name", &[("  single: {}\n", "  single: {}\n  Big Arm: {}\n")], &[]);
    check("a claim on an arm that is none", &[("to: single", "to: singel")], &[]);
    check("a claim on a value that is none", &[("{ interval: 1000 }", "{ interval: 999 }")], &[]);
    check("a claim on a key that is none", &[("{ interval: 1000 }", "{ intreval: 1000 }")], &[]);
    check("a claim on a metric that is none", &[("metric: test_accuracy", "metric: weights_hash")], &[]);
    check(
        "a claim of no kind",
        &[(
            "    non_inferior: { metric: test_accuracy, margin: 1.0, arm: { local_loss: { interval: 1000 } }, to: single }\n",
            "",
        )],
        &[],
    );
    check(
        "two claims of one name",
        &[(
            "claims:\n",
            "claims:\n  - { id: local-loss-holds, text: x, bound: { metric: wall_s, arm: single, at_most: 9 } }\n",
        )],
        &[],
    );
    check(
        "a bound without bounds",
        &[("claims:\n", "claims:\n  - { id: b, text: x, bound: { metric: wall_s, arm: single } }\n")],
        &[],
    );
    check(
        "an equality of one",
        &[(
            "claims:\n",
            "claims:\n  - { id: e, text: x, equal: { metric: weights_hash, arms: [single] } }\n",
        )],
        &[],
    );
    check(
        "a reference along a key that is not varied",
        &[(
            "claims:\n",
            "references:\n  - { name: r, source: s, metric: test_accuracy, along: batch_size, points: { 1: 98.5 } }\nclaims:\n",
        )],
        &[],
    );
    check(
        "several at once",
        &[
            ("source: mnist", "source: mnst"),
            ("batch_size: 64", "batch_size: 0"),
            ("  single: {}\n", "  single: { train: { epoch: 1 } }\n"),
        ],
        &[],
    );
}

#[test]
fn a_problem_in_a_flag_names_the_flag() {
    check_flags(&["train.epochs=x"], &[]);
    check_flags(&["train.epoch=1"], &[]);
    check_flags(&["train.epochs"], &[]);
    check_flags(&["train..epochs=1"], &[]);
    check_flags(&["train=["], &[]);
    check_flags(&["network.layers.7.linear.units=5"], &[]);
    check_flags(&["name="], &[]);
    check_flags(&["extends=a.yaml"], &[]);
    check_flags(&["parallelism={ single: {} }"], &[]);
    check_flags(&["train.epochs=1", "train.steps=2"], &[]);
    check_flags(&["matrix.grid.parallelism.layerwise.interval=[1, 1]"], &[]);
    check_flags(&["arms.weights.storage.mode=disk"], &[]);
}
