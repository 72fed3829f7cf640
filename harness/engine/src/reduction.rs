//! Partial gradients: the fixed binary tree in which they are combined, and how they get from rank to rank.

use std::{
    collections::HashMap,
    sync::{Condvar, Mutex},
};

use spillbench_kernels::add;
use spillbench_schedule::{PanelId, Rank};

use crate::{
    EngineError,
    team::{Team, lock},
};

/// Combines parts into the first: 0+1, 2+3, …, then the sums likewise. The count is a power of two.
pub fn tree(parts: &mut [&mut [f32]]) {
    assert!(parts.len().is_power_of_two(), "{} parts make no binary tree", parts.len());
    let mut stride = 1;
    while stride < parts.len() {
        for left in (0..parts.len()).step_by(2 * stride) {
            let (low, high) = parts.split_at_mut(left + stride);
            add(low[left], high[0]);
        }
        stride *= 2;
    }
}

/// Where ranks hand over their parts of a panel's gradient to the rank that applies it.
///
/// Each rank has two buffers and waits for one to come back: the parts under way take no more memory than planned.
pub struct Reducer {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Each rank's free buffers.
    free: Vec<Vec<Vec<f32>>>,
    /// By panel: the parts handed over so far, by rank.
    parts: HashMap<PanelId, Vec<Option<Vec<f32>>>>,
    bytes_handed_over: u64,
}

const BUFFERS: usize = 2;

impl Reducer {
    /// For a team of `ranks`.
    pub fn new(ranks: usize) -> Self {
        let free = vec![vec![Vec::new(); BUFFERS]; ranks];
        let state = State { free, parts: HashMap::new(), bytes_handed_over: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// A buffer for a part, of any length.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn buffer(&self, team: &Team, rank: Rank) -> Result<Vec<f32>, EngineError> {
        let own = usize::from(rank.0);
        let mut state =
            team.wait_until(rank, lock(&self.state), &self.changed, |state| !state.free[own].is_empty())?;
        Ok(state.free[own].pop().unwrap_or_default())
    }

    /// Hands a part to the panel's owner.
    pub fn hand_over(&self, from: Rank, panel: PanelId, part: Vec<f32>) {
        let mut state = lock(&self.state);
        state.bytes_handed_over += 4 * part.len() as u64;
        state.put(from, panel, part);
        self.changed.notify_all();
    }

    /// Adds the owner's part, waits for all others, and returns them in rank order.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn collect(
        &self,
        team: &Team,
        owner: Rank,
        panel: PanelId,
        part: Vec<f32>,
    ) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut state = lock(&self.state);
        state.put(owner, panel, part);
        let mut state = team.wait_until(owner, state, &self.changed, |state| {
            state.parts.get(&panel).is_some_and(|parts| parts.iter().all(Option::is_some))
        })?;
        Ok(state.parts.remove(&panel).into_iter().flatten().flatten().collect())
    }

    /// Returns each part to its rank.
    pub fn give_back(&self, parts: Vec<Vec<f32>>) {
        let mut state = lock(&self.state);
        for (free, part) in state.free.iter_mut().zip(parts) {
            free.push(part);
        }
        self.changed.notify_all();
    }

    /// Bytes that went from one rank to another.
    pub fn bytes_handed_over(&self) -> u64 {
        lock(&self.state).bytes_handed_over
    }
}

impl State {
    fn put(&mut self, from: Rank, panel: PanelId, part: Vec<f32>) {
        let ranks = self.free.len();
        let parts = self.parts.entry(panel).or_insert_with(|| vec![None; ranks]);
        parts[usize::from(from.0)] = Some(part);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn neighbours_are_combined_first() {
        // In f32, 1 + 1e8 rounds to 1e8: the grouping shows in the result.
        let mut parts = [[1e8_f32], [1.0], [-1e8], [1.0]];
        let [a, b, c, d] = &mut parts;
        super::tree(&mut [a, b, c, d]);
        assert_eq!(parts[0], [(1e8_f32 + 1.0) + (-1e8 + 1.0)]);
    }
}
