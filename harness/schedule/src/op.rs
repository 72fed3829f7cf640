//! The operations a schedule is made of.

use spillbench_schema::event::Split;

use crate::{
    extent::Extent,
    network::{Boundary, LayerId, PanelId},
};

/// One worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank(pub u16);

/// A place in a rank's workspace for one chunk of samples: its values and errors at the boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

/// Consecutive slots that hold the chunks of one mini-batch, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotRange {
    /// The first.
    pub first: Slot,
    /// How many.
    pub count: u16,
}

impl SlotRange {
    /// The slots.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Slot> {
        (self.first.0..self.first.0 + self.count).map(Slot)
    }
}

/// Which samples are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Chunk `chunk` of the mini-batch of step `step`.
    Train {
        /// From 0.
        step: u64,
        /// From 0; shards outermost.
        chunk: u16,
    },
    /// Chunk `chunk` of a split; without samples past its end.
    Evaluate {
        /// Which samples.
        split: Split,
        /// From 0.
        chunk: u32,
    },
}

/// Which copy of a panel's weights is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// As they are now.
    Live,
    /// As they were at the last exchange.
    Snapshot,
}

/// Whether a backward operation passes the error on to its layer's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorFlow {
    /// No: nothing below needs it.
    Stop,
    /// Yes, overwriting what is there.
    Assign,
    /// Yes, added to what other panels of the layer passed on.
    Accumulate,
}

/// What is sent between ranks, kept and recalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Message {
    /// Values at a boundary.
    Values(Boundary),
    /// Errors (the loss's derivative by the values) at a boundary.
    Errors(Boundary),
}

/// What an operation is for. Set-up is not part of what a step costs, nor is evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Before the first step and after the last.
    SetUp,
    /// Training steps.
    Train,
    /// Evaluation.
    Evaluate,
}

/// One operation of a rank. Operations of a rank happen in order; reads and writes overlap what follows them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// Fills a slot with samples: values at boundary 0 where `values` is set, and their labels.
    Load {
        /// Which samples.
        source: Source,
        /// Where to.
        slot: Slot,
        /// Whether this rank needs the samples themselves, or only their number and labels.
        values: bool,
    },
    /// Computes a panel's part of a layer's output (the whole layer's, if it has no panels).
    Forward {
        /// The layer.
        layer: LayerId,
        /// The panel.
        panel: Option<PanelId>,
        /// Which weights.
        version: Version,
        /// On which samples.
        slot: Slot,
    },
    /// Turns a panel's part of the output errors into errors before the activation, and passes them on.
    Backward {
        /// The layer.
        layer: LayerId,
        /// The panel.
        panel: Option<PanelId>,
        /// Which weights.
        version: Version,
        /// On which samples.
        slot: Slot,
        /// What happens to the error at the layer's input.
        flow: ErrorFlow,
    },
    /// Computes the loss at a boundary and its derivative there.
    Loss {
        /// On which samples.
        slot: Slot,
        /// The outputs.
        at: Boundary,
        /// Whether it is the training loss that is reported, and of which step and chunk.
        record: Option<(u64, u16)>,
    },
    /// Counts loss and correct answers of an evaluation.
    Score {
        /// On which samples.
        slot: Slot,
        /// Of which split.
        split: Split,
        /// Which part of it.
        chunk: u32,
    },
    /// Forms the gradient of a panel over the chunks of a mini-batch and applies it, block by block.
    Update {
        /// The panel.
        panel: PanelId,
        /// All chunks of the mini-batch.
        chunks: SlotRange,
    },
    /// Forms this rank's part of a panel's gradient, and gives it to `owner`; the owner combines the parts in rank
    /// order, as a binary tree, and applies them.
    Reduce {
        /// The panel.
        panel: PanelId,
        /// This rank's chunks of the mini-batch.
        chunks: SlotRange,
        /// Who applies it.
        owner: Rank,
    },
    /// Sends from a slot to the next or previous rank.
    Send {
        /// To whom.
        to: Rank,
        /// What.
        message: Message,
        /// From where.
        slot: Slot,
    },
    /// Receives into a slot.
    Receive {
        /// From whom.
        from: Rank,
        /// What.
        message: Message,
        /// Where to.
        slot: Slot,
    },
    /// Puts a copy behind those kept of the same message.
    Keep {
        /// What.
        message: Message,
        /// From where.
        slot: Slot,
    },
    /// Takes the oldest one kept.
    Recall {
        /// What.
        message: Message,
        /// Where to.
        slot: Slot,
    },
    /// Sends all that are kept of a message, as one.
    SendKept {
        /// To whom.
        to: Rank,
        /// What.
        message: Message,
    },
    /// Receives what [`Op::SendKept`] sent, to be recalled one at a time.
    ReceiveKept {
        /// From whom.
        from: Rank,
        /// What.
        message: Message,
    },
    /// Takes memory for the values at a boundary of a slot from the pool of those that do not stay; what is in it is
    /// stale.
    Allocate {
        /// Of which values.
        at: Boundary,
        /// Of which samples.
        slot: Slot,
    },
    /// Gives that memory back: the values are not used any more, or computed again.
    Discard {
        /// Of which values.
        at: Boundary,
        /// Of which samples.
        slot: Slot,
    },
    /// Starts writing values to the store; their memory is free when that is done.
    Spill {
        /// Which values.
        at: Boundary,
        /// Of which samples.
        slot: Slot,
    },
    /// Starts reading spilled values back, into memory from the pool.
    Fetch {
        /// Which values.
        at: Boundary,
        /// Of which samples.
        slot: Slot,
    },
    /// Fills boundary 0 of a slot again with the samples that it was loaded with.
    Reload {
        /// Which samples.
        source: Source,
        /// Where to.
        slot: Slot,
    },
    /// Copies a panel's live weights to its snapshot.
    Publish {
        /// The panel.
        panel: PanelId,
    },
    /// Waits for all ranks. Snapshots read after it are those published before it.
    Barrier,
    /// The rank is done with a step.
    StepEnd {
        /// From 0.
        step: u64,
    },
    /// The rank is done with an evaluation after `step` steps.
    EvaluationEnd {
        /// Of which split.
        split: Split,
        /// Steps done.
        step: u64,
    },
    /// Commits a generation after `step` steps: all ranks meet, everything written so far reaches stable storage.
    Generation {
        /// Steps done.
        step: u64,
    },
    /// Starts writing an extent for the generation that follows; it stays in memory, unchanged until that is committed.
    Flush {
        /// Which.
        extent: Extent,
    },
    /// Starts reading an extent.
    Read {
        /// Which.
        extent: Extent,
        /// For what.
        phase: Phase,
    },
    /// Starts writing an extent back; its memory is free when that is done.
    Write {
        /// Which.
        extent: Extent,
        /// For what.
        phase: Phase,
    },
    /// Frees the memory of an extent that was not changed.
    Release {
        /// Which.
        extent: Extent,
    },
}

impl Op {
    /// The extents it needs in memory, and whether it changes them.
    pub fn touches(&self, state: bool) -> impl Iterator<Item = (Extent, bool)> {
        let (first, second) = match *self {
            Self::Forward { panel: Some(panel), version, .. }
            | Self::Backward { panel: Some(panel), version, .. } => {
                let extent = match version {
                    Version::Live => Extent::weights(panel),
                    Version::Snapshot => Extent::snapshot(panel),
                };
                (Some((extent, false)), None)
            }
            Self::Update { panel, .. } | Self::Reduce { panel, .. } => {
                (Some((Extent::weights(panel), true)), state.then(|| (Extent::state(panel), true)))
            }
            Self::Publish { panel } => (Some((Extent::weights(panel), false)), None),
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }
}
