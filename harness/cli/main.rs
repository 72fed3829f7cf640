//! The command line of Spillbench. This file is its table of contents: parse, dispatch, print an error, exit.

#![forbid(unsafe_code)]

#[macro_use]
mod output;

mod arguments;
mod check;
mod colour;
mod data;
mod exit;
mod machine;
mod panic;
mod plan;
mod probe;
mod report;
mod run;
mod study;
mod trial;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::{
    arguments::{Arguments, Command},
    exit::{Exit, Failure},
};

#[global_allocator]
static ALLOCATOR: spillbench_storage::Allocator = spillbench_storage::Allocator;

fn main() -> ExitCode {
    panic::tell_of_refusals();
    let arguments = Arguments::parse();
    colour::choose(arguments.color);
    let done = spillbench_runner::survive_file_size_limit()
        .map_err(Failure::from)
        .and_then(|()| dispatch(arguments.command));
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("{}: {}", colour::error("error"), failure.message());
            failure.exit.into()
        }
    }
}

fn dispatch(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Plan(arguments) => plan::plan(&arguments),
        Command::Report(arguments) => report::report(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Probe(arguments) => probe::probe(&arguments),
        Command::Data(arguments) => data::data(&arguments),
        Command::Schema => {
            println!("{:#}", spillbench_schema::json_schema());
            Ok(Exit::Fine)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "spillbench", &mut script);
            println!("{}", String::from_utf8_lossy(&script).trim_end());
            Ok(Exit::Fine)
        }
        Command::Trial { folder } => trial::trial(&folder),
    }
}
