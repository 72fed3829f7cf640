//! One line of a trial's log, `events.jsonl`.

use serde::{Deserialize, Serialize};

/// Which part of the data an evaluation used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// The trial is done.
    Finished {
        /// Seconds since the trial began.
        t_s: f64,
    },
}
