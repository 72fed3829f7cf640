//! The device on `io_uring`: one ring, used by one thread, with registered buffers where the kernel allows them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use io_uring::squeue::Entry;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{IoUring, opcode};

use crate::block::Block;
use crate::device::{Completion, Device, Operation, Request, Wait, Waker};

/// Marks the completion of the read that waits for a wake.
const WAKE: u64 = u64::MAX;
/// Marks the completion of that read's cancellation.
const CANCEL: u64 = WAKE - 1;
/// Blocks the kernel's table can hold; others are pinned request by request.
const TABLE_BLOCKS: u32 = 4096;
/// The kernel's limit for one registered buffer.
const REGISTERED_BLOCK_BYTES: usize = 1 << 30;

/// Generous for the queues of a ring, which count as locked too.
const RING_BYTES: u64 = 1 << 20;
/// Number of the capability that lifts the limit on locked memory.
const CAP_IPC_LOCK: u32 = 14;

/// A ring over one file. Stays on the thread that made it.
pub(crate) struct Uring {
    ring: IoUring,
    file: Arc<File>,
    waker: Arc<Waker>,
    /// Where the waiting read puts the waker's count.
    wake_count: Block,
    /// Whether the waiting read is in flight.
    wake_armed: bool,
    /// Requests pushed and not reaped, the waiting read apart.
    in_flight: usize,
    table: Table,
}

/// The kernel's table of registered buffers, and what of it is free.
struct Table {
    free: Vec<u32>,
    /// Read by the store's description.
    in_use: Arc<AtomicBool>,
}

impl Uring {
    /// A ring for `queue_depth` requests in flight. `registration` says whether to register buffers; it is set to
    /// false when the kernel will not, and must be false already if [`may_lock`] says so.
    pub(crate) fn new(
        file: Arc<File>,
        waker: Arc<Waker>,
        queue_depth: u32,
        registration: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let ring = build_ring(queue_depth + 1)?;
        let mut table = Table { free: Vec::new(), in_use: registration };
        if table.in_use.load(Ordering::Relaxed) {
            match ring.submitter().register_buffers_sparse(TABLE_BLOCKS) {
                Ok(()) => table.free = (0..TABLE_BLOCKS).rev().collect(),
                Err(_) => table.in_use.store(false, Ordering::Relaxed),
            }
        }
        let wake_count = Block::map(crate::ALIGNMENT)?;
        let mut ring = Self { ring, file, waker, wake_count, wake_armed: false, in_flight: 0, table };
        ring.check()?;
        Ok(ring)
    }

    fn push(&mut self, entry: &Entry) -> io::Result<()> {
        // SAFETY: the caller of `submit` keeps the memory alive until completion; the waiting read's memory is
        // `wake_count`, which `drop` frees only after that read has completed.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    fn arm_wake(&mut self) -> io::Result<()> {
        if !self.wake_armed {
            let waker = Fd(self.waker.descriptor());
            let entry = opcode::Read::new(waker, self.wake_count.start().as_ptr(), 8).build().user_data(WAKE);
            self.push(&entry)?;
            self.wake_armed = true;
        }
        Ok(())
    }

    /// Submits what was pushed, and sleeps until `completions` have arrived or some must be taken first.
    fn enter(&self, completions: usize) -> io::Result<()> {
        loop {
            match self.ring.submit_and_wait(completions) {
                Ok(_) => return Ok(()),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    // Completions must be taken, or memory come free, before more can be submitted.
                    Some(libc::EBUSY | libc::EAGAIN) if self.in_flight > 0 => return Ok(()),
                    _ => return Err(error),
                },
            }
        }
    }

    /// Requests that the kernel has taken and not answered, the waiting read included. What was only pushed it does not know.
    fn with_the_kernel(&mut self) -> usize {
        let pushed = self.ring.submission().len();
        (self.in_flight + usize::from(self.wake_armed)).saturating_sub(pushed)
    }

    /// That requests are taken and answered: a sandbox may allow a ring, and refuse what it is for.
    fn check(&mut self) -> io::Result<()> {
        self.push(&opcode::Nop::new().build().user_data(WAKE))?;
        self.enter(1)?;
        self.collect(&mut Vec::new());
        Ok(())
    }

    fn collect(&mut self, completions: &mut Vec<Completion>) {
        for entry in self.ring.completion() {
            if entry.user_data() == WAKE {
                self.wake_armed = false;
            } else if entry.user_data() != CANCEL {
                self.in_flight -= 1;
                completions.push(Completion { token: entry.user_data(), result: entry.result() });
            }
        }
    }
}

impl Device for Uring {
    unsafe fn submit(&mut self, request: Request) -> io::Result<()> {
        let file = Fd(self.file.as_raw_fd());
        let Request { memory, offset, length, .. } = request;
        let entry = match (request.operation, request.registration) {
            (Operation::Read, None) => {
                opcode::Read::new(file, memory.as_ptr(), length).offset(offset).build()
            }
            (Operation::Write, None) => {
                opcode::Write::new(file, memory.as_ptr(), length).offset(offset).build()
            }
            (Operation::Read, Some(index)) => {
                opcode::ReadFixed::new(file, memory.as_ptr(), length, index as u16).offset(offset).build()
            }
            (Operation::Write, Some(index)) => {
                opcode::WriteFixed::new(file, memory.as_ptr(), length, index as u16).offset(offset).build()
            }
            (Operation::Sync, _) => opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build(),
        };
        self.push(&entry.user_data(request.token))?;
        self.in_flight += 1;
        Ok(())
    }

    fn start(&mut self) -> io::Result<()> {
        if self.ring.submission().is_empty() { Ok(()) } else { self.enter(0) }
    }

    fn reap(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.arm_wake()?;
        self.enter(usize::from(wait == Wait::Yes))?;
        self.collect(completions);
        Ok(())
    }

    fn register(&mut self, block: &Block) {
        if block.registration().is_some() || block.len() > REGISTERED_BLOCK_BYTES {
            return;
        }
        let Some(index) = self.table.free.pop() else { return };
        let vector = libc::iovec { iov_base: block.start().as_ptr().cast(), iov_len: block.len() };
        // SAFETY: the block stays mapped until `unregister`, or until the ring is gone: the pool hands a registered
        // block to `unregister` before it unmaps it.
        let registered = unsafe { self.ring.submitter().register_buffers_update(index, &[vector], None) };
        if registered.is_ok() {
            block.set_registration(Some(index));
        } else {
            // Too little memory may be locked: from here on requests pin their own.
            self.table.free.clear();
            self.table.in_use.store(false, Ordering::Relaxed);
        }
    }

    fn unregister(&mut self, block: &Block) {
        let Some(index) = block.registration() else { return };
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: an empty vector names no memory.
        let cleared = unsafe { self.ring.submitter().register_buffers_update(index, &[nothing], None) };
        block.set_registration(None);
        if cleared.is_ok() {
            self.table.free.push(index);
        }
    }
}

impl Drop for Uring {
    /// Waits for the kernel to be done with all memory. If that cannot be waited for, the process ends: going on
    /// would let the kernel write into memory that has become something else.
    fn drop(&mut self) {
        let mut completions = Vec::new();
        if self.waker.wake().is_err() {
            let cancel = opcode::AsyncCancel::new(WAKE).build().user_data(CANCEL);
            // Where not even that can be asked for, the wait below fails, too.
            let _ = self.push(&cancel);
        }
        while self.with_the_kernel() > 0 {
            if let Err(error) = self.enter(1) {
                // The kernel may have taken requests of which it does not tell.
                self.collect(&mut completions);
                if self.with_the_kernel() == 0 {
                    return;
                }
                eprintln!(
                    "error: io_uring_enter failed with requests in flight, whose memory cannot be freed: {error}; allow it \
                     in the sandbox, or set storage.mode: memory"
                );
                exit(1);
            }
            self.collect(&mut completions);
        }
    }
}

/// Whether this process may lock `bytes` of memory, as registered buffers do. Where this is too hopeful (the
/// capability may count for nothing in a container) the ring finds out later.
pub(crate) fn may_lock(bytes: u64) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call fills the structure it is given.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } == 0;
    known && limit.rlim_cur >= bytes.saturating_add(RING_BYTES) || has_capability(CAP_IPC_LOCK)
}

fn has_capability(bit: u32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << bit) != 0)
}

/// The cheapest ring the kernel knows: completions are handled on the submitting thread and only when it asks.
fn build_ring(entries: u32) -> io::Result<IoUring> {
    let mut newest = IoUring::builder();
    // The flag by which the kernel says that there are completions: only then does an entry that waits for none take them.
    newest
        .setup_clamp()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag();
    let mut older = IoUring::builder();
    older.setup_clamp().setup_coop_taskrun();
    let mut oldest = IoUring::builder();
    oldest.setup_clamp();
    newest
        .build(entries)
        .or_else(|error| if_invalid(error, || older.build(entries)))
        .or_else(|error| if_invalid(error, || oldest.build(entries)))
}

fn if_invalid(error: io::Error, next: impl FnOnce() -> io::Result<IoUring>) -> io::Result<IoUring> {
    if error.raw_os_error() == Some(libc::EINVAL) { next() } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_whose_waker_fails_is_dropped_without_it() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let registration = Arc::new(AtomicBool::new(false));
        let Ok(mut ring) = Uring::new(file, Arc::new(Waker::deaf()), 4, registration) else {
            return eprintln!("skipped: io_uring is refused here");
        };
        ring.reap(Wait::No, &mut Vec::new()).unwrap();
        assert_eq!(ring.with_the_kernel(), 1);
        drop(ring);
    }
}
