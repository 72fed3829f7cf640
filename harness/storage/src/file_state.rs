//! What the I/O thread knows of a file: where each extent is, what its bytes must add up to, which generations hold it.

use crate::checksum::checksum;
use crate::generation::Records;
use crate::layout::Layout;
use crate::link::Job;
use crate::slots::Slots;
use crate::{Standing, StorageError};

/// See the module.
#[derive(Debug)]
pub(crate) struct FileState {
    pub layout: Layout,
    pub slots: Slots,
    pub checksums: bool,
    /// Of generations, where they can be committed.
    pub records: Option<Records>,
}

impl FileState {
    /// The slot a starting job reads or writes.
    pub(crate) fn slot(&mut self, extent: usize, job: &Job) -> u8 {
        match job {
            Job::Write { .. } => self.slots.begin_write(extent),
            _ => self.slots.current(extent).slot,
        }
    }

    /// Computes the checksum of what has been read or is being written. Returns what was written and what was read, if a
    /// read got other bytes.
    pub(crate) fn sum(&mut self, job: &Job) -> Option<[u64; 2]> {
        match job {
            Job::Write { extent, panel } => {
                self.slots.set_checksum(*extent, checksum(panel.padded_bytes()));
                None
            }
            Job::Read { buffer, .. } => {
                let expected = self.expected(job)?;
                let found = checksum(buffer.padded_bytes());
                (found != expected).then_some([expected, found])
            }
            Job::Sync { .. } | Job::Commit { .. } => None,
        }
    }

    /// The checksum that a read must have, where one is kept.
    pub(crate) fn expected(&self, job: &Job) -> Option<u64> {
        let Job::Read { extent, .. } = job else { return None };
        self.slots.current(*extent).checksum.filter(|_| self.checksums)
    }

    /// What is to be done when all bytes of a job have moved.
    pub(crate) fn conclude(&mut self, job: &Job) -> Result<(), StorageError> {
        match job {
            // All writes before the commit are on stable storage, and none after it has started.
            Job::Commit { payload, .. } => self.commit(payload),
            Job::Read { .. } | Job::Write { .. } | Job::Sync { .. } => Ok(()),
        }
    }

    fn commit(&mut self, payload: &[u8]) -> Result<(), StorageError> {
        let Some(records) = &self.records else { return Ok(()) };
        let generation = self.slots.next_generation();
        records.write(&generation, payload)?;
        self.slots.commit(generation).map_or(Ok(()), |oldest| records.remove(oldest))
    }

    /// The error for an extent that is not as it was written. Where an older generation is without it, those that hold
    /// it are given up.
    pub(crate) fn corrupt(&self, job: &Job, offset: u64, sums: [u64; 2]) -> StorageError {
        let corruption = |standing| self.layout.corrupt_error(job, offset, sums, standing);
        let (Some(extent), Some(records)) = (job.extent(), &self.records) else {
            return corruption(Standing::NoGeneration);
        };
        match self.slots.holding_current(extent) {
            (_, 0) => corruption(Standing::NoGeneration),
            (holding, _) if holding.is_empty() => corruption(Standing::Since),
            (holding, kept) if holding.len() == kept => corruption(Standing::AllHold),
            (holding, _) => records.give_up(&holding, corruption),
        }
    }
}
