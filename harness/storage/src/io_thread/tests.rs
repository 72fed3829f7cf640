use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use super::{IoThread, at_device};
use crate::buffer::Buffer;
use crate::checksum::checksum;
use crate::device::{Completion, Device, Operation, Request, Wait, Waker};
use crate::layout::Layout;
use crate::link::{Job, Link};
use crate::pool::{Contents, Pool};
use crate::slots::Slots;
use crate::work::Work;
use crate::{ALIGNMENT, ExtentSpec, StorageError};

const EXTENTS: usize = 12;
const PAGE: u64 = ALIGNMENT as u64;

type Answer = Receiver<Result<Buffer, StorageError>>;

/// Answers all that it has at once, as some disks of virtual machines do, and looks at each request how many jobs have
/// been answered by then.
struct Batches {
    has: Vec<Completion>,
    answers: Vec<Answer>,
    answered: usize,
    /// Closed when there is nothing to answer.
    link: Arc<Link>,
    /// The request that fails.
    fails: Option<usize>,
    /// By request: how many the device had before it, and how many jobs were answered.
    seen: Arc<Mutex<Vec<(usize, usize)>>>,
}

impl Device for Batches {
    unsafe fn submit(&mut self, request: Request) -> std::io::Result<()> {
        self.answered += self.answers.iter().filter(|answer| answer.try_recv().is_ok()).count();
        let mut seen = self.seen.lock().unwrap();
        let result = if self.fails == Some(seen.len()) { -libc::EIO } else { request.length as i32 };
        seen.push((self.has.len(), self.answered));
        self.has.push(Completion { token: request.token, result });
        Ok(())
    }

    fn reap(&mut self, _: Wait, completions: &mut Vec<Completion>) -> std::io::Result<()> {
        if self.has.is_empty() {
            self.link.close();
        }
        completions.append(&mut self.has);
        Ok(())
    }
}

/// Reads or writes all extents, one piece each. Returns what the device saw, and the store's first error.
fn transfer_all(
    operation: Operation,
    queue_depth: usize,
    fails: Option<usize>,
) -> (Vec<(usize, usize)>, Result<(), StorageError>) {
    let extents: Vec<_> =
        (0..EXTENTS).map(|extent| ExtentSpec { name: format!("{extent}"), bytes: PAGE }).collect();
    let layout = Layout {
        path: PathBuf::new(),
        offsets: (0..EXTENTS as u64).map(|extent| extent * PAGE).collect(),
        slot_bytes: EXTENTS as u64 * PAGE,
        chunk_bytes: PAGE as u32,
        queue_depth,
        extents,
    };
    let mut slots = Slots::unwritten(EXTENTS, 0);
    for extent in 0..EXTENTS {
        slots.begin_write(extent);
        slots.set_checksum(extent, checksum(&[0; ALIGNMENT]));
    }
    let pool = Pool::new(EXTENTS as u64 * PAGE);
    let link = Arc::new(Link::new(Arc::new(Waker::new().unwrap())));
    let mut answers = Vec::new();
    for extent in 0..EXTENTS {
        let buffer = pool.take(&layout.extents[extent], Contents::Zeroed, || {}).unwrap();
        if operation == Operation::Write {
            pool.write_begins();
            link.send(Job::Write { extent, panel: Arc::new(buffer) }).unwrap();
        } else {
            let (reply, answer) = sync_channel(1);
            link.send(Job::Read { extent, buffer, reply }).unwrap();
            answers.push(answer);
        }
    }
    let seen = Arc::default();
    let device = Batches {
        has: Vec::new(),
        answers,
        answered: 0,
        link: Arc::clone(&link),
        fails,
        seen: Arc::clone(&seen),
    };
    let work = Work { layout, slots, checksums: true, records: None };
    IoThread::new(Box::new(device), work, pool, Arc::clone(&link)).run();
    let result = match link.check() {
        Err(StorageError::Closed) => Ok(()),
        result => result,
    };
    (Arc::into_inner(seen).unwrap().into_inner().unwrap(), result)
}

#[test]
fn a_device_that_answers_all_at_once_gets_the_other_half_before_anything_is_summed() {
    // Twelve are asked for, then six, then two.
    let expected: Vec<_> = (0..6).chain(0..4).chain(0..2).map(|has| (has, 0)).collect();
    let (seen, result) = transfer_all(Operation::Read, 32, None);
    assert_eq!(seen, expected);
    result.unwrap();
}

#[test]
fn a_queue_is_no_deeper_than_it_may_be() {
    let (seen, _) = transfer_all(Operation::Write, 3, None);
    assert!(seen.iter().all(|(has, _)| *has < 3), "{seen:?}");
}

#[test]
fn what_was_to_be_summed_when_a_request_fails_is_answered_with_its_error() {
    for operation in [Operation::Read, Operation::Write] {
        for fails in 0..EXTENTS {
            let (_, result) = transfer_all(operation, 32, Some(fails));
            assert!(matches!(result, Err(StorageError::Io { .. })), "{operation:?} {fails}: {result:?}");
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
