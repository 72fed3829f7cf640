//! Time in which training runs. A user who stops the program (Ctrl-Z) stops this clock, so that no step is longer for
//! it.

use std::{
    ops::Sub,
    sync::{PoisonError, RwLock},
    time::{Duration, Instant as Wall},
};

static STOPS: RwLock<Stops> = RwLock::new(Stops { past: Duration::ZERO, since: None });

#[derive(Debug, Clone, Copy)]
struct Stops {
    /// The time of all stops that are over.
    past: Duration,
    /// When the one that is not over began.
    since: Option<Wall>,
}

impl Stops {
    fn at(self, now: Wall) -> Instant {
        let now = self.since.unwrap_or(now);
        // The process began before any stop, so this is no earlier than its start.
        Instant(now.checked_sub(self.past).unwrap_or(now))
    }

    fn end(&mut self, now: Wall) {
        if let Some(since) = self.since.take() {
            self.past += now - since;
        }
    }
}

/// A moment of training time; later ones are never less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Wall);

impl Instant {
    /// This moment.
    pub fn now() -> Self {
        // The clock is read under the lock: the process cannot be stopped between the two.
        let stops = STOPS.read().unwrap_or_else(PoisonError::into_inner);
        stops.at(Wall::now())
    }

    /// Training time since.
    pub fn elapsed(self) -> Duration {
        Self::now() - self
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }
}

/// Calls `stop`, which returns when the process is continued; the clock of training stands still until then.
pub fn stopped_while(stop: &dyn Fn()) {
    STOPS.write().unwrap_or_else(PoisonError::into_inner).since = Some(Wall::now());
    stop();
    STOPS.write().unwrap_or_else(PoisonError::into_inner).end(Wall::now());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_time_stands_still_over_a_stop_and_goes_on_after_it() {
        let began = Wall::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut stops = Stops { past: Duration::ZERO, since: None };
        let since_began = |stops: Stops, now| stops.at(now) - Instant(began);
        assert_eq!(since_began(stops, at(5)), Duration::from_secs(5));
        stops.since = Some(at(5));
        assert_eq!(since_began(stops, at(60)), Duration::from_secs(5), "while it is stopped");
        stops.end(at(3605));
        assert_eq!(since_began(stops, at(3606)), Duration::from_secs(6), "after a stop of an hour");
    }
}
