//! Memory bandwidth, and the way from one thread to another.

use std::{thread, time::Instant};

use crossbeam_channel::bounded;
use rayon::{ThreadPool, prelude::*};

use super::{ROUNDS, median, rate, rounded};
use crate::{EngineError, threads};

/// Bytes of each of a thread's two operands: larger than its share of any cache.
const OPERAND_BYTES: usize = 64 << 20;

const SECONDS: f64 = 0.1;

/// GB/s that the threads of a pool read and write together: a += b, each on its own memory.
pub fn bandwidth(threads: usize, pool: &ThreadPool) -> f64 {
    let operand = || vec![0.5_f32; OPERAND_BYTES / size_of::<f32>()];
    let mut operands: Vec<_> = (0..threads).map(|_| (operand(), operand())).collect();
    let mut add = || {
        operands.par_iter_mut().for_each(|(a, b)| spillbench_kernels::add(a, b));
        // a and b are read, a is written.
        (3 * threads * OPERAND_BYTES) as f64
    };
    rounded(median((0..ROUNDS).map(|_| pool.install(|| rate(SECONDS, &mut add))).collect()) / 1e9)
}

/// Microseconds in which a message gets from one thread to another that waits for it.
///
/// # Errors
/// The other thread cannot be started.
pub fn hand_over_us() -> Result<f64, EngineError> {
    const TURNS: u32 = 5000;
    let (to, from_here) = bounded::<u32>(1);
    let (back, from_there) = bounded::<u32>(1);
    thread::scope(|scope| {
        threads::spawn(scope, move || {
            for token in from_here {
                if back.send(token).is_err() {
                    return;
                }
            }
        })?;
        let round = || {
            let start = Instant::now();
            for token in 0..TURNS {
                if to.send(token).is_err() || from_there.recv().is_err() {
                    break;
                }
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(2 * TURNS)
        };
        let hand_over = median((0..ROUNDS).map(|_| round()).collect());
        drop(to);
        Ok(rounded(hand_over))
    })
}
