//! The memory of a store's panels: bounded, recycled, and never fragmented.
//!
//! Blocks in the hands of panels are *live*; returned ones are *cached* for the next panel of the same size, and
//! unmapped when a panel of another size needs their room. Live and cached blocks together never exceed the capacity.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::block::Block;
use crate::buffer::Buffer;
use crate::{ExtentSpec, StorageError};

/// Blocks until there is room; see the module.
#[derive(Debug)]
pub(crate) struct Pool {
    capacity: u64,
    state: Mutex<State>,
    /// Signalled when memory returns, a write completes, or the store fails.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    live: u64,
    /// Blocks ready for reuse, by size.
    cached: BTreeMap<usize, Vec<Block>>,
    cached_bytes: u64,
    /// Blocks to be unmapped, which the kernel still has in its table of registered buffers.
    retiring: Vec<Block>,
    retiring_bytes: u64,
    writes_in_flight: u64,
    failure: Option<StorageError>,
}

/// What is in a buffer from the pool.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Contents {
    Zeroed,
    /// Whatever the last holder left: the whole buffer will be overwritten.
    Stale,
}

impl Pool {
    pub(crate) fn new(capacity: u64) -> Arc<Self> {
        Arc::new(Self { capacity, state: Mutex::default(), changed: Condvar::new() })
    }

    /// A buffer for `spec`. Waits while memory is short and a write in flight will free some. `wake` is called
    /// when the I/O thread must take retiring blocks.
    pub(crate) fn take(
        self: &Arc<Self>,
        spec: &ExtentSpec,
        contents: Contents,
        wake: impl Fn(),
    ) -> Result<Buffer, StorageError> {
        let len = spec.padded_bytes() as usize;
        let mut block = match self.cached_or_room(spec, wake)? {
            Some(mut block) => {
                if contents == Contents::Zeroed {
                    block.bytes_mut().fill(0);
                }
                block
            }
            None => Block::map(len).map_err(|cause| {
                self.lock().live -= len as u64;
                self.changed.notify_all();
                StorageError::OutOfMemory { bytes: len as u64, cause: Arc::new(cause) }
            })?,
        };
        debug_assert_eq!(block.bytes_mut().len(), len);
        Ok(Buffer::new(block, spec.bytes as usize, Arc::clone(self)))
    }

    /// A buffer that belongs to no extent: stale, but for the zeros after its payload.
    pub(crate) fn scratch(self: &Arc<Self>, bytes: u64, wake: impl Fn()) -> Result<Buffer, StorageError> {
        let spec = ExtentSpec { name: "scratch".to_owned(), bytes };
        let mut buffer = self.take(&spec, Contents::Stale, wake)?;
        buffer.zero_padding();
        Ok(buffer)
    }

    /// Counts the bytes of `spec` as live, and returns a cached block for them, or `None` if one is to be mapped.
    fn cached_or_room(&self, spec: &ExtentSpec, wake: impl Fn()) -> Result<Option<Block>, StorageError> {
        let wanted = spec.padded_bytes();
        let mut state = self.lock();
        loop {
            if let Some(error) = &state.failure {
                return Err(error.clone());
            }
            if let Some(block) = state.take_cached(wanted as usize) {
                state.live += wanted;
                return Ok(Some(block));
            }
            if state.live.saturating_add(wanted) <= self.capacity {
                let unmapped = state.make_room(self.capacity - wanted);
                let retiring = state.retiring_bytes > 0;
                let room = state.held() <= self.capacity - wanted;
                if room {
                    state.live += wanted;
                }
                drop(state);
                drop(unmapped);
                if retiring {
                    wake();
                }
                if room {
                    return Ok(None);
                }
                state = self.lock();
                if state.retiring_bytes == 0 || state.failure.is_some() {
                    continue;
                }
            } else if state.writes_in_flight == 0 {
                return Err(StorageError::CapacityExceeded {
                    extent: spec.name.clone(),
                    wanted,
                    live: state.live,
                    capacity: self.capacity,
                });
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn give_back(&self, block: Block) {
        let mut state = self.lock();
        let len = block.len();
        state.live -= len as u64;
        state.cached_bytes += len as u64;
        state.cached.entry(len).or_default().push(block);
        drop(state);
        self.changed.notify_all();
    }

    pub(crate) fn write_begins(&self) {
        self.lock().writes_in_flight += 1;
    }

    pub(crate) fn write_ends(&self) {
        self.lock().writes_in_flight -= 1;
        self.changed.notify_all();
    }

    /// Every call now waiting, and every later one, fails with `error`.
    pub(crate) fn fail(&self, error: &StorageError) {
        self.lock().failure.get_or_insert_with(|| error.clone());
        self.changed.notify_all();
    }

    /// Blocks to be taken out of the kernel's table, then handed to [`Pool::retired`].
    pub(crate) fn retiring(&self) -> Vec<Block> {
        std::mem::take(&mut self.lock().retiring)
    }

    /// Unmaps blocks that were retiring.
    pub(crate) fn retired(&self, blocks: Vec<Block>) {
        let bytes: u64 = blocks.iter().map(|block| block.len() as u64).sum();
        drop(blocks);
        self.lock().retiring_bytes -= bytes;
        self.changed.notify_all();
    }

    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> u64 {
        self.lock().held()
    }

    /// Whether nobody holds memory or writes any.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.live == 0 && state.writes_in_flight == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock with the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    const fn held(&self) -> u64 {
        self.live + self.cached_bytes + self.retiring_bytes
    }

    fn take_cached(&mut self, len: usize) -> Option<Block> {
        let blocks = self.cached.get_mut(&len)?;
        let block = blocks.pop()?;
        if blocks.is_empty() {
            self.cached.remove(&len);
        }
        self.cached_bytes -= len as u64;
        Some(block)
    }

    /// Gives up cached blocks until at most `limit` bytes are held or retiring to be freed; returns those that can
    /// be unmapped at once. Takes the smallest block that suffices, else the largest: the fewest bytes lost.
    fn make_room(&mut self, limit: u64) -> Vec<Block> {
        let mut unmapped = Vec::new();
        while self.live + self.cached_bytes > limit {
            let excess = (self.live + self.cached_bytes - limit) as usize;
            let sufficient = self.cached.range(excess..).next().map(|(len, _)| *len);
            let Some(len) = sufficient.or_else(|| self.cached.keys().next_back().copied()) else { break };
            let Some(block) = self.take_cached(len) else { break };
            if block.registration().is_some() {
                self.retiring_bytes += len as u64;
                self.retiring.push(block);
            } else {
                unmapped.push(block);
            }
        }
        unmapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(bytes: u64) -> ExtentSpec {
        ExtentSpec { name: format!("{bytes} bytes"), bytes }
    }

    fn take(pool: &Arc<Pool>, bytes: u64) -> Result<Buffer, StorageError> {
        pool.take(&spec(bytes), Contents::Zeroed, || {})
    }

    #[test]
    fn a_buffer_comes_back_to_the_next_panel_of_its_size() {
        let pool = Pool::new(8192);
        let first = take(&pool, 8000).unwrap();
        let address = first.as_f32().as_ptr();
        drop(first);
        assert_eq!(take(&pool, 8004).unwrap().as_f32().as_ptr(), address);
    }

    #[test]
    fn a_recycled_buffer_is_zeroed_when_asked() {
        let pool = Pool::new(4096);
        take(&pool, 16).unwrap().as_f32_mut().fill(1.0);
        assert_eq!(take(&pool, 16).unwrap().as_f32(), [0.0; 4]);
    }

    #[test]
    fn a_scratch_buffer_is_stale_but_for_the_zeros_after_its_payload() {
        let pool = Pool::new(4096);
        take(&pool, 4096).unwrap().as_f32_mut().fill(1.0);
        let scratch = pool.scratch(16, || {}).unwrap();
        assert_eq!(scratch.as_f32(), [1.0; 4]);
        assert!(scratch.padded_bytes()[16..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn cached_blocks_of_other_sizes_make_room() {
        let pool = Pool::new(3 * 4096);
        drop([take(&pool, 4).unwrap(), take(&pool, 4).unwrap(), take(&pool, 4).unwrap()]);
        let large = take(&pool, 3 * 4096).unwrap();
        assert_eq!(pool.held_bytes(), 3 * 4096);
        drop(large);
        let small = [take(&pool, 4), take(&pool, 4), take(&pool, 4)];
        assert!(small.iter().all(Result::is_ok));
        assert_eq!(pool.held_bytes(), 3 * 4096);
    }

    #[test]
    fn more_than_the_capacity_is_refused_when_no_write_will_free_any() {
        let pool = Pool::new(2 * 4096);
        let _held = take(&pool, 8192).unwrap();
        let error = take(&pool, 4).unwrap_err();
        assert!(matches!(
            error,
            StorageError::CapacityExceeded { wanted: 4096, live: 8192, capacity: 8192, .. }
        ));
    }

    #[test]
    fn a_waiting_panel_gets_the_memory_of_a_completed_write() {
        let pool = Pool::new(4096);
        let held = take(&pool, 4).unwrap();
        pool.write_begins();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| take(&pool, 4).map(|_| ()));
            drop(held);
            pool.write_ends();
            waiting.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_waiting_panel_is_told_of_a_failure() {
        let pool = Pool::new(4096);
        let _held = take(&pool, 4).unwrap();
        pool.write_begins();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| take(&pool, 4).map(|_| ()));
            pool.fail(&StorageError::Closed);
            assert!(matches!(waiting.join().unwrap(), Err(StorageError::Closed)));
        });
    }
}
