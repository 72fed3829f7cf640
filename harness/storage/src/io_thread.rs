//! The thread that owns the device: takes jobs, keeps them in order, cuts them into requests, answers.
//!
//! Jobs on one extent run in the order they came, except that reads run together; jobs on different extents overlap.
//! The device comes first: it gets what it can be given before a checksum is computed, one at a time, of what has been read
//! or is being written. A job is done when its bytes have moved and its checksum is known and right.
//! Memory given to the device belongs to this thread until its completion is reaped. The first failed operation
//! ends the store: what is queued is answered with that error, what is in flight is waited for.

use std::collections::VecDeque;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::StorageError;
use crate::device::{Completion, Device, Request, Wait};
use crate::file_state::FileState;
use crate::link::{Job, Link};
use crate::order::{Lane, WriteOrder};
use crate::pool::Pool;
use crate::transfer::{Piece, Progress, Transfer};

/// The thread's state. The device comes first, so that on any way out it is dropped, and has let go of all memory,
/// before the jobs that own the memory are.
pub(crate) struct IoThread {
    device: Box<dyn Device>,
    running: Vec<Option<Running>>,
    in_flight: Vec<Option<InFlight>>,
    in_flight_count: usize,
    /// Indices into `running` of jobs with pieces to issue, oldest first.
    ready: VecDeque<usize>,
    /// Indices into `running` of jobs whose bytes have moved and that wait for their checksum, oldest first.
    moved: VecDeque<usize>,
    /// Those of writes under way whose checksum is not known, oldest first.
    unsummed: VecDeque<usize>,
    lanes: Vec<Lane>,
    writes: WriteOrder,
    /// While a generation is committed, what came after it.
    held: Option<VecDeque<Job>>,
    file: FileState,
    pool: Arc<Pool>,
    link: Arc<Link>,
}

/// A job being transferred.
struct Running {
    job: Job,
    transfer: Transfer,
    /// Of the extent in the file, in bytes.
    offset: u64,
    /// Of a write, its place among the writes.
    sequence: u64,
    /// What a read gets is read for the second time.
    second: bool,
}

/// A request with the device; its token is its index.
struct InFlight {
    running: usize,
    piece: Piece,
}

/// Tells everybody, when the thread ends for whatever reason, that nobody will answer any more.
struct Farewell {
    pool: Arc<Pool>,
    link: Arc<Link>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.link.abandon();
        self.pool.fail(&StorageError::Closed);
    }
}

impl IoThread {
    pub(crate) fn new(device: Box<dyn Device>, file: FileState, pool: Arc<Pool>, link: Arc<Link>) -> Self {
        Self {
            device,
            running: Vec::new(),
            in_flight: (0..file.layout.queue_depth).map(|_| None).collect(),
            in_flight_count: 0,
            ready: VecDeque::new(),
            moved: VecDeque::new(),
            unsummed: VecDeque::new(),
            lanes: file.layout.extents.iter().map(|_| Lane::default()).collect(),
            writes: WriteOrder::default(),
            held: None,
            file,
            pool,
            link,
        }
    }

    /// Works until the store is closed and every job is done.
    pub(crate) fn run(mut self) {
        let _farewell = Farewell { pool: Arc::clone(&self.pool), link: Arc::clone(&self.link) };
        let mut completions = Vec::new();
        loop {
            let (jobs, closing) = self.link.receive();
            for job in jobs {
                self.accept(job);
            }
            self.retire_blocks();
            self.issue();
            if closing && self.running.iter().all(Option::is_none) {
                return;
            }
            if let Err(cause) = self.look_at_device(&mut completions) {
                // Nothing in flight can be waited for any more: dropping the device settles it.
                return self.fail(self.file.layout.device_error(cause));
            }
            self.sum_one();
        }
    }

    /// Takes what the device has done, and gives it what there is room for now: it works while a checksum is computed.
    /// Sleeps only where there is none to compute.
    fn look_at_device(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        let wait = if self.moved.is_empty() && self.unsummed.is_empty() { Wait::Yes } else { Wait::No };
        self.device.reap(wait, completions)?;
        if completions.is_empty() {
            return Ok(());
        }
        for completion in completions.drain(..) {
            self.complete(completion);
        }
        self.issue();
        self.device.start()
    }

    fn retire_blocks(&mut self) {
        let blocks = self.pool.retiring();
        if blocks.is_empty() {
            return;
        }
        for block in &blocks {
            self.device.unregister(block);
        }
        self.pool.retired(blocks);
    }

    fn accept(&mut self, job: Job) {
        if let Err(error) = self.link.check() {
            return self.answer(job, Err(error));
        }
        if let Some(held) = &mut self.held {
            return held.push_back(job);
        }
        match job {
            Job::Read { extent, .. } => {
                self.lanes[extent].push(job, 0);
                self.start_waiting(extent);
            }
            Job::Write { extent, .. } => {
                let sequence = self.writes.begin();
                self.lanes[extent].push(job, sequence);
                self.start_waiting(extent);
            }
            Job::Sync { .. } => {
                self.writes.push_sync(job);
                self.start_syncs();
            }
            Job::Commit { .. } => {
                self.held = Some(VecDeque::new());
                self.writes.push_sync(job);
                self.start_syncs();
            }
        }
    }

    /// Starts what may start on an extent.
    fn start_waiting(&mut self, extent: usize) {
        while let Some((job, sequence)) = self.lanes[extent].next() {
            let slot = self.file.slot(extent, &job);
            let offset = self.file.layout.offset(extent, slot);
            let length = self.file.layout.extents[extent].padded_bytes();
            let transfer = Transfer::new(length, self.file.layout.chunk_bytes);
            self.start(Running { job, transfer, offset, sequence, second: false });
        }
    }

    fn start_syncs(&mut self) {
        while let Some(job) = self.writes.next_sync() {
            self.start(Running { job, transfer: Transfer::sync(), offset: 0, sequence: 0, second: false });
        }
    }

    fn start(&mut self, running: Running) {
        if let Some(block) = running.job.block() {
            self.device.register(block);
        }
        let index = self.running.iter().position(Option::is_none).unwrap_or_else(|| {
            self.running.push(None);
            self.running.len() - 1
        });
        if self.file.checksums && matches!(running.job, Job::Write { .. }) {
            self.unsummed.push_back(index);
        }
        self.running[index] = Some(running);
        self.ready.push_back(index);
    }

    /// Keeps the device busy: issues pieces, oldest job first, until it has enough.
    fn issue(&mut self) {
        let ready = self.ready.iter().filter_map(|index| self.running[*index].as_ref());
        let asked =
            self.in_flight_count as u64 + ready.map(|running| running.transfer.pieces_left()).sum::<u64>();
        let most = at_device(asked, self.file.layout.queue_depth);
        while !self.link.has_failed() && self.in_flight_count < most {
            let Some(&index) = self.ready.front() else { return };
            let piece = self.running[index].as_mut().and_then(|running| running.transfer.next());
            match piece {
                Some(piece) => self.submit(index, piece),
                None => drop(self.ready.pop_front()),
            }
        }
    }

    fn submit(&mut self, index: usize, piece: Piece) {
        let token =
            self.in_flight.iter().position(Option::is_none).expect("fewer in flight than the queue is deep");
        let request =
            self.running[index].as_ref().expect("a ready job is running").request(token as u64, piece);
        self.in_flight[token] = Some(InFlight { running: index, piece });
        self.in_flight_count += 1;
        // SAFETY: the memory is that of the job's buffer, at least as long as the extent and so as the piece. The job
        // stays in `running` until all its pieces are complete, and is dropped after the device if the thread dies.
        // A read's buffer is owned by the job alone; a write's panel is behind an `Arc`, so nobody can change it.
        if let Err(cause) = unsafe { self.device.submit(request) } {
            let errno = cause.raw_os_error().unwrap_or(libc::EIO);
            self.complete(Completion { token: token as u64, result: -errno });
        }
    }

    fn complete(&mut self, completion: Completion) {
        let token = completion.token as usize;
        let InFlight { running: index, piece } =
            self.in_flight[token].take().expect("a completion has its request");
        self.in_flight_count -= 1;
        let running = self.running[index].as_mut().expect("a request has its job");
        let progress = running.transfer.complete(piece, completion.result);
        let (moved, again) = match progress {
            Progress::Moved { moved } => (moved, false),
            Progress::Short { moved } => (moved, true),
            Progress::Failed { .. } | Progress::Stuck { .. } => (0, false),
        };
        // What is read for the second time was asked for once.
        let counted = if running.second { 0 } else { moved };
        self.link.count(&running.job, counted, again || running.second);
        if again && !self.ready.contains(&index) {
            self.ready.push_front(index);
        }
        let place = running.offset + piece.start;
        let error = match progress {
            Progress::Failed { errno } => {
                let cause = io::Error::from_raw_os_error(errno);
                Some(self.file.layout.io_error(&running.job, place, piece.length, cause))
            }
            Progress::Stuck { offset } => {
                Some(self.file.layout.stuck_error(&running.job, running.offset + offset, piece.length))
            }
            Progress::Moved { .. } | Progress::Short { .. } => None,
        };
        if let Some(error) = error {
            self.fail(error);
        }
        self.finish(index);
    }

    /// Answers a job if nothing of it is left to do.
    fn finish(&mut self, index: usize) {
        let Some(running) = &self.running[index] else { return };
        if self.link.has_failed() {
            if running.transfer.is_idle() {
                self.conclude(index, None);
            }
            return;
        }
        if !running.transfer.is_done() {
            return;
        }
        self.ready.retain(|ready| *ready != index);
        if self.unsummed.contains(&index) || self.file.expected(&running.job).is_some() {
            self.unsummed.retain(|unsummed| *unsummed != index);
            self.moved.push_back(index);
        } else {
            self.conclude(index, None);
        }
    }

    /// Computes one checksum: of a job that waits for nothing else, or ahead of time, of one under way.
    fn sum_one(&mut self) {
        let moved = self.moved.pop_front();
        let Some(index) = moved.or_else(|| self.unsummed.pop_front()) else { return };
        let running = self.running[index].as_ref().expect("a job to be summed is running");
        let sums = self.file.sum(&running.job);
        if sums.is_some() && !running.second {
            self.read_again(index);
        } else if moved.is_some() {
            self.conclude(index, sums);
        }
    }

    /// Answers a job of which nothing is under way any more. `sums`: what was written and what was read, where they
    /// differ.
    fn conclude(&mut self, index: usize, sums: Option<[u64; 2]>) {
        let Running { job, sequence, offset, .. } =
            self.running[index].take().expect("its caller looked at it");
        if let Some(extent) = job.extent() {
            self.lanes[extent].finished(&job);
        }
        if matches!(job, Job::Write { .. }) {
            self.writes.complete(sequence);
        }
        let result = self.link.check().and_then(|()| match sums {
            Some(sums) => Err(self.file.corrupt(&job, offset, sums)),
            None => self.file.conclude(&job),
        });
        if let Err(error) = &result {
            self.fail(error.clone());
        }
        self.follow_up(job, result);
    }

    /// Reads an extent from the beginning: what came is not what was written, but the wire may be at fault, or memory,
    /// and not the disk.
    fn read_again(&mut self, index: usize) {
        let running = self.running[index].as_mut().expect("it was read once");
        running.transfer = Transfer::new(running.transfer.length(), self.file.layout.chunk_bytes);
        running.second = true;
        self.ready.push_back(index);
    }

    /// Answers a job and starts what waited for it.
    fn follow_up(&mut self, job: Job, result: Result<(), StorageError>) {
        let extent = job.extent();
        let held = if matches!(job, Job::Commit { .. }) { self.held.take() } else { None };
        self.answer(job, result);
        if let Some(extent) = extent {
            self.start_waiting(extent);
        }
        self.start_syncs();
        for job in held.into_iter().flatten() {
            self.accept(job);
        }
    }

    /// Ends the store with its first error.
    fn fail(&mut self, error: StorageError) {
        let error = self.link.fail(error).clone();
        self.pool.fail(&error);
        self.ready.clear();
        self.moved.clear();
        self.unsummed.clear();
        let waiting = self.lanes.iter_mut().flat_map(Lane::abandon);
        let mut abandoned: Vec<Job> = waiting.chain(self.writes.abandon()).collect();
        abandoned.extend(self.held.take().into_iter().flatten());
        for running in &mut self.running {
            if running.as_ref().is_some_and(|running| running.transfer.is_idle()) {
                abandoned.extend(running.take().map(|running| running.job));
            }
        }
        for job in abandoned {
            self.answer(job, Err(error.clone()));
        }
    }

    fn answer(&self, job: Job, result: Result<(), StorageError>) {
        // A caller that has gone needs no answer.
        match job {
            Job::Read { buffer, reply, .. } => drop(reply.send(result.map(|()| buffer))),
            Job::Sync { reply } => drop(reply.send(result)),
            Job::Commit { reply, .. } => drop(reply.send(result.map(|()| self.file.slots.last_number()))),
            Job::Write { panel, .. } => {
                drop(panel);
                self.pool.write_ends();
            }
        }
    }
}

/// How many of the requests `asked` for to have at the device: half, but a few, and no more than the queue holds. Some
/// devices answer all that they have at once, and would idle until that has been used and more is asked for.
/// `DiskModel::at_device` of the crate `spillbench-schedule` predicts with the same.
fn at_device(asked: u64, queue_depth: usize) -> usize {
    /// Enough to keep a device busy that works on several at a time.
    const FEW: u64 = 4;
    usize::try_from(asked.div_ceil(2).max(FEW)).map_or(queue_depth, |half| half.min(queue_depth))
}

impl Running {
    fn request(&self, token: u64, piece: Piece) -> Request {
        let (memory, registration) = match self.job.block() {
            None => (NonNull::dangling(), None),
            Some(block) => {
                assert!(
                    piece.start + u64::from(piece.length) <= block.len() as u64,
                    "a piece is within its extent"
                );
                // SAFETY: the piece lies within the block, as just asserted.
                (unsafe { block.start().add(piece.start as usize) }, block.registration())
            }
        };
        let offset = self.offset + piece.start;
        Request { token, operation: self.job.operation(), memory, registration, offset, length: piece.length }
    }
}

#[cfg(test)]
mod tests;
