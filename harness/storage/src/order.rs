//! Which job may run when. Pure.

use std::collections::{BTreeSet, VecDeque};

use crate::link::Job;

/// The jobs on one extent: reads run together, a write runs alone, in the order they came.
#[derive(Default)]
pub(crate) struct Lane {
    reads: usize,
    writing: bool,
    /// Jobs that wait for the ones before them, with the place of writes among the writes.
    waiting: VecDeque<(Job, u64)>,
}

impl Lane {
    pub(crate) fn push(&mut self, job: Job, sequence: u64) {
        self.waiting.push_back((job, sequence));
    }

    /// The next job, if those before it let it run.
    pub(crate) fn next(&mut self) -> Option<(Job, u64)> {
        match self.waiting.front()? {
            _ if self.writing => return None,
            (Job::Read { .. }, _) => self.reads += 1,
            _ if self.reads > 0 => return None,
            _ => self.writing = true,
        }
        self.waiting.pop_front()
    }

    pub(crate) const fn finished(&mut self, job: &Job) {
        match job {
            Job::Read { .. } => self.reads -= 1,
            _ => self.writing = false,
        }
    }

    /// Everything that has not started.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = Job> {
        self.waiting.drain(..).map(|(job, _)| job)
    }
}

/// Which writes are not complete, and which syncs wait for them.
#[derive(Default)]
pub(crate) struct WriteOrder {
    next: u64,
    incomplete: BTreeSet<u64>,
    syncs: VecDeque<(u64, Job)>,
}

impl WriteOrder {
    /// Numbers a write.
    pub(crate) fn begin(&mut self) -> u64 {
        let sequence = self.next;
        self.next += 1;
        self.incomplete.insert(sequence);
        sequence
    }

    pub(crate) fn complete(&mut self, sequence: u64) {
        self.incomplete.remove(&sequence);
    }

    pub(crate) fn push_sync(&mut self, job: Job) {
        self.syncs.push_back((self.next, job));
    }

    /// A sync before which every write is complete.
    pub(crate) fn next_sync(&mut self) -> Option<Job> {
        let (after, _) = self.syncs.front()?;
        if self.incomplete.first().is_some_and(|oldest| oldest < after) {
            return None;
        }
        self.syncs.pop_front().map(|(_, job)| job)
    }

    /// Every sync that has not started.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = Job> {
        self.syncs.drain(..).map(|(_, job)| job)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;
    use crate::pool::{Contents, Pool};
    use crate::{ExtentSpec, StorageError};

    fn read() -> Job {
        let spec = ExtentSpec { name: "a".to_owned(), bytes: 4 };
        let buffer = Pool::new(4096).take(&spec, Contents::Stale, || {}).unwrap();
        Job::Read { extent: 0, buffer, reply: sync_channel(1).0 }
    }

    fn write() -> Job {
        let Job::Read { buffer, .. } = read() else { unreachable!() };
        Job::Write { extent: 0, panel: std::sync::Arc::new(buffer) }
    }

    fn sync() -> (Job, Receiver<Result<(), StorageError>>) {
        let (reply, done) = sync_channel(1);
        (Job::Sync { reply }, done)
    }

    #[test]
    fn a_write_waits_for_the_reads_before_it_and_holds_up_those_after() {
        let mut lane = Lane::default();
        for job in [read(), read(), write(), read()] {
            lane.push(job, 0);
        }
        let reads = [lane.next().unwrap().0, lane.next().unwrap().0];
        assert!(lane.next().is_none(), "the write waits for two reads");
        lane.finished(&reads[0]);
        assert!(lane.next().is_none(), "the write waits for one read");
        lane.finished(&reads[1]);
        let (write, _) = lane.next().unwrap();
        assert!(matches!(write, Job::Write { .. }));
        assert!(lane.next().is_none(), "the last read waits for the write");
        lane.finished(&write);
        assert!(lane.next().is_some());
    }

    #[test]
    fn a_sync_waits_for_the_writes_before_it_and_not_for_later_ones() {
        let mut order = WriteOrder::default();
        let (first, second) = (order.begin(), order.begin());
        order.push_sync(sync().0);
        let _later = order.begin();
        order.complete(second);
        assert!(order.next_sync().is_none());
        order.complete(first);
        assert!(order.next_sync().is_some());
    }
}
