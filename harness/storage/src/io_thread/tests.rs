use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex};

use super::{IoThread, at_device};
use crate::buffer::Buffer;
use crate::checksum::checksum;
use crate::device::{Completion, Device, Operation, Request, Wait, Waker};
use crate::file_state::FileState;
use crate::layout::Layout;
use crate::link::{Job, Link};
use crate::pool::{Contents, Pool};
use crate::slots::Slots;
use crate::{ALIGNMENT, ExtentSpec, StorageError};

const EXTENTS: usize = 12;
const PAGE: u64 = ALIGNMENT as u64;

/// What a read was answered with, once it was.
#[derive(Default)]
struct Answers {
    awaited: Vec<Receiver<Result<Buffer, StorageError>>>,
    got: Vec<Result<(), StorageError>>,
}

impl Answers {
    /// How many reads have ended: by an answer, or because nobody is left to give one.
    fn count(&mut self) -> usize {
        self.awaited.retain(|answer| {
            let ended = match answer.try_recv() {
                Ok(answer) => answer.map(drop),
                Err(TryRecvError::Disconnected) => Err(StorageError::Closed),
                Err(TryRecvError::Empty) => return true,
            };
            self.got.push(ended);
            false
        });
        self.got.len()
    }
}

/// A device that moves nothing, and looks at each request how many jobs have been answered by then.
struct Scripted {
    /// The most requests that it answers in one go.
    at_once: usize,
    /// The request that fails.
    fails: Option<usize>,
    /// The call of the device, as a whole, that fails.
    breaks: Option<usize>,
    calls: usize,
    /// Submitted and not handed over.
    pushed: Vec<Completion>,
    has: Vec<Completion>,
    /// Closed when the device has nothing to answer.
    link: Arc<Link>,
    closed: bool,
    answers: Arc<Mutex<Answers>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// What the device had when it got a request, and how many jobs were answered.
type Seen = (usize, usize);

impl Device for Scripted {
    unsafe fn submit(&mut self, request: Request) -> std::io::Result<()> {
        let number = self.seen.lock().unwrap().len() + self.pushed.len();
        let result = if self.fails == Some(number) { -libc::EIO } else { request.length as i32 };
        self.pushed.push(Completion { token: request.token, result });
        Ok(())
    }

    fn start(&mut self) -> std::io::Result<()> {
        self.calls += 1;
        if self.breaks == Some(self.calls) {
            return Err(std::io::Error::from_raw_os_error(libc::ENXIO));
        }
        for completion in self.pushed.drain(..) {
            self.seen.lock().unwrap().push((self.has.len(), self.answers.lock().unwrap().count()));
            self.has.push(completion);
        }
        Ok(())
    }

    fn reap(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> std::io::Result<()> {
        self.start()?;
        if self.has.is_empty() {
            assert!(wait == Wait::No || !self.closed, "it would sleep for ever");
            self.closed = true;
            self.link.close().unwrap();
        }
        completions.extend(self.has.drain(..self.at_once.min(self.has.len())));
        Ok(())
    }
}

/// Jobs of one page each, and what the device does.
struct Script {
    jobs: Vec<(Operation, usize)>,
    queue_depth: usize,
    at_once: usize,
    fails: Option<usize>,
    breaks: Option<usize>,
    /// The value of every byte that is written.
    written: u8,
    /// The extent of which a read is not what was written.
    spoiled: Option<usize>,
}

struct Outcome {
    seen: Vec<Seen>,
    answers: Vec<Result<(), StorageError>>,
    /// The store's first error.
    result: Result<(), StorageError>,
}

impl Script {
    /// All extents, one after the other.
    fn all(operation: Operation) -> Self {
        let jobs = (0..EXTENTS).map(|extent| (operation, extent)).collect();
        Self {
            jobs,
            queue_depth: 32,
            at_once: usize::MAX,
            fails: None,
            breaks: None,
            written: 0,
            spoiled: None,
        }
    }

    fn run(self) -> Outcome {
        let extents: Vec<_> =
            (0..EXTENTS).map(|extent| ExtentSpec { name: format!("{extent}"), bytes: PAGE }).collect();
        let layout = Layout {
            path: PathBuf::new(),
            offsets: (0..EXTENTS as u64).map(|extent| extent * PAGE).collect(),
            slot_bytes: EXTENTS as u64 * PAGE,
            chunk_bytes: PAGE as u32,
            queue_depth: self.queue_depth,
            extents,
        };
        let mut slots = Slots::unwritten(EXTENTS, 0);
        for extent in 0..EXTENTS {
            slots.begin_write(extent);
            let wrong = u64::from(self.spoiled == Some(extent));
            slots.set_checksum(extent, checksum(&[0; ALIGNMENT]) ^ wrong);
        }
        let pool = Pool::new(self.jobs.len() as u64 * PAGE);
        let link = Arc::new(Link::new(Arc::new(Waker::new().unwrap())));
        let (answers, seen) = (Arc::new(Mutex::new(Answers::default())), Arc::default());
        let mut reads = 0;
        for (operation, extent) in &self.jobs {
            let mut buffer = pool.take(&layout.extents[*extent], Contents::Zeroed, || {}).unwrap();
            if *operation == Operation::Write {
                buffer.as_f32_mut().fill(f32::from(self.written));
                pool.write_begins();
                link.send(Job::Write { extent: *extent, panel: Arc::new(buffer) }).unwrap();
            } else {
                let (reply, answer) = sync_channel(1);
                link.send(Job::Read { extent: *extent, buffer, reply }).unwrap();
                answers.lock().unwrap().awaited.push(answer);
                reads += 1;
            }
        }
        let device = Scripted {
            at_once: self.at_once,
            fails: self.fails,
            breaks: self.breaks,
            calls: 0,
            pushed: Vec::new(),
            has: Vec::new(),
            link: Arc::clone(&link),
            closed: false,
            answers: Arc::clone(&answers),
            seen: Arc::clone(&seen),
        };
        let state = FileState { layout, slots, checksums: true, records: None };
        IoThread::new(Box::new(device), state, Arc::clone(&pool), Arc::clone(&link)).run();
        let mut answers = answers.lock().unwrap();
        assert_eq!(answers.count(), reads, "every read ends");
        assert!(pool.is_idle(), "every write is answered, and all memory is back");
        let result = match link.check() {
            Err(StorageError::Closed) => Ok(()),
            result => result,
        };
        let seen = seen.lock().unwrap().clone();
        Outcome { seen, answers: std::mem::take(&mut answers.got), result }
    }
}

#[test]
fn a_device_that_answers_all_at_once_gets_the_other_half_before_anything_is_summed() {
    let Outcome { seen, answers, result } = Script::all(Operation::Read).run();
    // Twelve are asked for, then six; while the last two are, one has been summed.
    let expected: Vec<_> = (0..6).map(|has| (has, 0)).chain((0..4).map(|has| (has, 0))).collect();
    assert_eq!(seen[..10], expected);
    assert_eq!(seen[10..], [(0, 1), (1, 1)]);
    assert!(answers.iter().all(Result::is_ok));
    result.unwrap();
}

#[test]
fn a_device_that_never_has_nothing_holds_up_no_answer() {
    let Outcome { seen, result, .. } = Script { at_once: 1, ..Script::all(Operation::Read) }.run();
    assert_eq!(seen.len(), EXTENTS);
    // At the last request all are answered but it, the three that the device has, and one that is summed next.
    assert_eq!(seen[EXTENTS - 1], (3, 7));
    result.unwrap();
}

#[test]
fn a_queue_is_no_deeper_than_it_may_be() {
    for operation in [Operation::Read, Operation::Write] {
        let Outcome { seen, result, .. } = Script { queue_depth: 3, ..Script::all(operation) }.run();
        let had: Vec<_> = seen.into_iter().map(|(has, _)| has).collect();
        assert_eq!(had, [0, 1, 2].repeat(4));
        result.unwrap();
    }
}

#[test]
fn a_read_behind_a_write_is_checked_against_what_was_written() {
    let jobs: Vec<_> =
        (0..EXTENTS).flat_map(|extent| [(Operation::Write, extent), (Operation::Read, extent)]).collect();
    // What was on disk before was something else.
    let script = Script { jobs: jobs.clone(), spoiled: Some(3), ..Script::all(Operation::Read) };
    let Outcome { seen, answers, result } = script.run();
    assert_eq!(seen.len(), 2 * EXTENTS);
    assert!(answers.iter().all(Result::is_ok));
    result.unwrap();
    // The device brings zeros, whatever was written.
    let Outcome { answers, result, .. } = Script { jobs, written: 1, ..Script::all(Operation::Read) }.run();
    assert!(matches!(result, Err(StorageError::Corrupt { .. })), "{result:?}");
    assert!(answers.iter().all(Result::is_err));
}

#[test]
fn a_device_that_breaks_ends_the_store_with_its_error() {
    for breaks in 1..5 {
        let Outcome { answers, result, .. } =
            Script { breaks: Some(breaks), ..Script::all(Operation::Read) }.run();
        let result = result.unwrap_err();
        assert!(!matches!(result, StorageError::Closed), "{result}");
        let answered = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!(answered < breaks, "{breaks}: {answered}");
    }
}

#[test]
fn what_is_not_as_it_was_written_is_read_once_more_and_then_ends_the_store() {
    let Outcome { seen, answers, result } =
        Script { spoiled: Some(EXTENTS - 1), ..Script::all(Operation::Read) }.run();
    assert_eq!(seen.len(), EXTENTS + 1);
    assert!(matches!(result, Err(StorageError::Corrupt { .. })), "{result:?}");
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
}

#[test]
fn what_was_to_be_summed_when_a_request_fails_is_answered_with_its_error() {
    for operation in [Operation::Read, Operation::Write] {
        for fails in 0..EXTENTS {
            let Outcome { answers, result, .. } =
                Script { fails: Some(fails), ..Script::all(operation) }.run();
            assert!(matches!(result, Err(StorageError::Io { .. })), "{operation:?} {fails}: {result:?}");
            let failed = answers.iter().filter_map(|answer| answer.as_ref().err());
            assert!(failed.clone().all(|error| matches!(error, StorageError::Io { .. })));
            assert!(operation == Operation::Write || failed.count() > 0);
        }
    }
}

#[test]
fn the_device_has_half_of_what_is_asked_for_or_a_few() {
    for (asked, depth, expected) in
        [(40, 32, 20), (41, 32, 21), (200, 32, 32), (6, 32, 4), (2, 32, 4), (6, 2, 2)]
    {
        assert_eq!(at_device(asked, depth), expected, "{asked} of {depth}");
    }
}
