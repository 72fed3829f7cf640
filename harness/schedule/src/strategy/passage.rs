//! A step of a rank that passes through the whole network: forward, loss, backward, with the values that do not stay
//! leaving and coming back.

use super::sweep::panels_or_layer;
use crate::{
    activations::{ActivationPlan, Policy},
    network::{Boundary, Network, PanelId},
    op::{ErrorFlow, Op, Slot, SlotRange, Source, Version},
};

/// Chunks of a step's mini-batch on their way through the network.
pub struct Passage<'a> {
    network: &'a Network,
    plan: &'a ActivationPlan,
    slots: SlotRange,
    step: u64,
    /// Of the mini-batch, the one in the first slot.
    first_chunk: u16,
    /// Bytes of the pool that hold nothing; what is being written counts as free.
    free: u64,
    /// By boundary, then slot: values that lie in the pool, or will when their read is done.
    held: Vec<bool>,
    spills: bool,
    ops: &'a mut Vec<Op>,
}

impl<'a> Passage<'a> {
    /// The chunks from `first_chunk` of step `step` in `slots`; operations are appended to `ops`.
    pub fn new(
        network: &'a Network,
        plan: &'a ActivationPlan,
        slots: SlotRange,
        step: u64,
        first_chunk: u16,
        ops: &'a mut Vec<Op>,
    ) -> Self {
        let held = vec![false; usize::from(slots.count) * network.depth()];
        let spills = plan.spilled_bytes() > 0;
        Self { network, plan, slots, step, first_chunk, free: plan.pool(), held, spills, ops }
    }

    /// The whole step. `finish` appends what follows a panel's last chunk on the way back.
    pub fn step(mut self, finish: impl Fn(PanelId, &mut Vec<Op>)) {
        for slot in self.slots.iter() {
            self.allocate(Boundary(0), slot);
            self.ops.push(Op::Load { source: self.source(slot), slot, values: true });
        }
        for layer in 0..self.network.depth() {
            self.forward(layer, true);
        }
        for slot in self.slots.iter() {
            let record = Some((self.step, self.first_chunk + slot.0));
            self.ops.push(Op::Loss { slot, at: self.network.output(), record });
        }
        for layer in (0..self.network.depth()).rev() {
            self.bring_back(Boundary(layer as u16));
            self.backward(layer, &finish);
        }
        for slot in self.slots.iter() {
            self.discard(Boundary(0), slot);
        }
    }

    /// All chunks through a layer; with `leaving`, what it used leaves as its policy says.
    fn forward(&mut self, index: usize, leaving: bool) {
        let layer = &self.network.layers()[index];
        let (id, version) = (layer.id, Version::Live);
        let last = panels_or_layer(&layer.panels).next_back();
        for (position, panel) in panels_or_layer(&layer.panels).enumerate() {
            for slot in self.slots.iter() {
                if position == 0 {
                    self.allocate(layer.output, slot);
                }
                self.ops.push(Op::Forward { layer: id, panel, version, slot });
                if leaving && Some(panel) == last {
                    self.leave(layer.input, slot);
                }
            }
        }
    }

    fn backward(&mut self, index: usize, finish: &impl Fn(PanelId, &mut Vec<Op>)) {
        let layer = &self.network.layers()[index];
        let (id, version) = (layer.id, Version::Live);
        let first = panels_or_layer(&layer.panels).next();
        let mut flow = if index == 0 { ErrorFlow::Stop } else { ErrorFlow::Assign };
        for panel in panels_or_layer(&layer.panels).rev() {
            for slot in self.slots.iter() {
                self.ops.push(Op::Backward { layer: id, panel, version, slot, flow });
                if Some(panel) == first {
                    self.discard(layer.output, slot);
                    self.fetch_ahead(index);
                }
            }
            if flow == ErrorFlow::Assign {
                flow = ErrorFlow::Accumulate;
            }
            if let Some(panel) = panel {
                finish(panel, self.ops);
            }
        }
    }

    /// Sees to it that the values at a boundary are in memory, or on their way, in every slot.
    fn bring_back(&mut self, at: Boundary) {
        let base = self.plan.base(at);
        let was_held = self.is_held(at);
        for slot in self.slots.iter() {
            if self.is_held_in(base, slot) || was_held {
                continue;
            }
            if self.plan.policy(base) == Policy::Spill {
                self.fetch(base, slot);
            } else if self.plan.in_pool(base) {
                self.allocate(base, slot);
                self.ops.push(Op::Reload { source: self.source(slot), slot });
            }
        }
        if !was_held && self.plan.in_pool(at) {
            for layer in base.0..at.0 {
                self.forward(usize::from(layer), false);
            }
        }
        self.fetch_ahead(usize::from(at.0));
    }

    /// Starts reading what the backward pass needs next below a boundary, in that order, as far as the pool has room.
    /// Nothing else is held before it is used, so what is read early is in nobody's way.
    fn fetch_ahead(&mut self, below: usize) {
        if !self.spills {
            return;
        }
        for at in (0..below as u16).rev().map(Boundary) {
            if self.plan.policy(at) == Policy::Keep || self.is_held(at) {
                continue;
            }
            let base = self.plan.base(at);
            if self.plan.policy(base) != Policy::Spill {
                return;
            }
            for slot in self.slots.iter() {
                if self.is_held_in(base, slot) {
                    continue;
                }
                if self.plan.bytes(base) > self.free {
                    return;
                }
                self.fetch(base, slot);
            }
            if base != at {
                return;
            }
        }
    }

    fn fetch(&mut self, at: Boundary, slot: Slot) {
        self.hold(at, slot);
        self.ops.push(Op::Fetch { at, slot });
    }

    fn allocate(&mut self, at: Boundary, slot: Slot) {
        if self.plan.in_pool(at) {
            self.hold(at, slot);
            self.ops.push(Op::Allocate { at, slot });
        }
    }

    fn leave(&mut self, at: Boundary, slot: Slot) {
        match self.plan.policy(at) {
            Policy::Keep => {}
            Policy::Spill => {
                self.let_go(at, slot);
                self.ops.push(Op::Spill { at, slot });
            }
            Policy::Recompute => self.discard(at, slot),
        }
    }

    fn discard(&mut self, at: Boundary, slot: Slot) {
        if self.plan.in_pool(at) {
            self.let_go(at, slot);
            self.ops.push(Op::Discard { at, slot });
        }
    }

    fn hold(&mut self, at: Boundary, slot: Slot) {
        let was_held = std::mem::replace(self.held_mut(at, slot), true);
        assert!(!was_held, "{at:?} is held already");
        self.free =
            self.free.checked_sub(self.plan.bytes(at)).expect("the pool holds the most there is at once");
    }

    fn let_go(&mut self, at: Boundary, slot: Slot) {
        let was_held = std::mem::replace(self.held_mut(at, slot), false);
        assert!(was_held, "{at:?} is not held");
        self.free += self.plan.bytes(at);
    }

    fn is_held_in(&self, at: Boundary, slot: Slot) -> bool {
        self.held[usize::from(at.0) * usize::from(self.slots.count) + usize::from(slot.0)]
    }

    fn held_mut(&mut self, at: Boundary, slot: Slot) -> &mut bool {
        &mut self.held[usize::from(at.0) * usize::from(self.slots.count) + usize::from(slot.0)]
    }

    fn is_held(&self, at: Boundary) -> bool {
        self.slots.iter().all(|slot| self.is_held_in(at, slot))
    }

    const fn source(&self, slot: Slot) -> Source {
        Source::Train { step: self.step, chunk: self.first_chunk + slot.0 }
    }
}
