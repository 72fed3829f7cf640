//! Snapshots in barrier time: what two ranks do between the same barriers may happen in any order, what they do
//! between different ones may not.

use std::collections::BTreeMap;

use spillbench_schedule::{Extent, ExtentKind, Op, PanelId, Plan, Rank};

/// From one barrier to another, counted from the start: a snapshot was in a rank's memory.
struct Held {
    panel: PanelId,
    from: u64,
    to: u64,
    /// Training step that used it.
    step: u64,
}

/// Asserts that no snapshot is written while a rank may hold it, and that each rank reads that of the last exchange.
pub fn check(plan: &Plan) {
    let mut published: BTreeMap<PanelId, Vec<(u64, u64)>> = BTreeMap::new();
    let mut held = Vec::new();
    for rank in 0..plan.ranks() {
        let (mut barriers, mut step) = (0, 0);
        let mut open: BTreeMap<PanelId, u64> = BTreeMap::new();
        for op in plan.operations(Rank(rank as u16)) {
            match op {
                Op::Barrier => barriers += 1,
                Op::StepEnd { .. } => step += 1,
                Op::Publish { panel } => published.entry(panel).or_default().push((barriers, step)),
                Op::Read { extent: Extent { kind: ExtentKind::Snapshot, panel }, .. } => {
                    open.insert(panel, barriers);
                }
                Op::Release { extent: Extent { kind: ExtentKind::Snapshot, panel } } => {
                    let from = open.remove(&panel).expect("read before");
                    held.push(Held { panel, from, to: barriers, step });
                }
                Op::Write { extent: Extent { kind: ExtentKind::Snapshot, .. }, .. } => {
                    panic!("snapshots are published, not written")
                }
                _ => {}
            }
        }
        assert!(open.is_empty(), "rank {rank} still holds snapshots at its end");
    }
    assert_eq!(held.is_empty() && published.is_empty(), !plan.strategy().has_snapshots());
    for Held { panel, from, to, step } in held {
        let publications = &published[&panel];
        let in_the_way = publications.iter().find(|(barrier, _)| (from..=to).contains(barrier));
        assert_eq!(in_the_way, None, "{panel:?} is held from barrier {from} to {to}");
        let before = publications.iter().filter(|(barrier, _)| *barrier < from).count();
        let due = publications.iter().filter(|(_, published)| *published <= step).count();
        assert_eq!(before, due, "{panel:?} in step {step} is not of the last exchange");
    }
}
