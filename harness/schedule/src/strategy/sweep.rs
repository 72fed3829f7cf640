//! The sweep: forward over layers, backward in reverse, every chunk through a panel before the next panel.

use std::ops::Range;

use crate::{
    network::{Network, PanelId},
    op::{ErrorFlow, Op, Slot, SlotRange, Version},
};

/// Appends the forward pass of `slots` through `layers`.
pub fn forward(
    network: &Network,
    layers: Range<usize>,
    slots: SlotRange,
    version: impl Fn(usize) -> Version,
    ops: &mut Vec<Op>,
) {
    for index in layers {
        let layer = &network.layers()[index];
        let version = version(index);
        for panel in panels_or_layer(&layer.panels) {
            ops.extend(slots.iter().map(|slot| Op::Forward { layer: layer.id, panel, version, slot }));
        }
    }
}

/// Appends the backward pass of `slots` through `layers`, last to first. `bottom` is what happens to the error at
/// the first layer's input. `finish` appends what follows a panel's last chunk: its update, while it is resident.
pub fn backward(
    network: &Network,
    layers: Range<usize>,
    slots: SlotRange,
    version: impl Fn(usize) -> Version,
    bottom: ErrorFlow,
    finish: impl Fn(PanelId, &mut Vec<Op>),
    ops: &mut Vec<Op>,
) {
    let first = layers.start;
    for index in layers.rev() {
        let layer = &network.layers()[index];
        let version = version(index);
        let mut flow = if index == first { bottom } else { ErrorFlow::Assign };
        for panel in panels_or_layer(&layer.panels).rev() {
            ops.extend(slots.iter().map(|slot| Op::Backward { layer: layer.id, panel, version, slot, flow }));
            if flow == ErrorFlow::Assign {
                flow = ErrorFlow::Accumulate;
            }
            if let Some(panel) = panel {
                finish(panel, ops);
            }
        }
    }
}

/// For [`backward`]: nothing follows.
pub fn no_update(_: PanelId, _: &mut Vec<Op>) {}

/// For [`backward`]: the panel is updated.
pub fn update(chunks: SlotRange) -> impl Fn(PanelId, &mut Vec<Op>) {
    move |panel, ops| ops.push(Op::Update { panel, chunks })
}

/// For [`forward`] and [`backward`]: all weights as they are now.
pub const fn live(_: usize) -> Version {
    Version::Live
}

/// The first `count` slots.
pub fn first_slots(count: usize) -> SlotRange {
    SlotRange { first: Slot(0), count: count as u16 }
}

/// One slot.
pub const fn one_slot(slot: Slot) -> SlotRange {
    SlotRange { first: slot, count: 1 }
}

/// The panels of a layer; `None` stands for a layer that has none.
pub fn panels_or_layer(panels: &Range<u32>) -> impl DoubleEndedIterator<Item = Option<PanelId>> + use<> {
    let whole_layer = panels.is_empty().then_some(None);
    panels.clone().map(|panel| Some(PanelId(panel))).chain(whole_layer)
}
