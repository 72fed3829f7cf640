//! The memory of one panel.

use std::fmt;
use std::sync::Arc;

use crate::block::Block;
use crate::pool::Pool;

/// A panel's memory. Exclusive holders mutate it through [`Arc::get_mut`].
pub type Panel = Arc<Buffer>;

/// Owned, 4096-aligned memory whose length is a payload rounded up to 4096; recycled by its store's pool when
/// dropped. The bytes after the payload are zero.
pub struct Buffer {
    /// Present until the buffer is dropped.
    block: Option<Block>,
    payload_bytes: usize,
    home: Arc<Pool>,
}

impl Buffer {
    pub(crate) const fn new(block: Block, payload_bytes: usize, home: Arc<Pool>) -> Self {
        assert!(payload_bytes <= block.len() && payload_bytes.is_multiple_of(4));
        Self { block: Some(block), payload_bytes, home }
    }

    /// Length of the payload, in bytes.
    pub const fn len_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// The payload.
    pub fn as_f32(&self) -> &[f32] {
        let start = self.block().start().as_ptr().cast();
        // SAFETY: the block is page-aligned, initialised, at least `payload_bytes` long, and borrowed with `self`;
        // every bit pattern is an f32.
        unsafe { std::slice::from_raw_parts(start, self.payload_bytes / 4) }
    }

    /// The payload, to be changed.
    pub fn as_f32_mut(&mut self) -> &mut [f32] {
        let start = self.block().start().as_ptr().cast();
        // SAFETY: as for `as_f32`, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(start, self.payload_bytes / 4) }
    }

    /// Makes the bytes after the payload zeros.
    pub(crate) fn zero_padding(&mut self) {
        let payload = self.payload_bytes;
        let block = self.block.as_mut().expect("a buffer has its block until it is dropped");
        block.bytes_mut()[payload..].fill(0);
    }

    pub(crate) const fn block(&self) -> &Block {
        self.block.as_ref().expect("a buffer has its block until it is dropped")
    }

    /// The payload and the zeros after it: what a store moves.
    pub(crate) const fn padded_bytes(&self) -> &[u8] {
        let block = self.block();
        // SAFETY: the block is initialised and `len` long, and `&self` means that nobody writes to it: a device
        // writes only to buffers of reads under way, which are looked at when they are over.
        unsafe { std::slice::from_raw_parts(block.start().as_ptr(), block.len()) }
    }

    /// Whether `pool` recycles this buffer.
    pub(crate) fn is_from(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.home, pool)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.home.give_back(block);
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Buffer").field("len_bytes", &self.payload_bytes).finish_non_exhaustive()
    }
}
