//! How fast this machine is now, beside when it was probed: a few of the probe's figures, measured again in a few seconds.

use std::{path::Path, time::Duration};

use spillbench_schema::{
    Bytes, Machine,
    config::{StorageConfig, StorageMode},
    machine::{DiskRates, DiskSpeed, Product, Speed},
};
use spillbench_storage::{DiskProbe, Mix, StorageError};

use super::{
    compute::{Layers, WIDEST},
    rate,
};
use crate::{EngineError, threads};

/// Samples of the products.
const ROWS: usize = 64;

/// How long a product is measured in each round, in seconds, and a stream. Rates go up and down within a second, so
/// there are many rounds, and their mean counts.
const PRODUCT_S: f64 = 0.03;
const PRODUCT_ROUNDS: usize = 10;
const STREAM: Duration = Duration::from_millis(200);
const STREAM_ROUNDS: usize = 4;

/// Bytes that are streamed.
const STREAMED: u64 = 256 << 20;

/// How fast this machine is beside its description, for a trial with this storage: its products, and where the trial
/// bypasses the page cache, the disk of the folder `dir`, with a file there that is removed.
///
/// # Errors
/// As for [`probe`](super::probe()).
pub fn speed(machine: &Machine, storage: &StorageConfig, dir: &Path) -> Result<Speed, EngineError> {
    let rates = match storage.mode {
        StorageMode::Direct => machine.disk.nearest(storage.queue_depth, storage.chunk.0),
        StorageMode::Memory | StorageMode::Mmap | StorageMode::Buffered => None,
    };
    // What writing the file leaves the drive to do is done while the cores are measured.
    let file = rates.map(|_| DiskProbe::prepare(dir, STREAMED)).transpose()?;
    let compute = compute(machine)?;
    let disk = rates.zip(file).map(|(rates, file)| disk(rates, &file)).transpose()?;
    Ok(Speed { compute, disk })
}

/// The three products of large layers by all cores: the geometric mean of their speeds.
fn compute(machine: &Machine) -> Result<f64, EngineError> {
    let pool = threads::pool(machine.cores)?;
    let mut layers = Layers::new(WIDEST)?;
    let described = spillbench_schedule::projection::tables::MachineTables::new(machine);
    let bytes = Bytes(4 * (WIDEST * WIDEST) as u64);
    let mut sums = Product::ALL.map(|_| 0.0);
    for _ in 0..PRODUCT_ROUNDS {
        for (product, sum) in Product::ALL.into_iter().zip(&mut sums) {
            *sum += pool.install(|| rate(PRODUCT_S, || layers.multiply(product, ROWS)));
        }
    }
    let speeds = Product::ALL.into_iter().zip(sums).map(|(product, sum)| {
        sum / PRODUCT_ROUNDS as f64 / described.product(product, ROWS as u64, bytes.0, machine.cores)
    });
    Ok(speeds.product::<f64>().cbrt())
}

fn disk(described: &DiskRates, file: &DiskProbe) -> Result<DiskSpeed, StorageError> {
    let mut streamer = file.open(described.queue_depth, described.chunk.0)?;
    let mut sums = [Mix::Read, Mix::OneReadOneWrite].map(|mix| (mix, 0.0));
    // One round to warm up.
    for round in 0..=STREAM_ROUNDS {
        for (mix, sum) in &mut sums {
            let rate = streamer.stream(*mix, |time| time < STREAM)?;
            *sum += if round > 0 { rate } else { 0.0 };
        }
    }
    let share = Mix::OneReadOneWrite.write_share();
    let [read, mixed] = sums.map(|(_, sum)| sum / STREAM_ROUNDS as f64 / 1e9);
    Ok(DiskSpeed { read: read / described.read_gb_per_s, mixed: mixed / described.gb_per_s(share) })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use spillbench_schema::{Machine, config::StorageMode};

    use super::{StorageConfig, speed};

    #[test]
    fn a_machine_that_was_described_as_a_thousandth_as_fast_is_a_thousand_times_as_fast() {
        let dir = tempfile::tempdir().unwrap();
        let describe = |factor: f64| {
            let text = format!(
                "{{version: 1, name: m, cores: 1, memory: 1GiB, hand_over_us: 1, memory_gb_per_s: {{1: 10}}, \
                 compute: {{products: [{{threads: 1, weights: 16MiB, gflops: {{64: {}}}}}]}}, \
                 disk: {{rates: [{{queue_depth: 4, chunk: 1MiB, read_gb_per_s: {}, write_gb_per_s: 1}}]}}}}",
                10.0 * factor,
                factor
            );
            Machine::from_text(Path::new("m.yaml"), &text).unwrap()
        };
        let storage = StorageConfig { mode: StorageMode::Direct, ..StorageConfig::default() };
        let now = |factor| match speed(&describe(factor), &storage, dir.path()) {
            Ok(speed) => Some((speed.compute, speed.disk.unwrap().read)),
            Err(error) => {
                eprintln!("skipped: {error}");
                None
            }
        };
        let (Some(as_fast), Some(slow)) = (now(1.0), now(1e-3)) else { return };
        for (as_fast, slow) in [(as_fast.0, slow.0), (as_fast.1, slow.1)] {
            assert!((100.0..10_000.0).contains(&(slow / as_fast)), "{as_fast} and {slow}");
        }
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing is left");
    }
}
