//! Which samples of a data set are trained on, chosen with and tested on.

use std::ops::Range;

use spillbench_schema::config::{DataConfig, DataSource};

use crate::DataError;

/// Sample numbers in the training set (`train`, `validation`) and in the test set (`test`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) train: Range<usize>,
    pub(crate) validation: Range<usize>,
    pub(crate) test: Range<usize>,
}

/// Sizes of a data set; a `growable` one has as many samples as `data.train` and `data.test` ask for.
struct Sizes {
    train: usize,
    test: usize,
    growable: bool,
}

const fn sizes(source: DataSource) -> Sizes {
    match source {
        DataSource::Digits | DataSource::Mnist => Sizes { train: 60_000, test: 10_000, growable: false },
        DataSource::Synthetic => Sizes { train: 4096, test: 512, growable: true },
    }
}

impl Split {
    /// Training takes from the start of the training set, validation from its end, testing from the start of
    /// the test set.
    pub(crate) fn resolve(config: &DataConfig) -> Result<Self, DataError> {
        let &DataConfig { source, train, validation, test, .. } = config;
        let sizes = sizes(source);
        let available = match train {
            Some(train) if sizes.growable => sizes.train.max(train.saturating_add(validation)),
            _ => sizes.train,
        };
        let too_many = |field, asked, available, held_out| {
            Err(DataError::TooMany { set: source, field, asked, available, held_out })
        };
        if validation > available {
            return too_many("data.validation", validation, available, 0);
        }
        let left = available - validation;
        let train = train.unwrap_or(left);
        if train > left {
            return too_many("data.train", train, available, validation);
        }
        if train == 0 && left == 0 {
            return Err(DataError::Nothing {
                field: "data.validation",
                asked: validation,
                purpose: "train on",
                remedy: "lower it",
            });
        }
        if train == 0 {
            return Err(DataError::Nothing {
                field: "data.train",
                asked: 0,
                purpose: "train on",
                remedy: "raise it, or leave it out to use all",
            });
        }
        let test = test.unwrap_or(sizes.test);
        if test > sizes.test && !sizes.growable {
            return too_many("data.test", test, sizes.test, 0);
        }
        if test == 0 {
            return Err(DataError::Nothing {
                field: "data.test",
                asked: 0,
                purpose: "test on",
                remedy: "raise it, or leave it out to use all",
            });
        }
        Ok(Self { train: 0..train, validation: left..available, test: 0..test })
    }

    /// How many samples are held in all.
    pub(crate) fn samples(&self) -> usize {
        self.train.len().saturating_add(self.validation.len()).saturating_add(self.test.len())
    }
}

#[cfg(test)]
mod tests;
