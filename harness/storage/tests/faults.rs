//! Every operation of a workload made to fail, one by one, in every way: an error is the right one and names its
//! place, a passing trouble is invisible, and nobody ever waits for ever.

mod subjects;

use std::sync::atomic::{AtomicU64, Ordering};

use spillbench_storage::{
    Access, DirectOptions, DirectStore, ExtentId, Fault, FaultKind, StorageError, Store,
};
use subjects::{fill, first_wrong, open_direct, temporary_folder};

const SIZES: [u64; 3] = [4096, 3 * 4096 - 4, 5 * 4096];

/// Writes, syncs, reads back and rewrites every extent, with memory for two of the larger ones.
fn workload(store: &dyn Store) -> Result<(), StorageError> {
    for round in 0..2_u8 {
        for extent in (0..SIZES.len() as u32).map(ExtentId) {
            let ticket = store.begin_read(extent, Access::Exclusive)?;
            let mut panel = store.finish_read(ticket)?;
            if round > 0 {
                assert_eq!(first_wrong(&panel, f32::from(round)), None, "{extent:?} in round {round}");
            }
            fill(&mut panel, f32::from(round) + 1.0);
            store.begin_write(extent, panel)?;
        }
        store.flush()?;
    }
    Ok(())
}

/// Runs the workload with a fault at each operation in turn, until it has none. False where there is no direct I/O.
fn with_every_fault(kind: FaultKind, check: impl Fn(&DirectStore, Result<(), StorageError>, u64)) -> bool {
    for operation in 0.. {
        let dir = temporary_folder();
        let options = DirectOptions {
            fault: Some(Fault { operation, kind }),
            chunk_bytes: 8192,
            queue_depth: 3,
            ..DirectOptions::new(10 * 4096)
        };
        let Some(store) = open_direct(dir.path(), &SIZES, options) else { return false };
        let result = workload(&store);
        if result.is_ok() && store.counters().requests <= operation {
            assert!(operation > 10, "the workload has operations");
            return true;
        }
        check(&store, result, operation);
    }
    unreachable!("the workload ends")
}

#[test]
fn a_failed_operation_ends_the_store_with_an_error_that_names_it() {
    for errno in [libc::EIO, libc::ENOSPC] {
        with_every_fault(FaultKind::Errno(errno), |store, result, operation| {
            let error = result.expect_err("the fault was met");
            let StorageError::Io { path, extent, cause, .. } = &error else { panic!("{operation}: {error}") };
            assert!(path.ends_with("extents") && extent.contains("extent"));
            assert_eq!(cause.raw_os_error(), Some(errno));
            for later in [
                store.flush().unwrap_err(),
                store.allocate(ExtentId(0)).unwrap_err(),
                store.begin_read(ExtentId(1), Access::Shared).unwrap_err(),
            ] {
                assert_eq!(later.to_string(), error.to_string());
            }
        });
    }
}

#[test]
fn a_passing_trouble_is_retried_and_changes_nothing() {
    for kind in [
        FaultKind::Errno(libc::EINTR),
        FaultKind::Errno(libc::EAGAIN),
        FaultKind::Short(4096),
        FaultKind::Short(4096 + 512),
        FaultKind::Short(512),
        FaultKind::FlippedBit,
    ] {
        let retries = AtomicU64::new(0);
        let ran = with_every_fault(kind, |store, result, operation| {
            result.unwrap_or_else(|error| panic!("{kind:?} at {operation}: {error}"));
            let counters = store.counters();
            let all: u64 = subjects::padded(&SIZES);
            assert_eq!(
                (counters.bytes_read, counters.bytes_written),
                (2 * all, 2 * all),
                "{kind:?} at {operation}"
            );
            // A request is issued again, or all of the extent that had a wrong bit.
            let most = if kind == FaultKind::FlippedBit { 3 } else { 1 };
            assert!(counters.retries <= most);
            retries.fetch_add(counters.retries, Ordering::Relaxed);
        });
        assert!(!ran || retries.into_inner() > 0, "{kind:?} was not met");
    }
}

#[test]
fn an_operation_that_moves_nothing_ends_the_store() {
    with_every_fault(FaultKind::Short(0), |_, result, operation| match result {
        Err(StorageError::EndOfFile { extent, offset, .. }) => {
            assert!(extent.starts_with("extent") && offset % 4096 == 0);
        }
        // A sync moves nothing anyway.
        Err(StorageError::Io { operation: "write", .. }) | Ok(()) => {}
        Err(error) => panic!("{operation}: {error}"),
    });
}

#[test]
fn a_truncated_file_is_found_with_its_offset() {
    let dir = temporary_folder();
    let Some(store) = open_direct(dir.path(), &SIZES, DirectOptions::new(1 << 20)) else { return };
    std::fs::OpenOptions::new().write(true).open(dir.path().join("extents")).unwrap().set_len(8192).unwrap();
    let ticket = store.begin_read(ExtentId(1), Access::Shared).unwrap();
    let error = store.finish_read(ticket).unwrap_err();
    assert!(matches!(error, StorageError::EndOfFile { offset: 8192, extent, .. } if extent == "extent 1"));
}

#[test]
fn a_schedule_that_holds_too_much_is_told_and_not_kept_waiting() {
    let dir = temporary_folder();
    let Some(store) = open_direct(dir.path(), &SIZES, DirectOptions::new(4 * 4096)) else { return };
    let held = store.allocate(ExtentId(1)).unwrap();
    let error = store.begin_read(ExtentId(1), Access::Shared).unwrap_err();
    assert!(matches!(
        error,
        StorageError::CapacityExceeded { wanted: 12288, live: 12288, capacity: 16384, .. }
    ));
    store.begin_write(ExtentId(1), held).unwrap();
    let ticket = store.begin_read(ExtentId(1), Access::Shared).unwrap();
    drop(store.finish_read(ticket).unwrap());
}
