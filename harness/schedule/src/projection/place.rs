//! Where extents are in a replay: absent, coming or here, with the counts that ranks which share panels wait for; the
//! pool of buffers; the disk's queue.

use std::collections::VecDeque;

use super::disk::DiskModel;
use crate::{
    extent::Extents,
    op::{Phase, Rank},
};

/// The panels in memory of one rank, or of ranks that share them.
pub(super) struct Domain {
    users: usize,
    entries: Vec<Entry>,
}

#[derive(Clone, Default)]
struct Entry {
    presence: Presence,
    updates: u64,
    uses: Vec<u64>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Presence {
    #[default]
    Absent,
    Coming,
    Here,
}

impl Domain {
    pub fn new(extents: &Extents, users: usize) -> Self {
        let uses = if users > 1 { vec![0; users] } else { Vec::new() };
        Self { users, entries: vec![Entry { uses, ..Entry::default() }; extents.len()] }
    }

    pub fn coming(&mut self, index: usize) {
        self.entries[index].presence = Presence::Coming;
    }

    pub fn arrived(&mut self, index: usize) {
        self.entries[index].presence = Presence::Here;
    }

    pub fn left(&mut self, index: usize) {
        self.entries[index].presence = Presence::Absent;
    }

    /// Whether the extent is here; of the version that has seen `updates`, where ranks share it.
    pub fn is_here(&self, index: usize, updates: u64) -> bool {
        let entry = &self.entries[index];
        entry.presence == Presence::Here && (self.users == 1 || entry.updates == updates)
    }

    /// Whether the extent may leave: it is here, and all ranks have used it as often as `rank` has.
    pub fn may_leave(&self, index: usize, rank: Rank) -> bool {
        let entry = &self.entries[index];
        entry.presence == Presence::Here
            && (self.users == 1 || entry.uses.iter().all(|uses| *uses >= entry.uses[usize::from(rank.0)]))
    }

    pub fn used(&mut self, index: usize, rank: Rank) {
        if self.users > 1 {
            self.entries[index].uses[usize::from(rank.0)] += 1;
        }
    }

    pub fn updated(&mut self, index: usize) {
        self.entries[index].updates += 1;
    }
}

/// A read or write that was asked for.
pub(super) struct Job {
    pub target: Target,
    pub phase: Phase,
    bytes: u64,
    left: f64,
}

/// What a job leaves behind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Of a read: the extent with this index, in a domain.
    Extent { domain: usize, index: usize },
    /// Of a read: the activations with this index.
    Values { index: usize },
    /// Of a write: free memory.
    Disk,
}

impl Job {
    fn is_write(&self) -> bool {
        self.target == Target::Disk
    }
}

/// The disk's queue and the buffers: first asked, first served.
pub(super) struct Store {
    queue: VecDeque<Job>,
    live: u64,
    capacity: u64,
    /// Bytes and seconds of training steps: reads, then writes.
    pub bytes: [f64; 2],
    pub seconds: [f64; 2],
}

impl Store {
    pub const fn new(capacity: u64) -> Self {
        Self { queue: VecDeque::new(), live: 0, capacity, bytes: [0.0; 2], seconds: [0.0; 2] }
    }

    /// Whether a buffer can be had. It cannot while a write is under way that will free one.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.live + bytes <= self.capacity || !self.queue.iter().any(Job::is_write)
    }

    pub fn hold(&mut self, bytes: u64) {
        self.live += bytes;
    }

    pub fn give_back(&mut self, bytes: u64) {
        self.live = self.live.saturating_sub(bytes);
    }

    /// Asks for a read or a write.
    pub fn ask(&mut self, target: Target, bytes: u64, phase: Phase) {
        let job = Job { target, phase, bytes, left: bytes as f64 };
        if phase == Phase::Train {
            self.bytes[usize::from(job.is_write())] += bytes as f64;
        }
        self.queue.push_back(job);
    }

    pub fn is_busy(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Seconds until the job in service is done, where the disk keeps `share` of its rate; and seconds a byte.
    pub fn service(&self, disk: &DiskModel, share: f64) -> Option<(f64, f64)> {
        let head = self.queue.front()?;
        let most = disk.at_device(self.queue.iter().map(|job| job.left).sum());
        let (mut moving, mut written) = (0.0, 0.0);
        for job in &self.queue {
            let bytes = job.left.min(most - moving);
            moving += bytes;
            if job.is_write() {
                written += bytes;
            }
            if moving >= most {
                break;
            }
        }
        let share_of_writes = if moving > 0.0 { written / moving } else { 0.0 };
        let write = head.is_write();
        let seconds_per_byte = disk.seconds_per_byte(moving.ceil() as u64, share_of_writes, write) / share;
        Some((head.left * seconds_per_byte, seconds_per_byte))
    }

    /// Serves for some seconds; returns the job that is done with it, if `done` says that one is.
    pub fn serve(&mut self, seconds: f64, seconds_per_byte: f64, done: bool) -> Option<Job> {
        let head = self.queue.front_mut()?;
        head.left = (head.left - seconds / seconds_per_byte).max(0.0);
        if head.phase == Phase::Train {
            self.seconds[usize::from(head.is_write())] += seconds;
        }
        if !done {
            return None;
        }
        let job = self.queue.pop_front()?;
        if job.is_write() {
            self.give_back(job.bytes);
        }
        Some(job)
    }
}
