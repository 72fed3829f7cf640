//! Memory that will be needed soon, asked for while something else is computed.
//!
//! Lines of a panel lie so far apart that no CPU guesses the next one. Products ask for them a few at a time as they go:
//! many at once would fill the CPU's list of misses, and the product would wait for its own operands behind them.

use super::MOST_RUNS;

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// Bytes that are asked for at a time: memory gives neighbours faster than what is scattered.
const RUN: usize = CACHE_LINES_PER_RUN * CACHE_LINE;

/// Cache lines asked for at a time.
pub(super) const CACHE_LINES_PER_RUN: usize = 4;

/// `lines` lines of `length` bytes, `stride` bytes apart. They are never read through this, so they may lie anywhere.
#[derive(Clone, Copy)]
pub(crate) struct Region {
    source: *const u8,
    stride: usize,
    lines: usize,
    length: usize,
}

impl Region {
    /// Nothing.
    pub(crate) const NONE: Self = Self { source: std::ptr::null(), stride: 0, lines: 0, length: 0 };

    /// `lines` lines of `length` values, `stride` values apart.
    pub(crate) const fn new<T>(source: *const T, stride: usize, lines: usize, length: usize) -> Self {
        let (stride, length) = (stride * size_of::<T>(), length * size_of::<T>());
        Self { source: source.cast(), stride, lines, length }
    }

    /// Addresses from its first byte to its last line's end, if it has any.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> std::ops::Range<usize> {
        let start = self.source.addr();
        if self.lines == 0 { 0..0 } else { start..start + (self.lines - 1) * self.stride + self.length }
    }

    /// Runs that it has at most.
    fn runs(&self) -> usize {
        let aligned = self.source.addr().is_multiple_of(CACHE_LINE) && self.stride.is_multiple_of(CACHE_LINE);
        self.lines * (self.length + if aligned { 0 } else { CACHE_LINE }).div_ceil(RUN)
    }
}

/// What is done beside products.
pub(crate) trait Meanwhile {
    /// Called before each product, by kernels that ask for runs, with places for the addresses of those it is to ask for.
    /// Returns how many it has filled, from the first on.
    fn before_product(&mut self, addresses: &mut [*const u8]) -> usize;
}

/// One thing, and another.
impl<A: Meanwhile, B: Meanwhile> Meanwhile for (&mut A, &mut B) {
    fn before_product(&mut self, addresses: &mut [*const u8]) -> usize {
        let runs = self.0.before_product(addresses);
        runs + self.1.before_product(&mut addresses[runs..])
    }
}

/// What a product asks for on its way.
pub(super) struct Asked {
    addresses: [*const u8; MOST_RUNS],
    /// Runs that a product has places for, if it asks for any.
    places: Option<usize>,
    /// How many of the addresses are of runs; the others are `idle`, which costs least.
    runs: usize,
    idle: *const u8,
}

impl Asked {
    /// For products with so many places, whose left operands are in `left`.
    pub(super) const fn new(places: Option<usize>, left: &[f32]) -> Self {
        let idle = left.as_ptr().cast();
        Self { addresses: [idle; MOST_RUNS], places, runs: 0, idle }
    }

    /// Is called before a product; `next` are packed rows that come from a more distant cache for the product after it: they
    /// are asked for if a product has places for so many, as AVX-512's has and AVX2's has not. Returns the addresses, one for
    /// each place, and how many of them are of runs.
    #[inline]
    pub(super) fn before_product(
        &mut self,
        meanwhile: &mut impl Meanwhile,
        next: Option<&[f32]>,
    ) -> (*const *const u8, usize) {
        let Some(places) = self.places else { return (self.addresses.as_ptr(), 0) };
        let addresses = &mut self.addresses[..places];
        let mut runs = meanwhile.before_product(addresses);
        assert!(runs <= places, "{runs} runs in {places} places");
        if let Some(rows) = next.filter(|rows| size_of_val(*rows) <= places * RUN) {
            let (start, count) = (rows.as_ptr().cast::<u8>(), size_of_val(rows).div_ceil(RUN));
            let free = &mut addresses[runs..(runs + count).min(places)];
            for (run, place) in free.iter_mut().enumerate() {
                *place = start.wrapping_add(run * RUN);
            }
            runs += free.len();
        }
        if runs < self.runs {
            addresses[runs..self.runs].fill(self.idle);
        }
        self.runs = runs;
        (addresses.as_ptr(), runs)
    }
}

/// Regions, run by run, in even shares for the products to come.
pub(crate) struct Ahead<Regions> {
    /// Those to come.
    regions: Regions,
    /// How many have begun.
    begun: usize,
    /// What is left of the region under way: its lines but the first.
    region: Region,
    /// What is left of the line under way.
    line: std::ops::Range<*const u8>,
    /// Runs of a product's share.
    share: usize,
}

impl Ahead<std::iter::Empty<Region>> {
    /// Nothing to ask for.
    pub(crate) fn nothing() -> Self {
        Self::new(std::iter::empty(), 0)
    }
}

impl<Regions: Iterator<Item = Region> + Clone> Ahead<Regions> {
    /// All of `regions`, over `products` products.
    pub(crate) fn new(regions: Regions, products: usize) -> Self {
        let runs: usize = regions.clone().map(|region| region.runs()).sum();
        let nothing = std::ptr::null();
        Self {
            regions,
            begun: 0,
            region: Region::NONE,
            line: nothing..nothing,
            share: runs.div_ceil(products.max(1)),
        }
    }

    /// How many regions have been asked for to their ends, by products before the next.
    pub(crate) fn done(&self) -> usize {
        let under_way = self.region.lines > 0 || self.line.start < self.line.end;
        self.begun - usize::from(under_way)
    }

    /// Goes on to the next line, if the one under way is over. Whether there is one.
    fn find_line(&mut self) -> bool {
        while self.line.start >= self.line.end {
            while self.region.lines == 0 {
                let Some(region) = self.regions.next() else { return false };
                self.region = region;
                self.begun += 1;
            }
            let start = self.region.source;
            self.line = start.wrapping_sub(start.addr() % CACHE_LINE)..start.wrapping_add(self.region.length);
            self.region.source = start.wrapping_add(self.region.stride);
            self.region.lines -= 1;
        }
        true
    }
}

impl<Regions: Iterator<Item = Region> + Clone> Meanwhile for Ahead<Regions> {
    /// Gives the next share. What `addresses` have no room for is asked for now.
    fn before_product(&mut self, mut addresses: &mut [*const u8]) -> usize {
        let room = addresses.len();
        let mut left = self.share;
        while left > 0 && self.find_line() {
            // Line by line, as this is done for each product: a run costs an addition.
            let start = self.line.start;
            let runs = (self.line.end.addr() - start.addr()).div_ceil(RUN).min(left);
            let taken = runs.min(addresses.len());
            let (places, rest) = std::mem::take(&mut addresses).split_at_mut(taken);
            for (run, place) in places.iter_mut().enumerate() {
                *place = start.wrapping_add(run * RUN);
            }
            for run in places.len()..runs {
                prefetch_run(start.wrapping_add(run * RUN));
            }
            addresses = rest;
            self.line.start = start.wrapping_add(runs * RUN);
            left -= runs;
        }
        room - addresses.len()
    }
}

/// Asks for a run into the second-level cache; the first level is full of packed operands.
pub(super) fn prefetch_run(address: *const u8) {
    for line in 0..CACHE_LINES_PER_RUN {
        let address = address.wrapping_add(line * CACHE_LINE);
        // SAFETY: a prefetch is a hint and cannot fault, whatever the address.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = address;
    }
}

#[cfg(test)]
mod tests {
    use super::{Ahead, Asked, Meanwhile, Region};

    fn region(source: usize, stride: usize, lines: usize, length: usize) -> Region {
        Region::new(std::ptr::without_provenance::<u8>(source), stride, lines, length)
    }

    /// What each of `products` products asks for, two addresses at most.
    fn shares(regions: &[Region], products: usize) -> Vec<Vec<usize>> {
        let mut ahead = Ahead::new(regions.iter().copied(), products);
        let share = |_| {
            let mut addresses = [std::ptr::null(); 2];
            let runs = ahead.before_product(&mut addresses);
            addresses[..runs].iter().map(|address| address.addr()).collect()
        };
        (0..products).map(share).collect()
    }

    #[test]
    fn every_run_is_asked_for_once_in_even_shares() {
        let regions = [region(6400, 64_000, 2, 512), region(640, 6400, 1, 64)];
        assert_eq!(shares(&regions, 3), [vec![6400, 6656], vec![70_400, 70_656], vec![640]]);
    }

    #[test]
    fn a_line_that_straddles_cache_lines_has_all_of_them() {
        assert_eq!(shares(&[region(700, 1000, 2, 256)], 4), [vec![640], vec![896], vec![1664], vec![1920]]);
    }

    #[test]
    fn a_share_goes_over_lines_and_regions() {
        let regions = [region(640, 1024, 3, 64), region(64_000, 64, 1, 512)];
        assert_eq!(shares(&regions, 3), [vec![640, 1664], vec![2688, 64_000], vec![64_256]]);
    }

    #[test]
    fn what_a_product_has_no_room_for_is_not_left_to_the_next() {
        assert_eq!(shares(&[region(6400, 0, 1, 2048)], 2), [vec![6400, 6656], vec![7424, 7680]]);
        assert_eq!(shares(&[region(640, 1024, 6, 64)], 2), [vec![640, 1664], vec![3712, 4736]]);
    }

    #[test]
    fn a_region_is_done_when_all_of_it_has_been_asked_for() {
        let regions = [region(640, 1024, 2, 512), region(64_000, 64, 1, 64), region(6400, 0, 1, 256)];
        let mut ahead = Ahead::new(regions.into_iter(), 6);
        let done = |_| {
            ahead.before_product(&mut [std::ptr::null(); 2]);
            ahead.done()
        };
        // A run at a time, of two lines of two, one of one and one of one.
        assert_eq!((0..7).map(done).collect::<Vec<_>>(), [0, 0, 0, 1, 2, 3, 3]);
    }

    #[test]
    fn no_regions_are_nothing_to_ask_for() {
        assert_eq!(shares(&[], 2), [vec![0; 0], vec![]]);
        assert_eq!(shares(&[region(64, 64, 0, 64), region(64, 64, 3, 0)], 1), [vec![0; 0]]);
    }

    #[test]
    fn two_things_share_the_places() {
        let mut first = Ahead::new([region(6400, 0, 1, 512)].into_iter(), 2);
        let mut second = Ahead::new([region(640, 1024, 4, 64)].into_iter(), 2);
        let mut both = |places: usize| {
            let mut addresses = [std::ptr::null(); 4];
            let runs = (&mut first, &mut second).before_product(&mut addresses[..places]);
            addresses[..runs].iter().map(|address| address.addr()).collect::<Vec<_>>()
        };
        assert_eq!(both(4), [6400, 640, 1664]);
        // The last is asked for at once.
        assert_eq!(both(2), [6656, 2688]);
        assert_eq!(both(4), [0; 0]);
    }

    #[test]
    fn a_product_asks_for_the_next_rows_where_all_of_them_find_a_place() {
        let rows = [0.0_f32; 129];
        let at = |value: usize| std::ptr::from_ref(&rows[value]).addr();
        let check = |places, next: usize, expected: &[&[usize]]| {
            let mut ahead = Ahead::new([region(6400, 0, 1, 512)].into_iter(), 2);
            let mut asked = Asked::new(places, &rows);
            for expected in expected {
                let (addresses, runs) = asked.before_product(&mut ahead, (next > 0).then(|| &rows[..next]));
                assert_eq!(runs, expected.len());
                // SAFETY: there is an address for each place.
                let all = unsafe { std::slice::from_raw_parts(addresses, places.unwrap_or(0)) };
                assert!(all[runs..].iter().all(|address| address.addr() == at(0)), "idle");
                let runs: Vec<usize> = all[..runs].iter().map(|address| address.addr()).collect();
                assert_eq!(runs, *expected);
            }
        };
        check(Some(4), 0, &[&[6400], &[6656], &[]]);
        check(Some(4), 128, &[&[6400, at(0), at(64)], &[6656, at(0), at(64)], &[at(0), at(64)]]);
        check(Some(4), 129, &[&[6400, at(0), at(64), at(128)]]);
        // Behind a share, to the last place.
        check(Some(2), 128, &[&[6400, at(0)]]);
        check(Some(2), 129, &[&[6400]]);
        check(None, 128, &[&[]]);
    }
}
