//! What is on disk and is not what was written is found, named and never handed out.

mod subjects;

use std::path::Path;

use spillbench_storage::{
    BufferedStore, DirectOptions, DirectStore, MmapStore, PageCacheOptions, Standing, StorageError, Store,
};
use subjects::{extents, first_wrong, flip, open_direct, read, temporary_folder, write};

const SIZES: [u64; 2] = [8192, 3 * 4096 - 4];

fn write_both(store: &dyn Store) {
    (0..2).for_each(|extent| write(store, extent, 1.0).unwrap());
    store.flush().unwrap();
}

fn direct(dir: &Path, options: DirectOptions) -> Option<DirectStore> {
    open_direct(dir, &SIZES, options)
}

#[test]
fn a_flipped_bit_anywhere_in_an_extent_is_found_and_named() {
    for offset in [0, 8191, 8192, 8192 + 12287] {
        let folders = [temporary_folder(), temporary_folder(), temporary_folder()];
        let options = PageCacheOptions::new(1 << 20);
        let stores: Vec<(&Path, Box<dyn Store>)> = vec![
            (
                folders[1].path(),
                Box::new(BufferedStore::open(folders[1].path(), &extents(&SIZES), options).unwrap()),
            ),
            (
                folders[2].path(),
                Box::new(MmapStore::open(folders[2].path(), &extents(&SIZES), options).unwrap()),
            ),
        ];
        let direct = direct(folders[0].path(), DirectOptions::new(1 << 20));
        let direct = direct.map(|store| (folders[0].path(), Box::new(store) as Box<dyn Store>));
        for (dir, store) in stores.into_iter().chain(direct) {
            write_both(&*store);
            flip(&dir.join("extents"), offset);
            let (rotten, sound) = if offset < 8192 { (0, 1) } else { (1, 0) };
            drop(read(&*store, sound).unwrap());
            let error = read(&*store, rotten).unwrap_err();
            let StorageError::Corrupt { path, extent, offset, expected, found, standing } = error else {
                panic!("{error}")
            };
            assert_eq!(standing, Standing::NoGeneration);
            assert_eq!(path, dir.join("extents"));
            assert_eq!((extent, offset), (format!("extent {rotten}"), u64::from(rotten) * 8192));
            assert_ne!(expected, found);
        }
    }
}

#[test]
fn without_checksums_nobody_looks() {
    let dir = temporary_folder();
    let options = DirectOptions { checksums: false, ..DirectOptions::new(1 << 20) };
    let Some(store) = direct(dir.path(), options) else { return };
    write_both(&store);
    flip(&dir.path().join("extents"), 100);
    assert!(first_wrong(&read(&store, 0).unwrap(), 1.0).is_some());
}

#[test]
fn rot_is_found_after_a_recovery_too() {
    let dir = temporary_folder();
    let options = DirectOptions { generations: 1, ..DirectOptions::new(1 << 20) };
    let Some(store) = direct(dir.path(), options) else { return };
    write_both(&store);
    store.commit(b"").unwrap();
    drop(store);
    flip(&dir.path().join("extents"), 5000);
    let (store, _) = DirectStore::recover(dir.path(), &extents(&SIZES), options).unwrap().unwrap();
    let error = read(&store, 0).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt { standing: Standing::AllHold, .. }), "{error}");
}

#[test]
fn rot_in_what_was_written_after_a_generation_is_told_from_rot_in_the_generation() {
    // The second slots lie behind the first ones of all extents.
    let second = 8192 + 12288;
    for (offset, rotten, standing, remedy) in [
        (second + 100, 0, Standing::Since, "run again to go on from there"),
        (8192 + 100, 1, Standing::AllHold, "`spillbench run --fresh`"),
    ] {
        let dir = temporary_folder();
        let options = DirectOptions { generations: 1, ..DirectOptions::new(1 << 20) };
        let Some(store) = direct(dir.path(), options) else { return };
        write_both(&store);
        store.commit(b"").unwrap();
        write(&store, 0, 2.0).unwrap();
        store.flush().unwrap();
        flip(&dir.path().join("extents"), offset);
        let error = read(&store, rotten).unwrap_err();
        assert!(error.to_string().contains(remedy), "{error}");
        let StorageError::Corrupt { standing: found, .. } = error else { panic!("{error}") };
        assert_eq!(found, standing);
        drop(store);
        let (store, _) = DirectStore::recover(dir.path(), &extents(&SIZES), options).unwrap().unwrap();
        match read(&store, rotten) {
            Ok(panel) => {
                assert_eq!(standing, Standing::Since);
                assert_eq!(first_wrong(&panel, 1.0), None);
            }
            Err(error) => assert_eq!(standing, Standing::AllHold, "{error}"),
        }
    }
}
