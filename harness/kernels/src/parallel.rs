//! Tiles onto threads. Which thread computes a tile, and how many threads there are, changes no bit.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

/// Below this much work, handing tiles to other threads costs more than it gains.
const WORTH_SHARING_FLOPS: usize = 4_000_000;

/// With so many tiles, threads of different speeds, as cores in shared machines are, end at about the same time.
pub(crate) const ENOUGH_TILES: usize = 8;

/// Threads of the current rayon pool that share so much work.
pub(crate) fn threads(flops: usize) -> usize {
    if flops < WORTH_SHARING_FLOPS { 1 } else { rayon::current_num_threads() }
}

/// Most threads that share an operation.
const MOST_THREADS: usize = 64;

/// Where a thread's share of an operation starts and ends, as far as nobody has taken it: one word, so that each part goes to one
/// thread whatever the order in which others see it. What threads write, rayon's join publishes.
#[derive(Default)]
struct Untaken(AtomicU64);

impl Untaken {
    fn set(&self, range: Range<usize>) {
        self.0.store(word(range), Ordering::Relaxed);
    }

    fn range(&self) -> Range<usize> {
        range(self.0.load(Ordering::Relaxed))
    }

    /// Takes a part as long as `length` says of what there is, unless there is nothing.
    fn take_first(&self, length: impl Fn(usize) -> usize) -> Option<Range<usize>> {
        self.cut(|Range { start, end }| {
            let middle = start + length(end - start);
            [start..middle, middle..end]
        })
    }

    /// As [`take_first`](Self::take_first), but from the end.
    fn take_last(&self, length: impl Fn(usize) -> usize) -> Option<Range<usize>> {
        self.cut(|Range { start, end }| {
            let middle = end - length(end - start);
            [middle..end, start..middle]
        })
    }

    /// Leaves the second of two ranges and returns the first, unless it is empty.
    fn cut(&self, cut: impl Fn(Range<usize>) -> [Range<usize>; 2]) -> Option<Range<usize>> {
        let mut part = 0..0;
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |untaken| {
            let rest;
            [part, rest] = cut(range(untaken));
            (!part.is_empty()).then(|| word(rest))
        });
        taken.is_ok().then_some(part)
    }
}

const fn word(range: Range<usize>) -> u64 {
    (range.start as u64) << 32 | range.end as u64
}

const fn range(word: u64) -> Range<usize> {
    (word >> 32) as usize..(word & u32::MAX as u64) as usize
}

/// Parts of an operation, for one of the threads that share it: first of its own share, in order, which is the same in every
/// step, so that it finds in its cache what it left there; then the last ones of others, so that all end at the same time.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    shares: &'a [Untaken],
    own: usize,
    most: usize,
}

impl<'a> Parts<'a> {
    /// The thread's own.
    pub(crate) fn own(self) -> impl Iterator<Item = Range<usize>> + use<'a> {
        std::iter::from_fn(move || self.shares[self.own].take_first(|left| self.length(left)))
    }

    /// Those of others, as far as they have not begun them.
    pub(crate) fn others(self) -> impl Iterator<Item = Range<usize>> + use<'a> {
        std::iter::from_fn(move || {
            loop {
                let left = self.shares.iter().map(|share| (share, share.range().len()));
                let (fullest, left) = left.max_by_key(|(_, left)| *left)?;
                // What was once empty stays so.
                if left == 0 {
                    return None;
                }
                // Unless another was faster.
                if let Some(part) = fullest.take_last(|left| self.length(left)) {
                    return Some(part);
                }
            }
        })
    }

    /// All that it takes.
    pub(crate) fn all(self) -> impl Iterator<Item = Range<usize>> + use<'a> {
        self.own().chain(self.others())
    }

    /// Where its next part is to start, unless another takes it; where `most` is 1, that part.
    pub(crate) fn next(&self) -> Option<usize> {
        let left = self.shares[self.own].range();
        (!left.is_empty()).then_some(left.start)
    }

    /// How long a part of such a share is: where threads may take from each other, the last ones are shorter.
    fn length(&self, left: usize) -> usize {
        let fair = if self.shares.len() > 1 { left.div_ceil(2) } else { left };
        fair.min(self.most)
    }
}

/// Calls `work` so many times, on as many threads of the current rayon pool as are free, each time with the parts of
/// `0..length` that this call takes, none longer than `most`. Which share is whose goes by the thread: one that nobody comes
/// for is taken by the others.
///
/// # Panics
/// If `length` does not fit 32 bits.
pub(crate) fn share(length: usize, most: usize, threads: usize, work: impl Fn(Parts) + Sync) {
    assert!(u32::try_from(length).is_ok(), "{length} tiles");
    let threads = threads.clamp(1, length.clamp(1, MOST_THREADS));
    let mut shares: [Untaken; MOST_THREADS] = std::array::from_fn(|_| Untaken::default());
    let shares = &mut shares[..threads];
    for (index, share) in shares.iter().enumerate() {
        share.set(part(length, threads, index));
    }
    let shares = &*shares;
    let work = |own| work(Parts { shares, own, most });
    if threads == 1 {
        work(0);
    } else {
        let own = || rayon::current_thread_index().expect("rayon runs this on its threads") % threads;
        (0..threads).into_par_iter().with_max_len(1).for_each(|_| work(own()));
    }
}

/// Runs `tile` for every index below `tiles`, in the current rayon pool if `flops` is worth it.
pub(crate) fn for_each_tile(tiles: usize, flops: usize, tile: impl Fn(usize) + Sync) {
    share(tiles, 1, threads(flops), |tiles| tiles.all().flatten().for_each(&tile));
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::{Parts, Untaken, share};
    use crate::check::with_threads;

    /// Shares that end there, each where the one before it ends.
    fn shares(ends: &[usize]) -> Vec<Untaken> {
        let mut start = 0;
        let share = |end: &usize| {
            let share = Untaken::default();
            share.set(start..*end);
            start = *end;
            share
        };
        ends.iter().map(share).collect()
    }

    #[test]
    fn a_thread_takes_its_own_share_in_order_and_smaller_parts_at_its_end() {
        let shares = shares(&[10, 10]);
        let parts = Parts { shares: &shares, own: 0, most: 4 };
        assert_eq!(parts.next(), Some(0));
        assert_eq!(parts.own().next(), Some(0..4));
        assert_eq!(parts.next(), Some(4));
        assert_eq!(parts.all().collect::<Vec<_>>(), [4..7, 7..9, 9..10]);
        assert_eq!(parts.next(), None);
    }

    #[test]
    fn a_thread_that_is_done_takes_the_last_parts_of_the_fullest_share() {
        let shares = shares(&[1, 4, 14]);
        let first = Parts { shares: &shares, own: 0, most: 4 };
        assert_eq!(first.all().take(3).collect::<Vec<_>>(), [0..1, 10..14, 7..10]);
        assert_eq!(first.next(), None);
        let rest: Vec<_> = Parts { shares: &shares, own: 2, most: 4 }.all().collect();
        assert_eq!(rest, [4..6, 6..7, 2..4, 1..2]);
        assert_eq!(first.all().next(), None);
    }

    #[test]
    fn one_thread_has_no_reason_for_smaller_parts() {
        let shares = shares(&[10]);
        let parts: Vec<_> = Parts { shares: &shares, own: 0, most: 4 }.all().collect();
        assert_eq!(parts, [0..4, 4..8, 8..10]);
    }

    #[test]
    fn whoever_takes_them_parts_are_the_whole() {
        for (length, most, threads) in [(1000, 7, 3), (2, 1, 4), (1, 4, 2), (0, 4, 2), (70, 1, 100)] {
            let parts = Mutex::new(Vec::new());
            with_threads(threads, || {
                share(length, most, threads, |taken| {
                    for part in taken.all() {
                        parts.lock().unwrap().push(part);
                    }
                });
            });
            let mut parts = parts.into_inner().unwrap();
            assert!(parts.iter().all(|part| (1..=most).contains(&part.len())));
            parts.sort_by_key(|part| part.start);
            let all: Vec<usize> = parts.into_iter().flatten().collect();
            assert_eq!(all, (0..length).collect::<Vec<_>>(), "{length} tiles, {threads} threads");
        }
    }
}
