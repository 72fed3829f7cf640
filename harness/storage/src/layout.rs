//! Where the extents lie in the file, and how errors name them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::link::Job;
use crate::{ExtentSpec, Standing, StorageError};

/// The file as the I/O thread sees it.
#[derive(Debug)]
pub(crate) struct Layout {
    pub path: PathBuf,
    pub extents: Vec<ExtentSpec>,
    /// Of each extent's slot 0, in bytes.
    pub offsets: Vec<u64>,
    /// From each of an extent's slots to the next, in bytes.
    pub slot_bytes: u64,
    pub chunk_bytes: u32,
    pub queue_depth: usize,
}

impl Layout {
    pub(crate) fn offset(&self, extent: usize, slot: u8) -> u64 {
        self.offsets[extent] + u64::from(slot) * self.slot_bytes
    }

    pub(crate) fn io_error(&self, job: &Job, offset: u64, length: u32, cause: io::Error) -> StorageError {
        StorageError::Io {
            operation: job.operation().name(),
            path: self.path.clone(),
            extent: self.name(job),
            offset,
            length: u64::from(length),
            cause: Arc::new(cause),
        }
    }

    /// A read gets nothing at the end of the file; a write that moves nothing is a broken device.
    pub(crate) fn stuck_error(&self, job: &Job, offset: u64, length: u32) -> StorageError {
        if !matches!(job, Job::Read { .. }) {
            return self.io_error(job, offset, length, io::ErrorKind::WriteZero.into());
        }
        StorageError::EndOfFile { path: self.path.clone(), extent: self.name(job), offset }
    }

    pub(crate) fn corrupt_error(
        &self,
        job: &Job,
        offset: u64,
        [expected, found]: [u64; 2],
        standing: Standing,
    ) -> StorageError {
        let (path, extent) = (self.path.clone(), self.name(job));
        StorageError::Corrupt { path, extent, offset, expected, found, standing }
    }

    pub(crate) fn device_error(&self, cause: io::Error) -> StorageError {
        StorageError::File { operation: "wait for I/O on", path: self.path.clone(), cause: Arc::new(cause) }
    }

    fn name(&self, job: &Job) -> String {
        job.extent().map_or_else(|| "all extents".to_owned(), |extent| self.extents[extent].name.clone())
    }
}
