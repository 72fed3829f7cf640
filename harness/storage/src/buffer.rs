//! The memory of one panel.

use std::fmt;
use std::sync::Arc;

use half::bf16;

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
        assert!(payload_bytes <= block.len() && payload_bytes.is_multiple_of(2));
        Self { block: Some(block), payload_bytes, home }
    }

    /// Length of the payload, in bytes.
    pub const fn len_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// The payload, as f32.
    ///
    /// # Panics
    /// If it is no whole number of them.
    pub fn as_f32(&self) -> &[f32] {
        let (start, len) = self.view();
        // SAFETY: the contract of `view`, and `self` is borrowed with the slice.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// The payload as f32, to be changed.
    ///
    /// # Panics
    /// If it is no whole number of them.
    pub fn as_f32_mut(&mut self) -> &mut [f32] {
        let (start, len) = self.view();
        // SAFETY: the contract of `view`, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// The payload, as bf16.
    pub fn as_bf16(&self) -> &[bf16] {
        let (start, len) = self.view();
        // SAFETY: the contract of `view`, and `self` is borrowed with the slice.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// The payload as bf16, to be changed.
    pub fn as_bf16_mut(&mut self) -> &mut [bf16] {
        let (start, len) = self.view();
        // SAFETY: the contract of `view`, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// Makes the payload that of `other`.
    ///
    /// # Panics
    /// If their lengths differ.
    pub fn copy_from(&mut self, other: &Self) {
        self.as_bf16_mut().copy_from_slice(other.as_bf16());
    }

    /// Start and length of the payload as numbers: page-aligned, initialised, inside the block that `self` owns. For
    /// numbers of which every bit pattern is one: f32 and bf16.
    fn view<T>(&self) -> (*mut T, usize) {
        assert!(self.payload_bytes.is_multiple_of(size_of::<T>()), "a payload of whole numbers");
        (self.block().start().as_ptr().cast(), self.payload_bytes / size_of::<T>())
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
