//! The store that keeps everything in memory: the reference for the others, and the fastest.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::extent::ExtentTable;
use crate::pool::{Contents, Pool};
use crate::store::Arrival;
use crate::{Access, Counters, ExtentId, ExtentSpec, Panel, ReadTicket, StorageError, Store};

/// A table of panels. Reads hand out the panel itself, so nothing is copied and nothing waits.
#[derive(Debug)]
pub struct MemoryStore {
    extents: ExtentTable,
    slots: Vec<Mutex<Slot>>,
    pool: Arc<Pool>,
}

#[derive(Debug)]
enum Slot {
    /// Never written: zeros, made when first read.
    Unwritten,
    Here(Panel),
    /// An exclusive reader has the panel at this address.
    Taken(usize),
}

impl MemoryStore {
    /// A store of zeroed extents. Memory is taken as extents are first used.
    ///
    /// # Errors
    /// [`StorageError::InvalidExtent`].
    pub fn new(extents: &[ExtentSpec]) -> Result<Self, StorageError> {
        Ok(Self {
            extents: ExtentTable::new(extents)?,
            slots: extents.iter().map(|_| Mutex::new(Slot::Unwritten)).collect(),
            pool: Pool::new(u64::MAX),
        })
    }

    fn slot(&self, extent: ExtentId) -> Result<MutexGuard<'_, Slot>, StorageError> {
        match self.slots.get(extent.0 as usize) {
            Some(slot) => Ok(slot.lock().unwrap_or_else(PoisonError::into_inner)),
            None => Err(self.extents.get(extent).expect_err("slots and extents are of one length")),
        }
    }

    /// The panel, for a reader that will change it: a copy if others still read it.
    fn made_exclusive(&self, extent: ExtentId, mut panel: Panel) -> Result<Panel, StorageError> {
        if Arc::get_mut(&mut panel).is_some() {
            return Ok(panel);
        }
        let mut copy = self.allocate(extent)?;
        Arc::get_mut(&mut copy).expect("a new panel has one holder").copy_from(&panel);
        Ok(copy)
    }
}

impl Store for MemoryStore {
    fn allocate(&self, extent: ExtentId) -> Result<Panel, StorageError> {
        self.pool.take(self.extents.get(extent)?, Contents::Zeroed, || {}).map(Arc::new)
    }

    fn scratch(&self, bytes: u64) -> Result<Panel, StorageError> {
        self.pool.scratch(bytes, || {}).map(Arc::new)
    }

    fn begin_read(&self, extent: ExtentId, access: Access) -> Result<ReadTicket, StorageError> {
        let mut slot = self.slot(extent)?;
        if matches!(*slot, Slot::Unwritten) {
            *slot = Slot::Here(self.allocate(extent)?);
        }
        let Slot::Here(panel) = &*slot else {
            return Err(StorageError::ExtentTaken { extent: self.extents.get(extent)?.name.clone() });
        };
        let panel = match access {
            Access::Shared => Arc::clone(panel),
            Access::Exclusive => {
                let Slot::Here(panel) = std::mem::replace(&mut *slot, Slot::Unwritten) else {
                    unreachable!()
                };
                let panel = self.made_exclusive(extent, panel)?;
                *slot = Slot::Taken(Arc::as_ptr(&panel).addr());
                panel
            }
        };
        Ok(ReadTicket { extent, access, arrival: Arrival::Ready(panel) })
    }

    fn finish_read(&self, ticket: ReadTicket) -> Result<Panel, StorageError> {
        match ticket.arrival {
            Arrival::Ready(panel) => Ok(panel),
            Arrival::Awaited(_) => panic!("the ticket is of another store"),
        }
    }

    fn begin_write(&self, extent: ExtentId, panel: Panel) -> Result<(), StorageError> {
        self.extents.check_panel(extent, &panel, &self.pool)?;
        *self.slot(extent)? = Slot::Here(panel);
        Ok(())
    }

    fn release(&self, extent: ExtentId, panel: Panel) {
        let Ok(mut slot) = self.slot(extent) else { return };
        if matches!(*slot, Slot::Taken(address) if address == Arc::as_ptr(&panel).addr()) {
            *slot = Slot::Here(panel);
        }
    }

    fn flush(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}
