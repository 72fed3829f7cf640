//! Where the last generation is lost to corruption, the store goes back to the newest that is without it.

mod subjects;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use spillbench_storage::{DirectOptions, DirectStore, Standing, StorageError, Store, last_payload};
use subjects::{
    extents, first_wrong, flip, on_record, open_direct, read, record, recover_direct, temporary_folder, write,
};

const SIZES: [u64; 3] = [8192, 4 * 4096 - 4, 300_000];
/// The last generation committed before anything is spoiled.
const LAST: u64 = 7;

fn options(keep: u8) -> DirectOptions {
    DirectOptions { generations: keep, ..DirectOptions::new(2 << 20) }
}

fn open(dir: &Path, keep: u8) -> Option<DirectStore> {
    open_direct(dir, &SIZES, options(keep))
}

/// The store as it was left, and the numbers of the generations it keeps, the last one's first.
fn recover(dir: &Path, keep: u8) -> (DirectStore, Vec<u64>) {
    recover_direct(dir, &SIZES, options(keep)).expect("a generation was committed")
}

/// Generation `number` writes extent 0 always, extent 1 every second time, extent 2 every third.
fn commit(store: &DirectStore, number: u64) {
    for extent in (0..SIZES.len() as u32).filter(|extent| number.is_multiple_of(u64::from(*extent) + 1)) {
        write(store, extent, number as f32).unwrap();
    }
    assert_eq!(store.commit(&number.to_le_bytes()).unwrap(), number);
}

fn assert_is_generation(store: &DirectStore, number: u64) {
    for extent in 0..SIZES.len() as u32 {
        let writer = number - number % (u64::from(extent) + 1);
        assert_eq!(first_wrong(&read(store, extent).unwrap(), writer as f32), None, "extent {extent}");
    }
}

/// What the first corrupt extent that is read is to the generations; all are read.
fn first_standing(store: &DirectStore) -> Standing {
    let error = (0..SIZES.len() as u32).find_map(|extent| read(store, extent).err());
    match error.expect("something is corrupt") {
        StorageError::Corrupt { standing, .. } => standing,
        error => panic!("{error}"),
    }
}

fn file(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("extents")).unwrap()
}

/// Flips a bit in each block of the stored file that differs from what it was `before`.
fn spoil_what_changed(dir: &Path, before: &[u8]) {
    let now = file(dir);
    let stored = OpenOptions::new().write(true).open(dir.join("extents")).unwrap();
    for (block, (before, now)) in before.chunks(4096).zip(now.chunks(4096)).enumerate() {
        if before != now {
            stored.write_all_at(&[now[0] ^ 4], 4096 * block as u64).unwrap();
        }
    }
    stored.sync_all().unwrap();
}

#[test]
fn each_generation_that_is_kept_is_whole_when_those_after_it_are_lost() {
    const KEEP: u8 = 3;
    let dir = temporary_folder();
    let Some(store) = open(dir.path(), KEEP) else { return };
    // The file as each generation found it.
    let mut found = vec![Vec::new()];
    for number in 1..=LAST {
        found.push(file(dir.path()));
        commit(&store, number);
    }
    drop(store);
    for number in [LAST, LAST - 1] {
        spoil_what_changed(dir.path(), &found[number as usize]);
        let (store, numbers) = recover(dir.path(), KEEP);
        assert_eq!(numbers[0], number);
        assert_eq!(first_standing(&store), Standing::GivenUp { generations: 1 });
        drop(store);
        let (store, numbers) = recover(dir.path(), KEEP);
        assert_eq!(numbers[0], number - 1);
        assert_is_generation(&store, number - 1);
    }
    let (store, numbers) = recover(dir.path(), KEEP);
    assert_eq!(numbers, [LAST - 2]);
    // It goes on from there, and keeps as many as before.
    (LAST - 1..=LAST).for_each(|number| commit(&store, number));
    (0..SIZES.len() as u32).for_each(|extent| write(&store, extent, -1.0).unwrap());
    drop(store);
    let (store, numbers) = recover(dir.path(), KEEP);
    assert_eq!(numbers, [LAST, LAST - 1, LAST - 2]);
    assert_is_generation(&store, LAST);
}

#[test]
fn generations_that_share_what_is_lost_are_given_up_together_and_none_where_all_share_it() {
    for (keep, standing, left) in [
        (3, Standing::GivenUp { generations: 2 }, vec![LAST - 2]),
        (2, Standing::AllHold, vec![LAST, LAST - 1]),
    ] {
        let dir = temporary_folder();
        let Some(store) = open(dir.path(), keep) else { return };
        (1..LAST - 1).for_each(|number| commit(&store, number));
        // The last two share what the first of them has in extent 1.
        let before = file(dir.path());
        write(&store, 1, (LAST - 1) as f32).unwrap();
        store.flush().unwrap();
        spoil_what_changed(dir.path(), &before);
        for number in LAST - 1..=LAST {
            write(&store, 0, number as f32).unwrap();
            store.commit(&number.to_le_bytes()).unwrap();
        }
        assert_eq!(first_standing(&store), standing);
        drop(store);
        let (store, numbers) = recover(dir.path(), keep);
        assert_eq!(numbers, left);
        if standing == Standing::AllHold {
            assert_eq!(first_standing(&store), standing, "it is found again");
        } else {
            assert_is_generation(&store, left[0]);
        }
    }
}

#[test]
fn what_was_written_since_the_last_generation_takes_none_along() {
    let dir = temporary_folder();
    let Some(store) = open(dir.path(), 2) else { return };
    (1..=LAST).for_each(|number| commit(&store, number));
    let before = file(dir.path());
    write(&store, 0, -1.0).unwrap();
    store.flush().unwrap();
    spoil_what_changed(dir.path(), &before);
    assert_eq!(first_standing(&store), Standing::Since);
    drop(store);
    let (store, numbers) = recover(dir.path(), 2);
    assert_eq!(numbers, [LAST, LAST - 1]);
    assert_is_generation(&store, LAST);
}

/// A folder takes the record's place.
#[test]
fn a_generation_that_cannot_be_given_up_is_given_up_by_the_next_run() {
    let dir = temporary_folder();
    let Some(store) = open(dir.path(), 2) else { return };
    (1..LAST).for_each(|number| commit(&store, number));
    let before = file(dir.path());
    commit(&store, LAST);
    spoil_what_changed(dir.path(), &before);
    let path = record(dir.path(), LAST);
    let contents = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let error = read(&store, 0).unwrap_err();
    let message = error.to_string();
    for words in ["extents is corrupt: extent 0 at ", "it is part of the newest", "failed (cannot remove "] {
        assert!(message.contains(words), "{message}");
    }
    assert!(!message.contains("given up"), "{message}");
    assert!(matches!(error, StorageError::NotGivenUp { .. }), "{error}");
    drop(store);
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, contents).unwrap();
    let (store, numbers) = recover(dir.path(), 2);
    assert_eq!(numbers, [LAST, LAST - 1]);
    assert_eq!(first_standing(&store), Standing::GivenUp { generations: 1 });
    drop(store);
    let (store, numbers) = recover(dir.path(), 2);
    assert_eq!(numbers, [LAST - 1]);
    assert_is_generation(&store, LAST - 1);
}

#[test]
fn a_record_that_is_spoiled_is_named_and_costs_no_generation_but_its_own() {
    let dir = temporary_folder();
    let Some(store) = open(dir.path(), 3) else { return };
    (1..=LAST).for_each(|number| commit(&store, number));
    drop(store);
    // An older one, to which nobody goes back, then the newest.
    flip(&record(dir.path(), LAST - 1), 60);
    flip(&record(dir.path(), LAST), 60);
    let error = DirectStore::recover(dir.path(), &extents(&SIZES), options(3)).err().unwrap();
    let StorageError::Corrupt { path, standing, .. } = &error else { panic!("{error}") };
    assert_eq!((path, *standing), (&record(dir.path(), LAST), Standing::GivenUp { generations: 2 }));
    assert!(error.to_string().contains("newest 2 generations, which are given up"), "{error}");
    assert_eq!(last_payload(dir.path()).unwrap().unwrap(), (LAST - 2).to_le_bytes());
    let (store, numbers) = recover(dir.path(), 3);
    assert_eq!(numbers, [LAST - 2]);
    assert_is_generation(&store, LAST - 2);
    (LAST - 1..=LAST).for_each(|number| commit(&store, number));
    drop(store);
    flip(&record(dir.path(), LAST - 1), 60);
    let (store, numbers) = recover(dir.path(), 3);
    assert_eq!((numbers, on_record(dir.path())), (vec![LAST, LAST - 2], vec![LAST, LAST - 2]));
    assert_is_generation(&store, LAST);
}
