//! The command line as typed.

use std::path::PathBuf;

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};
use spillbench_schema::Bytes;

/// Trains neural networks that only partly fit in memory, under any way of splitting the work, and turns the runs
/// into tables, charts and verdicts.
#[derive(Debug, Parser)]
#[command(name = "spillbench", version, max_term_width = 100)]
pub struct Arguments {
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    #[command(subcommand)]
    pub command: Command,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a scenario's trials that are not finished, then write its report
    Run(RunArguments),
    /// Say what a scenario would do, and what it would cost, without running it
    Plan(PlanArguments),
    /// Write the report of what has been run
    Report(StudyArguments),
    /// Decide a scenario's claims, the built-in invariants and a comparison with a baseline
    #[command(after_help = "Exit codes: 0 all hold, 3 one fails, 4 nothing to compare, 5 undecided.")]
    Check(CheckArguments),
    /// Measure this machine: what the cost model of `plan` and `run` needs to know of it
    Probe(ProbeArguments),
    /// Fetch data sets
    Data(DataArguments),
    /// Print the JSON Schema of scenario files, for editors
    Schema,
    /// Print a shell's completions
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Train one prepared trial: the process that `run` starts for each
    #[command(hide = true)]
    Trial {
        /// The trial's folder
        folder: PathBuf,
    },
}

/// Which study.
#[derive(Debug, Args)]
pub struct StudyArguments {
    /// The scenario file
    pub scenario: PathBuf,
    /// Override a key of the scenario, e.g. `--set train.epochs=1`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The folder of all results
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    #[command(flatten)]
    pub study: StudyArguments,
    /// Stop at the first trial that fails
    #[arg(long)]
    pub fail_fast: bool,
    /// Start trials that were cut off again from their first step, not from their last generation
    #[arg(long)]
    pub fresh: bool,
    /// End a trial that takes longer than this
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Options of `plan`.
#[derive(Debug, Args)]
pub struct PlanArguments {
    #[command(flatten)]
    pub study: StudyArguments,
    /// Predict times for the machine that this file describes; default: machine.json in the folder of all results
    #[arg(long, value_name = "FILE")]
    pub machine: Option<PathBuf>,
    /// Bytes that the drive may write in its life, in TB: what part of it a run uses, and how long it lasts
    #[arg(long, value_name = "TBW", value_parser = positive)]
    pub endurance: Option<f64>,
    /// Also list the first operations of every rank
    #[arg(long, value_name = "COUNT", num_args = 0..=1, default_missing_value = "60")]
    pub operations: Option<usize>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if value > 0.0 { Ok(value) } else { Err("it must be greater than 0".to_owned()) }
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    #[command(flatten)]
    pub study: StudyArguments,
    /// Compare with this baseline
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Save the results as a baseline
    #[arg(long, value_name = "FILE")]
    pub save_baseline: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Options of `probe`.
#[derive(Debug, Args)]
pub struct ProbeArguments {
    /// The folder of all results, in which machine.json is saved
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// A folder on the disk to measure; default: the folder of all results
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Bytes that are streamed; on the disk they take twice as much for the time of the measurement
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub size: Bytes,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Options of `data`.
#[derive(Debug, Args)]
pub struct DataArguments {
    #[command(subcommand)]
    pub command: DataCommand,
}

/// What is done with data sets.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Download a data set, check it, and keep it where scenarios find it
    Fetch {
        /// Which
        source: FetchedSource,
        /// Where to; default: `$SPILLBENCH_DATA/<source>`, else `data/<source>`
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
    },
}

/// Data sets that have files.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum FetchedSource {
    /// The MNIST digits
    Mnist,
}
