//! Which of an extent's places in the file holds it, and what it must look like there. Pure.
//!
//! With generations each extent has two slots. A write goes to the slot that the last committed generation does not
//! use, so that until the next commit the committed bytes stay as they were. Without, there is one slot.

/// An extent's bytes on disk.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) struct Version {
    /// 0 or 1.
    pub slot: u8,
    /// Of the bytes in it; `None` if checksums are off.
    pub checksum: Option<u64>,
}

/// Where every extent is.
#[derive(Debug)]
pub(crate) struct Slots {
    generations: bool,
    extents: Vec<Versions>,
}

#[derive(Copy, Clone, Default, Debug)]
struct Versions {
    /// What a read gets; `None` if never written: zeros in slot 0.
    current: Option<Version>,
    /// What the last committed generation holds.
    committed: Option<Version>,
}

impl Slots {
    /// Of extents that were never written.
    pub(crate) fn unwritten(extents: usize, generations: bool) -> Self {
        Self { generations, extents: vec![Versions::default(); extents] }
    }

    /// As a generation was committed.
    pub(crate) fn recovered(versions: &[Option<Version>]) -> Self {
        let recovered = |version: &Option<Version>| Versions { current: *version, committed: *version };
        Self { generations: true, extents: versions.iter().map(recovered).collect() }
    }

    /// Slots of each extent in the file.
    pub(crate) const fn per_extent(&self) -> u64 {
        if self.generations { 2 } else { 1 }
    }

    /// What a read of an extent finds, and where.
    pub(crate) fn current(&self, extent: usize) -> Version {
        self.extents[extent].current.unwrap_or(Version { slot: 0, checksum: None })
    }

    /// Whether what a read of an extent finds is what the last committed generation holds.
    pub(crate) fn is_committed(&self, extent: usize) -> bool {
        let Versions { current, committed } = self.extents[extent];
        current.is_some() && current == committed
    }

    /// Where to write an extent, which from now on is what reads get.
    pub(crate) fn begin_write(&mut self, extent: usize, checksum: Option<u64>) -> u8 {
        let versions = &mut self.extents[extent];
        let slot = match versions.committed {
            Some(committed) if self.generations => 1 - committed.slot,
            _ => 0,
        };
        versions.current = Some(Version { slot, checksum });
        slot
    }

    /// What a generation committed now holds, by extent.
    pub(crate) fn versions(&self) -> Vec<Option<Version>> {
        self.extents.iter().map(|versions| versions.current).collect()
    }

    /// The generation is on disk.
    pub(crate) fn commit(&mut self) {
        for versions in &mut self.extents {
            versions.committed = versions.current;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_committed_slot_is_not_written_until_the_next_commit() {
        let mut slots = Slots::unwritten(2, true);
        assert_eq!(slots.begin_write(0, Some(1)), 0);
        slots.commit();
        assert_eq!([slots.begin_write(0, Some(2)), slots.begin_write(0, Some(3))], [1, 1]);
        assert_eq!(slots.current(0), Version { slot: 1, checksum: Some(3) });
        slots.commit();
        assert_eq!(slots.begin_write(0, Some(4)), 0);
        assert_eq!(slots.versions()[1], None);
    }

    #[test]
    fn an_extent_the_generation_did_not_change_keeps_its_slot() {
        let mut slots = Slots::unwritten(1, true);
        slots.begin_write(0, None);
        slots.commit();
        slots.commit();
        assert_eq!(slots.begin_write(0, None), 1);
    }

    #[test]
    fn without_generations_there_is_one_slot() {
        let mut slots = Slots::unwritten(1, false);
        slots.begin_write(0, None);
        slots.commit();
        assert_eq!(slots.begin_write(0, None), 0);
        assert_eq!(slots.per_extent(), 1);
    }

    #[test]
    fn a_recovered_store_goes_on_beside_what_it_recovered() {
        let versions = [Some(Version { slot: 1, checksum: Some(9) }), None];
        let mut slots = Slots::recovered(&versions);
        assert_eq!(slots.versions(), versions);
        assert_eq!([slots.begin_write(0, None), slots.begin_write(1, None)], [0, 0]);
    }
}
