//! Samples in memory.

use std::ops::Range;

/// Samples with their labels. Pixels are `u8`, row-major, [`features`](Self::features) a sample; the value of
/// a pixel is its byte divided by 255.
#[derive(Clone, PartialEq, Eq)]
pub struct Samples {
    pixels: Vec<u8>,
    labels: Vec<u8>,
    features: usize,
}

/// A data set, split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// What the network is trained on.
    pub train: Samples,
    /// What choices are made on. May be empty.
    pub validation: Samples,
    /// What is reported.
    pub test: Samples,
    /// Labels are below this.
    pub classes: usize,
}

impl Samples {
    /// # Panics
    ///
    /// When `pixels` is not `labels.len() × features` bytes.
    pub(crate) fn new(pixels: Vec<u8>, labels: Vec<u8>, features: usize) -> Self {
        assert_eq!(pixels.len(), labels.len() * features, "pixels and labels are of as many samples");
        Self { pixels, labels, features }
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Pixels of a sample.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The pixels of the samples in `range`, `range.len() × features` bytes.
    ///
    /// # Panics
    ///
    /// When `range` reaches past the last sample.
    pub fn pixels(&self, range: Range<usize>) -> &[u8] {
        &self.pixels[range.start * self.features..range.end * self.features]
    }

    /// The label of each sample.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// Bytes held by pixels and labels.
    pub fn bytes(&self) -> u64 {
        (self.pixels.len() + self.labels.len()) as u64
    }
}

impl std::fmt::Debug for Samples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Samples")
            .field("len", &self.len())
            .field("features", &self.features)
            .finish_non_exhaustive()
    }
}
