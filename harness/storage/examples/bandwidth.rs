//! What the stores move, beside what they cost.
//!
//! `cargo run --release -p spillbench-storage --example bandwidth -- [FOLDER] [MiB]`
//!
//! Prints, for each store, chunk and queue depth, the median GB/s (10^9 bytes) of sequential reads, of sequential
//! writes, and of two reads with one write, over a file that was written before. Then the price of one read and
//! one write of a tiny extent in memory.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

use spillbench_storage::{
    Access, DirectOptions, DirectStore, ExtentId, ExtentSpec, MemoryStore, StorageError, Store,
};

const MIB: u64 = 1 << 20;
const PANEL_BYTES: u64 = 16 * MIB;
/// Panels being read ahead of the one in use.
const AHEAD: usize = 4;
const REPETITIONS: usize = 5;

fn main() -> Result<(), StorageError> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from).join("bandwidth");
    let mebibytes = arguments.next().and_then(|number| number.parse().ok()).unwrap_or(1024);
    let panels = (mebibytes * MIB / PANEL_BYTES) as u32;
    let extents: Vec<_> =
        (0..panels).map(|panel| ExtentSpec { name: format!("panel {panel}"), bytes: PANEL_BYTES }).collect();
    println!("{:<44} {:>6} {:>6} {:>10}", "GB/s, medians of 5", "read", "write", "2R:1W");
    for (chunk_kib, queue_depth, registered_buffers) in [
        (1024, 32, true),
        (1024, 32, false),
        (1024, 8, true),
        (1024, 4, true),
        (1024, 2, true),
        (256, 32, true),
        (256, 32, false),
        (4096, 8, true),
        (4096, 8, false),
        (16384, 2, true),
    ] {
        let options = DirectOptions {
            queue_depth,
            chunk_bytes: chunk_kib << 10,
            registered_buffers,
            ..DirectOptions::new(PANEL_BYTES * (2 * AHEAD as u64 + 4))
        };
        let store = DirectStore::open(&folder, &extents, options)?;
        let buffers = if registered_buffers { "registered" } else { "plain" };
        report(&format!("direct, chunk {chunk_kib} KiB, depth {queue_depth}, {buffers}"), &store, panels)?;
    }
    remove(&folder);
    tiny_extents_in_memory()
}

fn report(name: &str, store: &dyn Store, panels: u32) -> Result<(), StorageError> {
    write_all(store, panels)?;
    let rates = [read_all, write_all, read_and_write_all].map(|pass| median_rate(store, panels, pass));
    let [read, write, mixed] = rates;
    println!("{name:<44} {:>6.2} {:>6.2} {:>10.2}", read?, write?, mixed?);
    Ok(())
}

fn median_rate(
    store: &dyn Store,
    panels: u32,
    pass: fn(&dyn Store, u32) -> Result<(), StorageError>,
) -> Result<f64, StorageError> {
    let mut rates = Vec::new();
    for _ in 0..REPETITIONS {
        let before = store.counters();
        let start = Instant::now();
        pass(store, panels)?;
        let after = store.counters();
        let moved = after.bytes_read + after.bytes_written - before.bytes_read - before.bytes_written;
        rates.push(moved as f64 / start.elapsed().as_secs_f64() / 1e9);
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[REPETITIONS / 2])
}

fn write_all(store: &dyn Store, panels: u32) -> Result<(), StorageError> {
    for panel in (0..panels).map(ExtentId) {
        store.begin_write(panel, store.allocate(panel)?)?;
    }
    store.flush()
}

fn read_all(store: &dyn Store, panels: u32) -> Result<(), StorageError> {
    let mut ahead = VecDeque::new();
    for panel in (0..panels).map(ExtentId) {
        ahead.push_back(store.begin_read(panel, Access::Shared)?);
        if ahead.len() > AHEAD {
            finish_oldest(store, &mut ahead)?;
        }
    }
    while !ahead.is_empty() {
        finish_oldest(store, &mut ahead)?;
    }
    Ok(())
}

fn finish_oldest(
    store: &dyn Store,
    ahead: &mut VecDeque<spillbench_storage::ReadTicket>,
) -> Result<(), StorageError> {
    let Some(ticket) = ahead.pop_front() else { return Ok(()) };
    let extent = ticket.extent();
    let panel = store.finish_read(ticket)?;
    store.release(extent, panel);
    Ok(())
}

/// A step of training with plain SGD: every panel is read forward, then read again and written backward.
fn read_and_write_all(store: &dyn Store, panels: u32) -> Result<(), StorageError> {
    read_all(store, panels)?;
    let mut ahead = VecDeque::new();
    let mut order = (0..panels).rev().map(ExtentId);
    loop {
        while ahead.len() <= AHEAD {
            let Some(panel) = order.next() else { break };
            ahead.push_back(store.begin_read(panel, Access::Exclusive)?);
        }
        let Some(ticket) = ahead.pop_front() else { break };
        let extent = ticket.extent();
        let panel = store.finish_read(ticket)?;
        store.begin_write(extent, panel)?;
    }
    store.flush()
}

fn tiny_extents_in_memory() -> Result<(), StorageError> {
    const ROUNDS: u32 = 1_000_000;
    let extents = [ExtentSpec { name: "tiny".to_owned(), bytes: 1024 }];
    let store: Box<dyn Store> = Box::new(MemoryStore::new(&extents)?);
    let start = Instant::now();
    for _ in 0..ROUNDS {
        let panel = store.finish_read(store.begin_read(ExtentId(0), Access::Exclusive)?)?;
        store.begin_write(ExtentId(0), panel)?;
    }
    let calls = 3.0 * f64::from(ROUNDS);
    println!("memory, tiny extents: {:.0} ns a call", start.elapsed().as_secs_f64() * 1e9 / calls);
    Ok(())
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        eprintln!("cannot remove {}: {error}", folder.display());
    }
}
