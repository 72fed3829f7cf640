//! Loading by configuration, for each source.

use std::fs;
use std::path::{Path, PathBuf};

use spillbench_data::{DataError, DataLocations, load, load_from, resident_bytes};
use spillbench_schema::config::{DataConfig, DataSource};

fn config(source: DataSource, train: Option<usize>, validation: usize, test: Option<usize>) -> DataConfig {
    DataConfig { source, dir: None, train, validation, test }
}

#[test]
fn resident_bytes_are_those_of_the_loaded_set() {
    let check = |config: &DataConfig, input: &[usize]| {
        let data = load(config, input, 10).unwrap();
        let held = data.train.bytes() + data.validation.bytes() + data.test.bytes();
        assert_eq!(resident_bytes(config, input), held);
    };
    check(&config(DataSource::Digits, Some(90), 10, Some(5)), &[1, 28, 28]);
    check(&config(DataSource::Synthetic, None, 96, None), &[3, 5, 7]);
    check(&config(DataSource::Synthetic, Some(5000), 0, Some(1)), &[11]);
}

#[test]
fn resident_bytes_of_a_set_with_files_need_no_file() {
    assert_eq!(resident_bytes(&config(DataSource::Mnist, None, 5000, None), &[784]), 70_000 * 785);
    assert_eq!(resident_bytes(&config(DataSource::Mnist, Some(100), 0, Some(10)), &[784]), 110 * 785);
}

#[test]
fn an_input_of_another_size_is_an_error_that_names_the_right_one() {
    let check = |source, input: &[usize], expected: &str| {
        let message = load(&config(source, Some(1), 0, Some(1)), input, 10).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    check(
        DataSource::Digits,
        &[783],
        "network.input: [783] is 783 values; a sample of `digits` has 784: use [784]",
    );
    check(DataSource::Mnist, &[3, 32, 32], "[3, 32, 32] is 3072 values; a sample of `mnist` has 784");
    check(DataSource::Synthetic, &[4, 0], "[4, 0] is 0 values; give a shape whose sizes are all at least 1");
    check(DataSource::Synthetic, &[usize::MAX, 2], "more values than can be counted");
}

#[test]
fn a_set_beyond_all_memory_is_an_error() {
    let error = load(&config(DataSource::Synthetic, Some(1 << 40), 0, None), &[1 << 30], 10).unwrap_err();
    assert!(matches!(error, DataError::TooLarge { .. }), "{error}");
}

#[test]
fn files_are_looked_for_in_the_given_folder_alone_or_else_in_the_two_usual_ones() {
    let locations = DataLocations { root: Some("/elsewhere".into()) };
    let mut config = config(DataSource::Mnist, None, 0, None);
    let usual = [PathBuf::from("/elsewhere/mnist"), PathBuf::from("data/mnist")];
    assert_eq!(locations.candidates(&config), usual);
    assert_eq!(DataLocations::default().candidates(&config), [Path::new("data/mnist")]);
    config.dir = Some("here".into());
    assert_eq!(locations.candidates(&config), [Path::new("here")]);
}

#[test]
fn a_folder_without_files_is_an_error_that_names_it() {
    let empty = tempfile::TempDir::new().unwrap();
    let mut config = config(DataSource::Mnist, None, 0, None);
    config.dir = Some(empty.path().to_owned());
    let error = load(&config, &[784], 10).unwrap_err();
    assert!(matches!(&error, DataError::Missing { places, .. } if places == &[empty.path()]), "{error}");
}

/// MNIST's folder, or a line that says why the test does nothing.
fn mnist() -> Option<PathBuf> {
    let root = std::env::var_os(DataLocations::VARIABLE);
    if root.is_none() {
        println!("skipped: SPILLBENCH_DATA is not set");
    }
    root.map(|root| Path::new(&root).join("mnist"))
}

#[test]
fn mnist_loads_and_is_known_by_its_first_and_last_labels_and_its_mean() {
    let Some(dir) = mnist() else { return };
    let mut config = config(DataSource::Mnist, None, 5000, None);
    config.dir = Some(dir);
    let data = load_from(&config, &DataLocations::default(), &[784], 10).unwrap();
    assert_eq!((data.train.len(), data.validation.len(), data.test.len()), (55_000, 5000, 10_000));
    assert_eq!(data.train.labels()[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    assert_eq!(data.validation.labels()[4999], 8);
    assert_eq!(data.test.labels()[..5], [7, 2, 1, 0, 4]);
    let sets = [data.train.pixels(0..55_000), data.validation.pixels(0..5000)];
    let sum: u64 = sets.iter().flat_map(|pixels| pixels.iter()).map(|&pixel| u64::from(pixel)).sum();
    // The published mean of the training images, 0.1307.
    let mean = sum as f64 / (60_000.0 * 784.0 * 255.0);
    assert!((mean - 0.1307).abs() < 5e-5, "{mean}");
}

#[test]
fn mnist_with_one_changed_label_is_rejected() {
    let Some(dir) = mnist() else { return };
    let copy = tempfile::TempDir::new().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let mut labels = vec![0, 0, 8, 1, 0, 0, 39, 16];
    labels.resize(8 + 10_000, 3);
    let name = "t10k-labels-idx1-ubyte";
    let _ = fs::remove_file(copy.path().join(format!("{name}.gz")));
    fs::write(copy.path().join(name), labels).unwrap();
    let mut config = config(DataSource::Mnist, Some(10), 0, Some(10));
    config.dir = Some(copy.path().to_owned());
    let error = load(&config, &[784], 10).unwrap_err();
    assert!(matches!(&error, DataError::Checksum { path, .. } if path.ends_with(name)), "{error}");
}
