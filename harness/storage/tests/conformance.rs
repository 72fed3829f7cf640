//! What every store promises, run over every store.

mod subjects;

use std::collections::HashMap;
use std::sync::Arc;

use spillbench_storage::{Access, ExtentId, ExtentSpec, Panel, StorageError, Store};
use subjects::{Random, SUBJECTS, extents, fill, for_each_store, padded};

const ODD_SIZES: [u64; 7] = [4, 4092, 4096, 4100, 65_540, (1 << 20) + 4, 3 << 20];

fn read(store: &dyn Store, extent: u32, access: Access) -> Result<Panel, StorageError> {
    store.finish_read(store.begin_read(ExtentId(extent), access)?)
}

fn write(store: &dyn Store, extent: u32, value: f32) {
    let mut panel = store.allocate(ExtentId(extent)).unwrap();
    fill(&mut panel, value);
    store.begin_write(ExtentId(extent), panel).unwrap();
}

/// Every element differs from its neighbours, so that a shifted or torn read shows.
fn assert_filled(panel: &Panel, value: f32) {
    assert_eq!(subjects::first_wrong(panel, value), None, "expected the contents of {value}");
}

#[test]
fn what_was_written_is_read_back_whatever_its_size() {
    for_each_store(&extents(&ODD_SIZES), u64::MAX, |store| {
        for extent in 0..ODD_SIZES.len() as u32 {
            write(store, extent, extent as f32 + 1.0);
        }
        for extent in 0..ODD_SIZES.len() as u32 {
            let panel = read(store, extent, Access::Shared).unwrap();
            assert_eq!(panel.len_bytes() as u64, ODD_SIZES[extent as usize]);
            assert_filled(&panel, extent as f32 + 1.0);
        }
    });
}

#[test]
fn an_extent_never_written_reads_as_zeros() {
    for_each_store(&extents(&[8, 8192]), u64::MAX, |store| {
        assert!(
            read(store, 1, Access::Exclusive).unwrap().as_f32().iter().all(|element| element.to_bits() == 0)
        );
        assert!(
            read(store, 0, Access::Shared).unwrap().as_f32().iter().all(|element| element.to_bits() == 0)
        );
    });
}

#[test]
fn an_exclusive_panel_is_changed_in_place_and_keeps_the_change() {
    for_each_store(&extents(&[8192]), u64::MAX, |store| {
        write(store, 0, 1.0);
        for round in 1..5_u8 {
            let mut panel = read(store, 0, Access::Exclusive).unwrap();
            assert_filled(&panel, f32::from(round));
            fill(&mut panel, f32::from(round) + 1.0);
            store.begin_write(ExtentId(0), panel).unwrap();
        }
    });
}

#[test]
fn an_exclusive_panel_is_refused_to_others_until_it_comes_back() {
    for_each_store(&extents(&[8192]), u64::MAX, |store| {
        let held = read(store, 0, Access::Exclusive).unwrap();
        for access in [Access::Exclusive, Access::Shared] {
            let refused = store.begin_read(ExtentId(0), access).unwrap_err();
            assert!(matches!(refused, StorageError::ExtentTaken { extent } if extent == "extent 0"));
        }
        store.release(ExtentId(0), held);
        let held = read(store, 0, Access::Exclusive).unwrap();
        store.begin_write(ExtentId(0), held).unwrap();
        drop(read(store, 0, Access::Shared).unwrap());
    });
}

#[test]
fn readers_keep_their_snapshot_while_it_is_replaced() {
    for_each_store(&extents(&[8192]), u64::MAX, |store| {
        write(store, 0, 1.0);
        let readers = [read(store, 0, Access::Shared).unwrap(), read(store, 0, Access::Shared).unwrap()];
        let mut changed = read(store, 0, Access::Exclusive).unwrap();
        assert!(Arc::get_mut(&mut changed).is_some(), "an exclusive panel has one holder");
        fill(&mut changed, 2.0);
        let [first, second] = readers;
        store.release(ExtentId(0), first);
        let refused = store.begin_read(ExtentId(0), Access::Shared).unwrap_err();
        assert!(
            matches!(refused, StorageError::ExtentTaken { .. }),
            "a reader's release does not end another's hold"
        );
        store.begin_write(ExtentId(0), changed).unwrap();
        assert_filled(&second, 1.0);
        store.release(ExtentId(0), second);
        assert_filled(&read(store, 0, Access::Shared).unwrap(), 2.0);
    });
}

#[test]
fn a_read_after_a_write_sees_it_with_many_extents_and_little_memory() {
    let sizes: Vec<u64> = (0..40).map(|extent| 4096 * (1 + extent % 5) - 4 * (extent % 3)).collect();
    let capacity = 4 * 5 * 4096;
    for_each_store(&extents(&sizes), capacity, |store| {
        let mut random = Random::new(7);
        let mut written = HashMap::new();
        for round in 1..1500_u16 {
            let extent = random.below(sizes.len() as u64) as u32;
            let ahead = random.below(sizes.len() as u64) as u32;
            let ticket = store.begin_read(ExtentId(extent), Access::Exclusive).unwrap();
            let prefetch =
                (ahead != extent).then(|| store.begin_read(ExtentId(ahead), Access::Shared).unwrap());
            let mut panel = store.finish_read(ticket).unwrap();
            if let Some(value) = written.get(&extent) {
                assert_filled(&panel, *value);
            }
            fill(&mut panel, f32::from(round));
            written.insert(extent, f32::from(round));
            store.begin_write(ExtentId(extent), panel).unwrap();
            if let Some(prefetch) = prefetch {
                let panel = store.finish_read(prefetch).unwrap();
                if let Some(value) = written.get(&ahead) {
                    assert_filled(&panel, *value);
                }
                store.release(ExtentId(ahead), panel);
            }
        }
        store.flush().unwrap();
    });
}

#[test]
fn threads_with_their_own_extents_do_not_disturb_each_other() {
    let sizes = vec![3 * 4096 - 8; 12];
    for_each_store(&extents(&sizes), 12 * 3 * 4096, |store| {
        std::thread::scope(|scope| {
            for thread in 0..4_u32 {
                scope.spawn(move || {
                    for round in 0..60_u8 {
                        for extent in thread * 3..thread * 3 + 3 {
                            let mut panel = read(store, extent, Access::Exclusive).unwrap();
                            if round > 0 {
                                assert_filled(&panel, f32::from(round) + extent as f32);
                            }
                            fill(&mut panel, f32::from(round) + 1.0 + extent as f32);
                            store.begin_write(ExtentId(extent), panel).unwrap();
                        }
                    }
                });
            }
        });
    });
}

#[test]
fn bytes_are_counted_exactly_with_their_padding() {
    for subject in SUBJECTS {
        let specs = extents(&ODD_SIZES);
        subject.with(&specs, u64::MAX, |store| {
            for extent in 0..ODD_SIZES.len() as u32 {
                write(store, extent, 1.0);
                store.release(ExtentId(extent), read(store, extent, Access::Exclusive).unwrap());
                drop(read(store, extent, Access::Shared).unwrap());
            }
            store.flush().unwrap();
            let all: u64 = padded(&ODD_SIZES);
            let counters = store.counters();
            let expected = if subject.counts { (2 * all, all) } else { (0, 0) };
            assert_eq!((counters.bytes_read, counters.bytes_written), expected);
            assert_eq!(counters.retries, 0);
        });
    }
}

#[test]
fn a_panel_of_another_size_or_another_store_is_refused() {
    let specs = extents(&[8192, 4096]);
    for_each_store(&specs, u64::MAX, |store| {
        let panel = store.allocate(ExtentId(0)).unwrap();
        let error = store.begin_write(ExtentId(1), panel).unwrap_err();
        assert!(matches!(error, StorageError::WrongPanel { expected: 4096, found: 8192, .. }));
        let other = spillbench_storage::MemoryStore::new(&specs).unwrap();
        let error = store.begin_write(ExtentId(0), other.allocate(ExtentId(0)).unwrap()).unwrap_err();
        assert!(matches!(error, StorageError::ForeignPanel { .. }));
        let error = store.begin_read(ExtentId(2), Access::Shared).unwrap_err();
        assert!(matches!(error, StorageError::UnknownExtent { extent: ExtentId(2), extents: 2 }));
    });
}

#[test]
fn extents_that_are_empty_or_of_an_odd_number_of_bytes_are_refused() {
    for bytes in [0, 7] {
        let specs = [ExtentSpec { name: "odd".to_owned(), bytes }];
        for subject in SUBJECTS {
            let dir = subjects::temporary_folder();
            let error = (subject.open)(dir.path(), &specs, u64::MAX).err().expect("refused");
            assert!(matches!(error, StorageError::InvalidExtent { .. }), "{}: {error}", subject.name);
        }
    }
}

#[test]
fn a_store_dropped_with_reads_and_writes_in_flight_gives_all_memory_back() {
    let sizes = vec![1 << 20; 24];
    for_each_store(&extents(&sizes), u64::MAX, |store| {
        for extent in 0..12 {
            write(store, extent, 1.0);
        }
        let kept = store.begin_read(ExtentId(3), Access::Shared).unwrap();
        for extent in 12..24 {
            drop(store.begin_read(ExtentId(extent), Access::Shared).unwrap());
        }
        drop(kept);
    });
}

#[test]
fn a_panel_outlives_its_store() {
    let mut panels = Vec::new();
    for subject in SUBJECTS.iter().filter(|subject| subject.keeps) {
        let dir = subjects::temporary_folder();
        let Some(store) = subject.open(dir.path(), &extents(&[8192]), u64::MAX) else { continue };
        write(&*store, 0, 5.0);
        panels.push(read(&*store, 0, Access::Shared).unwrap());
    }
    for panel in &panels {
        assert_filled(panel, 5.0);
    }
}

#[test]
fn a_description_names_the_mode() {
    for subject in SUBJECTS {
        subject.with(&extents(&[4]), 4096, |store| {
            assert!(store.describe().starts_with(subject.name), "{}", store.describe());
        });
    }
}
