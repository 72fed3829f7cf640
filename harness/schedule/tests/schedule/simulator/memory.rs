//! Memory: extents that come and go, alone for one rank or shared by all.

use spillbench_schedule::{Extent, ExtentKind, Extents, Plan, Rank};

/// The extents in memory of one rank, or of ranks that share them.
pub struct Domain<'a> {
    extents: &'a Extents,
    limit: u64,
    in_use: u64,
    entries: Vec<Entry>,
    users: usize,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Keeping {
    /// It is another rank's.
    #[default]
    No,
    /// It comes and goes.
    InWindow,
    Pinned,
}

#[derive(Clone, Default)]
struct Entry {
    keeping: Keeping,
    resident: bool,
    changed: bool,
    updates: u64,
    uses: Vec<u64>,
}

impl<'a> Domain<'a> {
    /// The memory of `domain`, empty.
    pub fn new(plan: &'a Plan, domain: usize) -> Self {
        let residency = &plan.memory.residency[domain];
        let users = if plan.strategy().shares_panels() { plan.ranks() } else { 1 };
        let entry = Entry { uses: vec![0; users], ..Entry::default() };
        let mut entries = vec![entry; plan.extents.len()];
        let mut pinned = 0;
        for extent in plan.owned_extents(Rank(domain as u16)) {
            let index = plan.extents.index(extent);
            entries[index].keeping = Keeping::InWindow;
            if residency.pinned[index] {
                entries[index].keeping = Keeping::Pinned;
                pinned += plan.extents.bytes(extent);
            }
        }
        let limit = residency.capacity.saturating_add(pinned);
        Self { extents: &plan.extents, limit, in_use: 0, entries, users }
    }

    fn entry(&mut self, extent: Extent) -> &mut Entry {
        &mut self.entries[self.extents.index(extent)]
    }

    pub fn read(&mut self, extent: Extent) {
        let entry = self.entry(extent);
        assert!(
            entry.keeping != Keeping::No || extent.kind == ExtentKind::Snapshot,
            "{extent:?} is another rank's"
        );
        assert!(!std::mem::replace(&mut entry.resident, true), "{extent:?} is read, but in memory");
        self.in_use += self.extents.bytes(extent);
        assert!(self.in_use <= self.limit, "{} bytes in memory of {}", self.in_use, self.limit);
    }

    /// Whether a rank that has done `steps` can use an extent now. Where nobody else could bring it, it must be there.
    pub fn can_use(&mut self, extent: Extent, steps: u64) -> bool {
        let shared = self.users > 1;
        let entry = self.entry(extent);
        assert!(shared || entry.resident, "{extent:?} is used, but not in memory");
        entry.resident && (!shared || entry.updates == steps)
    }

    pub fn used(&mut self, user: usize, extent: Extent) {
        let user = if self.users > 1 { user } else { 0 };
        self.entry(extent).uses[user] += 1;
    }

    pub fn updated(&mut self, extent: Extent) {
        let entry = self.entry(extent);
        entry.changed = true;
        entry.updates += 1;
    }

    /// Lets an extent go, written or not, unless another rank has a use of it to catch up with.
    pub fn leave(&mut self, user: usize, extent: Extent, written: bool) -> bool {
        let entry = self.entry(extent);
        if entry.uses.iter().any(|uses| *uses < entry.uses[user.min(entry.uses.len() - 1)]) {
            return false;
        }
        assert!(std::mem::replace(&mut entry.resident, false), "{extent:?} leaves, but is not in memory");
        let changed = std::mem::replace(&mut entry.changed, false);
        assert!(
            written == changed || written && entry.keeping == Keeping::Pinned,
            "{extent:?}: changed {changed}, written {written}"
        );
        self.in_use -= self.extents.bytes(extent);
        true
    }

    /// Writes a changed extent that stays, unless another rank has a use of it to catch up with.
    pub fn flush(&mut self, user: usize, extent: Extent) -> bool {
        let entry = self.entry(extent);
        if entry.uses.iter().any(|uses| *uses < entry.uses[user.min(entry.uses.len() - 1)]) {
            return false;
        }
        assert!(
            entry.resident && entry.keeping == Keeping::Pinned,
            "{extent:?} is written and does not stay"
        );
        assert!(std::mem::replace(&mut entry.changed, false), "{extent:?} is written as it was");
        true
    }

    /// That everything that was changed has been written, and only what is pinned is in memory.
    pub fn assert_written(&self) {
        for extent in self.extents.iter() {
            let entry = &self.entries[self.extents.index(extent)];
            assert!(!entry.changed, "{extent:?} is not in the generation");
            assert!(
                !entry.resident || entry.keeping == Keeping::Pinned,
                "{extent:?} stays over a generation"
            );
        }
    }

    pub fn assert_empty(&self) {
        let left: Vec<Extent> =
            self.extents.iter().filter(|extent| self.entries[self.extents.index(*extent)].resident).collect();
        assert_eq!(left, [], "still in memory at the end");
        assert_eq!(self.in_use, 0);
    }
}
