//! Where a rank's time goes.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spillbench_schema::summary::TimeShares;

use crate::clock::Instant;

/// What a rank is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Products, activations, updates, loading samples.
    Compute,
    /// Waiting for a read.
    ReadWait,
    /// Waiting for a write to be taken.
    WriteWait,
    /// Waiting for memory to read into.
    BufferWait,
    /// Waiting for another rank.
    CommWait,
}

/// A rank's time by activity, while training.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Ledger {
    spent: [Duration; 5],
    total: Duration,
}

impl Ledger {
    /// Adds a span that began at `start`; returns its end.
    pub fn add(&mut self, activity: Activity, start: Instant) -> Instant {
        let end = Instant::now();
        self.spent[activity as usize] += end - start;
        end
    }

    /// Sets the whole time that activities are shares of.
    pub const fn close(&mut self, total: Duration) {
        self.total = total;
    }

    /// The ledger with everything since `mark` left out: what an evaluation took is not training.
    pub fn rewind(&mut self, mark: &Self) {
        self.spent = mark.spent;
    }

    /// Where the time went since `earlier`, `total` in all.
    pub fn since(&self, earlier: &Self, total: Duration) -> TimeShares {
        let mut spent = self.spent;
        for (spent, before) in spent.iter_mut().zip(earlier.spent) {
            *spent = spent.saturating_sub(before);
        }
        Self::mean(&[Self { spent, total }])
    }

    /// Adds what an earlier part of the run spent.
    #[must_use]
    pub fn after(mut self, earlier: &Self) -> Self {
        for (spent, before) in self.spent.iter_mut().zip(earlier.spent) {
            *spent += before;
        }
        self.total += earlier.total;
        self
    }

    /// The mean over ranks.
    pub fn mean(ledgers: &[Self]) -> TimeShares {
        let n = ledgers.len() as f64;
        let mean = |seconds: &dyn Fn(&Self) -> f64| ledgers.iter().map(seconds).sum::<f64>() / n;
        let of = |activity: Activity| mean(&|ledger| ledger.spent[activity as usize].as_secs_f64());
        let (compute, comm_wait) = (of(Activity::Compute), of(Activity::CommWait));
        let [read_wait, write_wait, buffer_wait] =
            [Activity::ReadWait, Activity::WriteWait, Activity::BufferWait].map(of);
        let total = mean(&|ledger| ledger.total.as_secs_f64());
        let idle = (total - compute - read_wait - write_wait - buffer_wait - comm_wait).max(0.0);
        TimeShares { compute, read_wait, write_wait, buffer_wait, comm_wait, idle }
    }
}
