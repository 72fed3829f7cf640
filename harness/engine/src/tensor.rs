//! Slices of candle tensors: contiguous f32 on the CPU, read under a guard.

use candle_core::{CpuStorage, Result, Storage, Tensor, bail};
use parking_lot::RwLockReadGuard;

/// A tensor's values, held for reading.
pub struct Values<'a> {
    storage: RwLockReadGuard<'a, Storage>,
    start: usize,
    len: usize,
}

impl<'a> Values<'a> {
    /// Holds `tensor` for reading.
    pub fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a tensor that is read as a slice must be contiguous")
        };
        match &*storage {
            Storage::Cpu(CpuStorage::F32(_)) => {}
            _ => bail!("a tensor that is read as a slice must hold f32 on the CPU"),
        }
        Ok(Self { storage, start, len: end - start })
    }

    /// The values, row by row.
    pub fn as_slice(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.start..self.start + self.len],
            _ => unreachable!("checked when it was made"),
        }
    }
}
