//! Time: every forward and backward operation takes one unit, everything else none.

use std::collections::{HashMap, VecDeque};

use spillbench_schedule::{Op, Plan, Rank};

/// When the last rank is done with the first step.
pub fn first_step(plan: &Plan) -> u64 {
    let mut ranks: Vec<VecDeque<Op>> = (0..plan.ranks())
        .map(|rank| {
            let ops = plan.operations(Rank(rank as u16));
            ops.take_while(|op| !matches!(op, Op::StepEnd { .. })).collect()
        })
        .collect();
    let mut clocks = vec![0_u64; ranks.len()];
    let mut sent: HashMap<(usize, usize), VecDeque<u64>> = HashMap::new();
    while ranks.iter().any(|ops| !ops.is_empty()) {
        for (rank, ops) in ranks.iter_mut().enumerate() {
            while let Some(op) = ops.front() {
                match *op {
                    Op::Forward { .. } | Op::Backward { .. } => clocks[rank] += 1,
                    Op::Send { to, .. } => {
                        sent.entry((rank, usize::from(to.0))).or_default().push_back(clocks[rank]);
                    }
                    Op::Receive { from, .. } => {
                        let queue = sent.entry((usize::from(from.0), rank)).or_default();
                        let Some(arrival) = queue.pop_front() else { break };
                        clocks[rank] = clocks[rank].max(arrival);
                    }
                    _ => {}
                }
                ops.pop_front();
            }
        }
    }
    clocks.into_iter().max().unwrap_or(0)
}
