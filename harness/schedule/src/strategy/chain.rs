//! Ranks in a chain, each with a contiguous run of layers: who passes what to whom, and evaluation along it.

use std::ops::Range;

use spillbench_schema::event::Split;

use super::{
    Places, Workspace,
    sweep::{self, live, one_slot},
};
use crate::{
    network::{Boundary, Network},
    op::{Message, Op, Rank, Slot, Source},
    timeline::Timeline,
};

/// Contiguous runs of layers, one a rank, covering the network in order.
#[derive(Debug, Clone)]
pub struct Chain {
    spans: Vec<Range<usize>>,
}

impl Chain {
    /// A chain of these runs.
    pub fn new(spans: Vec<Range<usize>>) -> Self {
        Self { spans }
    }

    /// One rank with all layers.
    pub fn whole(network: &Network) -> Self {
        Self::new(std::iter::once(0..network.depth()).collect())
    }

    pub fn ranks(&self) -> usize {
        self.spans.len()
    }

    pub fn span(&self, rank: Rank) -> Range<usize> {
        self.spans[usize::from(rank.0)].clone()
    }

    pub fn is_last(&self, rank: Rank) -> bool {
        usize::from(rank.0) + 1 == self.spans.len()
    }

    /// The rank before, and the message of values at the boundary between.
    pub fn values_from(&self, rank: Rank) -> Option<(Rank, Message)> {
        let boundary = Boundary(self.span(rank).start as u16);
        rank.0.checked_sub(1).map(|previous| (Rank(previous), Message::Values(boundary)))
    }

    /// The rank behind, and the message of values at the boundary between.
    pub fn values_to(&self, rank: Rank) -> Option<(Rank, Message)> {
        let boundary = Boundary(self.span(rank).end as u16);
        (!self.is_last(rank)).then(|| (Rank(rank.0 + 1), Message::Values(boundary)))
    }

    /// Appends an evaluation: each chunk of the split passes through the ranks; the last one scores it.
    pub fn evaluate(
        &self,
        network: &Network,
        timeline: &Timeline,
        rank: Rank,
        slot: Slot,
        split: Split,
        ops: &mut Vec<Op>,
    ) {
        let from = self.values_from(rank);
        for chunk in 0..timeline.evaluation_chunks(split) {
            ops.push(Op::Load { source: Source::Evaluate { split, chunk }, slot, values: from.is_none() });
            if let Some((from, message)) = from {
                ops.push(Op::Receive { from, message, slot });
            }
            sweep::forward(network, self.span(rank), one_slot(slot), live, ops);
            match self.values_to(rank) {
                Some((to, message)) => ops.push(Op::Send { to, message, slot }),
                None => ops.push(Op::Score { slot, split, chunk }),
            }
        }
    }

    /// The boundaries of a rank's layers, input to output.
    pub fn boundaries(&self, rank: Rank) -> Vec<Boundary> {
        let span = self.span(rank);
        (span.start..=span.end).map(|boundary| Boundary(boundary as u16)).collect()
    }

    /// A workspace of `slots` for a rank that passes backward through its layers in one sweep, updating as it goes:
    /// every boundary's values until then, and errors at two boundaries at a time.
    pub fn workspace(&self, rank: Rank, slots: usize) -> Workspace {
        let boundaries = self.boundaries(rank);
        Workspace {
            slots: slots as u16,
            values: Places::own(&boundaries),
            errors: Places::alternating(with_errors(&boundaries)),
            evaluation: Places::alternating(&boundaries),
            kept: Vec::new(),
        }
    }

    /// Bytes of one chunk at each of the boundaries between ranks, summed.
    pub fn boundary_bytes(&self, network: &Network, rows: usize) -> u64 {
        let widths = self.spans[1..].iter().map(|span| network.width(Boundary(span.start as u16)) as u64);
        4 * rows as u64 * widths.sum::<u64>()
    }

    /// Σ cost / the largest rank's cost, by counted operations.
    pub fn speedup_bound(&self, network: &Network) -> f64 {
        let costs: Vec<u64> = self
            .spans
            .iter()
            .map(|span| span.clone().map(|layer| network.forward_flops(layer)).sum())
            .collect();
        let largest = costs.iter().copied().max().unwrap_or(1).max(1);
        costs.iter().sum::<u64>() as f64 / largest as f64
    }
}

/// Nobody asks for the error at the network's input.
pub fn with_errors(boundaries: &[Boundary]) -> &[Boundary] {
    boundaries.strip_prefix(&[Boundary(0)]).unwrap_or(boundaries)
}
