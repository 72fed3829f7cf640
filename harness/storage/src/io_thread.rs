//! The thread that owns the device: takes jobs, keeps them in order, cuts them into requests, answers.
//!
//! Jobs on one extent run in the order they came, except that reads run together; jobs on different extents overlap.
//! Memory given to the device belongs to this thread until its completion is reaped. The first failed operation
//! ends the store: what is queued is answered with that error, what is in flight is waited for.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::block::Block;
use crate::buffer::Buffer;
use crate::device::{Completion, Device, Operation, Request, Wait, Waker};
use crate::pool::Pool;
use crate::transfer::{Piece, Progress, Transfer};
use crate::{Counters, ExtentSpec, Panel, StorageError};

/// What a store's callers and its I/O thread share.
#[derive(Debug)]
pub(crate) struct Link {
    inbox: Mutex<Inbox>,
    waker: Arc<Waker>,
    failure: OnceLock<StorageError>,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Inbox {
    jobs: Vec<Job>,
    /// The store is being dropped: finish and end.
    closing: bool,
    /// The thread has ended: nobody will take a job.
    abandoned: bool,
}

#[derive(Debug, Default)]
struct Tally {
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    requests: AtomicU64,
    retries: AtomicU64,
}

/// What a caller asks of the I/O thread.
#[derive(Debug)]
pub(crate) enum Job {
    Read {
        extent: usize,
        buffer: Buffer,
        reply: SyncSender<Result<Buffer, StorageError>>,
    },
    Write {
        extent: usize,
        panel: Panel,
    },
    /// After every write that came before.
    Sync {
        reply: SyncSender<Result<(), StorageError>>,
    },
}

impl Link {
    pub(crate) fn new(waker: Arc<Waker>) -> Self {
        Self { inbox: Mutex::default(), waker, failure: OnceLock::new(), tally: Tally::default() }
    }

    pub(crate) fn send(&self, job: Job) -> Result<(), StorageError> {
        let mut inbox = self.inbox();
        if inbox.abandoned {
            drop(inbox);
            return self.check();
        }
        let was_empty = inbox.jobs.is_empty();
        inbox.jobs.push(job);
        drop(inbox);
        if was_empty {
            self.waker.wake();
        }
        Ok(())
    }

    /// Lets the thread end when it has nothing left to do.
    pub(crate) fn close(&self) {
        self.inbox().closing = true;
        self.waker.wake();
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// The error that ended the store, if one did.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        self.failure.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            bytes_read: self.tally.bytes_read.load(Ordering::Relaxed),
            bytes_written: self.tally.bytes_written.load(Ordering::Relaxed),
            requests: self.tally.requests.load(Ordering::Relaxed),
            retries: self.tally.retries.load(Ordering::Relaxed),
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the extents lie in the file.
#[derive(Debug)]
pub(crate) struct Layout {
    pub path: PathBuf,
    pub extents: Vec<ExtentSpec>,
    /// Of each extent, in bytes.
    pub offsets: Vec<u64>,
    pub chunk_bytes: u32,
    pub queue_depth: usize,
}

/// The thread's state. The device comes first, so that on any way out it is dropped, and has let go of all memory,
/// before the jobs that own the memory are.
pub(crate) struct IoThread {
    device: Box<dyn Device>,
    running: Vec<Option<Running>>,
    in_flight: Vec<Option<InFlight>>,
    in_flight_count: usize,
    /// Indices into `running` of jobs with pieces to issue, oldest first.
    ready: VecDeque<usize>,
    lanes: Vec<Lane>,
    writes: WriteOrder,
    layout: Layout,
    pool: Arc<Pool>,
    link: Arc<Link>,
}

/// A job being transferred.
struct Running {
    job: Job,
    transfer: Transfer,
    /// Of a write, its place among the writes.
    sequence: u64,
}

/// A request with the device; its token is its index.
struct InFlight {
    running: usize,
    piece: Piece,
}

/// What happens to one extent.
#[derive(Default)]
struct Lane {
    reads: usize,
    writing: bool,
    /// Jobs that wait for the ones before them, with the place of writes among the writes.
    waiting: VecDeque<(Job, u64)>,
}

/// Which writes are not complete, and which syncs wait for them.
#[derive(Default)]
struct WriteOrder {
    next: u64,
    incomplete: BTreeSet<u64>,
    syncs: VecDeque<(u64, Job)>,
}

/// Tells everybody, when the thread ends for whatever reason, that nobody will answer any more.
struct Farewell {
    pool: Arc<Pool>,
    link: Arc<Link>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.link.failure.set(StorageError::Closed);
        self.pool.fail(&StorageError::Closed);
        let mut inbox = self.link.inbox();
        inbox.abandoned = true;
        let jobs = std::mem::take(&mut inbox.jobs);
        drop(inbox);
        // Dropping the jobs ends the waits for their answers.
        drop(jobs);
    }
}

impl IoThread {
    pub(crate) fn new(device: Box<dyn Device>, layout: Layout, pool: Arc<Pool>, link: Arc<Link>) -> Self {
        Self {
            device,
            running: Vec::new(),
            in_flight: (0..layout.queue_depth).map(|_| None).collect(),
            in_flight_count: 0,
            ready: VecDeque::new(),
            lanes: layout.extents.iter().map(|_| Lane::default()).collect(),
            writes: WriteOrder::default(),
            layout,
            pool,
            link,
        }
    }

    /// Works until the store is closed and every job is done.
    pub(crate) fn run(mut self) {
        let _farewell = Farewell { pool: Arc::clone(&self.pool), link: Arc::clone(&self.link) };
        let mut completions = Vec::new();
        loop {
            let closing = self.take_jobs();
            self.retire_blocks();
            self.issue();
            if closing && self.is_idle() {
                return;
            }
            if let Err(cause) = self.device.reap(Wait::Yes, &mut completions) {
                // Nothing in flight can be waited for any more: dropping the device settles it.
                return self.fail(self.device_error(cause));
            }
            for completion in completions.drain(..) {
                self.complete(completion);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.in_flight_count == 0 && self.running.iter().all(Option::is_none)
    }

    /// Accepts what has been sent; returns whether the store is being closed.
    fn take_jobs(&mut self) -> bool {
        let mut inbox = self.link.inbox();
        let jobs = std::mem::take(&mut inbox.jobs);
        let closing = inbox.closing;
        drop(inbox);
        for job in jobs {
            self.accept(job);
        }
        closing
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
        let (Job::Read { extent, .. } | Job::Write { extent, .. }) = job else {
            self.writes.syncs.push_back((self.writes.next, job));
            return self.start_syncs();
        };
        let sequence = if matches!(job, Job::Write { .. }) { self.writes.begin() } else { 0 };
        self.lanes[extent].waiting.push_back((job, sequence));
        self.start_waiting(extent);
    }

    /// Starts what may start on an extent.
    fn start_waiting(&mut self, extent: usize) {
        while let Some((job, sequence)) = self.lanes[extent].next() {
            let transfer = Transfer::new(self.layout.extents[extent].padded_bytes(), self.layout.chunk_bytes);
            self.start(Running { job, transfer, sequence });
        }
    }

    fn start_syncs(&mut self) {
        while let Some(job) = self.writes.next_sync() {
            self.start(Running { job, transfer: Transfer::sync(), sequence: 0 });
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
        self.running[index] = Some(running);
        self.ready.push_back(index);
    }

    /// Keeps the device busy: issues pieces, oldest job first, until the queue is full.
    fn issue(&mut self) {
        while self.link.failure.get().is_none() && self.in_flight_count < self.layout.queue_depth {
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
        let running = self.running[index].as_ref().expect("a ready job is running");
        let request = request(&self.layout, &running.job, token as u64, piece);
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
        let tally = &self.link.tally;
        tally.requests.fetch_add(1, Ordering::Relaxed);
        match progress {
            Progress::Moved { moved } => tally.moved(&running.job, moved),
            Progress::Short { moved } => {
                tally.moved(&running.job, moved);
                tally.retries.fetch_add(1, Ordering::Relaxed);
                self.ready.push_front(index);
            }
            Progress::Failed { errno } => {
                let error = self.layout.io_error(&running.job, piece, io::Error::from_raw_os_error(errno));
                self.fail(error);
            }
            Progress::Stuck { offset } => {
                let error = self.layout.stuck_error(&running.job, piece, offset);
                self.fail(error);
            }
        }
        self.finish(index);
    }

    /// Answers a job if nothing of it is left to do.
    fn finish(&mut self, index: usize) {
        let Some(running) = &self.running[index] else { return };
        let failed = self.link.failure.get().is_some();
        let over = if failed { running.transfer.is_idle() } else { running.transfer.is_done() };
        if !over {
            return;
        }
        let result = self.link.check();
        let Running { job, sequence, .. } = self.running[index].take().expect("looked at above");
        self.ready.retain(|ready| *ready != index);
        let extent = job.extent();
        if let Some(extent) = extent {
            self.lanes[extent].finished(&job);
        }
        if matches!(job, Job::Write { .. }) {
            self.writes.incomplete.remove(&sequence);
        }
        self.answer(job, result);
        if let Some(extent) = extent {
            self.start_waiting(extent);
        }
        self.start_syncs();
    }

    /// Ends the store with its first error.
    fn fail(&mut self, error: StorageError) {
        let error = self.link.failure.get_or_init(|| error).clone();
        self.pool.fail(&error);
        self.ready.clear();
        let waiting = self.lanes.iter_mut().flat_map(|lane| lane.waiting.drain(..)).map(|(job, _)| job);
        let syncs = self.writes.syncs.drain(..).map(|(_, job)| job);
        let mut abandoned: Vec<Job> = waiting.chain(syncs).collect();
        for running in &mut self.running {
            if running
                .as_ref()
                .is_some_and(|running| running.transfer.is_idle() && !running.transfer.is_done())
            {
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
            Job::Write { panel, .. } => {
                drop(panel);
                self.pool.write_ends();
            }
        }
    }

    fn device_error(&self, cause: io::Error) -> StorageError {
        StorageError::File {
            operation: "wait for I/O on",
            path: self.layout.path.clone(),
            cause: Arc::new(cause),
        }
    }
}

impl Job {
    const fn extent(&self) -> Option<usize> {
        match self {
            Self::Read { extent, .. } | Self::Write { extent, .. } => Some(*extent),
            Self::Sync { .. } => None,
        }
    }

    fn block(&self) -> Option<&Block> {
        match self {
            Self::Read { buffer, .. } => Some(buffer.block()),
            Self::Write { panel, .. } => Some(panel.block()),
            Self::Sync { .. } => None,
        }
    }

    const fn operation(&self) -> Operation {
        match self {
            Self::Read { .. } => Operation::Read,
            Self::Write { .. } => Operation::Write,
            Self::Sync { .. } => Operation::Sync,
        }
    }
}

impl Lane {
    /// The next job, if those before it let it run.
    fn next(&mut self) -> Option<(Job, u64)> {
        match self.waiting.front()? {
            _ if self.writing => return None,
            (Job::Read { .. }, _) => self.reads += 1,
            _ if self.reads > 0 => return None,
            _ => self.writing = true,
        }
        self.waiting.pop_front()
    }

    const fn finished(&mut self, job: &Job) {
        match job {
            Job::Read { .. } => self.reads -= 1,
            _ => self.writing = false,
        }
    }
}

impl WriteOrder {
    fn begin(&mut self) -> u64 {
        let sequence = self.next;
        self.next += 1;
        self.incomplete.insert(sequence);
        sequence
    }

    /// A sync before which every write is complete.
    fn next_sync(&mut self) -> Option<Job> {
        let (after, _) = self.syncs.front()?;
        if self.incomplete.first().is_some_and(|oldest| oldest < after) {
            return None;
        }
        self.syncs.pop_front().map(|(_, job)| job)
    }
}

impl Tally {
    fn moved(&self, job: &Job, bytes: u32) {
        let counter = match job {
            Job::Read { .. } => &self.bytes_read,
            Job::Write { .. } => &self.bytes_written,
            Job::Sync { .. } => return,
        };
        counter.fetch_add(u64::from(bytes), Ordering::Relaxed);
    }
}

impl Layout {
    fn offset(&self, job: &Job) -> u64 {
        job.extent().map_or(0, |extent| self.offsets[extent])
    }

    fn name(&self, job: &Job) -> String {
        job.extent().map_or_else(|| "all extents".to_owned(), |extent| self.extents[extent].name.clone())
    }

    fn io_error(&self, job: &Job, piece: Piece, cause: io::Error) -> StorageError {
        StorageError::Io {
            operation: job.operation().name(),
            path: self.path.clone(),
            extent: self.name(job),
            offset: self.offset(job) + piece.start,
            length: u64::from(piece.length),
            cause: Arc::new(cause),
        }
    }

    /// A read gets nothing at the end of the file; a write that moves nothing is a broken device.
    fn stuck_error(&self, job: &Job, piece: Piece, offset: u64) -> StorageError {
        if !matches!(job, Job::Read { .. }) {
            return self.io_error(job, piece, io::ErrorKind::WriteZero.into());
        }
        StorageError::EndOfFile {
            path: self.path.clone(),
            extent: self.name(job),
            offset: self.offset(job) + offset,
        }
    }
}

fn request(layout: &Layout, job: &Job, token: u64, piece: Piece) -> Request {
    let (operation, offset) = (job.operation(), layout.offset(job) + piece.start);
    let (memory, registration) = match job.block() {
        None => (NonNull::dangling(), None),
        Some(block) => {
            debug_assert!(piece.start + u64::from(piece.length) <= block.len() as u64);
            // SAFETY: the piece lies within the extent, and the block is as long as the extent.
            (unsafe { block.start().add(piece.start as usize) }, block.registration())
        }
    };
    Request { token, operation, memory, registration, offset, length: piece.length }
}
