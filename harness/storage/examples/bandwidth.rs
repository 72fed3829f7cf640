//! What each store moves in a second, on the file system of a folder, beside `dd` with direct I/O.
//!
//! `cargo run --release -p spillbench-storage --example bandwidth -- [FOLDER] [MiB] [REPETITIONS]`
//!
//! Prints medians in GB/s (10^9 bytes) of sequential reads, of sequential writes, and of two reads with one write, the
//! mix of a step of plain SGD, over files written before. The stores take turns, so that a neighbour's load falls on
//! all of them; each file takes that many MiB. Then the price of a call for a tiny extent in memory.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use spillbench_storage::{
    Access, BufferedStore, DirectOptions, DirectStore, ExtentId, ExtentSpec, MemoryStore, MmapStore,
    NullStore, PageCacheOptions, ReadTicket, StorageError, Store,
};

const MIB: u64 = 1 << 20;
const PANEL_BYTES: u64 = 16 * MIB;
/// Panels being read ahead of the one in use.
const AHEAD: usize = 4;
const CAPACITY_BYTES: u64 = PANEL_BYTES * (2 * AHEAD as u64 + 4);
const PASSES: [Pass; 3] = [Pass::Read, Pass::Write, Pass::Mixed];

/// What is measured.
#[derive(Copy, Clone)]
enum Pass {
    Read,
    Write,
    /// Every panel read forward; then, backward, read again and written.
    Mixed,
}

/// Who is measured.
enum Arm {
    Store(Box<dyn Store>),
    /// One request of 1 MiB at a time, on this file.
    Dd(PathBuf),
}

fn main() -> Result<(), StorageError> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from).join("bandwidth");
    let mut number = |default| arguments.next().and_then(|number| number.parse().ok()).unwrap_or(default);
    let (panels, repetitions) = ((number(512) * MIB / PANEL_BYTES) as u32, number(5));
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let arms = arms(&folder, panels)?;
    let mut rates = vec![[const { Vec::new() }; PASSES.len()]; arms.len()];
    for (_, arm) in &arms {
        arm.run(Pass::Write, panels)?;
    }
    for _ in 0..repetitions {
        for ((_, arm), rates) in arms.iter().zip(&mut rates) {
            for (pass, rates) in PASSES.into_iter().zip(rates) {
                let start = Instant::now();
                let bytes = arm.run(pass, panels)?;
                rates.push(bytes as f64 / start.elapsed().as_secs_f64() / 1e9);
            }
        }
    }
    println!("{:<52} {:>6} {:>6} {:>6}", format!("GB/s, medians of {repetitions}"), "read", "write", "2R:1W");
    for ((name, _), rates) in arms.iter().zip(rates) {
        let [read, write, mixed] = rates.map(median);
        println!("{name:<52} {read:>6.2} {write:>6.2} {mixed:>6.2}");
    }
    drop(arms);
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        eprintln!("cannot remove {}: {error}", folder.display());
    }
    tiny_extents_in_memory()
}

/// Everything that is measured, each in its own folder.
fn arms(folder: &Path, panels: u32) -> Result<Vec<(String, Arm)>, StorageError> {
    let extents: Vec<_> =
        (0..panels).map(|panel| ExtentSpec { name: format!("panel {panel}"), bytes: PANEL_BYTES }).collect();
    let mut arms = vec![("dd, direct, 1 MiB at a time".to_owned(), Arm::Dd(folder.join("dd")))];
    for (chunk_kib, queue_depth, registered_buffers, checksums) in [
        (1024, 32, true, true),
        (1024, 32, true, false),
        (1024, 32, false, false),
        (1024, 8, true, false),
        (1024, 1, true, false),
        (256, 32, true, false),
        (4096, 8, true, false),
        (16384, 2, true, false),
    ] {
        let options = DirectOptions {
            queue_depth,
            chunk_bytes: chunk_kib << 10,
            registered_buffers,
            checksums,
            ..DirectOptions::new(CAPACITY_BYTES)
        };
        let buffers = if registered_buffers { "registered" } else { "plain" };
        let sums = if checksums { ", checksums" } else { "" };
        let name = format!("direct, chunk {chunk_kib} KiB, depth {queue_depth}, {buffers}{sums}");
        let store = DirectStore::open(&folder.join(&name), &extents, options)?;
        arms.push((name, Arm::Store(Box::new(store))));
    }
    for checksums in [true, false] {
        let options = PageCacheOptions { checksums, ..PageCacheOptions::new(CAPACITY_BYTES) };
        let sums = if checksums { ", checksums" } else { "" };
        let name = format!("buffered{sums}");
        let store = BufferedStore::open(&folder.join(&name), &extents, options)?;
        arms.push((name, Arm::Store(Box::new(store))));
        let name = format!("mmap{sums}");
        let store = MmapStore::open(&folder.join(&name), &extents, options)?;
        arms.push((name, Arm::Store(Box::new(store))));
    }
    arms.push(("null".to_owned(), Arm::Store(Box::new(NullStore::new(&extents, CAPACITY_BYTES)?))));
    Ok(arms)
}

impl Arm {
    /// Returns the bytes moved.
    fn run(&self, pass: Pass, panels: u32) -> Result<u64, StorageError> {
        let store = match self {
            Self::Store(store) => &**store,
            Self::Dd(file) => return Ok(dd(file, pass, u64::from(panels) * PANEL_BYTES)),
        };
        let moved = || {
            let counters = store.counters();
            counters.bytes_read + counters.bytes_written
        };
        let before = moved();
        match pass {
            Pass::Read => read_all(store, panels)?,
            Pass::Write => write_all(store, panels)?,
            Pass::Mixed => read_and_write_all(store, panels)?,
        }
        Ok(moved() - before)
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// `dd` has no mix: it is shown as one pass of each.
fn dd(file: &Path, pass: Pass, bytes: u64) -> u64 {
    let run = |arguments: [String; 4]| {
        let count = format!("count={}", bytes / MIB);
        let status =
            Command::new("dd").args(arguments).arg("bs=1M").arg(count).stderr(Stdio::null()).status();
        u64::from(status.is_ok_and(|status| status.success())) * bytes
    };
    let name = file.display();
    let read =
        || run([format!("if={name}"), "of=/dev/null".into(), "iflag=direct".into(), "status=none".into()]);
    let write =
        || run(["if=/dev/zero".into(), format!("of={name}"), "oflag=direct".into(), "conv=notrunc".into()]);
    match pass {
        Pass::Read => read(),
        Pass::Write => write(),
        Pass::Mixed => read() + read() + write(),
    }
}

fn write_all(store: &dyn Store, panels: u32) -> Result<(), StorageError> {
    for panel in (0..panels).map(ExtentId) {
        store.begin_write(panel, store.allocate(panel)?)?;
    }
    store.flush()
}

fn read_all(store: &dyn Store, panels: u32) -> Result<(), StorageError> {
    for_each_panel(store, (0..panels).map(ExtentId), Access::Shared, |extent, panel| {
        store.release(extent, panel);
        Ok(())
    })
}

fn read_and_write_all(store: &dyn Store, panels: u32) -> Result<(), StorageError> {
    read_all(store, panels)?;
    let backward = (0..panels).rev().map(ExtentId);
    for_each_panel(store, backward, Access::Exclusive, |extent, panel| store.begin_write(extent, panel))?;
    store.flush()
}

/// Reads panels in an order, some ahead of the one in use.
fn for_each_panel(
    store: &dyn Store,
    mut order: impl Iterator<Item = ExtentId>,
    access: Access,
    then: impl Fn(ExtentId, spillbench_storage::Panel) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let mut ahead: VecDeque<ReadTicket> = VecDeque::new();
    loop {
        while ahead.len() <= AHEAD {
            let Some(extent) = order.next() else { break };
            ahead.push_back(store.begin_read(extent, access)?);
        }
        let Some(ticket) = ahead.pop_front() else { return Ok(()) };
        let extent = ticket.extent();
        then(extent, store.finish_read(ticket)?)?;
    }
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
