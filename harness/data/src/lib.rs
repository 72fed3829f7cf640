//! Where samples come from.
//!
//! [`load`] turns a [`DataConfig`] into a [`Dataset`]: three sets of `u8` images with their labels. What it
//! promises:
//!
//! - The same configuration gives the same bytes, whatever the trial's seed, the number of threads or the
//!   machine. `digits` and `synthetic` are generated from fixed seeds by arithmetic that IEEE 754 rounds
//!   exactly; the files of `mnist` are checked against their SHA-256 sums.
//! - Pixels stay `u8` in memory, and only the samples that the configuration asks for are held: loading peaks
//!   at [`resident_bytes`] plus some 200 KiB.
//! - A file that is damaged is named, with the offset and the remedy; it is never trained on.

#![forbid(unsafe_code)]

mod contents;
mod digits;
mod error;
mod fetch;

mod locations;
mod mnist;
mod samples;
mod split;
mod synthetic;

pub use error::{DataError, MirrorFailure};
pub use fetch::{FetchProgress, FetchStage, MNIST_MIRRORS, fetch};
pub use locations::DataLocations;
pub use samples::{Dataset, Samples};
use spillbench_schema::config::{DataConfig, DataSource};
use split::Split;

/// Loads the data set that `config` names, looking for files where the environment says
/// ([`DataLocations::from_env`]).
///
/// `input` is the shape of the network's input, `classes` the units of its last layer: `synthetic` makes images
/// of that size with labels below `min(classes, 256)`; `digits` and `mnist` have 784 features and ten classes.
///
/// # Errors
///
/// See [`load_from`].
pub fn load(config: &DataConfig, input: &[usize], classes: usize) -> Result<Dataset, DataError> {
    load_from(config, &DataLocations::from_env(), input, classes)
}

/// [`load`], with the places to look for files given.
///
/// # Errors
///
/// When the input's shape does not fit the data set, when more samples are asked for than it has, and when
/// files are missing, unreadable or damaged; when the system refuses threads.
pub fn load_from(
    config: &DataConfig,
    locations: &DataLocations,
    input: &[usize],
    classes: usize,
) -> Result<Dataset, DataError> {
    let features = features(config.source, input)?;
    let split = Split::resolve(config)?;
    let bytes = features.checked_add(1).and_then(|bytes| bytes.checked_mul(split.samples()));
    if bytes.is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(DataError::TooLarge { samples: split.samples(), features });
    }
    in_a_pool(|| match config.source {
        DataSource::Digits => Ok(digits::generate(&split)),
        DataSource::Mnist => mnist::load(&locations.candidates(config), &split),
        DataSource::Synthetic => synthetic::generate(&split, features, classes),
    })
}

/// In the caller's pool of threads, else in one of its own: rayon starts a global one otherwise, and panics where the
/// system refuses it.
fn in_a_pool<T: Send>(load: impl FnOnce() -> Result<T, DataError> + Send) -> Result<T, DataError> {
    if rayon::current_thread_index().is_some() {
        return load();
    }
    // Its threads have ended when it returns, and count for no limit any more.
    let loaded =
        rayon::ThreadPoolBuilder::new().build_scoped(rayon::ThreadBuilder::run, |pool| pool.install(load));
    loaded.map_err(|cause| DataError::Threads { cause: cause.to_string() })?
}

/// Samples to train on, to validate with and to test on, without loading them.
///
/// # Errors
///
/// More samples are asked for than there are.
pub fn counts(config: &DataConfig) -> Result<[usize; 3], DataError> {
    let split = Split::resolve(config)?;
    Ok([split.train.len(), split.validation.len(), split.test.len()])
}

/// Upper estimate in bytes of what [`load`] will hold: a byte a pixel and a byte a label. Loads nothing; for
/// a configuration that [`load`] rejects, the estimate is of no use.
pub fn resident_bytes(config: &DataConfig, input: &[usize]) -> u64 {
    let samples = Split::resolve(config).map_or(0, |split| split.samples());
    let features = features(config.source, input).unwrap_or(0);
    (samples as u64).saturating_mul((features as u64).saturating_add(1))
}

/// Pixels of a sample, after checking that the network's input takes them.
fn features(source: DataSource, input: &[usize]) -> Result<usize, DataError> {
    let features = input.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    match (source, features) {
        (DataSource::Synthetic, Some(features)) if features > 0 => Ok(features),
        (DataSource::Digits | DataSource::Mnist, Some(mnist::FEATURES)) => Ok(mnist::FEATURES),
        (_, features) => Err(DataError::Input { set: source, input: input.to_vec(), features }),
    }
}
