//! Tiles onto threads. Which thread computes a tile, and how many threads there are, changes no bit.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

/// Below this much work, handing tiles to other threads costs more than it gains.
const WORTH_SHARING_FLOPS: usize = 4_000_000;

/// With so many tiles, threads of different speeds, as cores in shared machines are, end at about the same time.
pub(crate) const ENOUGH_TILES: usize = 8;

/// Runs `tile` for every index below `tiles`, in the current rayon pool if `flops` is worth it.
pub(crate) fn for_each_tile(tiles: usize, flops: usize, tile: impl Fn(usize) + Sync) {
    if tiles <= 1 || flops < WORTH_SHARING_FLOPS || rayon::current_num_threads() == 1 {
        (0..tiles).for_each(tile);
    } else {
        (0..tiles).into_par_iter().with_max_len(1).for_each(&tile);
    }
}

/// The `index`-th of `parts` nearly equal parts of `0..length`.
pub(crate) const fn part(length: usize, parts: usize, index: usize) -> Range<usize> {
    length * index / parts..length * (index + 1) / parts
}

/// A mutable slice whose disjoint parts are written by different tiles at once.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    length: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: a `Shared` hands out parts only through `part`, whose contract is that parts in use at once do not
// overlap; so threads never reach the same element.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), slice: PhantomData }
    }

    pub(crate) const fn len(&self) -> usize {
        self.length
    }

    /// The address of an element, inside the slice or not.
    pub(crate) const fn locate(&self, index: usize) -> *const T {
        self.start.wrapping_add(index)
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// No other part in use at the same time overlaps `range`.
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.length, "part outside its slice");
        // SAFETY: in bounds by the assertion, unaliased by the caller's contract, and `'a` keeps the slice.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
