//! The store that stores nothing: to measure what everything else costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::exclusive::Takers;
use crate::extent::ExtentTable;
use crate::pool::{Contents, Pool};
use crate::store::Arrival;
use crate::{Access, Counters, ExtentId, ExtentSpec, Panel, ReadTicket, StorageError, Store};

/// Counts the bytes that a [`crate::DirectStore`] would move, keeps to its capacity, and moves none: a panel that is
/// read holds whatever its memory held before.
#[derive(Debug)]
pub struct NullStore {
    extents: ExtentTable,
    takers: Takers,
    pool: Arc<Pool>,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    requests: AtomicU64,
}

impl NullStore {
    /// A store with at most `capacity_bytes` of memory for panels.
    ///
    /// # Errors
    /// [`StorageError::InvalidExtent`].
    pub fn new(extents: &[ExtentSpec], capacity_bytes: u64) -> Result<Self, StorageError> {
        let extents = ExtentTable::new(extents)?;
        Ok(Self {
            takers: Takers::new(&extents),
            extents,
            pool: Pool::new(capacity_bytes),
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        })
    }

    fn take(&self, extent: ExtentId, contents: Contents) -> Result<Panel, StorageError> {
        self.pool.take(self.extents.get(extent)?, contents, || {}).map(Arc::new)
    }

    fn count(&self, extent: ExtentId, counter: &AtomicU64) -> Result<(), StorageError> {
        counter.fetch_add(self.extents.get(extent)?.padded_bytes(), Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Store for NullStore {
    fn allocate(&self, extent: ExtentId) -> Result<Panel, StorageError> {
        self.take(extent, Contents::Zeroed)
    }

    fn scratch(&self, bytes: u64) -> Result<Panel, StorageError> {
        self.pool.scratch(bytes, || {}).map(Arc::new)
    }

    fn begin_read(&self, extent: ExtentId, access: Access) -> Result<ReadTicket, StorageError> {
        self.takers.admit(&self.extents, extent, access)?;
        let panel = self.take(extent, Contents::Stale).inspect_err(|_| {
            if access == Access::Exclusive {
                self.takers.free(extent);
            }
        })?;
        self.count(extent, &self.bytes_read)?;
        Ok(ReadTicket { extent, access, arrival: Arrival::Ready(panel) })
    }

    fn finish_read(&self, ticket: ReadTicket) -> Result<Panel, StorageError> {
        let Arrival::Ready(panel) = ticket.arrival else { panic!("the ticket is of another store") };
        if ticket.access == Access::Exclusive {
            self.takers.arrived(ticket.extent, &panel);
        }
        Ok(panel)
    }

    fn begin_write(&self, extent: ExtentId, panel: Panel) -> Result<(), StorageError> {
        self.extents.check_panel(extent, &panel, &self.pool)?;
        self.takers.free(extent);
        self.count(extent, &self.bytes_written)
    }

    fn release(&self, extent: ExtentId, panel: Panel) {
        self.takers.released(extent, &panel);
    }

    fn flush(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn counters(&self) -> Counters {
        Counters {
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            retries: 0,
        }
    }

    fn describe(&self) -> String {
        "null: moves nothing".to_owned()
    }
}
