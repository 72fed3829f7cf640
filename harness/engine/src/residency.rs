//! The panels that are in memory: read by the rank that brings them, used by all ranks that share them.
//!
//! A domain belongs to one rank, or is shared by ranks that hold equal parameters at every moment. Shared panels obey
//! two counts: *updates*, so that nobody uses weights of another step, and *uses*, so that nothing leaves before
//! every rank is done with it.

use std::sync::{Arc, Condvar, Mutex};

use spillbench_schedule::{Extent, ExtentKind, Extents, Rank};
use spillbench_storage::{Access, ExtentId, Panel, ReadTicket, Store};

use crate::{
    EngineError,
    team::{Team, lock},
};

/// The panels in memory of one rank, or of ranks that share them.
pub struct Domain {
    store: Arc<dyn Store>,
    extents: Extents,
    users: usize,
    entries: Mutex<Vec<Entry>>,
    changed: Condvar,
}

struct Entry {
    presence: Presence,
    /// Updates so far.
    updates: u64,
    /// Uses so far, by user.
    uses: Vec<u64>,
}

enum Presence {
    Absent,
    Coming(ReadTicket),
    Here(Panel),
    /// Someone waits for its read, or updates it.
    Busy,
}

impl Domain {
    /// A domain of `users` ranks over a store, `step` steps after the beginning; nothing is in memory yet.
    pub fn new(store: Arc<dyn Store>, extents: &Extents, users: usize, step: u64) -> Self {
        let entry = || Entry { presence: Presence::Absent, updates: step, uses: vec![0; users] };
        let entries = Mutex::new((0..extents.len()).map(|_| entry()).collect());
        Self { store, extents: extents.clone(), users, entries, changed: Condvar::new() }
    }

    /// Starts a read.
    ///
    /// # Errors
    /// The store failed.
    pub fn begin_read(&self, extent: Extent) -> Result<(), EngineError> {
        let access = match extent.kind {
            ExtentKind::Snapshot => Access::Shared,
            ExtentKind::Weights | ExtentKind::State => Access::Exclusive,
        };
        let ticket = self.store.begin_read(self.id(extent), access)?;
        lock(&self.entries)[self.extents.index(extent)].presence = Presence::Coming(ticket);
        self.changed.notify_all();
        Ok(())
    }

    /// The panel, to be looked at; of the version that has seen `updates`, where ranks share it.
    ///
    /// # Errors
    /// The store, or another rank, failed.
    pub fn view(&self, team: &Team, rank: Rank, extent: Extent, updates: u64) -> Result<Panel, EngineError> {
        if let Entry { presence: Presence::Here(panel), updates: seen, .. } =
            &lock(&self.entries)[self.extents.index(extent)]
            && (self.users == 1 || *seen == updates)
        {
            return Ok(Arc::clone(panel));
        }
        let panel = self.take(team, rank, extent, updates)?;
        let view = Arc::clone(&panel);
        self.put_back(extent, panel, false);
        Ok(view)
    }

    /// The panel, to be changed; nobody else has it until [`Domain::put_back`].
    ///
    /// # Errors
    /// The store, or another rank, failed.
    pub fn take(&self, team: &Team, rank: Rank, extent: Extent, updates: u64) -> Result<Panel, EngineError> {
        let index = self.extents.index(extent);
        let shared = self.users > 1;
        let entries = team.wait_until(rank, lock(&self.entries), &self.changed, |entries| {
            let entry = &entries[index];
            let present = matches!(entry.presence, Presence::Here(_) | Presence::Coming(_));
            present && (!shared || entry.updates == updates)
        });
        let mut entries = entries?;
        match std::mem::replace(&mut entries[index].presence, Presence::Busy) {
            Presence::Here(panel) => Ok(panel),
            Presence::Coming(ticket) => {
                drop(entries);
                Ok(self.store.finish_read(ticket)?)
            }
            Presence::Absent | Presence::Busy => unreachable!("waited until it is here or coming"),
        }
    }

    /// Gives back a panel that was taken, `updated` or as it was.
    pub fn put_back(&self, extent: Extent, panel: Panel, updated: bool) {
        let entry = &mut lock(&self.entries)[self.extents.index(extent)];
        entry.presence = Presence::Here(panel);
        entry.updates += u64::from(updated);
        if self.users > 1 {
            self.changed.notify_all();
        }
    }

    /// `rank` is done with a use of the extent.
    pub fn used(&self, rank: Rank, extent: Extent) {
        if self.users > 1 {
            lock(&self.entries)[self.extents.index(extent)].uses[usize::from(rank.0)] += 1;
            self.changed.notify_all();
        }
    }

    /// Starts writing back, when all ranks have used the extent as often as `rank` has.
    ///
    /// # Errors
    /// The store, or another rank, failed.
    pub fn begin_write(&self, team: &Team, rank: Rank, extent: Extent) -> Result<(), EngineError> {
        let panel = self.leave(team, rank, extent)?;
        Ok(self.store.begin_write(self.id(extent), panel)?)
    }

    /// Starts writing an extent that stays, when all ranks have used it as often as `rank` has. Nobody changes it until
    /// the store has been flushed.
    ///
    /// # Errors
    /// The store, or another rank, failed.
    pub fn flush(&self, team: &Team, rank: Rank, extent: Extent) -> Result<(), EngineError> {
        let panel = self.leave(team, rank, extent)?;
        self.store.begin_write(self.id(extent), Arc::clone(&panel))?;
        self.put_back(extent, panel, false);
        Ok(())
    }

    /// Gives up an unchanged extent, when all ranks have used it as often as `rank` has.
    ///
    /// # Errors
    /// The store, or another rank, failed.
    pub fn release(&self, team: &Team, rank: Rank, extent: Extent) -> Result<(), EngineError> {
        let panel = self.leave(team, rank, extent)?;
        self.store.release(self.id(extent), panel);
        Ok(())
    }

    /// Publishes a copy of a panel's weights as its snapshot.
    ///
    /// # Errors
    /// The store failed.
    pub fn publish(&self, weights: &Panel, snapshot: Extent) -> Result<(), EngineError> {
        let id = self.id(snapshot);
        let mut copy = self.store.allocate(id)?;
        let target = Arc::get_mut(&mut copy).expect("a new panel has one holder");
        target.copy_from(weights);
        Ok(self.store.begin_write(id, copy)?)
    }

    fn leave(&self, team: &Team, rank: Rank, extent: Extent) -> Result<Panel, EngineError> {
        let index = self.extents.index(extent);
        let own = usize::from(rank.0);
        let entries = team.wait_until(rank, lock(&self.entries), &self.changed, |entries| {
            let entry = &entries[index];
            let here = matches!(entry.presence, Presence::Here(_) | Presence::Coming(_));
            here && (self.users == 1 || entry.uses.iter().all(|uses| *uses >= entry.uses[own]))
        });
        match std::mem::replace(&mut entries?[index].presence, Presence::Absent) {
            Presence::Here(panel) => Ok(panel),
            Presence::Coming(ticket) => Ok(self.store.finish_read(ticket)?),
            Presence::Absent | Presence::Busy => unreachable!("waited until it is here or coming"),
        }
    }

    fn id(&self, extent: Extent) -> ExtentId {
        ExtentId(self.extents.index(extent) as u32)
    }
}
