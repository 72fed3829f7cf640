//! What becomes of values between the forward pass and the backward pass: kept, spilled to the store, or recomputed.
//!
//! A step uses the values at a boundary twice: just after they are made, and when the backward pass comes back to
//! them, in the opposite order. So their life is known beforehand, and nothing needs to look ahead: what leaves is
//! decided once, by boundary, and the schedule says where. Values that may leave lie in a pool of the store's
//! memory. It holds the most that is there at once, which the same walk tells that emits the operations.

mod choice;
mod peak;

use serde::Serialize;

pub use self::choice::{Candidate, Price, candidates};
use crate::{
    network::{Boundary, Network},
    op::{Rank, Slot},
    timeline::Timeline,
};

/// What becomes of the values at a boundary until the backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// They stay in memory.
    Keep,
    /// They are written to the store and read back.
    Spill,
    /// They are dropped, and computed again from the nearest boundary below that was not; at the network's input,
    /// loaded again.
    Recompute,
}

/// What becomes of the values at each boundary, in every slot of every rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivationPlan {
    /// By boundary, the network's output left out: it is never dropped.
    policies: Vec<Policy>,
    /// By boundary: bytes of the values of one slot.
    payloads: Vec<u64>,
    /// Training slots of a rank.
    slots: u16,
    ranks: u16,
    /// Bytes of a rank's pool.
    pool: u64,
}

/// Values of one slot at a spilled boundary, as the store holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivationExtent {
    /// Whose.
    pub rank: Rank,
    /// Of which samples.
    pub slot: Slot,
    /// Where.
    pub at: Boundary,
}

impl ActivationPlan {
    /// Everything is kept, in buffers of its own: no pool.
    pub fn kept(network: &Network, timeline: &Timeline, slots: u16, ranks: u16) -> Self {
        let rows = timeline.chunk_rows() as u64;
        let payload = |at| 4 * rows * network.width(Boundary(at as u16)) as u64;
        Self {
            policies: vec![Policy::Keep; network.depth()],
            payloads: (0..network.depth()).map(payload).collect(),
            slots,
            ranks,
            pool: 0,
        }
    }

    /// With these policies, and a pool of the least size that works. The highest must be [`Policy::Keep`]: the
    /// backward pass begins with it.
    fn with(&self, policies: Vec<Policy>) -> Self {
        assert_eq!(policies.last(), Some(&Policy::Keep), "what the backward pass begins with stays");
        let mut plan = Self { policies, pool: 0, ..self.clone() };
        if !plan.all_kept() {
            plan.pool = peak::bytes(&plan);
        }
        plan
    }

    /// With room for one more boundary in the pool, so that writes and reads overlap what is computed.
    fn with_room_to_overlap(mut self) -> Self {
        let spilled = self.spilled().map(|at| u64::from(self.slots) * self.bytes(at));
        self.pool += spilled.max().unwrap_or(0);
        self
    }

    /// What becomes of the values at a boundary. The network's output is kept.
    pub fn policy(&self, at: Boundary) -> Policy {
        self.policies.get(usize::from(at.0)).copied().unwrap_or(Policy::Keep)
    }

    /// By boundary, the network's output left out.
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// Whether all values stay, each in a buffer of its own.
    pub fn all_kept(&self) -> bool {
        self.policies.iter().all(|policy| *policy == Policy::Keep)
    }

    /// Whether the values at a boundary lie in the pool.
    pub fn in_pool(&self, at: Boundary) -> bool {
        !self.all_kept() && usize::from(at.0) < self.policies.len()
    }

    /// The boundary that values are recomputed from: the nearest that is not itself recomputed, or the input.
    pub fn base(&self, at: Boundary) -> Boundary {
        let below = (0..=at.0).rev().map(Boundary);
        below.into_iter().find(|at| self.policy(*at) != Policy::Recompute).unwrap_or(Boundary(0))
    }

    /// Bytes of the values of one slot at a boundary below the output.
    pub fn payload(&self, at: Boundary) -> u64 {
        self.payloads[usize::from(at.0)]
    }

    /// Bytes they take in the pool and move in one read or write.
    pub fn bytes(&self, at: Boundary) -> u64 {
        self.payload(at).next_multiple_of(crate::extent::ALIGNMENT)
    }

    /// Bytes of one rank's pool.
    pub const fn pool(&self) -> u64 {
        self.pool
    }

    /// Bytes of all ranks' pools.
    pub fn pools(&self) -> u64 {
        u64::from(self.ranks) * self.pool
    }

    /// Bytes that all ranks spill in a step; as many are read back.
    pub fn spilled_bytes(&self) -> u64 {
        self.spilled().map(|at| u64::from(self.ranks) * u64::from(self.slots) * self.bytes(at)).sum()
    }

    /// All extents, in the order of the store's table, where they come after those of the panels.
    pub fn extents(&self) -> impl Iterator<Item = ActivationExtent> + '_ {
        let slots =
            (0..self.ranks).flat_map(|rank| (0..self.slots).map(move |slot| (Rank(rank), Slot(slot))));
        slots.flat_map(|(rank, slot)| self.spilled().map(move |at| ActivationExtent { rank, slot, at }))
    }

    /// Position in the order of [`ActivationPlan::extents`].
    pub fn index(&self, extent: ActivationExtent) -> usize {
        let slot = usize::from(extent.rank.0) * usize::from(self.slots) + usize::from(extent.slot.0);
        let before = self.spilled().take_while(|at| *at != extent.at).count();
        slot * self.spilled().count() + before
    }

    fn spilled(&self) -> impl Iterator<Item = Boundary> + '_ {
        (0..self.policies.len() as u16).map(Boundary).filter(|at| self.policy(*at) == Policy::Spill)
    }
}

#[cfg(test)]
mod tests;
