//! Page-aligned anonymous memory, owned.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// A mapping of whole pages, zeroed when made, unmapped when dropped.
///
/// Blocks are mapped one by one, so that blocks of different sizes cannot fragment each other: the space of a
/// returned block is good for any other.
#[derive(Debug)]
pub(crate) struct Block {
    start: NonNull<u8>,
    len: usize,
    /// Index in the kernel's table of registered buffers, or [`Block::UNREGISTERED`]. Only the I/O thread sets it.
    registration: AtomicU32,
}

// SAFETY: a block owns its mapping; the pointer is reached only through `&self` and `&mut self` below.
unsafe impl Send for Block {}
// SAFETY: `&Block` gives no access to the memory, only its address; `registration` is atomic.
unsafe impl Sync for Block {}

impl Block {
    const UNREGISTERED: u32 = u32::MAX;

    /// Maps `len` zeroed bytes; `len` is a positive multiple of the page size.
    pub(crate) fn map(len: usize) -> io::Result<Self> {
        assert!(len > 0, "an empty block cannot be mapped");
        // SAFETY: a fresh private anonymous mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("mmap does not return address 0 without MAP_FIXED");
        let block = Self { start, len, registration: AtomicU32::new(Self::UNREGISTERED) };
        block.prefer_huge_pages();
        Ok(block)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) const fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is `len` initialised (zeroed) bytes and lives as long as `self`; `&mut self` makes the
        // access unique.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Index of this block in the kernel's table of registered buffers.
    pub(crate) fn registration(&self) -> Option<u32> {
        let index = self.registration.load(Ordering::Relaxed);
        (index != Self::UNREGISTERED).then_some(index)
    }

    pub(crate) fn set_registration(&self, index: Option<u32>) {
        self.registration.store(index.unwrap_or(Self::UNREGISTERED), Ordering::Relaxed);
    }

    /// Fewer, larger pages make pinning for I/O and walking in products cheaper. Advice: a refusal changes nothing.
    fn prefer_huge_pages(&self) {
        const HUGE_PAGE: usize = 2 << 20;
        if self.len >= HUGE_PAGE && !cfg!(miri) {
            // SAFETY: the range is exactly this block's own mapping, and the advice does not change its contents.
            unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, libc::MADV_HUGEPAGE) };
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `start` and `len` are those of the mapping made in `map`, unmapped only here; whoever drops a
        // block has no borrow of it left, and devices own their blocks until the kernel is done with them.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert_eq!(result, 0, "unmapping a block of this process cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_zeroed_aligned_and_writable() {
        let mut block = Block::map(3 * 4096).unwrap();
        assert_eq!(block.start().as_ptr().addr() % 4096, 0);
        assert!(block.bytes_mut().iter().all(|byte| *byte == 0));
        block.bytes_mut()[3 * 4096 - 1] = 7;
        assert_eq!(block.bytes_mut()[3 * 4096 - 1], 7);
    }
}
