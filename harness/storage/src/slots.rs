//! Which of an extent's places in the file holds it, and what it must look like there. Pure.
//!
//! An extent has one slot more than generations are kept. A write goes to a slot that none of them uses, so that
//! what was committed stays as it was as long as its generation is kept. Without generations there is one slot.

use std::collections::VecDeque;

/// An extent's bytes on disk.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) struct Version {
    /// From 0.
    pub slot: u8,
    /// Of the bytes in it; `None` if checksums are off, and while they are being written.
    pub checksum: Option<u64>,
}

/// A committed generation.
#[derive(Clone, Eq, PartialEq, Debug)]
pub(crate) struct Generation {
    /// Counts up from 1.
    pub number: u64,
    /// By extent; `None` if it was never written.
    pub versions: Vec<Option<Version>>,
}

/// Where every extent is.
#[derive(Debug)]
pub(crate) struct Slots {
    /// The most generations that are kept.
    keep: u8,
    /// What a read of each extent gets; `None` if never written: zeros in slot 0.
    current: Vec<Option<Version>>,
    /// Newest first.
    kept: VecDeque<Generation>,
}

impl Slots {
    /// Of extents that were never written.
    pub(crate) fn unwritten(extents: usize, keep: u8) -> Self {
        Self { keep, current: vec![None; extents], kept: VecDeque::new() }
    }

    /// As the newest of the generations that were kept was committed; there is at least one.
    pub(crate) fn recovered(kept: Vec<Generation>, keep: u8) -> Self {
        Self { keep, current: kept[0].versions.clone(), kept: kept.into() }
    }

    /// Slots of each extent in the file.
    pub(crate) const fn per_extent(&self) -> u64 {
        self.keep as u64 + 1
    }

    /// What a read of an extent finds, and where.
    pub(crate) fn current(&self, extent: usize) -> Version {
        self.current[extent].unwrap_or(Version { slot: 0, checksum: None })
    }

    /// Extents of which a read gets zeros.
    pub(crate) fn never_written(&self) -> impl Iterator<Item = usize> {
        (0..self.current.len()).filter(|extent| self.current[*extent].is_none())
    }

    /// Number of the generation committed last; 0 if none was.
    pub(crate) fn last_number(&self) -> u64 {
        self.kept.front().map_or(0, |last| last.number)
    }

    /// Where to write an extent, which from now on is what reads get: its first slot that is free, so the same one again
    /// until a commit. Its checksum is not known.
    pub(crate) fn begin_write(&mut self, extent: usize) -> u8 {
        let is_free = |slot: &u8| self.kept.iter().all(|generation| !generation.uses(extent, *slot));
        let slot = (0..=self.keep).find(is_free).expect("there is one slot more than generations are kept");
        self.current[extent] = Some(Version { slot, checksum: None });
        slot
    }

    /// The checksum of what was last written to an extent.
    pub(crate) fn set_checksum(&mut self, extent: usize, checksum: u64) {
        let version = self.current[extent].as_mut().expect("its write has begun");
        version.checksum = Some(checksum);
    }

    /// The generation to record when what reads get now is committed.
    pub(crate) fn next_generation(&self) -> Generation {
        Generation { number: self.last_number() + 1, versions: self.current.clone() }
    }

    /// That generation is on record. Returns the number of the oldest if there is no room for it any more: its slots
    /// are free now, so its record must go before the next write.
    pub(crate) fn commit(&mut self, generation: Generation) -> Option<u64> {
        self.kept.push_front(generation);
        let oldest = if self.kept.len() > usize::from(self.keep) { self.kept.pop_back() } else { None };
        oldest.map(|oldest| oldest.number)
    }

    /// Numbers of the generations that hold what a read of an extent finds now, newest first, and how many are kept:
    /// the newest of all, because what is kept is not written over.
    pub(crate) fn holding_current(&self, extent: usize) -> (Vec<u64>, usize) {
        let hold = self.kept.iter().filter(|generation| generation.versions[extent] == self.current[extent]);
        (hold.map(|generation| generation.number).collect(), self.kept.len())
    }
}

impl Generation {
    fn uses(&self, extent: usize, slot: u8) -> bool {
        self.versions[extent].is_some_and(|version| version.slot == slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes an extent; returns its slot.
    fn write(slots: &mut Slots, extent: usize, checksum: u64) -> u8 {
        let slot = slots.begin_write(extent);
        slots.set_checksum(extent, checksum);
        slot
    }

    fn commit(slots: &mut Slots) -> Option<u64> {
        slots.commit(slots.next_generation())
    }

    /// Numbers of the generations kept, newest first.
    fn numbers(slots: &Slots) -> Vec<u64> {
        slots.kept.iter().map(|generation| generation.number).collect()
    }

    #[test]
    fn a_committed_slot_is_not_written_until_the_next_commit() {
        let mut slots = Slots::unwritten(2, 1);
        assert_eq!(write(&mut slots, 0, 1), 0);
        commit(&mut slots);
        assert_eq!([write(&mut slots, 0, 2), write(&mut slots, 0, 3)], [1, 1]);
        assert_eq!(slots.current(0), Version { slot: 1, checksum: Some(3) });
        commit(&mut slots);
        assert_eq!(write(&mut slots, 0, 4), 0);
        assert_eq!(slots.kept[0].versions[1], None);
    }

    #[test]
    fn no_slot_of_a_kept_generation_is_written_however_extents_are_chosen() {
        for keep in 1..5 {
            let mut slots = Slots::unwritten(3, keep);
            for number in 1..40 {
                // Extent 0 is written once in a generation, 1 in some, 2 twice in others.
                let times = [1, usize::from(number % 3 == 0), 2 * usize::from(number % 4 < 2)];
                for (extent, times) in times.into_iter().enumerate() {
                    for _ in 0..times {
                        let before = slots.kept.clone();
                        let slot = write(&mut slots, extent, number);
                        assert!(u64::from(slot) < slots.per_extent());
                        assert!(before.iter().all(|generation| !generation.uses(extent, slot)));
                    }
                }
                let dropped = number.checked_sub(u64::from(keep)).filter(|oldest| *oldest > 0);
                assert_eq!(commit(&mut slots), dropped);
                let expected: Vec<_> = (1..=number).rev().take(usize::from(keep)).collect();
                assert_eq!(numbers(&slots), expected);
            }
        }
    }

    #[test]
    fn what_is_written_again_before_a_commit_takes_the_slot_it_has() {
        let mut slots = Slots::unwritten(1, 3);
        commit(&mut slots);
        assert_eq!([write(&mut slots, 0, 1), write(&mut slots, 0, 2)], [0, 0]);
        commit(&mut slots);
        assert_eq!([write(&mut slots, 0, 3), write(&mut slots, 0, 4)], [1, 1]);
    }

    #[test]
    fn an_extent_the_generation_did_not_change_keeps_its_slot() {
        let mut slots = Slots::unwritten(1, 1);
        write(&mut slots, 0, 1);
        commit(&mut slots);
        commit(&mut slots);
        assert_eq!(slots.current(0).slot, 0);
        assert_eq!(write(&mut slots, 0, 2), 1);
    }

    #[test]
    fn without_generations_there_is_one_slot() {
        let mut slots = Slots::unwritten(1, 0);
        assert_eq!([write(&mut slots, 0, 1), write(&mut slots, 0, 2)], [0, 0]);
        assert_eq!(slots.per_extent(), 1);
    }

    #[test]
    fn a_recovered_store_goes_on_beside_what_it_recovered() {
        let generation = |number, versions| Generation { number, versions };
        let newest = generation(8, vec![Some(Version { slot: 1, checksum: Some(9) }), None]);
        let older = generation(7, vec![Some(Version { slot: 0, checksum: Some(8) }), None]);
        let mut slots = Slots::recovered(vec![newest, older], 2);
        assert_eq!(slots.current(0), Version { slot: 1, checksum: Some(9) });
        assert_eq!([write(&mut slots, 0, 1), write(&mut slots, 1, 1)], [2, 0]);
        commit(&mut slots);
        assert_eq!(numbers(&slots), [9, 8]);
    }

    #[test]
    fn what_is_lost_is_held_by_the_newest_generations_since_it_was_written_and_no_other() {
        let mut slots = Slots::unwritten(2, 3);
        for (number, shared) in [(1, 1), (2, 2), (3, 2)] {
            write(&mut slots, 0, number);
            if shared == number {
                write(&mut slots, 1, shared);
            }
            commit(&mut slots);
        }
        assert_eq!(slots.holding_current(0), (vec![3], 3));
        assert_eq!(slots.holding_current(1), (vec![3, 2], 3));
        write(&mut slots, 0, 4);
        assert_eq!(slots.holding_current(0), (vec![], 3));
    }
}
