//! The program's allocator: the system's, which ends the program with an error where no memory is left. The standard
//! library would abort it, as if by a bug.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Cursor, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// The system's allocator. Where it has no memory, the process says so on standard error and ends with exit code 1.
///
/// Code that could go on without the memory is not asked: what a trial holds is planned and comes from mappings.
#[derive(Copy, Clone, Debug)]
pub struct Allocator;

// SAFETY: all calls go to the system's allocator, whose contract is the same; a null pointer is not returned.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        present(unsafe { System.alloc(layout) }, layout.size())
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        present(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `realloc`.
        present(unsafe { System.realloc(pointer, layout, size) }, size)
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[inline]
fn present(pointer: *mut u8, bytes: usize) -> *mut u8 {
    if pointer.is_null() {
        give_up(bytes);
    }
    pointer
}

/// Ends the process, without allocating.
#[cold]
fn give_up(bytes: usize) -> ! {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        let mut text = Cursor::new([0; 200]);
        let _ = writeln!(
            text,
            "error: no memory for {bytes} bytes; raise the limit (ulimit -v, or the control group's), or free some"
        );
        let length = text.position() as usize;
        // SAFETY: the bytes written are those of a buffer that lives here.
        unsafe { libc::write(libc::STDERR_FILENO, text.get_ref().as_ptr().cast(), length) };
    }
    // SAFETY: it ends the process at once, and runs nothing of it.
    unsafe { libc::_exit(1) }
}
