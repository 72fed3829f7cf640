//! What a store's callers and its I/O thread share: the inbox, the first error, the counters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::block::Block;
use crate::buffer::Buffer;
use crate::device::{Operation, Waker};
use crate::{Counters, Panel, StorageError};

/// What a store's callers and its I/O thread share.
#[derive(Debug)]
pub(crate) struct Link {
    inbox: Mutex<Inbox>,
    waker: Arc<Waker>,
    failure: OnceLock<StorageError>,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Inbox {
    jobs: Vec<Job>,
    /// The store is being dropped: finish and end.
    closing: bool,
    /// The thread has ended: nobody will take a job.
    abandoned: bool,
}

#[derive(Debug, Default)]
struct Tally {
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    requests: AtomicU64,
    retries: AtomicU64,
}

/// What a caller asks of the I/O thread.
#[derive(Debug)]
pub(crate) enum Job {
    Read {
        extent: usize,
        buffer: Buffer,
        reply: SyncSender<Result<Buffer, StorageError>>,
    },
    Write {
        extent: usize,
        panel: Panel,
    },
    /// After every write that came before.
    Sync {
        reply: SyncSender<Result<(), StorageError>>,
    },
    /// A generation of every write that came before, and of none that comes after.
    Commit {
        payload: Vec<u8>,
        reply: SyncSender<Result<u64, StorageError>>,
    },
}

impl Link {
    pub(crate) fn new(waker: Arc<Waker>) -> Self {
        Self { inbox: Mutex::default(), waker, failure: OnceLock::new(), tally: Tally::default() }
    }

    pub(crate) fn send(&self, job: Job) -> Result<(), StorageError> {
        let mut inbox = self.inbox();
        if inbox.abandoned {
            drop(inbox);
            return self.check();
        }
        let was_empty = inbox.jobs.is_empty();
        inbox.jobs.push(job);
        drop(inbox);
        if was_empty { self.wake() } else { Ok(()) }
    }

    /// Lets the thread end when it has nothing left to do.
    ///
    /// # Errors
    /// As for [`Link::wake`].
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        self.inbox().closing = true;
        self.wake()
    }

    /// # Errors
    /// The thread cannot be woken, and may sleep for ever. The store is spent, and nobody waits for a job that the thread has
    /// not taken.
    pub(crate) fn wake(&self) -> Result<(), StorageError> {
        self.waker.wake().map_err(|cause| {
            let error = self.fail(StorageError::Wake { cause: Arc::new(cause) }).clone();
            self.abandon();
            error
        })
    }

    /// The store's first error; the one given, if there was none before.
    pub(crate) fn fail(&self, error: StorageError) -> &StorageError {
        self.failure.get_or_init(|| error)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// What has been sent since the last call, and whether the store is being dropped.
    pub(crate) fn receive(&self) -> (Vec<Job>, bool) {
        let mut inbox = self.inbox();
        (std::mem::take(&mut inbox.jobs), inbox.closing)
    }

    /// Nobody will take a job any more. Every wait for an answer ends.
    pub(crate) fn abandon(&self) {
        self.fail(StorageError::Closed);
        let mut inbox = self.inbox();
        inbox.abandoned = true;
        let jobs = std::mem::take(&mut inbox.jobs);
        drop(inbox);
        drop(jobs);
    }

    /// Counts a request of `job` that moved `bytes`; `again` if the rest of it will be issued again, or
    /// if it belongs to a second read.
    pub(crate) fn count(&self, job: &Job, bytes: u32, again: bool) {
        self.tally.requests.fetch_add(1, Ordering::Relaxed);
        self.tally.retries.fetch_add(u64::from(again), Ordering::Relaxed);
        self.tally.moved(job, bytes);
    }

    /// The error that ended the store, if one did.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        self.failure.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            bytes_read: self.tally.bytes_read.load(Ordering::Relaxed),
            bytes_written: self.tally.bytes_written.load(Ordering::Relaxed),
            requests: self.tally.requests.load(Ordering::Relaxed),
            retries: self.tally.retries.load(Ordering::Relaxed),
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    pub(crate) const fn extent(&self) -> Option<usize> {
        match self {
            Self::Read { extent, .. } | Self::Write { extent, .. } => Some(*extent),
            Self::Sync { .. } | Self::Commit { .. } => None,
        }
    }

    pub(crate) fn block(&self) -> Option<&Block> {
        match self {
            Self::Read { buffer, .. } => Some(buffer.block()),
            Self::Write { panel, .. } => Some(panel.block()),
            Self::Sync { .. } | Self::Commit { .. } => None,
        }
    }

    pub(crate) const fn operation(&self) -> Operation {
        match self {
            Self::Read { .. } => Operation::Read,
            Self::Write { .. } => Operation::Write,
            Self::Sync { .. } | Self::Commit { .. } => Operation::Sync,
        }
    }
}

impl Tally {
    /// A request moved `bytes` of a job.
    fn moved(&self, job: &Job, bytes: u32) {
        let counter = match job {
            Job::Read { .. } => &self.bytes_read,
            Job::Write { .. } => &self.bytes_written,
            Job::Sync { .. } | Job::Commit { .. } => return,
        };
        counter.fetch_add(u64::from(bytes), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{TryRecvError, sync_channel};

    use super::*;

    #[test]
    fn nobody_waits_for_a_thread_that_cannot_be_woken() {
        let link = Link::new(Arc::new(Waker::deaf()));
        let (first, second) = (sync_channel(1), sync_channel(1));
        let told = link.send(Job::Sync { reply: first.0 }).unwrap_err();
        assert!(matches!(told, StorageError::Wake { .. }), "{told}");
        assert_eq!(first.1.try_recv().unwrap_err(), TryRecvError::Disconnected);
        assert!(matches!(link.send(Job::Sync { reply: second.0 }), Err(StorageError::Wake { .. })));
        assert_eq!(second.1.try_recv().unwrap_err(), TryRecvError::Disconnected);
        assert!(link.close().is_err());
    }
}
