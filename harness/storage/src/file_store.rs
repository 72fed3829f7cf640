//! A store of extents in one file, moved by an I/O thread and held in a bounded pool.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};

use crate::device::{Device, Waker};
use crate::extent::ExtentTable;
use crate::faulty::{Fault, FaultyDevice};
use crate::io_thread::{IoThread, Job, Layout, Link};
use crate::pool::{Contents, Pool};
use crate::store::Arrival;
use crate::{Access, Counters, ExtentId, Panel, ReadTicket, StorageError, Store};

/// A store over one file. `M` names how bytes are moved, as in [`crate::DirectStore`]; everything else (memory,
/// order, retries, errors) is the same for all.
///
/// Dropping it finishes every write that was begun.
#[derive(Debug)]
pub struct FileStore<M> {
    extents: ExtentTable,
    takers: Vec<Taker>,
    pool: Arc<Pool>,
    link: Arc<Link>,
    thread: Option<JoinHandle<()>>,
    description: Box<dyn Describe>,
    mode: PhantomData<M>,
}

/// What makes up a file store.
pub(crate) struct Parts<'a> {
    pub path: &'a Path,
    pub extents: ExtentTable,
    pub capacity_bytes: u64,
    pub queue_depth: usize,
    pub chunk_bytes: u32,
    pub fault: Option<Fault>,
    pub description: Box<dyn Describe>,
}

/// Says what a store found and uses; see [`Store::describe`].
pub(crate) trait Describe: std::fmt::Debug + Send + Sync {
    fn describe(&self) -> String;
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
            chunk_bytes: parts.chunk_bytes,
            queue_depth: parts.queue_depth,
        };
        let (started, starting) = sync_channel(1);
        let thread = thread::Builder::new().name("storage-io".to_owned()).spawn({
            let (pool, link, fault) = (Arc::clone(&pool), Arc::clone(&link), parts.fault);
            move || match make_device(waker) {
                Ok(device) => {
                    let device = FaultyDevice::around(device, fault);
                    drop(started.send(Ok(())));
                    IoThread::new(device, layout, pool, link).run();
                }
                Err(error) => drop(started.send(Err(error))),
            }
        });
        let thread = thread.map_err(thread_error)?;
        let takers = parts.extents.specs().iter().map(|_| Taker::default()).collect();
        let store = Self {
            extents: parts.extents,
            takers,
            pool,
            link,
            thread: Some(thread),
            description: parts.description,
            mode: PhantomData,
        };
        starting.recv().unwrap_or(Err(StorageError::Closed))?;
        Ok(store)
    }

    fn taker(&self, extent: ExtentId) -> Result<&Taker, StorageError> {
        self.extents.get(extent).map(|_| &self.takers[extent.0 as usize])
    }

    /// A read whose extent is known to be free for it.
    fn send_read(&self, extent: ExtentId, access: Access) -> Result<ReadTicket, StorageError> {
        let buffer = self.pool.take(self.extents.get(extent)?, Contents::Stale, || self.link.wake())?;
        let (reply, awaited) = sync_channel(1);
        self.link.send(Job::Read { extent: extent.0 as usize, buffer, reply })?;
        Ok(ReadTicket { extent, access, arrival: Arrival::Awaited(awaited) })
    }
}

impl<M: Send + Sync> Store for FileStore<M> {
    fn allocate(&self, extent: ExtentId) -> Result<Panel, StorageError> {
        self.link.check()?;
        self.pool.take(self.extents.get(extent)?, Contents::Zeroed, || self.link.wake()).map(Arc::new)
    }

    fn begin_read(&self, extent: ExtentId, access: Access) -> Result<ReadTicket, StorageError> {
        self.link.check()?;
        let taker = self.taker(extent)?;
        if !taker.admit(access) {
            return Err(StorageError::ExtentTaken { extent: self.extents.get(extent)?.name.clone() });
        }
        self.send_read(extent, access).inspect_err(|_| {
            if access == Access::Exclusive {
                taker.written();
            }
        })
    }

    fn finish_read(&self, ticket: ReadTicket) -> Result<Panel, StorageError> {
        let Arrival::Awaited(arrival) = ticket.arrival else { panic!("the ticket is of another store") };
        let arrived = arrival.recv();
        self.link.check()?;
        let panel = Arc::new(arrived.unwrap_or(Err(StorageError::Closed))?);
        if ticket.access == Access::Exclusive {
            self.taker(ticket.extent)?.arrived(&panel);
        }
        Ok(panel)
    }

    fn begin_write(&self, extent: ExtentId, panel: Panel) -> Result<(), StorageError> {
        self.link.check()?;
        self.extents.check_panel(extent, &panel, &self.pool)?;
        self.pool.write_begins();
        self.link.send(Job::Write { extent: extent.0 as usize, panel })?;
        self.taker(extent)?.written();
        Ok(())
    }

    fn release(&self, extent: ExtentId, panel: Panel) {
        if let Ok(taker) = self.taker(extent) {
            taker.released(&panel);
        }
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
        self.link.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened, and reported to every caller since.
            let _ = thread.join();
        }
    }
}

/// Who has an extent exclusively: nobody, a read under way, or the holder of the panel at an address.
#[derive(Debug, Default)]
struct Taker(AtomicUsize);

impl Taker {
    const NOBODY: usize = 0;
    const UNDER_WAY: usize = 1;

    /// Whether a reader may have the extent; if it wants it exclusively, it now has it.
    fn admit(&self, access: Access) -> bool {
        match access {
            Access::Shared => self.0.load(Ordering::Acquire) == Self::NOBODY,
            Access::Exclusive => self
                .0
                .compare_exchange(Self::NOBODY, Self::UNDER_WAY, Ordering::AcqRel, Ordering::Acquire)
                .is_ok(),
        }
    }

    fn arrived(&self, panel: &Panel) {
        self.0.store(Arc::as_ptr(panel).addr(), Ordering::Release);
    }

    fn written(&self) {
        self.0.store(Self::NOBODY, Ordering::Release);
    }

    /// Only the exclusive holder ends its hold; a reader of an older state does not.
    fn released(&self, panel: &Panel) {
        let holder = Arc::as_ptr(panel).addr();
        let _ = self.0.compare_exchange(holder, Self::NOBODY, Ordering::AcqRel, Ordering::Relaxed);
    }
}
