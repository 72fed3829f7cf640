//! A store recovers as its last committed generation left it: after a clean end, after an error, and after being
//! killed at any moment.

mod subjects;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use spillbench_storage::{
    DirectOptions, DirectStore, ExtentId, Fault, FaultKind, Standing, StorageError, Store, last_payload,
};
use subjects::{
    Random, extents, first_wrong, flip, on_record, open_direct, read, record, recover_direct,
    temporary_folder, write,
};

const SIZES: [u64; 6] = [4, 8192, 40_000, 12_284, 300_000, 64 << 10];

/// How many generations the stores here keep, from one test to the next.
const KEPT: [u8; 2] = [1, 3];

/// Of a store that keeps so many generations.
fn keeping(generations: u8) -> DirectOptions {
    DirectOptions { generations, chunk_bytes: 16 << 10, ..DirectOptions::new(2 << 20) }
}

fn options() -> DirectOptions {
    keeping(1)
}

fn open(dir: &Path, options: DirectOptions) -> Option<DirectStore> {
    open_direct(dir, &SIZES, options)
}

/// Whether the extents that generation `number` changes include this one.
fn is_changed(number: u64, extent: u32) -> bool {
    Random::new(number * 31 + u64::from(extent)).below(3) > 0
}

/// Writes what generation `number` changes.
fn write_generation(store: &DirectStore, number: u64) -> Result<(), StorageError> {
    for extent in (0..SIZES.len() as u32).filter(|extent| is_changed(number, *extent)) {
        write(store, extent, number as f32)?;
    }
    Ok(())
}

/// That every extent is as generation `number` has it: written by the last generation that changed it, or zeros.
fn assert_is_generation(store: &DirectStore, number: u64) {
    for extent in 0..SIZES.len() as u32 {
        let panel = read(store, extent).unwrap();
        let writer = (1..=number).rev().find(|number| is_changed(*number, extent));
        let right = match writer {
            Some(writer) => first_wrong(&panel, writer as f32).is_none(),
            None => panel.as_f32().iter().all(|element| element.to_bits() == 0),
        };
        assert!(right, "extent {extent} of generation {number}");
    }
}

/// The store as it was left, and the numbers of the generations it keeps, the last one's first.
fn recover_keeping(dir: &Path, keep: u8) -> Option<(DirectStore, Vec<u64>)> {
    recover_direct(dir, &SIZES, keeping(keep))
}

/// That every generation on record, of which there are these, is whole: each is given up when it has been looked at.
fn assert_all_whole(dir: &Path, keep: u8, numbers: &[u64]) {
    for (position, number) in numbers.iter().enumerate() {
        let (store, kept) = recover_keeping(dir, keep).unwrap();
        assert_eq!(kept, &numbers[position..]);
        assert_is_generation(&store, *number);
        drop(store);
        flip(&record(dir, *number), 40);
        let error = DirectStore::recover(dir, &extents(&SIZES), keeping(keep)).err().unwrap();
        let last = position + 1 == numbers.len();
        let expected = if last { Standing::AllHold } else { Standing::GivenUp { generations: 1 } };
        assert!(matches!(error, StorageError::Corrupt { standing, .. } if standing == expected), "{error}");
    }
}

fn recover(dir: &Path) -> Option<(DirectStore, u64)> {
    recover_keeping(dir, 1).map(|(store, numbers)| (store, numbers[0]))
}

#[test]
fn a_store_recovers_as_committed_whatever_was_written_since() {
    for keep in KEPT {
        let dir = temporary_folder();
        assert!(recover_keeping(dir.path(), keep).is_none());
        let Some(mut store) = open(dir.path(), keeping(keep)) else { return };
        for number in 1..8 {
            write_generation(&store, number).unwrap();
            assert_eq!(store.commit(&number.to_le_bytes()).unwrap(), number);
            // Twice, so that the uncommitted slot is written again; all, so that extents never written are too.
            for extent in (0..SIZES.len() as u32).chain(0..SIZES.len() as u32) {
                write(&store, extent, -1.0).unwrap();
            }
            store.flush().unwrap();
            drop(store);
            let numbers;
            (store, numbers) = recover_keeping(dir.path(), keep).unwrap();
            let expected: Vec<_> = (1..=number).rev().take(usize::from(keep)).collect();
            assert_eq!(numbers, expected);
            assert_is_generation(&store, number);
        }
        drop(store);
        assert_all_whole(dir.path(), keep, &on_record(dir.path()));
    }
}

/// The record of the generation that goes is put back, as if a crash had come before it was removed.
#[test]
fn a_crash_between_a_new_record_and_the_removal_of_the_oldest_leaves_all_that_are_kept_whole() {
    for keep in KEPT {
        let dir = temporary_folder();
        let Some(mut store) = open(dir.path(), keeping(keep)) else { return };
        for number in 1..8 {
            let oldest = on_record(dir.path()).last().map(|number| record(dir.path(), *number));
            let oldest = oldest.map(|path| (std::fs::read(&path).unwrap(), path));
            write_generation(&store, number).unwrap();
            store.commit(&number.to_le_bytes()).unwrap();
            drop(store);
            if let Some((bytes, path)) = oldest {
                std::fs::write(path, bytes).unwrap();
                std::fs::write(dir.path().join("generation.tmp"), b"SPILL").unwrap();
            }
            store = recover_keeping(dir.path(), keep).unwrap().0;
            assert!(!dir.path().join("generation.tmp").exists());
            // Whatever slot is free is written.
            for extent in 0..SIZES.len() as u32 {
                write(&store, extent, -1.0).unwrap();
            }
            store.flush().unwrap();
            drop(store);
            store = recover_keeping(dir.path(), keep).unwrap().0;
        }
        drop(store);
        let kept: Vec<_> = (1..8).rev().take(usize::from(keep)).collect();
        assert_all_whole(dir.path(), keep, &kept);
    }
}

#[test]
fn the_last_payload_is_that_of_the_newest_sound_record() {
    let dir = temporary_folder();
    assert_eq!(last_payload(&dir.path().join("nothing here")).unwrap(), None);
    let Some(store) = open(dir.path(), keeping(3)) else { return };
    assert_eq!(last_payload(dir.path()).unwrap(), None);
    for number in 1..5_u64 {
        store.commit(&number.to_le_bytes()).unwrap();
        assert_eq!(last_payload(dir.path()).unwrap().unwrap(), number.to_le_bytes());
    }
    flip(&record(dir.path(), 4), 40);
    assert_eq!(last_payload(dir.path()).unwrap().unwrap(), 3_u64.to_le_bytes());
}

#[test]
fn opening_anew_forgets_the_generations() {
    let dir = temporary_folder();
    let Some(store) = open(dir.path(), options()) else { return };
    write_generation(&store, 1).unwrap();
    store.commit(&[]).unwrap();
    drop(store);
    drop(open(dir.path(), options()));
    assert!(recover(dir.path()).is_none());
}

#[test]
fn a_store_without_generations_commits_none() {
    let dir = temporary_folder();
    let Some(store) = open(dir.path(), DirectOptions::new(1 << 20)) else { return };
    let error = store.commit(b"").unwrap_err();
    assert!(matches!(error, StorageError::InvalidOption { field: "generations", .. }), "{error}");
}

#[test]
fn a_generation_of_other_extents_is_refused() {
    let dir = temporary_folder();
    let Some(store) = open(dir.path(), options()) else { return };
    store.commit(b"").unwrap();
    drop(store);
    let error = DirectStore::recover(dir.path(), &extents(&[4]), options()).err().unwrap();
    assert!(matches!(error, StorageError::OtherGeneration { .. }), "{error}");
}

#[test]
fn two_stores_cannot_have_one_folder() {
    let dir = temporary_folder();
    let Some(store) = open(dir.path(), options()) else { return };
    store.commit(&1_u64.to_le_bytes()).unwrap();
    std::thread::scope(|scope| {
        let recovering =
            scope.spawn(|| DirectStore::recover(dir.path(), &extents(&SIZES), options()).err().unwrap());
        let opening =
            scope.spawn(|| DirectStore::open(dir.path(), &extents(&SIZES), options()).err().unwrap());
        for refused in [recovering, opening] {
            let error = refused.join().unwrap();
            assert!(matches!(error, StorageError::InUse { .. }), "{error}");
        }
    });
    drop(store);
    assert_eq!(recover(dir.path()).unwrap().1, 1, "a refused opening left the generation alone");
}

#[test]
fn an_error_at_any_operation_leaves_the_last_committed_generations() {
    [1, 2].into_iter().for_each(fail_at_every_operation);
}

fn fail_at_every_operation(keep: u8) {
    for operation in 0.. {
        let dir = temporary_folder();
        let fault = Some(Fault { operation, kind: FaultKind::Errno(libc::EIO) });
        let Some(store) = open(dir.path(), DirectOptions { fault, ..keeping(keep) }) else { return };
        let mut committed = 0;
        let result = (1..5).try_for_each(|number| {
            write_generation(&store, number)?;
            committed = store.commit(&number.to_le_bytes())?;
            Ok::<(), StorageError>(())
        });
        drop(store);
        let kept: Vec<_> = (1..=committed).rev().take(usize::from(keep)).collect();
        assert_eq!(on_record(dir.path()), kept);
        assert_all_whole(dir.path(), keep, &kept);
        if result.is_ok() {
            assert!(operation > 30, "{operation} operations");
            return;
        }
    }
}

/// A device that is full takes the record's place: the file system's own answer, without a file system to fill.
#[test]
fn a_disk_full_while_the_record_is_written_leaves_the_last_committed_generation() {
    let dir = temporary_folder();
    let Some(store) = open(dir.path(), options()) else { return };
    write_generation(&store, 1).unwrap();
    assert_eq!(store.commit(&1_u64.to_le_bytes()).unwrap(), 1);
    let temporary = dir.path().join("generation.tmp");
    std::os::unix::fs::symlink("/dev/full", &temporary).unwrap();
    write_generation(&store, 2).unwrap();
    let error = store.commit(&2_u64.to_le_bytes()).unwrap_err();
    let StorageError::File { operation: "write", path, cause } = &error else { panic!("{error}") };
    assert_eq!((path, cause.raw_os_error()), (&temporary, Some(libc::ENOSPC)));
    assert!(error.to_string().contains("; free some space"), "{error}");
    assert_eq!(
        write_generation(&store, 3).unwrap_err().to_string(),
        error.to_string(),
        "the store has ended"
    );
    drop(store);
    let (store, number) = recover(dir.path()).unwrap();
    assert_eq!(number, 1);
    assert_is_generation(&store, 1);
    write_generation(&store, 2).unwrap();
    assert_eq!(store.commit(&2_u64.to_le_bytes()).unwrap(), 2);
    drop(store);
    assert_is_generation(&recover(dir.path()).unwrap().0, 2);
}

/// Names the folder of the process that is to be killed, and how many generations it keeps.
const KILLED: &str = "SPILLBENCH_STORAGE_KILLED";
const KEEPS: &str = "SPILLBENCH_STORAGE_KEEPS";

/// Not a test: what the process to be killed does. It goes on from what it recovers, and says each step.
#[test]
fn process_that_is_killed() {
    let Some(dir) = std::env::var_os(KILLED).map(PathBuf::from) else { return };
    let keep = std::env::var(KEEPS).unwrap().parse().unwrap();
    let recovered = recover_keeping(&dir, keep).map(|(store, numbers)| (store, numbers[0]));
    let (store, mut number) = recovered.unwrap_or_else(|| (open(&dir, keeping(keep)).unwrap(), 0));
    let mut out = std::io::stdout().lock();
    loop {
        number += 1;
        for extent in 0..SIZES.len() as u32 {
            // What is not part of the generation is written too, and then as the generation has it.
            write(&store, extent, -1.0).unwrap();
            writeln!(out, "extent {extent}").unwrap();
        }
        restore_unchanged(&store, number);
        write_generation(&store, number).unwrap();
        writeln!(out, "commit {number}").unwrap();
        store.commit(&number.to_le_bytes()).unwrap();
        writeln!(out, "committed {number}").unwrap();
    }
}

/// Writes the extents that generation `number` does not change as the generations before it have them.
fn restore_unchanged(store: &DirectStore, number: u64) {
    for extent in (0..SIZES.len() as u32).filter(|extent| !is_changed(number, *extent)) {
        match (1..number).rev().find(|number| is_changed(*number, extent)) {
            Some(writer) => write(store, extent, writer as f32).unwrap(),
            None => store.begin_write(ExtentId(extent), store.allocate(ExtentId(extent)).unwrap()).unwrap(),
        }
    }
}

#[test]
fn a_process_killed_at_any_moment_leaves_exactly_one_last_generation_and_those_kept_before_it() {
    KEPT.into_iter().for_each(kill_again_and_again);
}

fn kill_again_and_again(keep: u8) {
    const KILLS: u64 = 40;
    let dir = temporary_folder();
    if open(dir.path(), keeping(keep)).is_none() {
        return;
    }
    let mut random = Random::new(2026);
    let (mut last, mut unacknowledged) = (0, 0);
    for kill in 0..KILLS {
        let acknowledged = run_and_kill(dir.path(), keep, &mut random).unwrap_or(last);
        let recovered = recover_keeping(dir.path(), keep);
        let number = recovered.as_ref().map_or(0, |(_, numbers)| numbers[0]);
        assert!(
            number == acknowledged || number == acknowledged + 1,
            "kill {kill}: {number} after {acknowledged}"
        );
        unacknowledged += number - acknowledged;
        if let Some((store, numbers)) = recovered {
            assert!(numbers.into_iter().eq((1..=number).rev().take(usize::from(keep))));
            assert_is_generation(&store, number);
        }
        last = number;
    }
    assert_all_whole(dir.path(), keep, &on_record(dir.path()));
    println!("{KILLS} kills, {last} generations, {unacknowledged} committed but not yet said so");
    assert!(last > KILLS / 2, "generations were committed between the kills");
}

/// Starts the process, kills it a random while after a random line of its output; returns the last generation it
/// said it had committed.
fn run_and_kill(dir: &Path, keep: u8, random: &mut Random) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process_that_is_killed", "--nocapture"])
        .env(KILLED, dir)
        .env(KEEPS, keep.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let started = lines.by_ref().find(|line| line.as_ref().is_ok_and(|line| line.contains("extent 0")));
    assert!(started.is_some(), "the process works");
    let said = lines.by_ref().take(random.below(40) as usize).collect::<Vec<_>>();
    for _ in 0..random.below(300_000) {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let said = said.into_iter().chain(lines).map_while(Result::ok);
    said.filter_map(|line| line.strip_prefix("committed ")?.parse().ok()).last()
}
