//! What the I/O thread needs from whatever moves the bytes: submit a request, reap its completion.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::ptr::NonNull;

use crate::block::Block;

/// What a request does.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Operation {
    /// File to memory.
    Read,
    /// Memory to file.
    Write,
    /// Everything written so far to stable storage; no memory, no length.
    Sync,
}

impl Operation {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
        }
    }
}

/// One contiguous transfer, at most a chunk long.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Request {
    /// Comes back with the completion; unique among the requests in flight.
    pub token: u64,
    pub operation: Operation,
    pub memory: NonNull<u8>,
    /// Of the memory's block, if the device has it registered.
    pub registration: Option<u32>,
    pub offset: u64,
    pub length: u32,
}

/// The end of a request: bytes moved, or a negative errno, as the kernel says it.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) struct Completion {
    pub token: u64,
    pub result: i32,
}

/// Whether to sleep until something happens.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Wait {
    /// Return at once if nothing has happened.
    No,
    /// Sleep until a request completes or the [`Waker`] is used.
    Yes,
}

/// Moves bytes between memory and one file. Dropping a device waits for every request in flight.
pub(crate) trait Device {
    /// Starts a request; its completion comes from [`Device::reap`].
    ///
    /// # Safety
    /// The request's memory is valid for its length until its completion was reaped or the device was dropped. Until
    /// then nobody else touches the memory of a read, and nobody writes to the memory of a write.
    unsafe fn submit(&mut self, request: Request) -> io::Result<()>;

    /// Hands over what was submitted, where that is put off until [`Device::reap`].
    fn start(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Appends the completions that have arrived.
    fn reap(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()>;

    /// Pins a block once, so that its requests need not. A device that cannot leaves the block unregistered.
    fn register(&mut self, _block: &Block) {}

    /// Ends [`Device::register`]; the block has no request in flight.
    fn unregister(&mut self, _block: &Block) {}
}

/// Wakes a device that sleeps in [`Device::reap`]. A wake before the sleep ends it too.
#[derive(Debug)]
pub(crate) struct Waker {
    event: File,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: a plain system call without pointers.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and has no other owner.
        Ok(Self { event: unsafe { File::from_raw_fd(descriptor) } })
    }

    /// # Errors
    /// The system refuses the write: whoever sleeps goes on sleeping.
    pub(crate) fn wake(&self) -> io::Result<()> {
        // A counter of 2^64 - 1 wakes could make this block; it is far away.
        (&self.event).write_all(&1_u64.to_ne_bytes())
    }

    /// One that cannot wake, and can be slept on.
    #[cfg(test)]
    pub(crate) fn deaf() -> Self {
        let (reader, writer) = io::pipe().unwrap();
        // Its end would end the sleep.
        std::mem::forget(writer);
        Self { event: File::from(std::os::fd::OwnedFd::from(reader)) }
    }

    /// Sleeps until woken.
    pub(crate) fn sleep(&self) -> io::Result<()> {
        (&self.event).read(&mut [0; 8]).map(|_| ())
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}
