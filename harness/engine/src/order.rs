//! The order in which an epoch visits the training samples.

use rand::seq::SliceRandom;
use spillbench_schedule::Timeline;

use crate::random;

/// A permutation of the training samples for the epoch asked for last.
pub struct EpochOrder {
    seed: u64,
    epoch: Option<u64>,
    samples: Vec<u32>,
}

impl EpochOrder {
    /// For `samples` training samples.
    pub fn new(seed: u64, samples: usize) -> Self {
        Self { seed, epoch: None, samples: (0..samples as u32).collect() }
    }

    /// The samples of `epoch`, in order: the same whenever and by whomever it is asked.
    pub fn of(&mut self, epoch: u64) -> &[u32] {
        if self.epoch != Some(epoch) {
            for (i, sample) in (0..).zip(&mut self.samples) {
                *sample = i;
            }
            self.samples.shuffle(&mut random::stream(self.seed, "shuffle", &[epoch]));
            self.epoch = Some(epoch);
        }
        &self.samples
    }

    /// The samples of a chunk of a step's mini-batch.
    pub fn of_chunk(
        &mut self,
        timeline: &Timeline,
        step: u64,
        chunk: u16,
    ) -> impl ExactSizeIterator<Item = usize> + Clone {
        let (epoch, batch) = timeline.batch(step);
        let rows = timeline.chunk(batch.len(), usize::from(chunk));
        self.of(epoch)[batch][rows].iter().map(|sample| *sample as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::EpochOrder;

    #[test]
    fn every_epoch_visits_every_sample_once_in_an_order_of_its_own() {
        let mut order = EpochOrder::new(7, 100);
        let first = order.of(0).to_vec();
        let second = order.of(1).to_vec();
        assert_ne!(first, second);
        assert_eq!(order.of(0), first, "asking for another epoch in between changes nothing");
        for mut epoch in [first, second] {
            epoch.sort_unstable();
            assert_eq!(epoch, (0..100).collect::<Vec<_>>());
        }
    }
}
