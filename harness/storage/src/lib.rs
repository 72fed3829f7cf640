//! Stores: where the bytes of panels live while they are not being computed on.
//!
//! A [`Store`] reads and writes *extents* (a panel's weights, its optimizer state, a snapshot of its weights) into
//! 4096-aligned [`Buffer`]s that it recycles. What is stored comes back bit for bit, whichever store is used: a
//! store decides when bytes move and where they rest, never what they are.
//!
//! Start at [`Store`]; then [`MemoryStore`], the reference that never waits, and [`DirectStore`], which keeps a
//! bounded number of bytes in memory and the rest in a file.
//!
//! `unsafe` lives in three places: the memory behind a buffer (`block`, `buffer`), and the devices that hand that
//! memory to the kernel.
#![deny(unsafe_op_in_unsafe_fn)]

mod block;
mod buffer;
mod device;
mod direct;
mod error;
mod extent;
mod faulty;
mod file;
mod file_store;
mod io_thread;
mod memory;
mod pool;
mod store;
mod transfer;
mod uring;

pub use buffer::{Buffer, Panel};
pub use direct::{Direct, DirectOptions, DirectStore};
pub use error::StorageError;
pub use extent::{ALIGNMENT, Access, ExtentId, ExtentSpec};
pub use faulty::{Fault, FaultKind};
pub use file_store::FileStore;
pub use memory::MemoryStore;
pub use store::{Counters, ReadTicket, Store};
