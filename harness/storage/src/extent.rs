//! Extents: the names and sizes of what a store holds.

use std::sync::Arc;

use crate::pool::Pool;
use crate::{Panel, StorageError};

/// Bytes to which buffers and file offsets are aligned, and payloads are padded.
pub const ALIGNMENT: usize = 4096;

/// Position of an extent in the table a store was opened with.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct ExtentId(pub u32);

/// One extent: a panel's weights, its optimizer state, or a snapshot of its weights.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct ExtentSpec {
    /// What errors call it, for instance `layer 3 panel 2 weights`.
    pub name: String,
    /// Payload in bytes: a multiple of 2, not 0.
    pub bytes: u64,
}

impl ExtentSpec {
    /// Bytes the extent occupies in memory and in a file: the payload rounded up to [`ALIGNMENT`].
    pub const fn padded_bytes(&self) -> u64 {
        self.bytes.next_multiple_of(ALIGNMENT as u64)
    }
}

/// What a reader will do with a panel.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Access {
    /// Change it: the panel has one holder, and must come back by a write or a release before the next read.
    Exclusive,
    /// Only look at it: others may read the same extent at the same time.
    Shared,
}

/// The extents of one store, checked.
#[derive(Debug)]
pub(crate) struct ExtentTable {
    specs: Vec<ExtentSpec>,
}

impl ExtentTable {
    pub(crate) fn new(specs: &[ExtentSpec]) -> Result<Self, StorageError> {
        for spec in specs {
            if spec.bytes == 0 || !spec.bytes.is_multiple_of(2) || usize::try_from(spec.bytes).is_err() {
                return Err(StorageError::InvalidExtent { extent: spec.name.clone(), bytes: spec.bytes });
            }
        }
        Ok(Self { specs: specs.to_vec() })
    }

    pub(crate) fn get(&self, extent: ExtentId) -> Result<&ExtentSpec, StorageError> {
        self.specs
            .get(extent.0 as usize)
            .ok_or(StorageError::UnknownExtent { extent, extents: self.specs.len() })
    }

    /// That a panel written to `extent` is of its size and came from `pool`.
    pub(crate) fn check_panel(
        &self,
        extent: ExtentId,
        panel: &Panel,
        pool: &Arc<Pool>,
    ) -> Result<(), StorageError> {
        let spec = self.get(extent)?;
        let found = panel.len_bytes() as u64;
        if found != spec.bytes {
            return Err(StorageError::WrongPanel { extent: spec.name.clone(), expected: spec.bytes, found });
        }
        if !panel.is_from(pool) {
            return Err(StorageError::ForeignPanel { extent: spec.name.clone() });
        }
        Ok(())
    }

    /// Where each extent lies in a file that holds them all, one after the other.
    pub(crate) fn offsets(&self) -> Vec<u64> {
        let place = |end: &mut u64, spec: &ExtentSpec| {
            let start = *end;
            *end += spec.padded_bytes();
            Some(start)
        };
        self.specs.iter().scan(0, place).collect()
    }

    /// Size of that file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.specs.iter().map(ExtentSpec::padded_bytes).sum()
    }

    pub(crate) fn specs(&self) -> &[ExtentSpec] {
        &self.specs
    }
}
