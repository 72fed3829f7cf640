//! What a user is told when something is wrong: by a scenario, a data set, or the machine.

mod support;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use support::{SMALL, Study, end, json, skipped};

const MNIST: &[&str] = &["--set", "data.source=mnist", "--set", "network.input=[784]"];

#[test]
fn what_is_wrong_with_a_scenario_is_told_with_its_place_and_remedy() {
    let layerwise = |keys: &str| format!("parallelism: {{ layerwise: {{ exchange: weights, {keys} }} }}\n");
    for (wrong, told) in [
        ("arm: { a: {} }\n", ["scenario.yaml:19:1: unknown key `arm`", "did you mean `arms`?"]),
        (
            "storage: { mode: disk }\n",
            ["scenario.yaml:19:18: `storage.mode` cannot be `disk`", "valid: memory, direct"],
        ),
        (
            "storage: { queue_depth: deep }\n",
            ["scenario.yaml:19:25: `storage.queue_depth`", "a whole number"],
        ),
        ("storage: { mode: direct }\n", ["scenario.yaml:19:", "needs storage.memory_budget; add it"]),
        (&layerwise("interval: 0"), ["`parallelism.layerwise.interval` is 0", "from 1 to"]),
        (&layerwise("interval: 1, ranks: 9"), ["more ranks than groups", "set it to 3 or less"]),
    ] {
        for command in ["run", "plan", "check", "report"] {
            let study = Study::new(&[SMALL, wrong]);
            study.spillbench(command, &[]).expect(2, &told);
            assert!(!study.path("results").exists(), "{command} wrote results");
        }
    }
}

#[test]
fn a_scenario_that_is_not_there_is_named() {
    let study = Study::new(&[SMALL]);
    fs::remove_file(study.path("scenario.yaml")).expect("it was there");
    study.spillbench("run", &[]).expect(2, &["scenario.yaml", "No such file"]);
}

#[test]
fn the_budget_that_a_refusal_names_is_enough() {
    let arms = |budget: &str| {
        format!("arms:\n  tight: {{ storage: {{ mode: direct, memory_budget: {budget} }} }}\n")
    };
    let small = Study::new(&[SMALL, &arms("1KiB")]);
    small.spillbench("run", &[]).expect(2, &["storage.memory_budget is 1.00 KiB", "; set it to "]);
    let least = &small.least_budgets()["tight"];
    let enough = Study::new(&[SMALL, &arms(least)]);
    enough.spillbench("run", &[]).expect(0, &[]);
    assert!(enough.summaries()["tight-s1"]["bytes_read"].as_u64() > Some(0), "it works by spilling");
}

#[test]
fn a_missing_data_set_is_told_with_both_ways_out() {
    let study = Study::new(&[SMALL]);
    fs::create_dir(study.path("sets")).expect("a folder");
    let ended = end(study.command("run", MNIST).env("SPILLBENCH_DATA", "sets"));
    ended.expect(
        2,
        &["no files of `mnist` in sets/mnist, nor in", "`spillbench data fetch mnist`", "`source: digits`"],
    );
}

#[test]
fn a_corrupt_data_file_is_told_with_its_path_and_offset() {
    let study = Study::new(&[SMALL]);
    fs::create_dir_all(study.path("sets/mnist")).expect("a folder");
    for file in ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"] {
        let path = study.path("sets/mnist").join(format!("{file}-ubyte"));
        fs::write(path, "<html>404</html>").expect("written");
    }
    let ended = end(study.command("run", MNIST).env("SPILLBENCH_DATA", "sets"));
    ended.expect(2, &["sets/mnist/train-", "-ubyte at offset 0: expected", "fetch it again"]);
}

#[test]
fn results_that_cannot_be_written_are_told_with_their_path_and_remedy() {
    let study = Study::new(&[SMALL]);
    File::create(study.path("file")).expect("a file");
    let told =
        ["cannot create file/results/small/.locks: Not a directory", "choose another folder with --results"];
    study.spillbench("run", &["--results", "file/results"]).expect(1, &told);
}

#[test]
fn a_full_disk_under_the_results_is_told() {
    let study = Study::new(&[SMALL]);
    let Some(disk) = Mount::new("tmpfs", "size=64k", study.path("disk")) else { return };
    let filled = fs::write(disk.0.join("filler"), vec![0; 128 << 10]);
    assert!(filled.is_err(), "the disk is full");
    let told = ["cannot ", "disk/small", "No space left on device", "free some space"];
    study.spillbench("run", &["--results", "disk"]).expect(1, &told);
}

#[test]
fn a_disk_too_small_for_the_extents_is_told_before_anything_runs() {
    let arms =
        "arms:\n  spilled: { storage: { mode: direct, memory_budget: 64MiB, dir: disk } }\n  memory: {}\n";
    let study = Study::new(&[SMALL, arms]);
    let Some(_disk) = Mount::new("tmpfs", "size=32k", study.path("disk")) else { return };
    let told = ["spilled: no space for the extents in ", "free some or set storage.dir"];
    study.spillbench("run", &[]).expect(2, &told);
    assert!(study.summaries().is_empty());
}

#[test]
fn a_file_system_without_direct_io_is_told_with_the_remedy_and_never_cached_instead() {
    let arms = "arms: { spilled: { storage: { mode: direct, memory_budget: 64MiB, dir: disk } } }\n";
    let study = Study::new(&[SMALL, arms]);
    let Some(_disk) = Mount::new("ramfs", "mode=700", study.path("disk")) else { return };
    let told = ["direct I/O is refused for ", "disk/", "set storage.dir to a folder on a local disk"];
    study.spillbench("run", &[]).expect(100, &told);
    let failure = json(&study.trials()["spilled-s1"].join("failure.json")).expect("a failure");
    assert!(failure["message"].as_str().expect("a message").starts_with("direct I/O is refused"));
}

#[test]
fn a_reader_that_goes_away_ends_the_program_without_a_word() {
    let study = Study::new(&[SMALL]);
    let plan = study.command("plan", &[]);
    let mut completions = Command::new(plan.get_program());
    completions.args(["completions", "bash"]);
    for mut command in [plan, completions] {
        let ended = command.stdout(closed_pipe()).output().expect("it starts");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{command:?}");
        assert_eq!(ended.status.code(), Some(141), "{command:?}");
    }
}

#[test]
fn a_reader_that_goes_away_hides_no_failed_trial() {
    let fails = "{ storage: { mode: direct, memory_budget: 64MiB, dir: /proc/self } }";
    for (arms, code) in [("{ fine: {} }".to_owned(), 141), (format!("{{ fine: {{}}, fails: {fails} }}"), 100)]
    {
        for arguments in [&[][..], &["--json"]] {
            let study = Study::new(&[SMALL, &format!("\narms: {arms}\n")]);
            let ended = study.command("run", arguments).stdout(closed_pipe()).output().expect("it starts");
            let said = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(code), "{arms} {arguments:?}: {said}");
            assert!(!said.contains("pipe"), "{said}");
            assert_eq!(study.summaries().len(), 1, "the study went on without a reader");
        }
    }
}

#[test]
fn a_diagnostic_that_nobody_reads_does_not_change_how_the_program_ends() {
    let study = Study::new(&[SMALL]);
    let status = study.command("check", &[]).stderr(closed_pipe()).status();
    assert_eq!(status.expect("it starts").code(), Some(4), "nothing was run");
}

/// The end to write to of a pipe that nobody reads.
fn closed_pipe() -> std::io::PipeWriter {
    std::io::pipe().expect("a pipe").1
}

/// A file system in memory, unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    /// Mounted at `place`; none where that is not allowed.
    fn new(kind: &str, options: &str, place: PathBuf) -> Option<Self> {
        fs::create_dir(&place).expect("a folder");
        let mounted = Command::new("mount").args(["-t", kind, "-o", options, kind]).arg(&place).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(place));
        }
        skipped(&format!("{kind} cannot be mounted here"));
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

fn unmount(place: &Path) {
    // What is left mounted goes with the machine.
    let _ = Command::new("umount").arg(place).status();
}
