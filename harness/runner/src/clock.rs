//! Time in which the process runs: the time for which a user or a batch system stops it counts for no limit.

use std::time::{Duration, Instant};

/// The most that one look adds. A process that is looked at often and comes back after longer was stopped.
const MOST_A_LOOK: Duration = Duration::from_secs(1);

/// Adds up the time between looks, each counted as [`MOST_A_LOOK`] at most.
#[derive(Debug, Clone, Copy)]
pub struct RunningClock {
    last: Instant,
    elapsed: Duration,
}

impl RunningClock {
    /// A clock that starts at `now`.
    pub const fn start(now: Instant) -> Self {
        Self { last: now, elapsed: Duration::ZERO }
    }

    /// The time it has run up to `now`.
    pub fn look(&mut self, now: Instant) -> Duration {
        self.elapsed += now.saturating_duration_since(self.last).min(MOST_A_LOOK);
        self.last = now;
        self.elapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_between_looks_adds_up_and_a_stop_counts_for_a_second_at_most() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut clock = RunningClock::start(began);
        assert_eq!(clock.look(at(50)), Duration::from_millis(50));
        assert_eq!(clock.look(at(100)), Duration::from_millis(100));
        assert_eq!(clock.look(at(3_600_100)), Duration::from_millis(1100));
        assert_eq!(clock.look(at(3_600_150)), Duration::from_millis(1150));
    }
}
