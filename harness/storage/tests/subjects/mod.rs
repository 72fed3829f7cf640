//! The stores under test, and what tests put into them.
#![allow(dead_code, reason = "each test file uses its part")]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spillbench_storage::{
    Access, BufferedStore, DirectOptions, DirectStore, ExtentId, ExtentSpec, MemoryStore, MmapStore,
    NullStore, PageCacheOptions, Panel, StorageError, Store,
};
use tempfile::TempDir;

/// One kind of store.
pub struct Subject {
    /// As its description begins.
    pub name: &'static str,
    /// Whether what is written can be read back.
    pub keeps: bool,
    /// Whether bytes are counted.
    pub counts: bool,
    /// Opens one.
    pub open: Open,
}

/// Opens a store in a folder, with a capacity in bytes.
type Open = fn(&Path, &[ExtentSpec], u64) -> Result<Box<dyn Store>, StorageError>;

/// Every kind of store.
pub const SUBJECTS: &[Subject] = &[
    Subject {
        name: "memory",
        keeps: true,
        counts: false,
        open: |_, extents, _| Ok(Box::new(MemoryStore::new(extents)?)),
    },
    Subject {
        name: "direct",
        keeps: true,
        counts: true,
        open: |dir, extents, capacity| {
            Ok(Box::new(DirectStore::open(dir, extents, DirectOptions::new(capacity))?))
        },
    },
    // The other ends of every option.
    Subject {
        name: "direct",
        keeps: true,
        counts: true,
        open: |dir, extents, capacity| {
            let options = DirectOptions {
                registered_buffers: false,
                queue_depth: 2,
                chunk_bytes: 4096,
                checksums: false,
                generations: 1,
                ..DirectOptions::new(capacity)
            };
            Ok(Box::new(DirectStore::open(dir, extents, options)?))
        },
    },
    Subject {
        name: "buffered",
        keeps: true,
        counts: true,
        open: |dir, extents, capacity| {
            Ok(Box::new(BufferedStore::open(dir, extents, PageCacheOptions::new(capacity))?))
        },
    },
    Subject {
        name: "mmap",
        keeps: true,
        counts: true,
        open: |dir, extents, capacity| {
            Ok(Box::new(MmapStore::open(dir, extents, PageCacheOptions::new(capacity))?))
        },
    },
    Subject {
        name: "null",
        keeps: false,
        counts: true,
        open: |_, extents, capacity| Ok(Box::new(NullStore::new(extents, capacity)?)),
    },
];

impl Subject {
    /// A store, or `None`, said aloud, if the folder's file system refuses direct I/O.
    pub fn open(&self, dir: &Path, extents: &[ExtentSpec], capacity: u64) -> Option<Box<dyn Store>> {
        unless_refused((self.open)(dir, extents, capacity))
    }

    /// Runs a check on a fresh store.
    pub fn with(&self, extents: &[ExtentSpec], capacity: u64, check: impl Fn(&dyn Store)) {
        let dir = temporary_folder();
        if let Some(store) = self.open(dir.path(), extents, capacity) {
            check(&*store);
        }
    }
}

/// Runs a check on a fresh store of every kind that keeps what is written.
pub fn for_each_store(extents: &[ExtentSpec], capacity: u64, check: impl Fn(&dyn Store)) {
    for subject in SUBJECTS.iter().filter(|subject| subject.keeps) {
        subject.with(extents, capacity, &check);
    }
}

/// What was opened, or `None`, said aloud, if direct I/O or `io_uring` is refused here.
fn unless_refused<S>(opened: Result<S, StorageError>) -> Option<S> {
    match opened {
        Ok(store) => Some(store),
        Err(error @ (StorageError::DirectRefused { .. } | StorageError::UringRefused { .. })) => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A new direct store of extents of these sizes, or `None`, said aloud, if direct I/O or `io_uring` is refused here.
pub fn open_direct(dir: &Path, sizes: &[u64], options: DirectOptions) -> Option<DirectStore> {
    unless_refused(DirectStore::open(dir, &extents(sizes), options))
}

/// The store that was left in `dir`, and the numbers of the generations that it keeps, the last one's first; `None` if
/// none was committed. The payload of each generation is its number.
pub fn recover_direct(dir: &Path, sizes: &[u64], options: DirectOptions) -> Option<(DirectStore, Vec<u64>)> {
    let (store, payload) = DirectStore::recover(dir, &extents(sizes), options).unwrap()?;
    let numbers = on_record(dir);
    assert_eq!(payload, numbers[0].to_le_bytes());
    Some((store, numbers))
}

/// Numbers of the generations on record in `dir`, newest first.
pub fn on_record(dir: &Path) -> Vec<u64> {
    let names =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut numbers: Vec<u64> =
        names.filter_map(|name| name.strip_prefix("generation.")?.parse().ok()).collect();
    numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
    numbers
}

/// Where the record of a generation is.
pub fn record(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("generation.{number}"))
}

/// Flips a bit of a stored file behind the store's back.
pub fn flip(path: &Path, offset: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
    file.sync_all().unwrap();
}

/// Starts writing an extent with contents that depend on `value`.
pub fn write(store: &dyn Store, extent: u32, value: f32) -> Result<(), StorageError> {
    let mut panel = store.allocate(ExtentId(extent))?;
    fill(&mut panel, value);
    store.begin_write(ExtentId(extent), panel)
}

/// Reads an extent.
pub fn read(store: &dyn Store, extent: u32) -> Result<Panel, StorageError> {
    store.finish_read(store.begin_read(ExtentId(extent), Access::Shared)?)
}

/// A folder on the file system of the build, which is a real one where temporary folders may not be.
pub fn temporary_folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Extents of these sizes, named by position.
pub fn extents(bytes: &[u64]) -> Vec<ExtentSpec> {
    let named = bytes.iter().enumerate();
    named.map(|(position, bytes)| ExtentSpec { name: format!("extent {position}"), bytes: *bytes }).collect()
}

/// Bytes that extents of these sizes occupy.
pub fn padded(bytes: &[u64]) -> u64 {
    bytes.iter().map(|bytes| bytes.next_multiple_of(4096)).sum()
}

/// What [`fill`] puts at an index.
pub fn element(index: usize, value: f32) -> f32 {
    value + (index % 1021) as f32 * 1e-3
}

/// The first element that is not what [`fill`] put there, bit for bit.
pub fn first_wrong(panel: &Panel, value: f32) -> Option<usize> {
    let found = panel.as_f32().iter().map(|element| element.to_bits());
    found.enumerate().position(|(index, bits)| bits != element(index, value).to_bits())
}

/// Fills a panel that has one holder with contents that depend on `value`.
pub fn fill(panel: &mut Panel, value: f32) {
    let elements = Arc::get_mut(panel).expect("one holder").as_f32_mut();
    for (index, slot) in elements.iter_mut().enumerate() {
        *slot = element(index, value);
    }
}

/// A small generator (splitmix64), so that a test's choices are its seed's.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
