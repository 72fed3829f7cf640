//! A scenario in a folder of its own, and the program run on it as a user would.

#![allow(dead_code, reason = "each file of tests uses a part")]

pub mod memory_group;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// A machine described by hand.
pub const MACHINE: &str = "
version: 1
name: a machine by hand
cores: 2
memory: 8GiB
compute: { products: [ { threads: 1, weights: 1MiB, gflops: { 1: 1, 64: 20 } } ] }
memory_gb_per_s: { 1: 8 }
hand_over_us: 5
disk: { rates: [ { queue_depth: 32, chunk: 1MiB, read_gb_per_s: 3, write_gb_per_s: 1 } ] }
";

/// A network of some kilobytes that trains in milliseconds; arms, matrix and claims are to be added.
pub const SMALL: &str = "
schema_version: 1
name: small
question: Does the whole program work?
data: { source: synthetic, train: 256, test: 64 }
network:
  input: [64]
  layers:
    - linear: { units: 64, activation: relu, repeat: 2 }
    - linear: { units: 10 }
  panel: 4KiB
train:
  optimizer: { sgd: { learning_rate: 0.05 } }
  batch_size: 32
  shards: 2
  micro_batches: 2
  steps: 8
execution: { threads: 1 }
";

/// Steps of [`SMALL`] that no test lives to see the end of.
pub const ENDLESS: &str = "{ train: { steps: 100000000 } }";

/// What nothing here takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// A scenario file in a temporary folder, in which the program is run.
pub struct Study {
    folder: TempDir,
}

/// How the program ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program while it runs; killed when dropped.
pub struct Running(Child);

impl Study {
    /// A study of the concatenated parts of a scenario.
    pub fn new(parts: &[&str]) -> Self {
        let study = Self { folder: TempDir::new().expect("a temporary folder") };
        fs::write(study.path("scenario.yaml"), parts.concat()).expect("the scenario is written");
        study
    }

    /// A path in the study's folder.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// The program, to be run in the study's folder as `spillbench <command> <arguments> scenario.yaml`.
    pub fn command(&self, command: &str, arguments: &[&str]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_spillbench"));
        program.arg(command).args(arguments).arg("scenario.yaml");
        program.current_dir(self.folder.path()).env_remove("SPILLBENCH_DATA");
        program
    }

    /// Runs the program to its end.
    pub fn spillbench(&self, command: &str, arguments: &[&str]) -> Ended {
        end(&mut self.command(command, arguments))
    }

    /// The smallest budget that `plan` names for each configuration that it refuses.
    pub fn least_budgets(&self) -> BTreeMap<String, String> {
        let plans = self.spillbench("plan", &["--json"]).expect(2, &[]).stdout;
        let plans = plans.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
        let refusals = plans.filter(|plan| plan["reason"] == "refused");
        refusals
            .map(|refusal| {
                let error = refusal["error"].as_str().expect("a message");
                let (_, rest) = error.split_once("; set it to ").expect("the message names a size");
                let (least, _) = rest.split_once(" or more").expect("the message names a size");
                (refusal["label"].as_str().expect("a label").to_owned(), least.to_owned())
            })
            .collect()
    }

    /// Starts `run`.
    pub fn start(&self) -> Running {
        let mut command = self.command("run", &[]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().expect("the program starts"))
    }

    /// The folder of each trial that was begun, by arm and seed: `memory-s1`.
    pub fn trials(&self) -> BTreeMap<String, PathBuf> {
        let study = fs::read_dir(self.path("results/small"));
        let folders = study.into_iter().flatten().map(|entry| entry.expect("an entry").path());
        let trials = folders.filter(|path| path.join("resolved.yaml").exists());
        trials
            .map(|path| {
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                let parts: Vec<&str> = name.rsplitn(4, '-').collect();
                (format!("{}-{}", parts[3], parts[0]), path)
            })
            .collect()
    }

    /// `summary.json` of each trial that has one.
    pub fn summaries(&self) -> BTreeMap<String, Value> {
        let trials = self.trials().into_iter();
        trials.filter_map(|(name, path)| Some((name, json(&path.join("summary.json"))?))).collect()
    }

    /// Waits until a trial's process has opened its store, and trains.
    pub fn wait_until_trains(&self, trial: &str) {
        eventually(&format!("{trial} trains"), || {
            self.trials().get(trial).is_some_and(|path| path.join("manifest.json").exists())
        });
    }

    /// Command lines of processes that train a trial of this study.
    pub fn children(&self) -> Vec<String> {
        self.processes().into_values().collect()
    }

    /// Those processes, by number.
    pub fn processes(&self) -> BTreeMap<u32, String> {
        let needle = b"trial\0results/small/";
        let processes =
            fs::read_dir("/proc").expect("/proc").filter_map(Result::ok).map(|entry| entry.path());
        processes
            .filter(|path| fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd == self.folder.path()))
            .filter_map(|path| {
                let number = path.file_name()?.to_str()?.parse().ok()?;
                let line = fs::read(path.join("cmdline")).ok()?;
                let trains = line.windows(needle.len()).any(|window| window == needle);
                trains.then(|| (number, String::from_utf8_lossy(&line).replace('\0', " ")))
            })
            .collect()
    }
}

impl Running {
    /// Kills the program and the processes that it started for `study` at once, and waits until they are gone; false
    /// if it had ended before.
    pub fn kill_with_children(mut self, study: &Study) -> bool {
        if self.0.try_wait().expect("a status").is_some() {
            return false;
        }
        let children = study.processes().into_keys();
        let numbers: Vec<String> =
            [self.0.id()].into_iter().chain(children).map(|number| number.to_string()).collect();
        // One of them may have ended in between.
        let _ = Command::new("kill").arg("-KILL").args(&numbers).stderr(Stdio::null()).status();
        self.0.wait().expect("a status");
        eventually("its processes are gone", || study.processes().is_empty());
        true
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("a status").is_some()
    }

    /// Its process number.
    pub fn number(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for the end.
    pub fn end(mut self) -> Ended {
        eventually("the program ends", || self.0.try_wait().expect("a status").is_some());
        let read = |stream: Option<Box<dyn std::io::Read>>| {
            let mut text = String::new();
            stream.expect("a pipe").read_to_string(&mut text).expect("text");
            text
        };
        let stdout = read(self.0.stdout.take().map(|pipe| Box::new(pipe) as _));
        let stderr = read(self.0.stderr.take().map(|pipe| Box::new(pipe) as _));
        Ended { code: self.0.wait().expect("a status").code(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Ended {
    /// Asserts the exit code, and that standard error has each of `words`.
    #[track_caller]
    pub fn expect(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not in: {}", self.stderr);
        }
        self
    }
}

/// Runs a command to its end.
pub fn end(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
    Ended { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// The state of a process as `ps` prints it, if it is there: `R`, `S`, `T`.
pub fn process_state(number: u32) -> Option<String> {
    let line = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    let (_, after_name) = line.rsplit_once(')')?;
    after_name.split_whitespace().next().map(str::to_owned)
}

/// A JSON file, if it is there.
pub fn json(path: &Path) -> Option<Value> {
    let text = fs::read(path).ok()?;
    Some(serde_json::from_slice(&text).expect("a whole JSON document"))
}

/// Waits until something holds; a panic says what did not.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Says, past the capture of output, that a test could not be made here.
pub fn skipped(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}
