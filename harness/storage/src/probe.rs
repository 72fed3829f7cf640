//! How fast a disk moves extents, measured through the store that training uses: the same ring, buffers, checksums.
//!
//! One file is written once and then streamed under different settings, because the first write of a file costs more
//! than later ones. It has the slots of a store with generations, so that its checksums
//! outlive a change of settings.

mod stride;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{
    Access, DirectOptions, DirectStore, ExtentId, ExtentSpec, ReadTicket, StorageError, Store, filesystem,
    space,
};
use stride::{Moved, Stride};

/// Bytes of an extent: a panel's usual size, its weights and their biases. So it is no whole number of chunks, whose requests
/// the kernel would merge: of four that were 1 MiB each, the device would see one, and reads beside writes would be a tenth
/// slower than in training. Cut evenly, as panels are, it has requests of 0.89 MiB where a chunk is 1 MiB.
const EXTENT_BYTES: u64 = (8 << 20) + 4096;
const _: () = assert!(!EXTENT_BYTES.is_multiple_of(256 << 10), "requests that would be merged");
/// Generations kept.
const KEPT: u8 = 1;
/// Slots of an extent: one more.
const SLOTS: u64 = KEPT as u64 + 1;

/// The most bytes asked for beyond the extents in use: training has no more memory for that.
const MOST_AHEAD: u64 = 8 * EXTENT_BYTES;

/// What is streamed.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Mix {
    /// Reads alone.
    Read,
    /// Writes alone.
    Write,
    /// Of two extents read, one is written back.
    TwoReadsOneWrite,
    /// Each extent read is written back: the backward sweep.
    OneReadOneWrite,
}

impl Mix {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::TwoReadsOneWrite, Self::OneReadOneWrite];

    /// Bytes written, as a share of all bytes moved.
    pub const fn write_share(self) -> f64 {
        match self {
            Self::Read => 0.0,
            Self::Write => 1.0,
            Self::TwoReadsOneWrite => 1.0 / 3.0,
            Self::OneReadOneWrite => 0.5,
        }
    }
}

/// A file to be streamed; removed when dropped.
#[derive(Debug)]
pub struct DiskProbe {
    folder: PathBuf,
    extents: Vec<ExtentSpec>,
}

/// The file under one set of settings.
#[derive(Debug)]
pub struct Streamer {
    store: DirectStore,
    extents: u32,
    ahead: usize,
    /// Where the next stream goes on.
    next: u32,
}

impl DiskProbe {
    /// Writes a file that holds `bytes` in a new folder inside `dir`; each of its slots takes as much.
    ///
    /// # Errors
    /// As for [`DirectStore::open`].
    ///
    /// # Panics
    /// Never: a new panel has one holder.
    pub fn prepare(dir: &Path, bytes: u64) -> Result<Self, StorageError> {
        let count = (bytes / EXTENT_BYTES).max(2);
        let extents = (0..count)
            .map(|index| ExtentSpec { name: format!("extent {index}"), bytes: EXTENT_BYTES })
            .collect();
        remove_leftovers(dir);
        let folder = dir.join(format!("{FOLDER}{}", std::process::id()));
        space::check(&folder, SLOTS * count * EXTENT_BYTES)?;
        let probe = Self { folder, extents };
        let options = DirectOptions { generations: KEPT, ..DirectOptions::new(8 * EXTENT_BYTES) };
        let store = DirectStore::open(&probe.folder, &probe.extents, options)?;
        for _slot in 0..SLOTS {
            for extent in (0..count as u32).map(ExtentId) {
                let mut panel = store.allocate(extent)?;
                fill(Arc::get_mut(&mut panel).expect("a new panel has one holder").as_f32_mut());
                store.begin_write(extent, panel)?;
            }
            store.commit(&[])?;
        }
        Ok(probe)
    }

    /// Whether a queue so deep can be filled with as much memory as training has for that.
    pub const fn can_fill(queue_depth: usize, chunk_bytes: u64) -> bool {
        asked(queue_depth, chunk_bytes) <= MOST_AHEAD
    }

    /// The file under these settings, its buffers in memory. One at a time.
    ///
    /// # Errors
    /// As for [`DirectStore::recover`].
    ///
    /// # Panics
    /// Never: a new panel has one holder.
    pub fn open(&self, queue_depth: usize, chunk_bytes: u64) -> Result<Streamer, StorageError> {
        let ahead = asked(queue_depth, chunk_bytes).min(MOST_AHEAD).div_ceil(EXTENT_BYTES) + 2;
        let buffers = 2 * ahead + 4;
        let generations = KEPT;
        let capacity_bytes = buffers * EXTENT_BYTES;
        let options =
            DirectOptions { queue_depth, chunk_bytes, generations, ..DirectOptions::new(capacity_bytes) };
        let recovered = DirectStore::recover(&self.folder, &self.extents, options)?;
        let (store, _) = recovered.ok_or_else(|| StorageError::File {
            operation: "find what was written to",
            path: self.folder.clone(),
            cause: Arc::new(std::io::ErrorKind::NotFound.into()),
        })?;
        // Touched, or the first reads would wait for the kernel to find and clear pages.
        let mut panels = (0..buffers).map(|_| store.allocate(ExtentId(0))).collect::<Result<Vec<_>, _>>()?;
        for panel in &mut panels {
            Arc::get_mut(panel).expect("a new panel has one holder").as_f32_mut().fill(0.0);
        }
        drop(panels);
        Ok(Streamer { store, extents: self.extents.len() as u32, ahead: ahead as usize, next: 0 })
    }

    /// The file system, and the device below it.
    pub fn filesystem(&self) -> String {
        filesystem::describe(&self.folder)
    }
}

/// Bytes that have to be asked for to fill a queue: the device gets half of them.
const fn asked(queue_depth: usize, chunk_bytes: u64) -> u64 {
    2 * queue_depth as u64 * chunk_bytes
}

/// What the folder of a probe is called, before the number of its process.
const FOLDER: &str = "spillbench-probe-";

/// Removes what processes left that were killed while they measured.
fn remove_leftovers(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(FOLDER)?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            // What cannot be removed stays, in a folder whose name says what it is.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for DiskProbe {
    fn drop(&mut self) {
        // What cannot be removed stays, in a folder whose name says what it is.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Streamer {
    /// Streams extents, one after the other, until something can be told, and on as long as `proceed` says so, which is told
    /// for how long the stream has been in its stride. Returns the bytes a second of that time: neither the queue's filling,
    /// nor reads before the first write, nor the queue's running empty is part of a stream that goes on.
    ///
    /// # Errors
    /// As for [`Store::begin_read`].
    pub fn stream(
        &mut self,
        mix: Mix,
        mut proceed: impl FnMut(Duration) -> bool,
    ) -> Result<f64, StorageError> {
        let start = Instant::now();
        let mut stride = Stride::new(mix, self.moved());
        let mut ahead: VecDeque<ReadTicket> = VecDeque::new();
        let mut turn = 0_u32;
        let rate = loop {
            match stride.observe(start.elapsed(), self.moved()) {
                Some((time, bytes)) if bytes > 0 && !proceed(time) => {
                    break bytes as f64 / time.as_secs_f64();
                }
                _ => {}
            }
            if mix == Mix::Write {
                let extent = self.next();
                self.store.begin_write(extent, self.store.allocate(extent)?)?;
            } else {
                while ahead.len() <= self.ahead {
                    let extent = self.next();
                    ahead.push_back(self.store.begin_read(extent, Access::Exclusive)?);
                }
                let Some(ticket) = ahead.pop_front() else { continue };
                let extent = ticket.extent();
                let panel = self.store.finish_read(ticket)?;
                turn += 1;
                match mix {
                    Mix::OneReadOneWrite => self.store.begin_write(extent, panel)?,
                    Mix::TwoReadsOneWrite if turn.is_multiple_of(2) => {
                        self.store.begin_write(extent, panel)?;
                    }
                    _ => self.store.release(extent, panel),
                }
            }
        };
        for ticket in ahead {
            let extent = ticket.extent();
            self.store.release(extent, self.store.finish_read(ticket)?);
        }
        self.store.flush()?;
        Ok(rate)
    }

    /// What the store says of itself.
    pub fn describe(&self) -> String {
        self.store.describe()
    }

    fn next(&mut self) -> ExtentId {
        self.next = (self.next + 1) % self.extents;
        ExtentId(self.next)
    }

    fn moved(&self) -> Moved {
        let counters = self.store.counters();
        [counters.bytes_read, counters.bytes_written]
    }
}

/// Numbers that a drive cannot compress.
fn fill(values: &mut [f32]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for value in values {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *value = f32::from_bits((state >> 32) as u32 & 0x3fff_ffff);
    }
}

#[cfg(test)]
mod tests {
    use super::{DiskProbe, Mix};
    use crate::StorageError;

    #[test]
    fn every_mix_streams_and_the_file_is_gone_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        // No process has this number: the largest is 2²².
        std::fs::create_dir(dir.path().join("spillbench-probe-99999999")).unwrap();
        let probe = match DiskProbe::prepare(dir.path(), 64 << 20) {
            Err(StorageError::DirectRefused { .. }) => {
                return eprintln!("skipped: the temporary folder refuses direct I/O");
            }
            probe => probe.unwrap(),
        };
        for (depth, chunk) in [(1, 4 << 20), (8, 256 << 10)] {
            let mut streamer = probe.open(depth, chunk).unwrap();
            for mix in Mix::ALL {
                for asked in [20, 0] {
                    let mut left = 0..asked;
                    let rate = streamer.stream(mix, |_| left.next().is_some()).unwrap();
                    assert!(rate > 0.0 && rate.is_finite(), "{mix:?}");
                }
            }
        }
        drop(probe);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
