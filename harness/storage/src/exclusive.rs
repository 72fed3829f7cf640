//! Who may read an extent: one exclusive reader, or any number of shared ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Access, ExtentId, Panel, StorageError, extent::ExtentTable};

/// Finds schedules that read an extent while somebody is changing it. Nobody is ever made to wait.
#[derive(Debug)]
pub(crate) struct Takers(Vec<Taker>);

/// Who has an extent exclusively: nobody, a read under way, or the holder of the panel at an address.
#[derive(Debug, Default)]
struct Taker(AtomicUsize);

const NOBODY: usize = 0;
const UNDER_WAY: usize = 1;

impl Takers {
    pub(crate) fn new(extents: &ExtentTable) -> Self {
        Self(extents.specs().iter().map(|_| Taker::default()).collect())
    }

    /// Admits a reader; if it wants the extent exclusively, it now has it.
    pub(crate) fn admit(
        &self,
        table: &ExtentTable,
        extent: ExtentId,
        access: Access,
    ) -> Result<(), StorageError> {
        let spec = table.get(extent)?;
        let taker = &self.0[extent.0 as usize].0;
        let admitted = match access {
            Access::Shared => taker.load(Ordering::Acquire) == NOBODY,
            Access::Exclusive => {
                taker.compare_exchange(NOBODY, UNDER_WAY, Ordering::AcqRel, Ordering::Acquire).is_ok()
            }
        };
        if admitted { Ok(()) } else { Err(StorageError::ExtentTaken { extent: spec.name.clone() }) }
    }

    /// An exclusive reader got this panel.
    pub(crate) fn arrived(&self, extent: ExtentId, panel: &Panel) {
        self.0[extent.0 as usize].0.store(Arc::as_ptr(panel).addr(), Ordering::Release);
    }

    /// The extent was written, or its exclusive read did not start.
    pub(crate) fn free(&self, extent: ExtentId) {
        self.0[extent.0 as usize].0.store(NOBODY, Ordering::Release);
    }

    /// Only the exclusive holder ends its hold; a reader of an older state does not.
    pub(crate) fn released(&self, extent: ExtentId, panel: &Panel) {
        let Some(Taker(taker)) = self.0.get(extent.0 as usize) else { return };
        let holder = Arc::as_ptr(panel).addr();
        let _ = taker.compare_exchange(holder, NOBODY, Ordering::AcqRel, Ordering::Relaxed);
    }
}
