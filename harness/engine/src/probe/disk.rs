//! The disk by queue depth and chunk, and what computing and streaming leave of each other.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rayon::ThreadPool;
use spillbench_schema::{
    Bytes,
    machine::{Disk, DiskRates, MixedRate, Product},
};
use spillbench_storage::{DiskProbe, Mix, Streamer};

use super::{
    ProbeStage, ROUNDS,
    compute::{Layers, WIDEST},
    median, rate, rounded,
};
use crate::{EngineError, threads};

const QUEUE_DEPTHS: [usize; 4] = [1, 4, 16, 32];
const CHUNKS: [u64; 3] = [256 << 10, 1 << 20, 4 << 20];

/// How long one setting is streamed.
const STREAM: Duration = Duration::from_millis(200);

/// How long streaming, computing and both go on in a round. Rates change from second to second, so rounds are short and
/// many, and their sums are compared.
const TOGETHER: Duration = Duration::from_millis(250);
const TOGETHER_ROUNDS: usize = 8;

/// What training uses unless told otherwise.
const USUAL_DEPTH: usize = 32;
const USUAL_CHUNK: u64 = 1 << 20;

/// A measured disk.
pub struct MeasuredDisk {
    pub disk: Disk,
    pub filesystem: String,
    pub store: String,
}

/// Measures the disk of the folder `dir` with a file that holds `bytes`, alone and while `pool` computes.
pub fn measure(
    dir: &Path,
    bytes: u64,
    pool: &ThreadPool,
    stage: &mut dyn FnMut(ProbeStage),
) -> Result<MeasuredDisk, EngineError> {
    let probe = DiskProbe::prepare(dir, bytes)?;
    stage(ProbeStage::Disk);
    let settings: Vec<(usize, u64)> = CHUNKS
        .iter()
        .flat_map(|chunk| QUEUE_DEPTHS.map(|depth| (depth, *chunk)))
        .filter(|(depth, chunk)| DiskProbe::can_fill(*depth, *chunk))
        .collect();
    let mut rates: Vec<_> = settings.iter().map(|_| Mix::ALL.map(|_| Vec::with_capacity(ROUNDS))).collect();
    for _ in 0..ROUNDS {
        for ((depth, chunk), rates) in settings.iter().zip(&mut rates) {
            let mut streamer = probe.open(*depth, *chunk)?;
            for (mix, rates) in Mix::ALL.into_iter().zip(rates) {
                rates.push(streamer.stream(mix, |time| time < STREAM)?);
            }
        }
    }
    let rates = settings.into_iter().zip(rates).map(|((queue_depth, chunk), rates)| {
        let [read, write, two_one, one_one] = rates.map(|rates| rounded(median(rates) / 1e9));
        let mixed = [(Mix::TwoReadsOneWrite, two_one), (Mix::OneReadOneWrite, one_one)];
        DiskRates {
            queue_depth,
            chunk: Bytes(chunk),
            read_gb_per_s: read,
            write_gb_per_s: write,
            mixed: mixed
                .map(|(mix, gb_per_s)| MixedRate { write_share: rounded(mix.write_share()), gb_per_s })
                .to_vec(),
        }
    });
    let rates = rates.collect();
    stage(ProbeStage::Together);
    let mut streamer = probe.open(USUAL_DEPTH, USUAL_CHUNK)?;
    let (compute_share_while_streaming, disk_share_while_computing) = together(&mut streamer, pool)?;
    Ok(MeasuredDisk {
        disk: Disk { rates, compute_share_while_streaming, disk_share_while_computing },
        filesystem: probe.filesystem(),
        store: streamer.describe(),
    })
}

/// What streaming leaves of computing, and computing of streaming: products as in a step, a sweep's mix of I/O.
fn together(streamer: &mut Streamer, pool: &ThreadPool) -> Result<(f64, f64), EngineError> {
    const ROWS: usize = 64;
    let mut layers = Layers::new(WIDEST)?;
    let mut step = || Product::ALL.iter().map(|product| layers.multiply(*product, ROWS)).sum();
    let mut compute = |time: Duration| pool.install(|| rate(time.as_secs_f64(), &mut step));
    let (mut alone, mut both) = ((0.0, 0.0), (0.0, 0.0));
    for _ in 0..TOGETHER_ROUNDS {
        let disk_alone = streamer.stream(Mix::TwoReadsOneWrite, |time| time < TOGETHER)?;
        let compute_alone = compute(TOGETHER);
        let (flows, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let (computed, streamed) = thread::scope(|scope| {
            let stream = threads::spawn(scope, || {
                streamer.stream(Mix::TwoReadsOneWrite, |_| {
                    flows.store(true, Ordering::Relaxed);
                    !over.load(Ordering::Relaxed)
                })
            })?;
            // One step after the other, until the stream counts, or has failed.
            while !flows.load(Ordering::Relaxed) && !stream.is_finished() {
                compute(Duration::ZERO);
            }
            let computed = compute(TOGETHER);
            over.store(true, Ordering::Relaxed);
            Ok::<_, EngineError>((computed, stream.join()))
        })?;
        let streamed = streamed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        alone = (alone.0 + compute_alone, alone.1 + disk_alone);
        both = (both.0 + computed, both.1 + streamed);
    }
    let share = |both: f64, alone: f64| rounded((both / alone).min(1.0));
    Ok((share(both.0, alone.0), share(both.1, alone.1)))
}
