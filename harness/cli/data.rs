//! `spillbench data`: data sets that have files.

use std::{env, path::PathBuf};

use spillbench_data::{DataLocations, FetchStage, MNIST_MIRRORS};
use spillbench_schema::{Bytes, config::DataSource};

use crate::{
    arguments::{DataArguments, DataCommand, FetchedSource},
    exit::{Exit, Failure},
};

/// Mirrors to use instead of the usual ones, separated by spaces: for a local copy.
const MIRRORS: &str = "SPILLBENCH_MIRRORS";

pub fn data(arguments: &DataArguments) -> Result<Exit, Failure> {
    match &arguments.command {
        DataCommand::Fetch { source: FetchedSource::Mnist, into } => {
            let into = into.clone().unwrap_or_else(|| {
                let root = DataLocations::from_env().root.unwrap_or_else(|| PathBuf::from("data"));
                root.join(DataSource::Mnist.name())
            });
            let chosen = env::var(MIRRORS).unwrap_or_default();
            let mut mirrors: Vec<&str> = chosen.split_whitespace().collect();
            if mirrors.is_empty() {
                mirrors = MNIST_MIRRORS.to_vec();
            }
            let mut progress = |news: spillbench_data::FetchProgress| match news.stage {
                FetchStage::Kept => eprintln!("{}: here already, and whole", news.file),
                FetchStage::Receiving { .. } => {}
                FetchStage::MirrorFailed { url, cause } => eprintln!("{}: {url}: {cause}", news.file),
                FetchStage::Done => eprintln!("{}: fetched and checked", news.file),
            };
            let files = spillbench_data::fetch(DataSource::Mnist, &into, &mirrors, &mut progress)?;
            let bytes: u64 =
                files.iter().filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum();
            println!("{} files, {}, in {}", files.len(), Bytes(bytes), into.display());
            Ok(Exit::Fine)
        }
    }
}
