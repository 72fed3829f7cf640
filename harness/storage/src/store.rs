//! The interface between what trains and where its bytes live.

use std::sync::mpsc::Receiver;

use crate::{Access, Buffer, ExtentId, Panel, StorageError};

/// Reads and writes extents. All methods may be called from many threads.
///
/// An extent that was never written reads as zeros. After a failed operation a store is spent: every later call
/// returns that first error, and no call waits for ever.
pub trait Store: Send + Sync {
    /// A zeroed buffer for `extent` that is not read from the store (initialisation, a new snapshot). Waits like
    /// [`Store::begin_read`].
    ///
    /// # Errors
    /// As for [`Store::begin_read`].
    fn allocate(&self, extent: ExtentId) -> Result<Panel, StorageError>;

    /// A buffer of `bytes` that belongs to no extent and holds whatever its memory held before; it may be written to an
    /// extent of that size. Waits like [`Store::begin_read`].
    ///
    /// # Errors
    /// As for [`Store::begin_read`].
    fn scratch(&self, bytes: u64) -> Result<Panel, StorageError>;

    /// Starts a read. Blocks only while no memory is free and a write is in flight that will free some. A read of an
    /// extent whose write is still in flight is ordered after it.
    ///
    /// # Errors
    /// [`StorageError::CapacityExceeded`] if memory is short and no write is in flight,
    /// [`StorageError::ExtentTaken`] while an exclusive reader has the extent, or an earlier operation's error.
    fn begin_read(&self, extent: ExtentId, access: Access) -> Result<ReadTicket, StorageError>;

    /// Waits for that read. Under [`Access::Exclusive`] the panel has no other holder.
    ///
    /// # Errors
    /// Why the read, or an earlier operation, failed.
    fn finish_read(&self, ticket: ReadTicket) -> Result<Panel, StorageError>;

    /// Starts writing a panel back. Its memory returns to the pool when the write is complete and no other
    /// reader holds it.
    ///
    /// # Errors
    /// [`StorageError::WrongPanel`] if the sizes differ, or an earlier operation's error.
    fn begin_write(&self, extent: ExtentId, panel: Panel) -> Result<(), StorageError>;

    /// Gives back an unmodified panel.
    fn release(&self, extent: ExtentId, panel: Panel);

    /// Waits for all writes; when it returns they are on stable storage (in memory: at once).
    ///
    /// # Errors
    /// Why a write, or the sync, failed.
    fn flush(&self) -> Result<(), StorageError>;

    /// What has moved so far.
    fn counters(&self) -> Counters;

    /// One line for the manifest: mode, alignment, registered buffers or not, queue depth, chunk.
    fn describe(&self) -> String;
}

/// What a store has moved since it was opened.
#[derive(Copy, Clone, Default, Eq, PartialEq, Debug)]
pub struct Counters {
    /// Bytes read, padding included. What had to be read again counts once.
    pub bytes_read: u64,
    /// Bytes written, padding included.
    pub bytes_written: u64,
    /// Requests completed by the device, retried ones included.
    pub requests: u64,
    /// Requests issued again because one was interrupted, came up short or brought other bytes than were written.
    pub retries: u64,
}

/// A read that was started and must be finished; dropping it gives the panel up.
#[derive(Debug)]
#[must_use = "a read that is not finished holds its memory until it completes, and its extent stays taken"]
pub struct ReadTicket {
    pub(crate) extent: ExtentId,
    pub(crate) access: Access,
    pub(crate) arrival: Arrival,
}

impl ReadTicket {
    /// The extent being read.
    pub const fn extent(&self) -> ExtentId {
        self.extent
    }
}

/// How a panel gets to the reader.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// It is here.
    Ready(Panel),
    /// The I/O thread will send it.
    Awaited(Receiver<Result<Buffer, StorageError>>),
}
