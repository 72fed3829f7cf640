//! What a rank holds of samples on their way through the network.
//!
//! A boundary's values are read until the layers beside it are done with them; its errors only by those two layers.
//! So boundaries may share a buffer: the errors of one sweep need two, and so do the values of an evaluation.

use crate::{
    activations::ActivationPlan,
    network::{Boundary, Network},
    op::Message,
    timeline::Timeline,
};

/// What a rank holds of samples.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Workspace {
    /// Slots for training; one more, the last, is for evaluation.
    pub slots: u16,
    /// Where a training slot holds values.
    pub values: Places,
    /// Where a training slot holds errors.
    pub errors: Places,
    /// Where the evaluation slot holds values.
    pub evaluation: Places,
    /// The most messages kept of each kind at a time.
    pub kept: Vec<(Message, u64)>,
}

/// Buffers, and the boundaries that take turns in each: writing one boundary's values ends those of the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    buffers: Vec<Vec<Boundary>>,
}

impl Places {
    /// A buffer for each boundary.
    pub fn own(boundaries: &[Boundary]) -> Self {
        Self { buffers: boundaries.iter().map(|&boundary| vec![boundary]).collect() }
    }

    /// Two buffers in which consecutive boundaries take turns: for a sweep, which needs two neighbours at a time.
    pub fn alternating(boundaries: &[Boundary]) -> Self {
        let every_second = |first| boundaries.iter().copied().skip(first).step_by(2).collect();
        Self { buffers: vec![every_second(0), every_second(1)] }
    }

    /// Adds a boundary to a buffer that `neighbour` is not in.
    ///
    /// # Panics
    /// If there is no other buffer.
    pub fn add_beside(&mut self, neighbour: Boundary, boundary: Boundary) {
        let free = self.buffers.iter_mut().find(|buffer| !buffer.contains(&neighbour));
        free.expect("there are two buffers or more").push(boundary);
    }

    /// The boundaries in each buffer.
    pub fn buffers(&self) -> &[Vec<Boundary>] {
        &self.buffers
    }

    /// The boundaries that take turns with `at`, itself included; none if it has no place.
    pub fn sharers(&self, at: Boundary) -> &[Boundary] {
        self.buffers.iter().find(|buffer| buffer.contains(&at)).map_or(&[], Vec::as_slice)
    }

    /// Values of one sample in all buffers: each is as wide as its widest boundary.
    pub fn width(&self, network: &Network) -> u64 {
        let widest = |buffer: &Vec<Boundary>| {
            buffer.iter().map(|&boundary| network.width(boundary) as u64).max().unwrap_or(0)
        };
        self.buffers.iter().map(widest).sum()
    }
}

impl Workspace {
    /// Without the values that lie in a pool.
    #[must_use]
    pub fn less_pool(mut self, activations: &ActivationPlan) -> Self {
        self.values.buffers.retain(|buffer| buffer.iter().any(|at| !activations.in_pool(*at)));
        self
    }

    /// Bytes of all of it, samples kept included.
    pub fn bytes(&self, network: &Network, timeline: &Timeline) -> u64 {
        let rows = timeline.chunk_rows() as u64;
        let slot = rows * (self.values.width(network) + self.errors.width(network));
        let evaluation = timeline.evaluation_rows as u64 * self.evaluation.width(network);
        let kept: u64 = self
            .kept
            .iter()
            .map(|(message, count)| count * rows * network.width(message.boundary()) as u64)
            .sum();
        4 * (u64::from(self.slots) * slot + evaluation + kept)
    }
}
