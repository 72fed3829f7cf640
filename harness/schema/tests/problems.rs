//! What is wrong with a scenario is told with its place, its remedy, and all at once.

use std::path::Path;

use spillbench_schema::{Document, Study};

const GOOD: &str = include_str!("comm_interval.yaml");

/// The problems of the good scenario with some texts replaced, in their order.
fn problems(edits: &[(&str, &str)], sets: &[String]) -> Vec<String> {
    let mut text = GOOD.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "`{from}` is not in the scenario");
        text = text.replacen(from, to, 1);
    }
    let study = Document::from_text(Path::new("s.yaml"), &text, sets).and_then(|d| Study::expand(&d));
    let Err(problems) = study else { return Vec::new() };
    problems.as_slice().iter().map(ToString::to_string).collect()
}

fn check(what: &str, edits: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(problems(edits, &[]), expected, "{what}");
}

fn check_flags(sets: &[&str], expected: &[&str]) {
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    assert_eq!(problems(&[], &sets), expected, "{sets:?}");
}

#[test]
fn what_is_wrong_with_a_key_is_told_at_its_place() {
    check(
        "an unknown key",
        &[("epochs: 5 ", "epoch: 5 ")],
        &[
            "s.yaml:11:1: neither train.epochs nor train.steps is given; add one of them",
            "s.yaml:15:3: unknown key `epoch` in `train`; did you mean `epochs`? valid: batch_size, drop_last, epochs, evaluate_every, loss, micro_batches, optimizer, precision, schedule, shards, steps, update",
        ],
    );
    check(
        "an unknown key at the top",
        &[("parallelism: { single", "paralelism: { single")],
        &[
            "s.yaml:16:1: unknown key `paralelism`; did you mean `parallelism`? valid: arms, claims, data, execution, extends, matrix, name, network, parallelism, question, references, schema_version, storage, train",
        ],
    );
    check(
        "a key that no file has",
        &[("epochs: 5 ", "epochs: 5\n  zzz: 1 ")],
        &[
            "s.yaml:16:3: unknown key `zzz` in `train`; valid: batch_size, drop_last, epochs, evaluate_every, loss, micro_batches, optimizer, precision, schedule, shards, steps, update",
        ],
    );
    check(
        "a key given twice",
        &[("batch_size: 64", "batch_size: 64\n  batch_size: 32")],
        &["s.yaml:15:3: `batch_size` is given twice in one mapping; keep one of them"],
    );
}

#[test]
fn what_is_wrong_with_a_value_or_its_absence_is_told_at_its_place() {
    check(
        "a wrong type",
        &[("batch_size: 64", "batch_size: many")],
        &["s.yaml:14:15: `train.batch_size` must be a whole number, but is the text `many`"],
    );
    check(
        "a fraction for a count",
        &[("batch_size: 64", "batch_size: 64.5")],
        &["s.yaml:14:15: `train.batch_size` must be a whole number, but is 64.5"],
    );
    check(
        "a number that JSON lacks",
        &[("learning_rate: 0.1", "learning_rate: .nan")],
        &["s.yaml:13:38: `train.optimizer.sgd.learning_rate` must be a number, but is NaN"],
    );
    check(
        "a number out of range",
        &[("learning_rate: 0.1", "learning_rate: -1")],
        &["s.yaml:13:38: `train.optimizer.sgd.learning_rate` is -1, but must be at least 0"],
    );
    check(
        "a version that is not read",
        &[("schema_version: 1", "schema_version: 2")],
        &["s.yaml:1:17: `schema_version` is 2, but must be 1"],
    );
    check(
        "a name that is no folder",
        &[("name: comm-interval", "name: Comm Interval")],
        &["s.yaml:2:7: `name`: `Comm Interval` is not a name; use lower-case letters, digits and hyphens"],
    );
    check(
        "an unknown name",
        &[("activation: relu", "activation: rellu")],
        &[
            "s.yaml:9:41: `network.layers.0.linear.activation` cannot be `rellu`; did you mean `relu`? valid: identity, relu, leaky_relu, sigmoid, tanh, gelu, silu",
        ],
    );
    check(
        "an unknown tag",
        &[("optimizer: { sgd", "optimizer: { sdg")],
        &[
            "s.yaml:13:16: unknown kind `sdg` in `train.optimizer`; did you mean `sgd`? valid: sgd, momentum, adam",
        ],
    );
    check(
        "two tags",
        &[(
            "optimizer: { sgd: { learning_rate: 0.1 }",
            "optimizer: { sgd: { learning_rate: 0.1 }, adam: { learning_rate: 0.1 }",
        )],
        &["s.yaml:13:45: `train.optimizer` is already `sgd` and cannot be `adam` too; keep one"],
    );
    check(
        "a tag without its mapping",
        &[("parallelism: { single: {} }", "parallelism: single")],
        &["s.yaml:16:14: `parallelism` must be a mapping; write `{ single: {} }`"],
    );
    check(
        "a list that is too short",
        &[("input: [784]", "input: []")],
        &["s.yaml:7:10: `network.input` has 0 entries; it needs at least 1 entry"],
    );
    check(
        "a mapping for a list",
        &[("input: [784]", "input: { a: 1 }")],
        &["s.yaml:7:10: `network.input` must be a list, but is a mapping"],
    );
}

#[test]
fn a_key_that_is_missing_is_told_where_it_belongs() {
    check(
        "a key that is missing in all arms",
        &[("  optimizer: { sgd: { learning_rate: 0.1 } }\n", "")],
        &["s.yaml:11:1: `train` lacks the key `optimizer`"],
    );
    check(
        "a key that is missing in one arm",
        &[("exchange: weights,        interval: 1", "interval: 1")],
        &["s.yaml:21:36: `parallelism.layerwise` lacks the key `exchange` (arm `weights`)"],
    );
    check(
        "a section that is missing",
        &[("data:        { source: mnist, validation: 5000 }\n", "")],
        &["s.yaml:1:1: the scenario lacks the key `data`"],
    );
    check(
        "a question that is missing",
        &[("question: What does talking less often cost in accuracy, and buy in time?\n", "")],
        &["s.yaml:1:1: the scenario lacks the key `question`"],
    );
    check(
        "a YAML tag",
        &[("batch_size: 64", "batch_size: !big 64")],
        &["s.yaml:14:15: YAML tags are not used here; remove `!big`"],
    );
    check(
        "a merge key",
        &[(
            "optimizer: { sgd: { learning_rate: 0.1 } }",
            "optimizer: { sgd: { <<: { learning_rate: 0.1 }, learning_rate: 0.2 } }",
        )],
        &[
            "s.yaml:13:23: merge keys (`<<`) are not supported; write the keys out, or inherit a file by `extends`",
        ],
    );
    check(
        "text that is not YAML",
        &[("epochs: 5 ", "epochs: [5 ")],
        &["s.yaml:16:1: not YAML: did not find expected ',' or ']'"],
    );
    check(
        "a size that is none",
        &[("{ mode: memory }", "{ mode: memory, chunk: 4 parsecs }")],
        &[
            "s.yaml:17:37: `storage.chunk`: `parsecs` is not a unit of size; use KiB, MiB, GiB, TiB (or kB, MB, GB, TB)",
        ],
    );
}

#[test]
fn a_broken_rule_between_keys_names_its_remedy() {
    check(
        "epochs and steps",
        &[("epochs: 5 ", "epochs: 5\n  steps: 7 ")],
        &[
            "s.yaml:16:10: train.epochs and train.steps are both given; keep one (`null` unsets an inherited one)",
        ],
    );
    check(
        "neither epochs nor steps",
        &[("epochs: 5 ", "epochs: null ")],
        &["s.yaml:11:1: neither train.epochs nor train.steps is given; add one of them"],
    );
    check(
        "shards that make no binary tree",
        &[("batch_size: 64", "batch_size: 64\n  shards: 6")],
        &["s.yaml:15:11: train.shards is 6 but must be a power of two, for example 8"],
    );
    check(
        "more parts than samples",
        &[("batch_size: 64", "batch_size: 64\n  shards: 16\n  micro_batches: 8")],
        &[
            "s.yaml:16:18: train.batch_size is 64 but is cut into 16 shards of 8 micro-batches; set train.batch_size to 128 or more, or cut less",
        ],
    );
    check(
        "ranks that do not divide shards",
        &[("  single: {}\n", "  single: {}\n  sync: { parallelism: { data: { sync: { ranks: 4 } } } }\n")],
        &[
            "s.yaml:21:49: train.shards is 1 but parallelism.data.sync.ranks is 4; set train.shards to 4 or a multiple that is a power of two (arm `sync`)",
        ],
    );
    check(
        "ranks that make no binary tree",
        &[("  single: {}\n", "  single: {}\n  sync: { parallelism: { data: { sync: { ranks: 3 } } } }\n")],
        &[
            "s.yaml:21:49: parallelism.data.sync.ranks is 3 but must be a power of two, for example 4 (arm `sync`)",
        ],
    );
}

#[test]
fn a_broken_rule_about_layers_storage_or_images_names_its_remedy() {
    check(
        "more stages than layers",
        &[(
            "  single: {}\n",
            "  single: {}\n  pipe: { parallelism: { model: { pipeline: { ranks: 4 } } } }\n",
        )],
        &[
            "s.yaml:21:54: parallelism.model.pipeline.ranks is 4 but the network has 3 layers; set it to 3 or less (arm `pipe`)",
        ],
    );
    check(
        "generations of what is not on disk",
        &[("{ mode: memory }", "{ mode: memory, generations: { every: 10 } }")],
        &[
            "s.yaml:17:30: storage.generations needs storage.mode: direct, but the mode is memory; set that, or remove storage.generations (`null` unsets an inherited one)",
        ],
    );
    check(
        "generations at no step",
        &[("{ mode: memory }", "{ mode: direct, memory_budget: 1GiB, generations: { every: 0 } }")],
        &["s.yaml:17:73: `storage.generations.every` is 0, but must be from 1 to 1000000000000"],
    );
    check(
        "no generation kept",
        &[("{ mode: memory }", "{ mode: direct, memory_budget: 1GiB, generations: { every: 1, keep: 0 } }")],
        &["s.yaml:17:82: `storage.generations.keep` is 0, but must be from 1 to 16"],
    );
    check(
        "groups that hold too little",
        &[("exchange: weights,        interval: 1", "exchange: weights, interval: 1, groups: [1, 1]")],
        &[
            "s.yaml:21:81: parallelism.layerwise.groups hold 2 layers together but the network has 3; make them sum to 3 (arm `weights`)",
        ],
    );
    check(
        "a group of nothing",
        &[("exchange: weights,        interval: 1", "exchange: weights, interval: 1, groups: [2, 0]")],
        &["s.yaml:21:93: `parallelism.layerwise.groups.1` is 0, but must be from 1 to 10000"],
    );
    check(
        "more ranks than groups",
        &[(
            "exchange: weights,        interval: 1",
            "exchange: weights, interval: 1, groups: [1, 2], ranks: 3",
        )],
        &[
            "s.yaml:21:104: more ranks than groups: parallelism.layerwise.ranks is 3 but there are 2 groups; set it to 2 or less (arm `weights`)",
        ],
    );
    check(
        "an interval of nothing",
        &[("[1, 5, 10", "[0, 5, 10")],
        &[
            "s.yaml:26:38: `parallelism.layerwise.interval` is 0, but must be from 1 to 1000000000000 (arms `weights`, `stale_boundary`, `local_loss`)",
        ],
    );
    check(
        "direct storage without a budget",
        &[("mode: memory", "mode: direct")],
        &["s.yaml:17:22: storage.mode: direct needs storage.memory_budget; add it, for example 256MiB"],
    );
    check(
        "a chunk that is not aligned",
        &[("mode: memory", "mode: memory, chunk: 1000")],
        &[
            "s.yaml:17:37: storage.chunk is 1000 bytes but must be a positive multiple of 4096, at most 1GiB, for example 1MiB",
        ],
    );
    check(
        "a folded update where it cannot be",
        &[("batch_size: 64", "batch_size: 64\n  micro_batches: 2\n  update: folded")],
        &[
            "s.yaml:16:11: train.update: folded needs train.micro_batches: 1 and parallelism: single; set that, or train.update to formed (arms `weights`, `stale_boundary`, `local_loss`)",
            "s.yaml:16:11: train.update: folded needs train.micro_batches: 1; set that, or train.update to formed (arm `single`)",
        ],
    );
    check(
        "a folded update of parameters that are rounded",
        &[("batch_size: 64", "batch_size: 64\n  update: folded\n  precision: bf16")],
        &[
            "s.yaml:15:11: train.update: folded needs parallelism: single and train.precision: f32; set that, or train.update to formed (arms `weights`, `stale_boundary`, `local_loss`)",
            "s.yaml:15:11: train.update: folded needs train.precision: f32; set that, or train.update to formed (arm `single`)",
        ],
    );
    check(
        "an input that is no image",
        &[("input: [784]", "input: [28, 27]")],
        &[
            "s.yaml:7:3: data.source is mnist, whose images have 784 pixels, so the dimensions of network.input must multiply to 784; set it to [784]",
        ],
    );
    check(
        "fewer outputs than classes",
        &[("units: 10 }", "units: 9 }")],
        &[
            "s.yaml:10:24: data.source is mnist, which has 10 classes, but the last layer has 9 units; set them to 10 or more",
        ],
    );
}

#[test]
fn what_is_wrong_with_arms_and_matrix_is_told() {
    check(
        "a matrix key that is unknown",
        &[("parallelism.layerwise.interval:", "parallelism.layerwise.intervall:")],
        &[
            "s.yaml:26:5: unknown key `intervall` in `parallelism.layerwise`; did you mean `interval`? valid: exchange, groups, interval, ranks",
        ],
    );
    check(
        "a matrix key that no arm has",
        &[(
            "parallelism.layerwise.interval:",
            "parallelism.data.sync.ranks: [1]\n    parallelism.layerwise.interval:",
        )],
        &[
            "s.yaml:26:5: no arm has the key `parallelism.data.sync.ranks`; select what it belongs to in an arm, or take it out of the matrix",
        ],
    );
    check(
        "a matrix value twice",
        &[("10, 100, 1000]", "10, 10, 1000]")],
        &["s.yaml:26:48: `parallelism.layerwise.interval` has the value 10 twice; remove one"],
    );
    check(
        "lists of zip that do not fit",
        &[("  seeds: 5", "  zip: { train.batch_size: [1, 2], train.epochs: [1] }\n  seeds: 5")],
        &[
            "s.yaml:27:36: the lists of matrix.zip advance together, but `train.epochs` has length 1 and `train.batch_size` has length 2",
        ],
    );
    check(
        "an arm that there is not",
        &[("  seeds: 5", "  arms: [single, weights, stale_boundary, local_loss, locl_loss]\n  seeds: 5")],
        &[
            "s.yaml:27:55: there is no arm `locl_loss`; did you mean `local_loss`? valid: single, weights, stale_boundary, local_loss",
        ],
    );
    check(
        "arms for a matrix without keys",
        &[
            (
                "  grid:\n    parallelism.layerwise.interval: [1, 5, 10, 100, 1000]   # applies to the arms that have the key\n",
                "",
            ),
            ("  seeds: 5", "  arms: [single]\n  seeds: 5"),
        ],
        &[
            "s.yaml:25:10: `matrix.arms` names arms for `grid` and `zip`, of which there are none; every arm runs with every seed",
            "s.yaml:31:78: the matrix has no key `interval` for arm `local_loss`; there are none",
        ],
    );
    check(
        "a seed twice",
        &[("seeds: 5", "seeds: [1, 2, 1]")],
        &["s.yaml:27:17: `matrix.seeds` has the value 1 twice; remove one"],
    );
    check(
        "the same value written twice",
        &[("  seeds: 5", "    train.optimizer.sgd.learning_rate: [1, 1.0]\n  seeds: [1]")],
        &[
            "s.yaml:24:1: `single (learning_rate=1)` and `single (learning_rate=1.0)` are the same trial, single-a07c059a07f64705-e02606fb8ba97b4c-s1; remove one",
        ],
    );
    check(
        "too many trials",
        &[("seeds: 5", "seeds: 100000")],
        &["s.yaml:24:1: the matrix makes 1600000 trials; 100000 is the most, so split it"],
    );
    check(
        "an arm with a bad name",
        &[("  single: {}\n", "  single: {}\n  Big Arm: {}\n")],
        &[
            "s.yaml:21:3: `Big Arm` is not a name of an arm; use lower-case letters, digits, hyphens and underscores",
        ],
    );
}

#[test]
fn what_is_wrong_with_claims_and_references_is_told() {
    check(
        "a claim on an arm that is none",
        &[("to: single", "to: singel")],
        &[
            "s.yaml:32:102: there is no arm `singel`; did you mean `single`? valid: single, weights, stale_boundary, local_loss",
        ],
    );
    check(
        "a claim on a value that is none",
        &[("{ interval: 1000 }", "{ interval: 999 }")],
        &[
            "s.yaml:32:88: `interval` is never 999 in the matrix; did you mean 1000? values: 1, 5, 10, 100, 1000",
        ],
    );
    check(
        "a claim on a key that is none",
        &[("{ interval: 1000 }", "{ intreval: 1000 }")],
        &[
            "s.yaml:32:78: the matrix has no key `intreval` for arm `local_loss`; did you mean `interval`? valid: interval",
        ],
    );
    check(
        "a claim on a metric that is none",
        &[("metric: test_accuracy", "metric: weights_hash")],
        &[
            "s.yaml:32:29: there is no metric `weights_hash` here; valid: bytes_communicated, bytes_read, bytes_written, io_floor_bytes, io_planned_bytes, memory_budget_bytes, parameters, peak_rss_bytes, predicted.bytes_read_per_step, predicted.bytes_written, predicted.bytes_written_per_step, predicted.disk_bytes, predicted.evaluation_s, predicted.peak_memory_bytes, predicted.set_up_s, predicted.shares.buffer_wait, predicted.shares.comm_wait, predicted.shares.compute, predicted.shares.read_wait, predicted.speed.compute, predicted.speed.disk.mixed, predicted.speed.disk.read, predicted.step_time_s, predicted.time_to_finish_s, ranks, resumed, samples_per_s, seed, step_time_s.median, step_time_s.p05, step_time_s.p95, steps, test_accuracy, test_loss, threads, time_s.buffer_wait, time_s.comm_wait, time_s.compute, time_s.idle, time_s.read_wait, time_s.write_wait, train_loss, train_s, validation_accuracy, wall_s",
        ],
    );
    check(
        "a claim of no kind",
        &[(
            "    non_inferior: { metric: test_accuracy, margin: 1.0, arm: { local_loss: { interval: 1000 } }, to: single }\n",
            "",
        )],
        &["s.yaml:30:5: a claim is exactly one of non_inferior, equal, bound, but this one has none"],
    );
    check(
        "two claims of one name",
        &[(
            "claims:\n",
            "claims:\n  - { id: local-loss-holds, text: x, bound: { metric: wall_s, arm: single, at_most: 9 } }\n",
        )],
        &["s.yaml:31:9: another claim has the id `local-loss-holds`; give each its own"],
    );
    check(
        "a bound without bounds",
        &[("claims:\n", "claims:\n  - { id: b, text: x, bound: { metric: wall_s, arm: single } }\n")],
        &["s.yaml:30:30: a bound needs at_least, at_most or both"],
    );
    check(
        "an equality of one",
        &[(
            "claims:\n",
            "claims:\n  - { id: e, text: x, equal: { metric: weights_hash, arms: [single] } }\n",
        )],
        &["s.yaml:30:54: one configuration is always equal to itself; select at least two"],
    );
    check(
        "a reference along a key that is not varied",
        &[(
            "claims:\n",
            "references:\n  - { name: r, source: s, metric: test_accuracy, along: batch_size, points: { 1: 98.5 } }\nclaims:\n",
        )],
        &["s.yaml:30:57: the matrix has no key `batch_size`; valid: parallelism.layerwise.interval"],
    );
}

#[test]
fn problems_are_told_together() {
    check(
        "several at once",
        &[
            ("source: mnist", "source: mnst"),
            ("batch_size: 64", "batch_size: 0"),
            ("  single: {}\n", "  single: { train: { epoch: 1 } }\n"),
        ],
        &[
            "s.yaml:5:24: `data.source` cannot be `mnst`; did you mean `mnist`? valid: digits, mnist, synthetic",
            "s.yaml:14:15: `train.batch_size` is 0, but must be from 1 to 1048576",
            "s.yaml:20:22: unknown key `epoch` in `train`; did you mean `epochs`? valid: batch_size, drop_last, epochs, evaluate_every, loss, micro_batches, optimizer, precision, schedule, shards, steps, update",
        ],
    );
}

#[test]
fn a_problem_in_a_flag_names_the_flag() {
    check_flags(
        &["train.epochs=x"],
        &["--set train.epochs=x: `train.epochs` must be a whole number, but is the text `x`"],
    );
    check_flags(
        &["train.epoch=1"],
        &[
            "--set train.epoch=1: unknown key `epoch` in `train`; did you mean `epochs`? valid: batch_size, drop_last, epochs, evaluate_every, loss, micro_batches, optimizer, precision, schedule, shards, steps, update",
        ],
    );
    check_flags(
        &["train.epochs"],
        &["--set train.epochs: expected <key>=<value>, for example train.epochs=1"],
    );
    check_flags(
        &["train..epochs=1"],
        &["--set train..epochs=1: the key has an empty part; write it as train.epochs"],
    );
    check_flags(&["train=["], &["--set train=[: not YAML: did not find expected node content"]);
    check_flags(
        &["network.layers.7.linear.units=5"],
        &[
            "--set network.layers.7.linear.units=5: `network.layers` is a list with the indices 0 to 1; there is no `7`",
        ],
    );
    check_flags(&["name="], &["--set name=: `name` must be text, but is nothing"]);
    check_flags(
        &["extends=a.yaml"],
        &["--set extends=a.yaml: `extends` cannot be set by a flag; write it in a file"],
    );
    check_flags(
        &["parallelism={ single: {} }"],
        &[
            "s.yaml:26:5: no arm has the key `parallelism.layerwise.interval`; select what it belongs to in an arm, or take it out of the matrix",
            "s.yaml:32:78: the matrix has no key `interval` for arm `local_loss`; there are none",
        ],
    );
    check_flags(
        &["train.epochs=1", "train.steps=2"],
        &[
            "--set train.steps=2: train.epochs and train.steps are both given; keep one (`null` unsets an inherited one)",
        ],
    );
    check_flags(
        &["matrix.grid.parallelism.layerwise.interval=[1, 1]"],
        &[
            "s.yaml:32:88: `interval` is never 1000 in the matrix; did you mean 1? values: 1, 1",
            "--set matrix.grid.parallelism.layerwise.interval=[1, 1]: `parallelism.layerwise.interval` has the value 1 twice; remove one",
        ],
    );
    check_flags(
        &["arms.weights.storage.mode=disk"],
        &[
            "--set arms.weights.storage.mode=disk: `storage.mode` cannot be `disk`; valid: memory, direct, buffered, mmap",
        ],
    );
}

#[test]
fn a_constant_of_an_optimizer_that_cannot_work_is_refused_at_its_place() {
    for (optimizer, column, told) in [
        ("sgd: { learning_rate: 1e300 }", 38, "sgd.learning_rate is 1e300, which is infinite in f32"),
        ("adam: { learning_rate: 0.1, epsilon: 0 }", 53, "adam.epsilon is 0e0, which is zero in f32"),
        ("adam: { learning_rate: 0.1, epsilon: 1e-60 }", 53, "adam.epsilon is 1e-60, which is zero in f32"),
        ("adam: { learning_rate: 0.1, beta1: 1 }", 51, "adam.beta1 is 1, so its bias correction"),
        ("adam: { learning_rate: 0.1, beta2: 1 }", 51, "adam.beta2 is 1, so its bias correction"),
    ] {
        let found = problems(&[("sgd: { learning_rate: 0.1 }", optimizer)], &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("s.yaml:13:{column}: train.optimizer.{told}")), "{found:?}");
    }
    for works in
        ["adam: { learning_rate: 0.1, epsilon: 1e-30, beta1: 0, beta2: 0 }", "sgd: { learning_rate: 1e38 }"]
    {
        assert_eq!(problems(&[("sgd: { learning_rate: 0.1 }", works)], &[]), Vec::<String>::new());
    }
}
