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
        let start = if len < HUGE_PAGE || cfg!(miri) { map_pages(len)? } else { map_huge_pages(len)? };
        Ok(Self { start, len, registration: AtomicU32::new(Self::UNREGISTERED) })
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
}

/// What the kernel calls a transparent huge page.
const HUGE_PAGE: usize = 2 << 20;

/// A fresh mapping.
fn map_pages(len: usize) -> io::Result<NonNull<u8>> {
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
    Ok(NonNull::new(start.cast()).expect("mmap does not return address 0 without MAP_FIXED"))
}

/// A fresh mapping that begins where a huge page may, so that all of it but a rest at its end can be huge pages. Bytes
/// of one of them are one segment of a request to the device, where small pages may be one each, and a request has few
/// (254 under virtio: a request for more is split). Products look up fewer addresses.
fn map_huge_pages(len: usize) -> io::Result<NonNull<u8>> {
    let longer = len.checked_add(HUGE_PAGE).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
    let mapped = map_pages(longer)?;
    let before = mapped.align_offset(HUGE_PAGE);
    // SAFETY: `before` is less than a huge page, which is how much longer than `len` the mapping is.
    let start = unsafe { mapped.add(before) };
    // SAFETY: likewise, the end of the block lies within the mapping.
    let end = unsafe { start.add(len) };
    for (from, unused) in [(mapped, before), (end, HUGE_PAGE - before)] {
        if unused > 0 {
            // SAFETY: part of the mapping made here, outside the block, which nobody has seen. Where the kernel refuses
            // to split a mapping, addresses are lost, no memory.
            unsafe { libc::munmap(from.as_ptr().cast(), unused) };
        }
    }
    // SAFETY: the range is what is left of the mapping, and the advice does not change its contents. A refusal changes
    // nothing.
    unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
    Ok(start)
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `start` and `len` are those of what `map` left of its mapping, unmapped only here; whoever drops a
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

    #[test]
    #[cfg_attr(miri, ignore = "addresses are the kernel's")]
    fn a_block_of_a_huge_page_or_more_begins_where_one_may_and_maps_no_more_than_it_holds() {
        const BLOCKS: usize = 1024;
        let mapped = || {
            let status = std::fs::read_to_string("/proc/self/statm").unwrap();
            4096 * status.split(' ').next().unwrap().parse::<usize>().unwrap()
        };
        let before = mapped();
        let mut blocks: Vec<_> = (0..BLOCKS).map(|_| Block::map(HUGE_PAGE + 4096).unwrap()).collect();
        let more = mapped().saturating_sub(before);
        // Other tests map a little as well; with the ends it would be twice as much.
        assert!(more < BLOCKS * (HUGE_PAGE + HUGE_PAGE / 2), "{more}");
        for block in &mut blocks {
            assert_eq!(block.start().as_ptr().addr() % HUGE_PAGE, 0);
            *block.bytes_mut().last_mut().unwrap() = 7;
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "addresses are the kernel's")]
    fn more_than_there_are_addresses_is_out_of_memory() {
        for len in [usize::MAX - 4095, usize::MAX / 2 - 4095] {
            assert_eq!(Block::map(len).unwrap_err().raw_os_error(), Some(libc::ENOMEM));
        }
    }
}
