//! Groups of layers that learn apart, and the ranks they are spread over.

use std::ops::Range;

use spillbench_schema::config::Layerwise;

use super::chain::Chain;
use crate::{network::Network, op::Rank, partition, timeline::Timeline};

/// The layers of each group, input to output.
pub fn layers_of_groups(network: &Network, layerwise: &Layerwise) -> Vec<Range<usize>> {
    let written = network.written_layers();
    let sizes = layerwise.groups.clone().unwrap_or_else(|| vec![1; written]);
    assert_eq!(sizes.iter().sum::<usize>(), written, "groups must hold every layer once");
    sizes
        .iter()
        .scan(0, |start, size| {
            let group = *start..*start + size;
            *start = group.end;
            Some(network.layers_of_written(group))
        })
        .collect()
}

/// Groups (science) and the contiguous runs of them that each rank has (execution).
pub struct Groups {
    pub layers: Vec<Range<usize>>,
    of_rank: Vec<Range<usize>>,
    pub chain: Chain,
    pub interval: u64,
}

impl Groups {
    /// Ranks are balanced by counted work.
    pub fn new(network: &Network, layerwise: &Layerwise) -> Self {
        let layers = layers_of_groups(network, layerwise);
        let costs: Vec<u64> = layers
            .iter()
            .map(|group| group.clone().map(|layer| network.forward_flops(layer)).sum())
            .collect();
        let of_rank = partition::balanced(&costs, layerwise.ranks.unwrap_or(layers.len()));
        let span = |groups: &Range<usize>| layers[groups.start].start..layers[groups.end - 1].end;
        let chain = Chain::new(of_rank.iter().map(span).collect());
        Self { layers, of_rank, chain, interval: layerwise.interval }
    }

    /// The groups of a rank, by number.
    pub fn of(&self, rank: Rank) -> Range<usize> {
        self.of_rank[usize::from(rank.0)].clone()
    }

    /// Whether a group holds the network's last layer.
    pub fn is_last(&self, group: usize) -> bool {
        group + 1 == self.layers.len()
    }

    /// The steps from an exchange at `step` to the next, if there is an exchange before `step`.
    pub fn interval_from(&self, step: u64, timeline: &Timeline) -> Option<Range<u64>> {
        step.is_multiple_of(self.interval).then(|| step..(step + self.interval).min(timeline.steps))
    }
}
