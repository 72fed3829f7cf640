//! A trial's process: started, listened to, ended.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Child, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use crate::{Program, RunnerError, clock::RunningClock, error::Context, job::Job, study::Interrupt};

/// A line that a trial's process prints on its standard output.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChildLine {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Mean training loss lately.
    pub loss: Option<f64>,
    /// Whether this is where a run that was cut off goes on.
    #[serde(default)]
    pub resumed: bool,
}

/// How a trial's process ended.
pub enum Ending {
    /// By itself; what it said on standard error.
    Exited(ExitStatus, String),
    /// It was ended because the user interrupted.
    Interrupted,
    /// It was ended because it took longer than allowed.
    TimedOut,
}

/// How often a running trial is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Runs `program trial <folder>` to its end.
///
/// The process is in a group of its own, so that Ctrl-C reaches it only through the runner, and holds the end of a
/// pipe, so that it ends when the runner is killed ([`watch_parent`]). Ctrl-Z reaches it through `job`. Returns with its
/// ending how long it ran, without the time for which this process was stopped.
pub fn run(
    program: &Program,
    folder: &Path,
    timeout: Option<Duration>,
    (interrupt, job): (&Interrupt, &Job),
    mut listen: impl FnMut(ChildLine),
) -> Result<(Ending, Duration), RunnerError> {
    let mut child = program
        .command()
        .arg("trial")
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("start", program.name())?;
    let member = job.enter(child.id());
    let lifeline = child.stdin.take();
    let listeners = lines(&mut child).and_then(|lines| Ok((lines, errors(&mut child)?)));
    let (lines, errors) = match listeners {
        Ok(listeners) => listeners,
        Err(error) => {
            // Nobody would hear it.
            child.kill().context("end", program.name())?;
            drop(member);
            child.wait().context("wait for", program.name())?;
            return Err(error);
        }
    };
    let mut clock = RunningClock::start(Instant::now());
    let ending = loop {
        match lines.recv_timeout(TICK) {
            Ok(line) => listen(line),
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if interrupt.is_set() {
            break Some(Ending::Interrupted);
        }
        let took = clock.look(Instant::now());
        if timeout.is_some_and(|timeout| took > timeout) {
            break Some(Ending::TimedOut);
        }
    };
    if ending.is_some() {
        child.kill().context("end", program.name())?;
    }
    // Its number may be given to another process once it was waited for.
    drop(member);
    let status = child.wait().context("wait for", program.name())?;
    drop(lifeline);
    let said = errors.join().unwrap_or_default();
    // A signal to the whole session may have ended the child before it set the flag here.
    let interrupted = interrupt.is_set() && status.signal().is_some();
    let ending = match ending {
        Some(ending) => ending,
        None if interrupted => Ending::Interrupted,
        None => Ending::Exited(status, said),
    };
    Ok((ending, clock.look(Instant::now())))
}

fn lines(child: &mut Child) -> Result<mpsc::Receiver<ChildLine>, RunnerError> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        start_thread("that reads a trial's progress", move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(line) = serde_json::from_str(&line)
                    && sender.send(line).is_err()
                {
                    break;
                }
            }
        })?;
    }
    Ok(receiver)
}

fn errors(child: &mut Child) -> Result<thread::JoinHandle<String>, RunnerError> {
    let stderr = child.stderr.take();
    start_thread("that reads a trial's errors", move || {
        let mut bytes = Vec::new();
        if let Some(mut stderr) = stderr {
            // What was read before an error is all there is to report.
            let _ = stderr.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).trim().to_owned()
    })
}

/// Starts a thread for a `task`, as in "the thread …".
pub fn start_thread<T: Send + 'static>(
    task: &'static str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<thread::JoinHandle<T>, RunnerError> {
    thread::Builder::new().spawn(body).map_err(|cause| RunnerError::Thread { task, cause })
}

/// Ends this process when the one that started it is gone: its end of the standard input's pipe closes. The kernel ends it
/// too where it can be asked to, because a process that is stopped reads no pipe.
///
/// # Errors
/// No thread can be started.
pub fn watch_parent() -> Result<(), RunnerError> {
    // Refused, it leaves the pipe, which ends all but a stopped process.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    start_thread("that waits for the end of the runner", || {
        let mut end = [0];
        while !matches!(std::io::stdin().read(&mut end), Ok(0) | Err(_)) {}
        std::process::exit(130);
    })
    .map(drop)
}
