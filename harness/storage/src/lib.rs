//! Stores: where the bytes of panels live while they are not being computed on.
//!
//! A [`Store`] reads and writes *extents* (a panel's weights, its optimizer state, a snapshot of its weights) into
//! 4096-aligned [`Buffer`]s that it recycles. What is stored comes back bit for bit, whichever store is used: a
//! store decides when bytes move and where they rest, never what they are.
//!
//! Start at [`Store`]; then [`MemoryStore`], the reference that never waits, and [`DirectStore`], which keeps a
//! bounded number of bytes in memory and the rest in a file, with checksums and, if asked, crash-consistent
//! generations. [`BufferedStore`] and [`MmapStore`] show what the page cache does, [`NullStore`] what the rest costs.
//!
//! `unsafe` lives in four places: the program's allocator (`allocator`), the memory behind a buffer (`block`, `buffer`), the I/O thread that lends it out
//! (`io_thread`), and the devices and files that hand it to the kernel.
#![deny(unsafe_op_in_unsafe_fn)]

mod allocator;
mod block;
mod blocking;
mod buffer;
mod checksum;
mod device;
mod direct;
mod error;
mod exclusive;
mod extent;
mod faulty;
mod file;
mod file_state;
mod file_store;
mod filesystem;
mod generation;
mod io_thread;
mod layout;
mod link;
mod memory;
mod null;
mod order;
mod page_cache;
mod pool;
mod probe;
mod refusal;
mod slots;
mod space;
mod store;
mod transfer;
mod uring;

pub use allocator::Allocator;
pub use buffer::{Buffer, Panel};
pub use direct::{Direct, DirectOptions, DirectStore};
pub use error::{Standing, StorageError};
pub use extent::{ALIGNMENT, Access, ExtentId, ExtentSpec};
pub use faulty::{Fault, FaultKind};
pub use file_store::FileStore;
pub use generation::last_payload;
pub use memory::MemoryStore;
pub use null::NullStore;
pub use page_cache::{Buffered, BufferedStore, Mmap, MmapStore, PageCacheOptions};
pub use probe::{DiskProbe, Mix, Streamer};
pub use space::check as check_space;
pub use store::{Counters, ReadTicket, Store};
