//! Job control: Ctrl-Z stops the trial with its runner, `fg` and `bg` continue both.
//!
//! A trial's process has a group of its own, so the terminal's stop signal does not reach it. The runner passes it on,
//! then stops itself; when it is continued, it continues the trial.

use std::{
    io::{ErrorKind, Read},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::{
    consts::{SIGSTOP, SIGTSTP},
    low_level::{self, pipe},
};

use crate::{RunnerError, child::start_thread};

/// Answers the runner's stop signal in a trial's process from now on: stops the process within `around`, which so knows
/// how long it was stopped.
///
/// # Errors
/// Signals cannot be caught.
pub fn stop_within(around: fn(&dyn Fn())) -> Result<(), RunnerError> {
    answer_stops(move || {
        around(&|| {
            // Cannot fail: the signal exists.
            let _ = low_level::raise(SIGSTOP);
        });
    })
}

/// Calls `answer` for each stop signal from now on, on a thread of its own. Not by the crate's iterator, which panics where
/// its socket cannot be read; then signals go unanswered.
fn answer_stops(answer: impl Fn() + Send + 'static) -> Result<(), RunnerError> {
    let (mut signals, sender) = UnixStream::pair().map_err(RunnerError::Signals)?;
    start_thread("that answers Ctrl-Z", move || {
        // Signals that came together are answered together.
        let mut came = [0; 64];
        loop {
            match signals.read(&mut came) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
                Ok(_) => answer(),
            }
        }
    })?;
    pipe::register(SIGTSTP, sender).map(drop).map_err(RunnerError::Signals)
}

/// The group of the trial that runs, if one does.
#[derive(Debug, Clone, Default)]
pub struct Job(Arc<Mutex<Option<Pid>>>);

/// A trial's group, stopped and continued with this process as long as this value lives.
#[derive(Debug)]
pub struct Member<'a>(&'a Job);

impl Job {
    /// Answers the terminal's stop signal from now on.
    ///
    /// # Errors
    /// Signals cannot be caught.
    pub fn control() -> Result<Self, RunnerError> {
        let job = Self::default();
        let stopped = job.clone();
        answer_stops(move || stopped.stop())?;
        Ok(job)
    }

    /// The group `number` is the trial that runs. It must not have been waited for.
    pub fn enter(&self, number: u32) -> Member<'_> {
        *self.group() = i32::try_from(number).ok().and_then(Pid::from_raw);
        Member(self)
    }

    /// Stops the trial and this process; returns when continued.
    fn stop(&self) {
        // Held over the stop, so that the trial that is continued is the one that was stopped.
        let group = self.group();
        signal(*group, Signal::TSTP);
        // Cannot fail: the signal exists.
        let _ = low_level::raise(SIGSTOP);
        signal(*group, Signal::CONT);
    }

    fn group(&self) -> MutexGuard<'_, Option<Pid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        *self.0.group() = None;
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // It may have ended; whoever waits for it will see that.
        let _ = kill_process_group(group, signal);
    }
}
