//! What the ranks of a trial share beside parameters: the news that one of them failed, and a barrier.
//!
//! Nobody waits for the dead: every wait ends when a rank has failed.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use spillbench_schedule::Rank;

use crate::EngineError;

/// How often a wait looks whether a rank has failed.
const VIGIL: Duration = Duration::from_millis(50);

/// The ranks of a trial.
#[derive(Debug)]
pub struct Team {
    ranks: usize,
    failed: AtomicBool,
    barrier: Mutex<Meeting>,
    met: Condvar,
}

#[derive(Debug, Default)]
struct Meeting {
    arrived: usize,
    number: u64,
}

impl Team {
    /// A team of `ranks`.
    pub fn new(ranks: usize) -> Self {
        Self { ranks, failed: AtomicBool::new(false), barrier: Mutex::default(), met: Condvar::new() }
    }

    /// How many there are.
    pub const fn ranks(&self) -> usize {
        self.ranks
    }

    /// Tells the others that a rank failed.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Whether a rank failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Waits until all ranks are here.
    ///
    /// # Errors
    /// A rank failed.
    pub fn meet(&self, rank: Rank) -> Result<(), EngineError> {
        let mut meeting = lock(&self.barrier);
        let number = meeting.number;
        meeting.arrived += 1;
        if meeting.arrived == self.ranks {
            *meeting = Meeting { arrived: 0, number: number + 1 };
            self.met.notify_all();
            return Ok(());
        }
        self.wait_until(rank, meeting, &self.met, |meeting| meeting.number != number).map(drop)
    }

    /// Waits on `changed` until `done`, and gives the guard back.
    ///
    /// # Errors
    /// A rank failed.
    pub fn wait_until<'a, T>(
        &self,
        rank: Rank,
        mut guard: MutexGuard<'a, T>,
        changed: &Condvar,
        mut done: impl FnMut(&mut T) -> bool,
    ) -> Result<MutexGuard<'a, T>, EngineError> {
        while !done(&mut guard) {
            if self.has_failed() {
                return Err(EngineError::PeerFailed { rank: rank.0 });
            }
            guard = changed.wait_timeout(guard, VIGIL).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(guard)
    }
}

/// Locks, also after a panic elsewhere: the panic is reported by the rank that had it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use spillbench_schedule::Rank;

    use super::Team;

    #[test]
    fn a_meeting_ends_when_all_are_there_again_and_again() {
        let team = Team::new(3);
        thread::scope(|scope| {
            for rank in 0..3 {
                let team = &team;
                scope.spawn(move || (0..100).for_each(|_| team.meet(Rank(rank)).unwrap()));
            }
        });
    }

    #[test]
    fn nobody_waits_for_the_dead() {
        let team = Team::new(2);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| team.meet(Rank(0)));
            team.fail();
            assert!(waiting.join().unwrap().is_err());
        });
    }
}
