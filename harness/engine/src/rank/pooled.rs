//! Values that do not stay between the forward and the backward pass: they lie in the store's memory.

use spillbench_schedule::{ActivationExtent, Boundary, LayerId, Policy, Slot, Source};
use spillbench_storage::{Access, ExtentId, Panel};

use super::Executor;
use crate::{EngineError, ledger::Activity, workspace::Pooled};

impl Executor<'_, '_> {
    pub(super) fn allocate(&mut self, slot: Slot, at: Boundary) -> Result<(), EngineError> {
        let bytes = self.shared.plan.activations.payload(at);
        let panel = self.waiting(Activity::BufferWait, |this| Ok(this.shared.store.scratch(bytes)?))?;
        self.workspace.put_pooled(slot, at, Pooled::Here(panel));
        Ok(())
    }

    pub(super) fn discard(&mut self, slot: Slot, at: Boundary) -> Result<(), EngineError> {
        let panel = self.take_pooled(slot, at)?;
        if self.shared.plan.activations.policy(at) == Policy::Spill {
            self.shared.store.release(self.activation(slot, at), panel);
        }
        Ok(())
    }

    pub(super) fn spill(&mut self, slot: Slot, at: Boundary) -> Result<(), EngineError> {
        let panel = self.take_pooled(slot, at)?;
        let id = self.activation(slot, at);
        self.waiting(Activity::WriteWait, |this| Ok(this.shared.store.begin_write(id, panel)?))
    }

    pub(super) fn fetch(&mut self, slot: Slot, at: Boundary) -> Result<(), EngineError> {
        let id = self.activation(slot, at);
        let ticket = self.waiting(Activity::BufferWait, |this| {
            Ok(this.shared.store.begin_read(id, Access::Exclusive)?)
        })?;
        self.workspace.put_pooled(slot, at, Pooled::Coming(ticket));
        Ok(())
    }

    pub(super) fn reload(&mut self, source: Source, slot: Slot) -> Result<(), EngineError> {
        let Source::Train { step, chunk } = source else { panic!("{source:?} is loaded once") };
        self.computing(|this| {
            let samples = this.order.of_chunk(&this.shared.plan.timeline, step, chunk);
            this.workspace.load_values(slot, &this.shared.data.train, samples);
            Ok(())
        })
    }

    /// Waits for the values beside a layer that are being read.
    pub(super) fn arrived(
        &mut self,
        layer: LayerId,
        slots: impl IntoIterator<Item = Slot>,
    ) -> Result<(), EngineError> {
        let layer = self.shared.plan.network.layer(layer);
        for slot in slots {
            for at in [layer.input, layer.output] {
                if self.workspace.is_coming(slot, at) {
                    let panel = self.take_pooled(slot, at)?;
                    self.workspace.put_pooled(slot, at, Pooled::Here(panel));
                }
            }
        }
        Ok(())
    }

    fn take_pooled(&mut self, slot: Slot, at: Boundary) -> Result<Panel, EngineError> {
        match self.workspace.take_pooled(slot, at).expect("the schedule has allocated or fetched the values")
        {
            Pooled::Here(panel) => Ok(panel),
            Pooled::Coming(ticket) => {
                self.waiting(Activity::ReadWait, |this| Ok(this.shared.store.finish_read(ticket)?))
            }
        }
    }

    fn activation(&self, slot: Slot, at: Boundary) -> ExtentId {
        let plan = self.shared.plan;
        let index = plan.activations.index(ActivationExtent { rank: self.rank, slot, at });
        ExtentId((plan.extents.len() + index) as u32)
    }
}
