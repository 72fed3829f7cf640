//! Training cut into steps, mini-batches and chunks.

use std::ops::Range;

use spillbench_schema::{config::TrainConfig, event::Split};

/// When what happens: steps, epochs, evaluations, and the rows of each chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// Optimizer updates in all.
    pub steps: u64,
    /// Optimizer updates in an epoch.
    pub steps_per_epoch: u64,
    /// Samples to train on.
    pub samples: usize,
    /// Samples in a full mini-batch.
    pub batch_size: usize,
    /// Shards of a mini-batch.
    pub shards: usize,
    /// Micro-batches of a shard.
    pub micro_batches: usize,
    /// Samples in one chunk of an evaluation.
    pub evaluation_rows: usize,
    /// Samples held out for validation.
    pub validation: usize,
    /// Samples to test on.
    pub test: usize,
    evaluate_every: u64,
}

impl Timeline {
    /// The timeline of a run over `samples` training samples; `None` where an epoch has no full mini-batch and
    /// incomplete ones are dropped.
    pub fn new(
        train: &TrainConfig,
        samples: usize,
        validation: usize,
        test: usize,
        evaluation_rows: usize,
    ) -> Option<Self> {
        let steps_per_epoch =
            if train.drop_last { samples / train.batch_size } else { samples.div_ceil(train.batch_size) }
                as u64;
        if steps_per_epoch == 0 {
            return None;
        }
        let steps = train.steps.unwrap_or_else(|| train.epochs.unwrap_or(1).saturating_mul(steps_per_epoch));
        Some(Self {
            steps,
            steps_per_epoch,
            samples,
            batch_size: train.batch_size,
            shards: train.shards,
            micro_batches: train.micro_batches,
            evaluation_rows,
            validation,
            test,
            evaluate_every: train.evaluate_every.unwrap_or(steps_per_epoch),
        })
    }

    /// Epoch of a step, and the positions of its samples in that epoch's order.
    pub fn batch(&self, step: u64) -> (u64, Range<usize>) {
        let epoch = step / self.steps_per_epoch;
        let start = (step % self.steps_per_epoch) as usize * self.batch_size;
        (epoch, start..(start + self.batch_size).min(self.samples))
    }

    /// Parts that a mini-batch is cut into.
    pub const fn chunks(&self) -> usize {
        self.shards * self.micro_batches
    }

    /// The most samples in a chunk.
    pub const fn chunk_rows(&self) -> usize {
        self.batch_size.div_ceil(self.shards).div_ceil(self.micro_batches)
    }

    /// Rows of a chunk in a mini-batch of `rows`: shards are contiguous, micro-batches nest inside them, and sizes
    /// differ by at most one.
    pub fn chunk(&self, rows: usize, chunk: usize) -> Range<usize> {
        let shard = part(0..rows, chunk / self.micro_batches, self.shards);
        part(shard, chunk % self.micro_batches, self.micro_batches)
    }

    /// Splits to evaluate when `done` steps are done.
    pub fn evaluations(&self, done: u64) -> impl Iterator<Item = Split> {
        let last = done == self.steps;
        let due = last || done.is_multiple_of(self.evaluate_every);
        let validation = (due && self.validation > 0).then_some(Split::Validation);
        let test = last.then_some(Split::Test);
        validation.into_iter().chain(test)
    }

    /// Steps done at the next evaluation after `done` steps: what is sent in blocks is drained there.
    pub fn next_evaluation(&self, done: u64) -> u64 {
        if self.validation == 0 {
            return self.steps;
        }
        ((done / self.evaluate_every + 1) * self.evaluate_every).min(self.steps)
    }

    /// Samples of a split.
    pub const fn split_samples(&self, split: Split) -> usize {
        match split {
            Split::Validation => self.validation,
            Split::Test => self.test,
        }
    }

    /// Chunks that a split is evaluated in.
    pub const fn evaluation_chunks(&self, split: Split) -> u32 {
        self.split_samples(split).div_ceil(self.evaluation_rows) as u32
    }

    /// Samples of a chunk of a split; empty past its end.
    pub fn evaluation_chunk(&self, split: Split, chunk: u32) -> Range<usize> {
        let samples = self.split_samples(split);
        let start = (chunk as usize * self.evaluation_rows).min(samples);
        start..(start + self.evaluation_rows).min(samples)
    }
}

fn part(whole: Range<usize>, index: usize, parts: usize) -> Range<usize> {
    let at = |i: usize| whole.start + whole.len() * i / parts;
    at(index)..at(index + 1)
}

#[cfg(test)]
mod tests {
    use super::Timeline;

    fn timeline(batch_size: usize, shards: usize, micro_batches: usize) -> Timeline {
        Timeline {
            steps: 10,
            steps_per_epoch: 4,
            samples: 100,
            batch_size,
            shards,
            micro_batches,
            evaluation_rows: 30,
            validation: 70,
            test: 0,
            evaluate_every: 4,
        }
    }

    #[test]
    fn chunks_are_contiguous_and_cover_the_mini_batch_once() {
        for (rows, shards, micro_batches) in [(30, 1, 1), (30, 4, 3), (7, 4, 2), (0, 2, 2), (64, 8, 1)] {
            let timeline = timeline(rows.max(1), shards, micro_batches);
            let mut next = 0;
            for chunk in 0..timeline.chunks() {
                let range = timeline.chunk(rows, chunk);
                assert_eq!(range.start, next);
                assert!(range.len() <= timeline.chunk_rows());
                next = range.end;
            }
            assert_eq!(next, rows);
        }
    }

    #[test]
    fn the_last_mini_batch_of_an_epoch_is_what_is_left() {
        let timeline = timeline(30, 1, 1);
        assert_eq!(timeline.batch(3), (0, 90..100));
        assert_eq!(timeline.batch(4), (1, 0..30));
    }

    #[test]
    fn evaluations_come_at_their_cadence_and_at_the_end() {
        let timeline = timeline(30, 1, 1);
        let due: Vec<u64> = (1..=10).filter(|done| timeline.evaluations(*done).next().is_some()).collect();
        assert_eq!(due, [4, 8, 10]);
        assert_eq!([0, 3, 4, 8, 9].map(|done| timeline.next_evaluation(done)), [4, 4, 8, 10, 10]);
    }
}
