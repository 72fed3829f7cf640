//! A store of extents in one file, moved by an I/O thread and held in a bounded pool.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};

use crate::device::{Device, Waker};
use crate::exclusive::Takers;
use crate::extent::ExtentTable;
use crate::faulty::{Fault, FaultyDevice};
use crate::file_state::FileState;
use crate::generation::Records;
use crate::io_thread::IoThread;
use crate::layout::Layout;
use crate::link::{Job, Link};
use crate::pool::{Contents, Pool};
use crate::slots::Slots;
use crate::store::Arrival;
use crate::{Access, Counters, ExtentId, Panel, ReadTicket, StorageError, Store};

/// A store over one file. `M` names how bytes are moved, as in [`crate::DirectStore`]; everything else (memory,
/// order, retries, errors) is the same for all.
///
/// Dropping it finishes every write that was begun.
#[derive(Debug)]
pub struct FileStore<M> {
    extents: ExtentTable,
    takers: Takers,
    pool: Arc<Pool>,
    link: Arc<Link>,
    thread: Option<JoinHandle<()>>,
    description: Box<dyn Describe>,
    /// Whether generations can be committed.
    generations: bool,
    mode: PhantomData<M>,
}

/// What makes up a file store.
pub(crate) struct Parts<'a> {
    pub path: &'a Path,
    pub extents: ExtentTable,
    pub capacity_bytes: u64,
    pub queue_depth: usize,
    pub chunk_bytes: u32,
    pub slots: Slots,
    /// Of generations, where they can be committed.
    pub records: Option<Records>,
    pub checks: Checks,
    pub description: Box<dyn Describe>,
}

/// How a store looks for trouble, and for tests makes it.
#[derive(Copy, Clone)]
pub(crate) struct Checks {
    pub checksums: bool,
    pub fault: Option<Fault>,
}

/// Says what a store found and uses; see [`Store::describe`].
pub(crate) trait Describe: std::fmt::Debug + Send + Sync {
    fn describe(&self) -> String;
}

impl Describe for String {
    fn describe(&self) -> String {
        self.clone()
    }
}

/// Makes a device, on the thread that will use it.
pub(crate) type MakeDevice = Box<dyn FnOnce(Arc<Waker>) -> Result<Box<dyn Device>, StorageError> + Send>;

impl<M> FileStore<M> {
    /// Starts the I/O thread.
    pub(crate) fn start(parts: Parts<'_>, make_device: MakeDevice) -> Result<Self, StorageError> {
        let thread_error = |cause| StorageError::File {
            operation: "start the I/O thread for",
            path: parts.path.to_owned(),
            cause: Arc::new(cause),
        };
        let waker = Arc::new(Waker::new().map_err(thread_error)?);
        let link = Arc::new(Link::new(Arc::clone(&waker)));
        let pool = Pool::new(parts.capacity_bytes);
        let layout = Layout {
            path: parts.path.to_owned(),
            extents: parts.extents.specs().to_vec(),
            offsets: parts.extents.offsets(),
            slot_bytes: parts.extents.file_bytes(),
            chunk_bytes: parts.chunk_bytes,
            queue_depth: parts.queue_depth,
        };
        let generations = parts.records.is_some();
        let state = FileState {
            layout,
            slots: parts.slots,
            checksums: parts.checks.checksums,
            records: parts.records,
        };
        let (started, starting) = sync_channel(1);
        let thread = thread::Builder::new().name("storage-io".to_owned()).spawn({
            let (pool, link, fault) = (Arc::clone(&pool), Arc::clone(&link), parts.checks.fault);
            move || match make_device(waker) {
                Ok(device) => {
                    let device = FaultyDevice::around(device, fault);
                    drop(started.send(Ok(())));
                    IoThread::new(device, state, pool, link).run();
                }
                Err(error) => drop(started.send(Err(error))),
            }
        });
        let thread = thread.map_err(thread_error)?;
        let store = Self {
            takers: Takers::new(&parts.extents),
            extents: parts.extents,
            pool,
            link,
            thread: Some(thread),
            description: parts.description,
            generations,
            mode: PhantomData,
        };
        starting.recv().unwrap_or(Err(StorageError::Closed))?;
        Ok(store)
    }

    /// Commits a generation; see [`crate::DirectStore::commit`].
    pub(crate) fn commit_generation(&self, payload: &[u8]) -> Result<u64, StorageError> {
        self.link.check()?;
        if !self.generations {
            return Err(StorageError::InvalidOption {
                field: "generations",
                value: 0,
                remedy: "must be on to commit one",
            });
        }
        let (reply, done) = sync_channel(1);
        self.link.send(Job::Commit { payload: payload.to_vec(), reply })?;
        let result = done.recv();
        self.link.check()?;
        result.unwrap_or(Err(StorageError::Closed))
    }

    /// Wakes the I/O thread for what the pool asks of it.
    fn wake(&self) {
        if let Err(error) = self.link.wake() {
            self.pool.fail(&error);
        }
    }

    /// A read whose extent is known to be free for it.
    fn send_read(&self, extent: ExtentId, access: Access) -> Result<ReadTicket, StorageError> {
        let buffer = self.pool.take(self.extents.get(extent)?, Contents::Stale, || self.wake())?;
        let (reply, awaited) = sync_channel(1);
        self.link.send(Job::Read { extent: extent.0 as usize, buffer, reply })?;
        Ok(ReadTicket { extent, access, arrival: Arrival::Awaited(awaited) })
    }
}

impl<M: Send + Sync> Store for FileStore<M> {
    fn allocate(&self, extent: ExtentId) -> Result<Panel, StorageError> {
        self.link.check()?;
        self.pool.take(self.extents.get(extent)?, Contents::Zeroed, || self.wake()).map(Arc::new)
    }

    fn scratch(&self, bytes: u64) -> Result<Panel, StorageError> {
        self.link.check()?;
        self.pool.scratch(bytes, || self.wake()).map(Arc::new)
    }

    fn begin_read(&self, extent: ExtentId, access: Access) -> Result<ReadTicket, StorageError> {
        self.link.check()?;
        self.takers.admit(&self.extents, extent, access)?;
        self.send_read(extent, access).inspect_err(|_| {
            if access == Access::Exclusive {
                self.takers.free(extent);
            }
        })
    }

    fn finish_read(&self, ticket: ReadTicket) -> Result<Panel, StorageError> {
        let Arrival::Awaited(arrival) = ticket.arrival else { panic!("the ticket is of another store") };
        let arrived = arrival.recv();
        self.link.check()?;
        let panel = Arc::new(arrived.unwrap_or(Err(StorageError::Closed))?);
        if ticket.access == Access::Exclusive {
            self.takers.arrived(ticket.extent, &panel);
        }
        Ok(panel)
    }

    fn begin_write(&self, extent: ExtentId, panel: Panel) -> Result<(), StorageError> {
        self.link.check()?;
        self.extents.check_panel(extent, &panel, &self.pool)?;
        self.pool.write_begins();
        self.link.send(Job::Write { extent: extent.0 as usize, panel })?;
        // Only now, so that the next reader's job comes after the write.
        self.takers.free(extent);
        Ok(())
    }

    fn release(&self, extent: ExtentId, panel: Panel) {
        self.takers.released(extent, &panel);
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.link.check()?;
        let (reply, done) = sync_channel(1);
        self.link.send(Job::Sync { reply })?;
        let result = done.recv();
        self.link.check()?;
        result.unwrap_or(Err(StorageError::Closed))
    }

    fn counters(&self) -> Counters {
        self.link.counters()
    }

    fn describe(&self) -> String {
        self.description.describe()
    }
}

impl<M> Drop for FileStore<M> {
    fn drop(&mut self) {
        let woken = self.link.close();
        // A thread that sleeps and cannot be woken keeps what it has, and ends with the process.
        if let Some(thread) = self.thread.take().filter(|_| woken.is_ok()) {
            // A panic of the thread was printed when it happened, and reported to every caller since.
            let _ = thread.join();
        }
    }
}
