//! Everything that is reported comes through here: losses, scores, step times, and the event log made of them.

use std::{
    collections::{BTreeMap, VecDeque},
    io::Write,
    sync::Mutex,
    time::{Duration, Instant},
};

use spillbench_schedule::Timeline;
use spillbench_schema::{
    Event,
    event::Split,
    summary::{Durations, TimeShares},
};
use spillbench_storage::Counters;

use crate::{EngineError, machine, team::lock};

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
pub const SHORTEST_SPAN: Duration = Duration::from_millis(20);
/// Spans of a length, before they are twice as long.
const SPANS_OF_A_LENGTH: u64 = 500;

/// Collects what ranks report, in any order, and writes it in one.
pub struct Recorder<'a> {
    timeline: &'a Timeline,
    log_every: u64,
    /// Steps between two exchanges: within them the last rank's steps come in bursts.
    interval: usize,
    learning_rate: Box<dyn Fn(u64) -> f64 + Send + Sync + 'a>,
    inner: Mutex<Inner<'a>>,
}

struct Inner<'a> {
    events: &'a mut (dyn Write + Send),
    progress: &'a mut (dyn FnMut(Progress) + Send),
    began: Instant,
    last: Instant,
    last_progress: Instant,
    /// Durations of all steps.
    step_s: Vec<f32>,
    train_s: f64,
    /// Losses of steps not yet complete, the first one's number, and sums by chunk.
    first_pending: u64,
    pending: VecDeque<Vec<Option<f64>>>,
    /// Sum of losses and samples of the log line under way.
    line_loss: f64,
    line_samples: usize,
    samples: u64,
    ready_lines: VecDeque<(u64, f64)>,
    last_line: Option<f64>,
    /// Spans written, and the seconds that they cover.
    spans: u64,
    spans_s: f64,
    /// Evaluations under way, by step and split.
    scores: BTreeMap<(u64, Split), Vec<Option<Score>>>,
    evaluations: BTreeMap<Split, Evaluation>,
}

/// Sum of losses and correct answers of a chunk.
type Score = (f64, usize);

/// The outcome of an evaluation.
#[derive(Debug, Clone, Copy)]
pub struct Evaluation {
    /// Mean loss.
    pub loss: f64,
    /// Percent correct.
    pub accuracy: f64,
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
    /// A recorder that writes to `events`; `began` is when the trial's clock started.
    pub fn new(
        timeline: &'a Timeline,
        interval: u64,
        learning_rate: impl Fn(u64) -> f64 + Send + Sync + 'a,
        began: Instant,
        events: &'a mut (dyn Write + Send),
        progress: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Self {
        let inner = Inner {
            events,
            progress,
            began,
            last: began,
            last_progress: began,
            step_s: Vec::new(),
            train_s: 0.0,
            first_pending: 0,
            pending: VecDeque::new(),
            line_loss: 0.0,
            line_samples: 0,
            samples: 0,
            ready_lines: VecDeque::new(),
            last_line: None,
            spans: 0,
            spans_s: 0.0,
            scores: BTreeMap::new(),
            evaluations: BTreeMap::new(),
        };
        Self {
            timeline,
            log_every: timeline.steps.div_ceil(LOG_LINES),
            interval: interval.min(timeline.steps) as usize,
            learning_rate: Box::new(learning_rate),
            inner: Mutex::new(inner),
        }
    }

    /// Training begins now.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn started(&self, parameters: u64) -> Result<(), EngineError> {
        let mut inner = lock(&self.inner);
        inner.last = Instant::now();
        let event = Event::Started { t_s: inner.t_s(), steps: self.timeline.steps, parameters };
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
        let train_s = inner.spans_s;
        inner.spans_s += duration_s;
        inner.spans += 1;
        let Counters { bytes_read, bytes_written, .. } = moved;
        inner.write(&Event::Span { t_s, train_s, duration_s, bytes_read, bytes_written, time_s })?;
        Ok(SHORTEST_SPAN * 2_u32.saturating_pow((inner.spans / SPANS_OF_A_LENGTH) as u32))
    }

    /// Sum of the losses of one chunk of a step's mini-batch.
    ///
    /// # Errors
    /// Training diverged.
    pub fn loss(&self, step: u64, chunk: u16, sum: f64) -> Result<(), EngineError> {
        let mut inner = lock(&self.inner);
        let chunks = self.timeline.chunks();
        let position = (step - inner.first_pending) as usize;
        while inner.pending.len() <= position {
            inner.pending.push_back(vec![None; chunks]);
        }
        inner.pending[position][usize::from(chunk)] = Some(sum);
        while let Some(sum) = inner.pending.front().and_then(|sums| sums.iter().copied().sum::<Option<f64>>())
        {
            inner.pending.pop_front();
            let step = inner.first_pending;
            inner.first_pending += 1;
            self.step_loss(&mut inner, step, sum)?;
        }
        Ok(())
    }

    fn step_loss(&self, inner: &mut Inner, step: u64, sum: f64) -> Result<(), EngineError> {
        let rows = self.timeline.batch(step).1.len();
        if !sum.is_finite() {
            return Err(EngineError::Diverged { step, loss: sum });
        }
        inner.line_loss += sum;
        inner.line_samples += rows;
        if (step + 1).is_multiple_of(self.log_every) || step + 1 == self.timeline.steps {
            let mean = inner.line_loss / inner.line_samples as f64;
            inner.ready_lines.push_back((step + 1, mean));
            (inner.line_loss, inner.line_samples) = (0.0, 0);
        }
        Ok(())
    }

    /// The last rank is done with a step. `counters` are the store's.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn step_end(&self, step: u64, counters: impl Fn() -> Counters) -> Result<(), EngineError> {
        let mut inner = lock(&self.inner);
        let now = Instant::now();
        let seconds = (now - inner.last).as_secs_f64();
        inner.last = now;
        inner.train_s += seconds;
        inner.step_s.push(seconds as f32);
        inner.samples += self.timeline.batch(step).1.len() as u64;
        // Lines wait for losses that other ranks have yet to report, and for the end of their step.
        while let Some(&(done, loss)) = inner.ready_lines.front().filter(|(done, _)| *done <= step + 1) {
            inner.ready_lines.pop_front();
            self.write_line(&mut inner, done, loss, counters())?;
        }
        if now - inner.last_progress >= PROGRESS_INTERVAL || step + 1 == self.timeline.steps {
            inner.last_progress = now;
            let progress = Progress { step: step + 1, steps: self.timeline.steps, loss: inner.last_line };
            (inner.progress)(progress);
        }
        Ok(())
    }

    fn write_line(
        &self,
        inner: &mut Inner,
        done: u64,
        loss: f64,
        counters: Counters,
    ) -> Result<(), EngineError> {
        let covered = ((done - 1) % self.log_every + 1) as usize;
        let times =
            &inner.step_s[(done as usize).saturating_sub(covered)..(done as usize).min(inner.step_s.len())];
        let step_time_s = times.iter().map(|time| f64::from(*time)).sum::<f64>() / times.len().max(1) as f64;
        inner.last_line = Some(loss);
        let t_s = inner.t_s();
        inner.write(&Event::Step {
            t_s,
            train_s: inner.train_s,
            step: done,
            samples: inner.samples,
            loss,
            learning_rate: (self.learning_rate)(done - 1),
            step_time_s,
        })?;
        inner.write(&Event::Resources {
            t_s,
            step: done,
            rss_bytes: machine::resident_bytes(),
            bytes_read: counters.bytes_read,
            bytes_written: counters.bytes_written,
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
            return Err(EngineError::Diverged { step: step - 1, loss });
        }
        let evaluation = Evaluation { loss: loss / samples, accuracy: 100.0 * correct as f64 / samples };
        inner.evaluations.insert(split, evaluation);
        let Evaluation { loss, accuracy } = evaluation;
        let event = Event::Evaluation { t_s: inner.t_s(), step, split, loss, accuracy };
        inner.write(&event)
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
    pub fn finish(self, counters: Counters) -> Result<Record, EngineError> {
        let mut inner = lock(&self.inner);
        while let Some((done, loss)) = inner.ready_lines.pop_front() {
            self.write_line(&mut inner, done, loss, counters)?;
        }
        let event = Event::Finished { t_s: inner.t_s() };
        inner.write(&event)?;
        inner.events.flush().map_err(EngineError::Log)?;
        let means =
            inner.step_s.chunks(self.interval).map(|block| block.iter().sum::<f32>() / block.len() as f32);
        let mut sorted: Vec<f32> = means.collect();
        sorted.sort_by(f32::total_cmp);
        let at = |share: f64| sorted.get((share * (sorted.len() - 1) as f64).round() as usize);
        let quantile = |share| at(share).map_or(0.0, |seconds| f64::from(*seconds));
        Ok(Record {
            train_s: inner.train_s,
            step_time_s: Durations { median: quantile(0.5), p05: quantile(0.05), p95: quantile(0.95) },
            train_loss: inner.last_line.unwrap_or(f64::NAN),
            samples: inner.samples,
            evaluations: std::mem::take(&mut inner.evaluations),
        })
    }
}

impl Inner<'_> {
    fn t_s(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    fn write(&mut self, event: &Event) -> Result<(), EngineError> {
        let mut line = serde_json::to_vec(event).map_err(|error| EngineError::Log(error.into()))?;
        line.push(b'\n');
        self.events.write_all(&line).map_err(EngineError::Log)
    }
}
