//! A rank's slots: values and errors of chunks of samples at the boundaries of its layers.

use std::collections::{HashMap, VecDeque};

use candle_core::{Result, Tensor};
use spillbench_data::Samples;
use spillbench_schedule::{Boundary, Message, Network, Slot, Timeline, strategy};

use crate::tensor::{self, Values};

/// Values or errors on their way between slots, or kept for later: `rows` rows, row-major.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Samples.
    pub rows: usize,
    /// `[rows × width]`
    pub values: Vec<f32>,
}

/// A rank's slots and what it keeps.
pub struct Workspace {
    slots: Vec<SlotMemory>,
    kept: HashMap<Message, VecDeque<Parcel>>,
    widths: Vec<usize>,
}

struct SlotMemory {
    rows: usize,
    labels: Vec<u8>,
    values: Vec<Option<Tensor>>,
    errors: Vec<Option<Tensor>>,
}

impl Workspace {
    /// The workspace that a strategy asks for.
    ///
    /// # Errors
    /// Memory cannot be had.
    pub fn new(asked: &strategy::Workspace, network: &Network, timeline: &Timeline) -> Result<Self> {
        let allocate = |rows, boundaries: &[Boundary]| -> Result<Vec<Option<Tensor>>> {
            let mut tensors = vec![None; network.boundaries()];
            for &boundary in boundaries {
                tensors[usize::from(boundary.0)] = Some(tensor::zeros(rows, network.width(boundary))?);
            }
            Ok(tensors)
        };
        let mut slots = Vec::new();
        for _ in 0..asked.slots {
            let rows = timeline.chunk_rows();
            let (values, errors) = (allocate(rows, &asked.boundaries)?, allocate(rows, &asked.boundaries)?);
            slots.push(SlotMemory { rows: 0, labels: Vec::new(), values, errors });
        }
        let values = allocate(timeline.evaluation_rows, &asked.evaluation_boundaries)?;
        slots.push(SlotMemory { rows: 0, labels: Vec::new(), values, errors: Vec::new() });
        let widths = (0..network.boundaries()).map(|b| network.width(Boundary(b as u16))).collect();
        Ok(Self { slots, kept: HashMap::new(), widths })
    }

    /// Samples in a slot.
    pub fn rows(&self, slot: Slot) -> usize {
        self.slots[usize::from(slot.0)].rows
    }

    /// Their labels.
    pub fn labels(&self, slot: Slot) -> &[u8] {
        &self.slots[usize::from(slot.0)].labels
    }

    /// The values at a boundary.
    pub fn values(&self, slot: Slot, at: Boundary) -> &Tensor {
        present(&self.slots[usize::from(slot.0)].values, at)
    }

    /// The errors at a boundary.
    pub fn errors(&self, slot: Slot, at: Boundary) -> &Tensor {
        present(&self.slots[usize::from(slot.0)].errors, at)
    }

    /// Fills a slot with samples: their labels, and with `pixels` their values at boundary 0.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn load(
        &mut self,
        slot: Slot,
        samples: &Samples,
        indices: impl ExactSizeIterator<Item = usize>,
        pixels: bool,
    ) -> Result<()> {
        let memory = &mut self.slots[usize::from(slot.0)];
        memory.rows = indices.len();
        memory.labels.clear();
        let labels = samples.labels();
        if !pixels {
            memory.labels.extend(indices.map(|index| labels[index]));
            return Ok(());
        }
        let input = present(&memory.values, Boundary(0));
        tensor::write(input, |values| {
            for (row, index) in values.chunks_exact_mut(samples.features()).zip(indices) {
                memory.labels.push(labels[index]);
                for (value, pixel) in row.iter_mut().zip(samples.pixels(index..index + 1)) {
                    *value = f32::from(*pixel) * (1.0 / 255.0);
                }
            }
        })
    }

    /// A copy of what is in a slot.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn pack(&self, message: Message, slot: Slot) -> Result<Parcel> {
        let rows = self.rows(slot);
        let values = Values::of(self.tensor(message, slot))?;
        let width = self.widths[usize::from(message.boundary().0)];
        Ok(Parcel { rows, values: values.as_slice()[..rows * width].to_vec() })
    }

    /// Puts a parcel into a slot.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn unpack(&mut self, message: Message, slot: Slot, parcel: &Parcel) -> Result<()> {
        self.slots[usize::from(slot.0)].rows = parcel.rows;
        tensor::write(self.tensor(message, slot), |values| {
            values[..parcel.values.len()].copy_from_slice(&parcel.values);
        })
    }

    /// Puts parcels behind those kept of the same message.
    pub fn keep(&mut self, message: Message, parcels: impl IntoIterator<Item = Parcel>) {
        self.kept.entry(message).or_default().extend(parcels);
    }

    /// Takes the oldest parcel kept.
    ///
    /// # Panics
    /// If there is none: a bug in the schedule.
    pub fn recall(&mut self, message: Message) -> Parcel {
        self.kept.get_mut(&message).and_then(VecDeque::pop_front).expect("what is recalled was kept")
    }

    /// Takes all parcels kept.
    pub fn take_kept(&mut self, message: Message) -> Vec<Parcel> {
        self.kept.remove(&message).unwrap_or_default().into()
    }

    fn tensor(&self, message: Message, slot: Slot) -> &Tensor {
        match message {
            Message::Values(at) => self.values(slot, at),
            Message::Errors(at) => self.errors(slot, at),
        }
    }
}

fn present(tensors: &[Option<Tensor>], at: Boundary) -> &Tensor {
    tensors[usize::from(at.0)].as_ref().expect("the schedule uses the boundaries it asked for")
}
