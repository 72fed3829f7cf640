//! Scratch that outlives calls, so that a step in its stride allocates nothing.

use std::cell::Cell;

/// One cache line. A buffer of these starts on a line, so no vector load of a packed operand straddles two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

const LINE: usize = 16;

/// A buffer that grows and is never cleared.
#[derive(Default)]
pub(crate) struct Buffer(Vec<Line>);

impl Buffer {
    /// The first `length` values, whatever they hold: what was left there, unless the buffer has to grow.
    pub(crate) fn get(&mut self, length: usize) -> &mut [f32] {
        let lines = length.div_ceil(LINE);
        if self.0.len() < lines {
            // The old memory goes before the new one comes: nobody has counted on both.
            self.0 = Vec::new();
            self.0 = vec![Line([0.0; LINE]); lines];
        }
        // SAFETY: `Line` is sixteen `f32` without padding (its size is its alignment), so `lines` of them are
        // at least `length` initialised values; the borrow of `self` is carried over.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast::<f32>(), length) }
    }
}

/// The buffers of one thread.
#[derive(Default)]
pub(crate) struct Workspace {
    /// The packed left operand of a gradient.
    pub left: Buffer,
    /// Packed strips of the right operand.
    pub right: Buffer,
    /// Sums of products.
    pub sums: Buffer,
}

thread_local! {
    static SHARED_LEFT: Cell<Buffer> = const { Cell::new(Buffer(Vec::new())) };
    static WORKSPACE: Cell<Workspace> =
        const { Cell::new(Workspace { left: Buffer(Vec::new()), right: Buffer(Vec::new()), sums: Buffer(Vec::new()) }) };
}

/// Lends the calling thread's workspace. A nested call, which no kernel makes, would find an empty one.
pub(crate) fn with_workspace<R>(body: impl FnOnce(&mut Workspace) -> R) -> R {
    WORKSPACE.with(|cell| {
        let mut workspace = cell.take();
        let result = body(&mut workspace);
        cell.set(workspace);
        result
    })
}

/// Lends the buffer for a left operand that all tiles of an operation read. It is apart from the workspace
/// because the calling thread also computes tiles, and because a thread that waits for the others may be
/// given another operation's work in between.
pub(crate) fn with_shared_left<R>(body: impl FnOnce(&mut Buffer) -> R) -> R {
    SHARED_LEFT.with(|cell| {
        let mut buffer = cell.take();
        let result = body(&mut buffer);
        cell.set(buffer);
        result
    })
}
