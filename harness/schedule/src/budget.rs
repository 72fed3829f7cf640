//! Where each byte of the memory budget goes, and what stays resident inside it.
//!
//! Weights are pinned before optimizer state: a pinned byte of weights saves two reads and a write a step, a byte of
//! state one read and one write. What is left is a window through which the other extents pass.

use spillbench_schema::Bytes;
use thiserror::Error;

use crate::{
    activations::ActivationPlan,
    extent::{Extent, ExtentKind, Extents},
    network::{Network, PanelId},
    op::Rank,
    strategy::Strategy,
    timeline::Timeline,
    weave::Residency,
};

/// The budget is too small.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BudgetError {
    /// It cannot hold what a step needs at once.
    #[error(
        "storage.memory_budget is {budget}, but this trial needs {fixed} for samples, activations and scratch and \
         {window} to pass its panels through; set it to {} or more, or make train.batch_size or network.panel smaller",
        typed(*least)
    )]
    Window {
        /// What was allowed.
        budget: Bytes,
        /// The least that works.
        least: Bytes,
        /// What does not depend on the budget.
        fixed: Bytes,
        /// The smallest window.
        window: Bytes,
    },
    /// It cannot hold everything, and the storage mode keeps everything in memory.
    #[error(
        "storage.memory_budget is {budget}, but under storage.mode: memory this trial needs {needed}; set it to {} or \
         more, or choose storage.mode: direct",
        typed(*needed)
    )]
    Resident {
        /// What was allowed.
        budget: Bytes,
        /// What everything takes.
        needed: Bytes,
    },
}

impl BudgetError {
    /// The least budget that works.
    pub const fn least(&self) -> Bytes {
        match self {
            Self::Window { least, .. } | Self::Resident { needed: least, .. } => *least,
        }
    }
}

/// Where each byte of memory goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The data set.
    pub data: u64,
    /// Values and errors of all ranks' slots, samples kept included.
    pub activations: u64,
    /// The part of them that comes and goes: the pools of values that do not stay, in the store's memory.
    pub activation_pools: u64,
    /// Messages on their way and partial gradients.
    pub messages: u64,
    /// Scratch of the kernels.
    pub scratch: u64,
    /// Parameters and optimizer state that stay.
    pub pinned: u64,
    /// Room for those that come and go, writes in flight included.
    pub window: u64,
    /// What each rank keeps and has room for; one for all where ranks share panels.
    pub residency: Vec<Residency>,
    /// Whether nothing is read or written between the first step and the last.
    pub resident: bool,
}

impl MemoryPlan {
    /// Everything.
    pub fn total(&self) -> u64 {
        self.fixed() + self.pinned + self.window
    }

    /// What does not depend on the budget.
    pub fn fixed(&self) -> u64 {
        self.data + self.activations + self.messages + self.scratch
    }

    /// What a store may hold of parameters and optimizer state in memory: pinned extents and windows.
    pub fn store_capacity(&self) -> u64 {
        self.pinned + self.window
    }

    /// What a store may hold in memory at all.
    pub fn store_bytes(&self) -> u64 {
        self.store_capacity() + self.activation_pools
    }
}

/// The most that the kernels of any CPU keep packed at once: a plan, and the least budget, are the same on all of them. A
/// test of the engine holds this against the kernels.
pub mod packed {
    /// Samples of a product.
    pub const SAMPLES: u64 = 512;
    /// Rows by which samples, and units, are filled up to whole heights of a product.
    pub const FILLING: u64 = 11;
    /// Values of a gradient's errors, as far as that leaves more than the fewest units.
    pub const ERRORS: u64 = 256 << 10;
    /// The fewest and the most units of a gradient at a time.
    pub const UNITS: [u64; 2] = [128, 512];
    /// Inputs beside them, at least.
    pub const INPUTS: u64 = 32;
    /// Bytes of a thread's other buffers: packed strips and sums, in three quarters of it at most, and the sums of several
    /// shards, of which a tree of n needs log₂ n + 2 at once.
    pub const THREAD: u64 = 1 << 20;
}

/// Panels that a full window reads ahead, and panels whose writes may be under way beside them.
const READ_AHEAD: u64 = 4;
const WRITE_BEHIND: u64 = 2;

/// What a budget is divided among.
pub struct Demand<'a> {
    /// The network, heads included.
    pub network: &'a Network,
    /// Its extents.
    pub extents: &'a Extents,
    /// The timeline.
    pub timeline: &'a Timeline,
    /// The strategy.
    pub strategy: &'a dyn Strategy,
    /// Which values stay.
    pub activations: &'a ActivationPlan,
    /// Bytes of the data set.
    pub data: u64,
    /// Compute threads of all ranks.
    pub threads: u64,
    /// Whether panels may leave memory.
    pub spills: bool,
}

impl Demand<'_> {
    /// Divides a budget; without one, everything stays.
    ///
    /// # Errors
    /// The budget is too small for one step.
    pub fn divide(&self, budget: Option<Bytes>) -> Result<MemoryPlan, BudgetError> {
        let mut plan = self.everything_resident();
        let Some(budget) = budget else { return Ok(plan) };
        if plan.total() <= budget.0 {
            return Ok(plan);
        }
        if !self.spills {
            return Err(BudgetError::Resident { budget, needed: Bytes(plan.total()) });
        }
        let domains = self.domains();
        let least_window: u64 = domains.iter().map(|domain| 2 * domain.largest + domain.publish).sum();
        let fixed = plan.fixed();
        let Some(spare) = budget.0.checked_sub(fixed + least_window) else {
            let [least, fixed, window] = [fixed + least_window, fixed, least_window].map(Bytes);
            return Err(BudgetError::Window { budget, least, fixed, window });
        };
        // Half of what the smallest windows leave goes to better windows, up to full ones; the rest pins.
        let share = spare / 2 / domains.len() as u64;
        plan.window = 0;
        for (domain, residency) in domains.iter().zip(&mut plan.residency) {
            let more = share.min((READ_AHEAD + WRITE_BEHIND - 2) * domain.largest);
            let window = 2 * domain.largest + more;
            let behind = (window / 3).max(domain.largest).min(WRITE_BEHIND * domain.largest);
            residency.capacity = window - behind;
            plan.window += window + domain.publish;
        }
        self.pin(budget.0 - fixed - plan.window, &domains, &mut plan);
        plan.resident = false;
        Ok(plan)
    }

    fn everything_resident(&self) -> MemoryPlan {
        let ranks = (0..self.strategy.ranks()).map(|rank| Rank(rank as u16));
        let workspaces: u64 =
            ranks.map(|rank| self.strategy.workspace(rank).bytes(self.network, self.timeline)).sum();
        let activation_pools = self.activations.pools();
        let pinned = |extent: Extent| extent.kind != ExtentKind::Snapshot;
        let bytes = |wanted: bool| -> u64 {
            self.extents.iter().filter(|e| pinned(*e) == wanted).map(|e| self.extents.bytes(e)).sum()
        };
        let domains = self.domains();
        let residency = Residency { pinned: self.extents.iter().map(pinned).collect(), capacity: u64::MAX };
        // Each rank may hold all snapshots; a publisher replaces its own while others still read the last.
        let snapshots = bytes(false) * (1 + domains.len() as u64);
        MemoryPlan {
            data: self.data,
            activations: workspaces + activation_pools,
            activation_pools,
            messages: self.strategy.queue_bytes(),
            scratch: self.scratch(),
            pinned: bytes(true),
            window: snapshots,
            residency: vec![residency; domains.len()],
            resident: snapshots == 0 && self.activations.spilled_bytes() == 0,
        }
    }

    /// Each rank packs the samples of a product; each of its threads packs those of a gradient block.
    fn scratch(&self) -> u64 {
        let widest =
            self.network.layers().iter().map(|layer| layer.inputs.max(layer.outputs)).max().unwrap_or(0);
        let rows = self.timeline.chunk_rows().max(self.timeline.evaluation_rows) as u64;
        let samples_packed = 4 * (rows.min(packed::SAMPLES) + packed::FILLING) * widest as u64;
        let samples = self.timeline.batch_size as u64;
        let [fewest, most] = packed::UNITS;
        let units = (packed::ERRORS / samples).clamp(fewest, most);
        let gradient = 4 * (units + packed::FILLING + packed::INPUTS) * samples;
        self.strategy.ranks() as u64 * samples_packed + self.threads * (gradient + packed::THREAD)
    }

    /// Pins extents while they fit in `room`, weights of all domains first. Where not all of a kind fit, those that do
    /// are spread evenly over the network: then a sweep asks for the same bytes in every part, and the disk need not stand still
    /// while what is pinned is computed and fall behind where nothing is.
    fn pin(&self, mut room: u64, domains: &[Domain], plan: &mut MemoryPlan) {
        plan.pinned = 0;
        for residency in &mut plan.residency {
            residency.pinned.fill(false);
        }
        for kind in [ExtentKind::Weights, ExtentKind::State] {
            let candidates: Vec<(usize, Extent)> = domains
                .iter()
                .enumerate()
                .flat_map(|(index, domain)| domain.own.iter().map(move |extent| (index, *extent)))
                .filter(|(_, extent)| extent.kind == kind)
                .collect();
            let wanted: u64 = candidates.iter().map(|(_, extent)| self.extents.bytes(*extent)).sum();
            let (share, mut seen, mut taken) = (room.min(wanted), 0, 0);
            let mut pin = |&(domain, extent): &(usize, Extent)| {
                let (bytes, index) = (self.extents.bytes(extent), self.extents.index(extent));
                let pinned = &mut plan.residency[domain].pinned[index];
                if !*pinned && bytes <= room {
                    *pinned = true;
                    room -= bytes;
                    plan.pinned += bytes;
                }
            };
            for candidate in &candidates {
                let bytes = self.extents.bytes(candidate.1);
                seen += bytes;
                // The part of `share` that belongs to what has been seen.
                let due = u128::from(seen) * u128::from(share) / u128::from(wanted.max(1));
                if taken + u128::from(bytes) <= due {
                    pin(candidate);
                    taken += u128::from(bytes);
                }
            }
            // Rounding leaves room for smaller ones, or for one more.
            candidates.iter().for_each(pin);
        }
    }

    fn domains(&self) -> Vec<Domain> {
        let count = if self.strategy.shares_panels() { 1 } else { self.strategy.ranks() };
        (0..count).map(|rank| self.domain(Rank(rank as u16))).collect()
    }

    fn domain(&self, rank: Rank) -> Domain {
        let own = owned_extents(self.strategy, self.network, self.extents, rank);
        let bytes = |extent| self.extents.bytes(extent);
        let largest_weights = |panels: &mut dyn Iterator<Item = PanelId>| {
            panels.map(|p| bytes(Extent::weights(p))).max().unwrap_or(0)
        };
        let own_panels = || own.iter().filter(|extent| extent.kind == ExtentKind::Weights).map(|e| e.panel);
        let state = |panel| if self.extents.has_state() { bytes(Extent::state(panel)) } else { 0 };
        let own_largest =
            own_panels().map(|panel| bytes(Extent::weights(panel)) + state(panel)).max().unwrap_or(0);
        let (read, publish) = if self.strategy.has_snapshots() {
            let all = &mut (0..self.network.own_panels()).map(PanelId);
            (largest_weights(all), largest_weights(&mut own_panels()))
        } else {
            (0, 0)
        };
        Domain { largest: own_largest.max(read), publish, own }
    }
}

/// What shares one window.
struct Domain {
    own: Vec<Extent>,
    /// The most bytes one operation needs at once.
    largest: u64,
    /// Room for a snapshot that is being written.
    publish: u64,
}

/// The extents that a rank keeps: weights and state of the layers it updates.
pub fn owned_extents(
    strategy: &dyn Strategy,
    network: &Network,
    extents: &Extents,
    rank: Rank,
) -> Vec<Extent> {
    let panels =
        strategy.owned_layers(rank).into_iter().flat_map(|layer| network.layers()[layer].panels.clone());
    let mut own: Vec<Extent> = panels
        .flat_map(|panel| {
            let panel = PanelId(panel);
            let state = extents.has_state().then(|| Extent::state(panel));
            [Some(Extent::weights(panel)), state].into_iter().flatten()
        })
        .collect();
    own.sort_by_key(|extent| extents.index(*extent));
    own
}

/// A size as a scenario writes it, rounded up: what an error names works when it is typed back.
fn typed(size: Bytes) -> String {
    let (unit, name) = if size.0 >= 64 << 20 { (1 << 20, "MiB") } else { (1 << 10, "KiB") };
    format!("{}{name}", size.0.div_ceil(unit))
}
