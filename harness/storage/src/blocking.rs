//! A device that does each request at once, on the I/O thread: for stores that go through the page cache. What it has
//! answered is summed after the next request, as with every device: one piece later than could be.

use std::io;
use std::sync::Arc;

use crate::device::{Completion, Device, Operation, Request, Wait, Waker};

/// A file whose reads and writes are plain calls. They may move less than asked for, as in the kernel's calls.
pub(crate) trait BlockingFile {
    fn read_at(&mut self, memory: &mut [u8], offset: u64) -> io::Result<usize>;
    fn write_at(&mut self, memory: &[u8], offset: u64) -> io::Result<usize>;
    /// Everything written to stable storage.
    fn sync(&mut self) -> io::Result<()>;
}

pub(crate) struct BlockingDevice<F> {
    file: F,
    waker: Arc<Waker>,
    done: Vec<Completion>,
}

impl<F: BlockingFile> BlockingDevice<F> {
    pub(crate) const fn new(file: F, waker: Arc<Waker>) -> Self {
        Self { file, waker, done: Vec::new() }
    }
}

impl<F: BlockingFile> Device for BlockingDevice<F> {
    unsafe fn submit(&mut self, request: Request) -> io::Result<()> {
        let (start, length) = (request.memory.as_ptr(), request.length as usize);
        let moved = match request.operation {
            Operation::Read => {
                // SAFETY: the caller vouches that the memory is valid and that nobody else touches it; it was
                // zeroed when mapped, so it is initialised.
                self.file.read_at(unsafe { std::slice::from_raw_parts_mut(start, length) }, request.offset)
            }
            Operation::Write => {
                // SAFETY: the caller vouches that the memory is valid and that nobody writes to it.
                self.file.write_at(unsafe { std::slice::from_raw_parts(start, length) }, request.offset)
            }
            Operation::Sync => self.file.sync().map(|()| 0),
        };
        let result = match moved {
            Ok(bytes) => i32::try_from(bytes).map_err(|_| io::ErrorKind::InvalidData)?,
            Err(error) => -error.raw_os_error().unwrap_or(libc::EIO),
        };
        self.done.push(Completion { token: request.token, result });
        Ok(())
    }

    fn reap(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        if self.done.is_empty() && wait == Wait::Yes {
            self.waker.sleep()?;
        }
        completions.append(&mut self.done);
        Ok(())
    }
}
