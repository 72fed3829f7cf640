//! One line of a trial's log, `events.jsonl`.

use serde::{Deserialize, Serialize};

use crate::summary::TimeShares;

/// Which part of the data an evaluation used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Held out of the training set.
    Validation,
    /// The test set.
    Test,
}

/// One line of a trial's log. `t_s` is wall time since the trial began, in seconds;
/// after a cut, of the work that was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The trial's process is ready to train.
    Started {
        /// Seconds since the trial began.
        t_s: f64,
        /// Steps it will take.
        steps: u64,
        /// Parameters of the network.
        parameters: u64,
    },
    /// The trial was cut off, and goes on from its last generation. What was logged after that is gone.
    Resumed {
        /// Seconds since the trial began, those between the cut and now left out.
        t_s: f64,
        /// Steps done.
        step: u64,
    },
    /// Training has come this far. Written at a bounded cadence; `loss` and `step_time_s` are means over the
    /// steps since the last such line.
    Step {
        /// Seconds since the trial began.
        t_s: f64,
        /// Seconds of training, evaluation and set-up left out.
        train_s: f64,
        /// Steps done.
        step: u64,
        /// Samples seen.
        samples: u64,
        /// Mean training loss.
        loss: f64,
        /// η of the last step.
        learning_rate: f64,
        /// Mean seconds of a step.
        step_time_s: f64,
    },
    /// The network was evaluated.
    Evaluation {
        /// Seconds since the trial began.
        t_s: f64,
        /// Steps done.
        step: u64,
        /// Which samples.
        split: Split,
        /// Mean loss.
        loss: f64,
        /// Percent correct.
        accuracy: f64,
    },
    /// Memory and I/O so far.
    Resources {
        /// Seconds since the trial began.
        t_s: f64,
        /// Steps done.
        step: u64,
        /// Resident memory of the process.
        rss_bytes: u64,
        /// Bytes read from the store so far, evaluation included.
        bytes_read: u64,
        /// Bytes written to the store so far.
        bytes_written: u64,
    },
    /// What happened in a stretch of training: the bytes that moved and where the last rank's time went. Spans follow
    /// each other and grow longer with the run, so that a log has a bounded number of them.
    Span {
        /// Seconds since the trial began, at the end of the span.
        t_s: f64,
        /// Seconds of training before it, evaluation and set-up left out.
        train_s: f64,
        /// Its length in seconds.
        duration_s: f64,
        /// Bytes read in it.
        bytes_read: u64,
        /// Bytes written in it.
        bytes_written: u64,
        /// Where the last rank's time went in it.
        time_s: TimeShares,
    },
    /// The trial is done.
    Finished {
        /// Seconds since the trial began.
        t_s: f64,
    },
}
