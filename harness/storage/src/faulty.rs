//! A device that makes one chosen operation fail, to show that every failure is found, named and survived.

use std::io;
use std::ptr::NonNull;

use crate::ALIGNMENT;
use crate::block::Block;
use crate::device::{Completion, Device, Operation, Request, Wait};

/// One operation that goes wrong.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Fault {
    /// Which request to the device, counted from 0 since the store was opened.
    pub operation: u64,
    /// What happens to it.
    pub kind: FaultKind,
}

/// What can happen to an operation.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum FaultKind {
    /// It fails with this error number, and moves nothing.
    Errno(i32),
    /// It moves this many bytes at most, and says so.
    Short(u32),
    /// If it is a read, one bit of what it brings is wrong.
    FlippedBit,
}

/// A device around another; the fault replaces one operation.
pub(crate) struct FaultyDevice {
    inner: Box<dyn Device>,
    fault: Fault,
    submitted: u64,
    /// Completions of requests that never reached the inner device.
    invented: Vec<Completion>,
    /// The request in flight, by its token, that is to bring a wrong bit, and where.
    spoiled: Option<(u64, NonNull<u8>)>,
}

impl FaultyDevice {
    /// `inner` itself if nothing is to go wrong.
    pub(crate) fn around(inner: Box<dyn Device>, fault: Option<Fault>) -> Box<dyn Device> {
        match fault {
            None => inner,
            Some(fault) => Box::new(Self { inner, fault, submitted: 0, invented: Vec::new(), spoiled: None }),
        }
    }
}

impl Device for FaultyDevice {
    unsafe fn submit(&mut self, request: Request) -> io::Result<()> {
        let number = self.submitted;
        self.submitted += 1;
        let mut request = request;
        if number == self.fault.operation {
            let invented = match self.fault.kind {
                FaultKind::Errno(errno) => Some(-errno),
                FaultKind::FlippedBit => {
                    let reads = request.operation == Operation::Read;
                    self.spoiled = reads.then_some((request.token, request.memory));
                    None
                }
                FaultKind::Short(_) if request.operation == Operation::Sync => None,
                FaultKind::Short(bytes) => {
                    // Only whole blocks really move; the rest of a shorter answer is left for the retry.
                    let aligned = bytes - bytes % ALIGNMENT as u32;
                    request.length = request.length.min(aligned);
                    (request.length == 0).then_some(bytes.cast_signed())
                }
            };
            if let Some(result) = invented {
                self.invented.push(Completion { token: request.token, result });
                return Ok(());
            }
        }
        // SAFETY: the request is the caller's, or a shorter part of it.
        unsafe { self.inner.submit(request) }
    }

    fn start(&mut self) -> io::Result<()> {
        self.inner.start()
    }

    fn reap(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        let wait = if self.invented.is_empty() { wait } else { Wait::No };
        completions.append(&mut self.invented);
        self.inner.reap(wait, completions)?;
        if let Some((token, memory)) = self.spoiled
            && let Some(completion) = completions.iter().find(|completion| completion.token == token)
        {
            self.spoiled = None;
            if completion.result > 0 {
                // SAFETY: the read has filled this byte, and its caller, who is not yet told, still leaves it to us.
                unsafe { memory.write(memory.read() ^ 4) };
            }
        }
        Ok(())
    }

    fn register(&mut self, block: &Block) {
        self.inner.register(block);
    }

    fn unregister(&mut self, block: &Block) {
        self.inner.unregister(block);
    }
}
