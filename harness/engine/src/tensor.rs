//! Slices of candle tensors: contiguous f32 on the CPU, read under a guard, written in place.

use std::cell::RefCell;

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Storage, Tensor, bail};
use parking_lot::RwLockReadGuard;

/// A zeroed matrix.
pub fn zeros(rows: usize, columns: usize) -> Result<Tensor> {
    Tensor::zeros((rows, columns), DType::F32, &Device::Cpu)
}

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

/// Lets `write` change a tensor's values in place.
pub fn write(tensor: &Tensor, write: impl FnOnce(&mut [f32])) -> Result<()> {
    tensor.inplace_op1(&Write(RefCell::new(Some(write))))
}

struct Write<F>(RefCell<Option<F>>);

impl<F: FnOnce(&mut [f32])> InplaceOp1 for Write<F> {
    fn name(&self) -> &'static str {
        "write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            bail!("a tensor that is written as a slice must hold f32, contiguous")
        };
        if let Some(write) = self.0.take() {
            write(&mut values[start..end]);
        }
        Ok(())
    }
}
