use DataSource::{Digits, Mnist, Synthetic};

use super::*;

fn config(source: DataSource, train: Option<usize>, validation: usize, test: Option<usize>) -> DataConfig {
    DataConfig { source, dir: None, train, validation, test }
}

#[test]
fn training_takes_the_start_and_validation_the_end_of_the_training_set() {
    let check = |source, train, validation, test, expected: [Range<usize>; 3]| {
        let split = Split::resolve(&config(source, train, validation, test)).unwrap();
        assert_eq!([split.train, split.validation, split.test], expected);
    };
    check(Mnist, None, 0, None, [0..60_000, 60_000..60_000, 0..10_000]);
    check(Mnist, None, 5000, None, [0..55_000, 55_000..60_000, 0..10_000]);
    check(Digits, Some(100), 10, Some(7), [0..100, 59_990..60_000, 0..7]);
    check(Digits, Some(59_000), 1000, None, [0..59_000, 59_000..60_000, 0..10_000]);
    check(Synthetic, None, 96, None, [0..4000, 4000..4096, 0..512]);
    check(Synthetic, Some(10_000), 50, Some(1), [0..10_000, 10_000..10_050, 0..1]);
}

#[test]
fn counts_that_cannot_be_had_are_errors_with_the_numbers() {
    let check = |train, validation, test, expected: &str| {
        let message = Split::resolve(&config(Mnist, train, validation, test)).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    };
    check(
        Some(58_000),
        5000,
        None,
        "data.train: 58000 samples asked for, `mnist` has 60000, 5000 of them held out for validation; lower it",
    );
    check(Some(60_001), 0, None, "data.train: 60001 samples asked for, `mnist` has 60000; lower it");
    check(None, 60_001, None, "data.validation: 60001 samples asked for, `mnist` has 60000; lower it");
    check(None, 60_000, None, "data.validation: 60000 leaves no sample to train on; lower it");
    check(None, 0, Some(10_001), "data.test: 10001 samples asked for, `mnist` has 10000; lower it");
    check(Some(0), 0, None, "data.train: 0 leaves no sample to train on; raise it");
    check(None, 0, Some(0), "data.test: 0 leaves no sample to test on; raise it");
}

#[test]
fn counts_beyond_all_memory_are_no_overflow() {
    let split = Split::resolve(&config(Synthetic, Some(usize::MAX), 1, Some(usize::MAX)));
    assert!(split.is_err());
    let split = Split::resolve(&config(Synthetic, Some(usize::MAX), 0, Some(usize::MAX))).unwrap();
    assert_eq!(split.samples(), usize::MAX);
}
