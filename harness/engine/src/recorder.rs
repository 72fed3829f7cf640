//! Everything that is reported comes through here: losses, scores, step times, and the event log made of them.

mod step_times;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use spillbench_schedule::Timeline;
use spillbench_schema::{
    Event,
    divergence::Sign,
    event::Split,
    summary::{Durations, TimeShares},
};
use spillbench_storage::Counters;
use step_times::StepTimes;

use crate::{Diverged, EngineError, EventLog, clock::Instant, generation::Moved, machine, team::lock};

/// How far a trial has come; told at most ten times a second.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Mean training loss of the last line of the log.
    pub loss: Option<f64>,
}

/// Lines of the log with a training loss, at most.
const LOG_LINES: u64 = 400;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// The shortest span of the log.
const SHORTEST_SPAN: Duration = Duration::from_millis(20);
/// Spans of a length, before they are twice as long.
const SPANS_OF_A_LENGTH: u64 = 500;

/// Losses that are told where training diverges.
const LAST_LOSSES: usize = 5;

/// Collects what ranks report, in any order, and writes it in one.
pub struct Recorder<'a> {
    timeline: &'a Timeline,
    log_every: u64,
    /// Steps between two exchanges: within them the last rank's steps come in bursts.
    interval: u64,
    learning_rate: Box<dyn Fn(u64) -> f64 + Send + Sync + 'a>,
    inner: Mutex<Inner<'a>>,
}

struct Inner<'a> {
    events: &'a mut dyn EventLog,
    progress: &'a mut (dyn FnMut(Progress) + Send),
    began: Instant,
    last: Instant,
    last_progress: Instant,
    /// Losses of steps not yet complete, by chunk.
    pending: VecDeque<Vec<Option<f64>>>,
    /// Evaluations under way, by step and split.
    scores: BTreeMap<(u64, Split), Vec<Option<Score>>>,
    kept: State,
}

/// What a recorder needs to go on after a generation, at which no step and no evaluation is under way. It does not
/// grow with the steps done.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// Wall time of the run's earlier parts.
    pub wall_s: f64,
    /// Length of the log.
    pub log_bytes: u64,
    step_times: StepTimes,
    train_s: f64,
    /// Seconds of the steps since the last that ended a log line.
    line_s: f64,
    /// Mean seconds of a step of each log line whose steps have ended and which is yet to be written.
    line_times: VecDeque<f64>,
    samples: u64,
    /// Steps whose losses are complete.
    complete: u64,
    /// Sum of losses and samples of the log line under way.
    #[serde(with = "exact")]
    line_loss: f64,
    line_samples: usize,
    ready_lines: VecDeque<Line>,
    last_line: Option<Line>,
    /// Of the last complete steps, oldest first: told where training diverges.
    #[serde(default)]
    last_losses: VecDeque<Line>,
    /// Spans written, and the seconds that they cover.
    spans: u64,
    spans_s: f64,
    evaluations: BTreeMap<Split, Evaluation>,
}

/// A line of the log with a training loss.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Line {
    /// Steps done.
    done: u64,
    /// Mean loss since the line before.
    #[serde(with = "exact")]
    loss: f64,
}

/// Sum of losses and correct answers of a chunk.
type Score = (f64, usize);

/// The outcome of an evaluation.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Evaluation {
    /// Mean loss.
    #[serde(with = "exact")]
    pub loss: f64,
    /// Percent correct.
    #[serde(with = "exact")]
    pub accuracy: f64,
}

/// Numbers by their bits: text would round them, and not every reader of text rounds back.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.to_bits())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}

/// What the recorder knows at the end.
pub struct Record {
    /// Seconds of training.
    pub train_s: f64,
    /// Distribution of step times.
    pub step_time_s: Durations,
    /// Mean training loss of the last line of the log.
    pub train_loss: f64,
    /// Samples trained on.
    pub samples: u64,
    /// The last evaluation of each split.
    pub evaluations: BTreeMap<Split, Evaluation>,
}

impl<'a> Recorder<'a> {
    /// A recorder that goes on from `kept` and writes to `events`; `began` is when the trial's clock started.
    pub fn new(
        timeline: &'a Timeline,
        interval: u64,
        learning_rate: impl Fn(u64) -> f64 + Send + Sync + 'a,
        began: Instant,
        kept: State,
        events: &'a mut dyn EventLog,
        progress: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Self {
        let inner = Inner {
            events,
            progress,
            began,
            last: began,
            last_progress: began,
            pending: VecDeque::new(),
            scores: BTreeMap::new(),
            kept,
        };
        Self {
            timeline,
            log_every: timeline.steps.div_ceil(LOG_LINES),
            interval: interval.min(timeline.steps),
            learning_rate: Box::new(learning_rate),
            inner: Mutex::new(inner),
        }
    }

    /// Training begins, or goes on, now.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn started(&self, parameters: u64) -> Result<(), EngineError> {
        let mut inner = lock(&self.inner);
        inner.last = Instant::now();
        let (t_s, steps) = (inner.t_s(), self.timeline.steps);
        let event = match inner.kept.complete {
            0 => Event::Started { t_s, steps, parameters },
            step => Event::Resumed { t_s, step },
        };
        inner.write(&event)
    }

    /// A stretch of training that took `duration`, in which `moved` bytes were read and written. Returns how long the next
    /// one is to be.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn span(
        &self,
        duration: Duration,
        moved: Counters,
        time_s: TimeShares,
    ) -> Result<Duration, EngineError> {
        let mut inner = lock(&self.inner);
        let (t_s, duration_s) = (inner.t_s(), duration.as_secs_f64());
        let train_s = inner.kept.spans_s;
        inner.kept.spans_s += duration_s;
        inner.kept.spans += 1;
        let Counters { bytes_read, bytes_written, .. } = moved;
        inner.write(&Event::Span { t_s, train_s, duration_s, bytes_read, bytes_written, time_s })?;
        Ok(length_of_span(inner.kept.spans))
    }

    /// How long the next span is to be.
    pub fn span_length(&self) -> Duration {
        length_of_span(lock(&self.inner).kept.spans)
    }

    /// What is needed to go on from a generation, with the log so far on stable storage.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn state(&self) -> Result<State, EngineError> {
        let mut inner = lock(&self.inner);
        assert!(inner.pending.is_empty() && inner.scores.is_empty(), "a generation is between steps");
        inner.events.sync().map_err(EngineError::Log)?;
        Ok(State { wall_s: inner.t_s(), ..inner.kept.clone() })
    }

    /// Sum of the losses of one chunk of a step's mini-batch.
    ///
    /// # Errors
    /// Training diverged.
    pub fn loss(&self, step: u64, chunk: u16, sum: f64) -> Result<(), EngineError> {
        let mut inner = lock(&self.inner);
        let chunks = self.timeline.chunks();
        let position = (step - inner.kept.complete) as usize;
        while inner.pending.len() <= position {
            inner.pending.push_back(vec![None; chunks]);
        }
        inner.pending[position][usize::from(chunk)] = Some(sum);
        while let Some(sum) = inner.pending.front().and_then(|sums| sums.iter().copied().sum::<Option<f64>>())
        {
            inner.pending.pop_front();
            let step = inner.kept.complete;
            inner.kept.complete += 1;
            self.step_loss(&mut inner, step, sum)?;
        }
        Ok(())
    }

    fn step_loss(&self, inner: &mut Inner, step: u64, sum: f64) -> Result<(), EngineError> {
        let rows = self.timeline.batch(step).1.len();
        if !sum.is_finite() {
            return Err(inner.diverged(step + 1, Sign::TrainingLoss));
        }
        let kept = &mut inner.kept;
        if kept.last_losses.len() == LAST_LOSSES {
            kept.last_losses.pop_front();
        }
        kept.last_losses.push_back(Line { done: step + 1, loss: sum / rows as f64 });
        kept.line_loss += sum;
        kept.line_samples += rows;
        if self.ends_line(step) {
            let loss = kept.line_loss / kept.line_samples as f64;
            kept.ready_lines.push_back(Line { done: step + 1, loss });
            (kept.line_loss, kept.line_samples) = (0.0, 0);
        }
        Ok(())
    }

    /// Whether a line of the log is about the steps up to this one.
    const fn ends_line(&self, step: u64) -> bool {
        (step + 1).is_multiple_of(self.log_every) || step + 1 == self.timeline.steps
    }

    /// The last rank is done with a step. `moved` is what the store has moved.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn step_end(&self, step: u64, moved: impl Fn() -> Moved) -> Result<(), EngineError> {
        let mut inner = lock(&self.inner);
        let now = Instant::now();
        let seconds = (now - inner.last).as_secs_f64();
        inner.last = now;
        inner.kept.train_s += seconds;
        inner.kept.step_times.push(seconds, self.interval);
        inner.kept.line_s += seconds;
        if self.ends_line(step) {
            let mean = inner.kept.line_s / (step % self.log_every + 1) as f64;
            inner.kept.line_times.push_back(mean);
            inner.kept.line_s = 0.0;
        }
        inner.kept.samples += self.timeline.batch(step).1.len() as u64;
        // Lines wait for losses that other ranks have yet to report, and for the end of their step.
        while let Some(&line) = inner.kept.ready_lines.front().filter(|line| line.done <= step + 1) {
            inner.kept.ready_lines.pop_front();
            self.write_line(&mut inner, line, moved())?;
        }
        if now - inner.last_progress >= PROGRESS_INTERVAL || step + 1 == self.timeline.steps {
            inner.last_progress = now;
            let progress = Progress {
                step: step + 1,
                steps: self.timeline.steps,
                loss: inner.kept.last_line.map(|line| line.loss),
            };
            (inner.progress)(progress);
        }
        Ok(())
    }

    fn write_line(&self, inner: &mut Inner, line: Line, moved: Moved) -> Result<(), EngineError> {
        let Line { done, loss } = line;
        let step_time_s =
            inner.kept.line_times.pop_front().expect("a line is written when its steps have ended");
        inner.kept.last_line = Some(line);
        let t_s = inner.t_s();
        inner.write(&Event::Step {
            t_s,
            train_s: inner.kept.train_s,
            step: done,
            samples: inner.kept.samples,
            loss,
            learning_rate: (self.learning_rate)(done - 1),
            step_time_s,
        })?;
        inner.write(&Event::Resources {
            t_s,
            step: done,
            rss_bytes: machine::resident_bytes(),
            bytes_read: moved.read,
            bytes_written: moved.written,
        })
    }

    /// The outcome of one chunk of an evaluation after `step` steps.
    ///
    /// # Errors
    /// Training diverged, or the log cannot be written.
    pub fn score(
        &self,
        step: u64,
        split: Split,
        chunk: u32,
        loss: f64,
        correct: usize,
    ) -> Result<(), EngineError> {
        let chunks = self.timeline.evaluation_chunks(split) as usize;
        if chunk as usize >= chunks {
            return Ok(());
        }
        let mut inner = lock(&self.inner);
        let scores = inner.scores.entry((step, split)).or_insert_with(|| vec![None; chunks]);
        scores[chunk as usize] = Some((loss, correct));
        if scores.iter().any(Option::is_none) {
            return Ok(());
        }
        let samples = self.timeline.split_samples(split) as f64;
        let complete = scores.iter().flatten();
        let (loss, correct) = complete.fold((0.0, 0), |sum, score| (sum.0 + score.0, sum.1 + score.1));
        inner.scores.remove(&(step, split));
        if !loss.is_finite() {
            return Err(inner.diverged(step, Sign::Evaluation));
        }
        let evaluation = Evaluation { loss: loss / samples, accuracy: 100.0 * correct as f64 / samples };
        inner.kept.evaluations.insert(split, evaluation);
        let Evaluation { loss, accuracy } = evaluation;
        let event = Event::Evaluation { t_s: inner.t_s(), step, split, loss, accuracy };
        inner.write(&event)
    }

    /// That a parameter is not finite after the last step.
    pub fn weights_diverged(&self) -> EngineError {
        lock(&self.inner).diverged(self.timeline.steps, Sign::Weights)
    }

    /// The last rank is done with an evaluation: what it took is not training.
    pub fn evaluation_end(&self) {
        let mut inner = lock(&self.inner);
        inner.last = Instant::now();
    }

    /// Writes the lines that are left and the end of the log.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn finish(self, moved: Moved) -> Result<Record, EngineError> {
        let mut inner = lock(&self.inner);
        while let Some(line) = inner.kept.ready_lines.pop_front() {
            self.write_line(&mut inner, line, moved)?;
        }
        let event = Event::Finished { t_s: inner.t_s() };
        inner.write(&event)?;
        inner.events.flush().map_err(EngineError::Log)?;
        Ok(Record {
            train_s: inner.kept.train_s,
            step_time_s: inner.kept.step_times.durations(),
            train_loss: inner.kept.last_line.map_or(f64::NAN, |line| line.loss),
            samples: inner.kept.samples,
            evaluations: std::mem::take(&mut inner.kept.evaluations),
        })
    }
}

/// How long a span is to be after `spans` of them.
fn length_of_span(spans: u64) -> Duration {
    SHORTEST_SPAN * 2_u32.saturating_pow((spans / SPANS_OF_A_LENGTH) as u32)
}

impl Inner<'_> {
    fn diverged(&self, step: u64, sign: Sign) -> EngineError {
        let last_losses = self.kept.last_losses.iter().map(|line| line.loss).collect();
        EngineError::Diverged(Diverged { step, sign, last_losses })
    }

    fn t_s(&self) -> f64 {
        self.kept.wall_s + self.began.elapsed().as_secs_f64()
    }

    fn write(&mut self, event: &Event) -> Result<(), EngineError> {
        let mut line = serde_json::to_vec(event).map_err(|error| EngineError::Log(error.into()))?;
        line.push(b'\n');
        self.kept.log_bytes += line.len() as u64;
        self.events.write_all(&line).map_err(EngineError::Log)
    }
}
