//! Measures this machine, for the cost model: what the kernels compute, what memory and disk move, in a second.
//!
//! Everything is measured through the code that training uses, several times in rounds, of which the median or the sum
//! counts: load that comes and goes falls on all figures alike.

mod compute;
mod disk;
mod memory;
mod speed;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use spillbench_schema::{
    Bytes, Machine,
    machine::{Compute, MACHINE_VERSION, Measured},
};

pub use self::speed::speed;
use crate::{EngineError, machine::machine, threads};

/// What is being measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeStage {
    /// Products.
    Compute,
    /// Memory and threads.
    Memory,
    /// The file that is to be streamed is written.
    Preparing,
    /// The disk.
    Disk,
    /// The disk while the cores compute.
    Together,
}

/// Rounds of what does not say otherwise; the median counts.
const ROUNDS: usize = 5;

/// Measures this machine, and the disk of the folder `dir` with a file that holds `bytes`; the file is removed.
///
/// # Errors
/// The store refuses the folder, or threads cannot be started.
pub fn probe(dir: &Path, bytes: u64, stage: &mut dyn FnMut(ProbeStage)) -> Result<Machine, EngineError> {
    let began = Instant::now();
    let identity = machine();
    let cores = identity.cores;
    let all = threads::pool(cores)?;
    let mut pools = vec![(1, threads::pool(1)?)];
    if cores > 1 {
        pools.push((cores, threads::pool(cores)?));
    }
    stage(ProbeStage::Compute);
    let products = compute::products(&pools)?;
    let peak_gflops = Some(compute::peak());
    stage(ProbeStage::Memory);
    let memory_gb_per_s: BTreeMap<usize, f64> =
        pools.iter().map(|(threads, pool)| (*threads, memory::bandwidth(*threads, pool))).collect();
    let hand_over_us = memory::hand_over_us()?;
    stage(ProbeStage::Preparing);
    let measured = disk::measure(dir, bytes, &all, stage)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Machine {
        version: MACHINE_VERSION,
        name: format!("{}, {cores} cores, {}", identity.cpu, measured.filesystem),
        cores,
        memory: Bytes(identity.memory_bytes),
        compute: Compute { peak_gflops, products },
        memory_gb_per_s,
        hand_over_us,
        disk: measured.disk,
        measured: Some(Measured {
            machine: identity,
            filesystem: measured.filesystem,
            store: measured.store,
            unix_s: now.as_secs(),
            took_s: began.elapsed().as_secs_f64(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }),
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Four significant digits: the rest is noise.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// How often `work` is done in a second, over at least `seconds`.
fn rate(seconds: f64, mut work: impl FnMut() -> f64) -> f64 {
    let start = Instant::now();
    let mut done = 0.0;
    loop {
        done += work();
        let elapsed = start.elapsed().as_secs_f64();
        if elapsed >= seconds {
            return done / elapsed;
        }
    }
}
