//! Weaves reads and writes into a rank's operations, so that every panel is in memory when it is used and what is
//! in memory never exceeds a capacity.
//!
//! Reads are issued as early as memory allows; an extent stays while a use of it is already foreseen, and leaves
//! otherwise, written back if it was changed. Pinned extents are read once before everything and written once after
//! it. Before a generation everything that is not pinned leaves, and pinned extents are written if they were changed:
//! so what follows a generation is the same whether the run was cut off there or not. The result is decided by the operations and the capacity alone, so its bytes are known before a run.

use std::collections::VecDeque;

use crate::{
    extent::{Extent, ExtentKind, Extents},
    op::{Op, Phase},
};

/// Operations looked at ahead of the one that is executed. Capacity is the limit that matters; this one bounds the
/// memory of the look-ahead itself where everything fits.
const LOOKAHEAD: usize = 4096;

/// Which extents stay in memory, and how much memory the others share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Residency {
    /// By [`Extents::index`]: pinned extents are never read or written between the first step and the last.
    pub pinned: Vec<bool>,
    /// Bytes for extents that are not pinned.
    pub capacity: u64,
}

/// A rank's operations with its reads and writes.
pub struct Weave<'a, I> {
    source: I,
    extents: &'a Extents,
    residency: &'a Residency,
    /// Operations not yet executed; those before `issued` have their extents in memory or on the way.
    queue: VecDeque<(Phase, Op)>,
    issued: usize,
    /// Barriers in the queue that have not been executed.
    fences: usize,
    /// A generation is in the queue, and nothing behind it is looked at yet.
    generation_ahead: bool,
    free: u64,
    held: Vec<Held>,
    ready: VecDeque<Op>,
    exhausted: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    resident: bool,
    dirty: bool,
    foreseen: u32,
}

impl<'a, I: Iterator<Item = (Phase, Op)>> Weave<'a, I> {
    /// Weaves into `source` the reads and writes of `own`: the extents that this rank keeps, pinned ones first read here.
    pub fn new(source: I, extents: &'a Extents, residency: &'a Residency, own: &[Extent]) -> Self {
        let mut held = vec![Held::default(); extents.len()];
        let mut ready = VecDeque::new();
        for &extent in own {
            let index = extents.index(extent);
            if residency.pinned[index] {
                held[index].resident = true;
                ready.push_back(Op::Read { extent, phase: Phase::SetUp });
            }
        }
        Self {
            source,
            extents,
            residency,
            queue: VecDeque::new(),
            issued: 0,
            fences: 0,
            generation_ahead: false,
            free: residency.capacity,
            held,
            ready,
            exhausted: false,
        }
    }

    /// Issues the reads of as many operations as capacity allows.
    fn issue(&mut self) {
        while !self.generation_ahead {
            if self.issued == self.queue.len() && !self.pull() {
                return;
            }
            let (phase, op) = self.queue[self.issued];
            let mut needed = 0;
            for (extent, _) in op.touches(self.extents.has_state()) {
                // A snapshot read before the barrier would be the one before the exchange.
                if extent.kind == ExtentKind::Snapshot && self.fences > 0 {
                    return;
                }
                if !self.held[self.extents.index(extent)].resident {
                    needed += self.extents.bytes(extent);
                }
            }
            if needed > self.free {
                return;
            }
            self.free -= needed;
            for (extent, _) in op.touches(self.extents.has_state()) {
                let held = &mut self.held[self.extents.index(extent)];
                held.foreseen += 1;
                if !held.resident {
                    held.resident = true;
                    self.ready.push_back(Op::Read { extent, phase });
                }
            }
            if matches!(op, Op::Barrier) {
                self.fences += 1;
            }
            self.generation_ahead = matches!(op, Op::Generation { .. });
            self.issued += 1;
        }
    }

    /// Takes one more operation into view.
    fn pull(&mut self) -> bool {
        if self.exhausted || self.queue.len() >= LOOKAHEAD {
            return false;
        }
        match self.source.next() {
            Some(item) => self.queue.push_back(item),
            None => self.exhausted = true,
        }
        !self.exhausted
    }

    /// Passes on the first operation, then lets go of what no operation in view uses.
    fn execute(&mut self) {
        let Some((phase, op)) = self.queue.pop_front() else { return self.finish() };
        assert!(self.issued > 0, "the capacity is smaller than what {op:?} needs");
        self.issued -= 1;
        if matches!(op, Op::Generation { .. }) {
            self.generation_ahead = false;
            self.flush();
        }
        self.ready.push_back(op);
        if matches!(op, Op::Barrier) {
            self.fences -= 1;
        }
        for (extent, changes) in op.touches(self.extents.has_state()) {
            let index = self.extents.index(extent);
            let held = &mut self.held[index];
            held.foreseen -= 1;
            held.dirty |= changes;
            if held.foreseen == 0 && !self.residency.pinned[index] {
                self.free += self.extents.bytes(extent);
                self.ready.push_back(if held.dirty {
                    Op::Write { extent, phase }
                } else {
                    Op::Release { extent }
                });
                *held = Held::default();
            }
        }
    }

    /// Writes what is in memory and was changed: pinned extents, because all others have left.
    fn flush(&mut self) {
        for extent in self.extents.iter() {
            let held = &mut self.held[self.extents.index(extent)];
            if std::mem::take(&mut held.dirty) {
                self.ready.push_back(Op::Flush { extent });
            }
        }
    }

    /// Writes back what is pinned.
    fn finish(&mut self) {
        for extent in self.extents.iter() {
            let held = &mut self.held[self.extents.index(extent)];
            if held.resident {
                self.ready.push_back(Op::Write { extent, phase: Phase::SetUp });
                held.resident = false;
            }
        }
    }
}

impl<I: Iterator<Item = (Phase, Op)>> Iterator for Weave<'_, I> {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        if self.ready.is_empty() {
            self.issue();
            self.execute();
        }
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use spillbench_schema::{
        Bytes,
        config::{Activation, LayerSpec, Linear, NetworkConfig, Precision},
    };

    use super::{Residency, Weave};
    use crate::{
        extent::{Extent, Extents},
        network::{LayerId, Network, PanelId},
        op::{Op, Phase, Slot, SlotRange, Version},
    };

    /// Eight panels of 4 KiB, one a layer.
    fn extents() -> Extents {
        let layers = vec![LayerSpec::Linear(Linear { units: 31, activation: Activation::Relu, repeat: 8 })];
        let network = Network::new(&NetworkConfig { input: vec![32], layers, panel: Bytes(1 << 20) });
        Extents::new(&network, Precision::F32, 0, false)
    }

    /// Forward over eight panels, backward in reverse with an update each; `steps` times.
    fn sweeps(steps: usize) -> Vec<(Phase, Op)> {
        let forward = |panel: u32| Op::Forward {
            layer: LayerId(0),
            panel: Some(PanelId(panel)),
            version: Version::Live,
            slot: Slot(0),
        };
        let update =
            |panel| Op::Update { panel: PanelId(panel), chunks: SlotRange { first: Slot(0), count: 1 } };
        let step = (0..8).map(forward).chain((0..8).rev().map(update)).map(|op| (Phase::Train, op));
        std::iter::repeat_n(step.collect::<Vec<_>>(), steps).flatten().collect()
    }

    fn weave(steps: usize, pinned: usize, panels: u64) -> Vec<Op> {
        let extents = extents();
        let residency = Residency { pinned: (0..8).map(|i| i < pinned).collect(), capacity: panels * 4096 };
        let own: Vec<Extent> = extents.iter().collect();
        Weave::new(sweeps(steps).into_iter(), &extents, &residency, &own).collect()
    }

    fn count(ops: &[Op], wanted: impl Fn(&Op) -> bool) -> usize {
        ops.iter().filter(|op| wanted(op)).count()
    }

    #[test]
    fn every_use_finds_its_extent_in_memory_and_capacity_holds() {
        for (pinned, panels) in [(0, 1), (0, 2), (0, 5), (3, 1), (0, 100), (8, 0)] {
            let extents = extents();
            let mut resident = [false; 8];
            for op in weave(3, pinned, panels) {
                match op {
                    Op::Read { extent, .. } => {
                        assert!(!std::mem::replace(&mut resident[extents.index(extent)], true));
                        assert!(
                            resident.iter().filter(|held| **held).count() as u64 <= panels + pinned as u64
                        );
                    }
                    Op::Write { extent, .. } | Op::Release { extent } => {
                        assert!(std::mem::replace(&mut resident[extents.index(extent)], false));
                    }
                    other => {
                        for (extent, _) in other.touches(false) {
                            assert!(resident[extents.index(extent)], "{other:?}");
                        }
                    }
                }
            }
            assert_eq!(resident, [false; 8], "everything was let go of");
        }
    }

    #[test]
    fn nothing_moves_between_the_first_step_and_the_last_where_all_is_pinned() {
        let ops = weave(5, 8, 0);
        assert_eq!(count(&ops, |op| matches!(op, Op::Read { phase: Phase::SetUp, .. })), 8);
        assert_eq!(count(&ops, |op| matches!(op, Op::Write { phase: Phase::SetUp, .. })), 8);
        assert_eq!(count(&ops, |op| matches!(op, Op::Read { phase: Phase::Train, .. })), 0);
    }

    #[test]
    fn a_step_reads_twice_and_writes_once_what_one_buffer_cannot_keep() {
        let ops = weave(10, 0, 1);
        // The last panel forward is the first backward, and the first panel backward the next forward.
        assert_eq!(count(&ops, |op| matches!(op, Op::Read { .. })), 10 * 14 + 1);
        assert_eq!(count(&ops, |op| matches!(op, Op::Write { .. })), 10 * 8);
    }

    #[test]
    fn each_panel_more_of_capacity_saves_reads_at_the_turns() {
        let reads: Vec<usize> =
            (1..6).map(|panels| count(&weave(10, 0, panels), |op| matches!(op, Op::Read { .. }))).collect();
        assert!(reads.windows(2).all(|pair| pair[1] < pair[0]), "{reads:?}");
    }

    #[test]
    fn reads_run_ahead_of_their_use() {
        let ops = weave(1, 0, 4);
        let first_forward = ops.iter().position(|op| matches!(op, Op::Forward { .. }));
        assert_eq!(first_forward, Some(4), "four reads are under way before the first use");
    }
}
