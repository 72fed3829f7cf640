//! A rank's slots: values and errors of chunks of samples at the boundaries of its layers.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use spillbench_data::Samples;
use spillbench_schedule::{
    Boundary, Message, Network, Slot, Timeline,
    strategy::{self, Places},
};

use spillbench_storage::{Panel, ReadTicket};

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
    values: Matrices,
    /// By boundary: values that lie in the store's memory.
    pooled: Vec<Option<Pooled>>,
    errors: Matrices,
}

/// Values in the store's memory.
pub enum Pooled {
    /// They are here.
    Here(Panel),
    /// They are being read.
    Coming(ReadTicket),
}

/// Matrices at boundaries, some of which take turns in a buffer.
struct Matrices {
    /// By boundary: its buffer.
    places: Vec<Option<usize>>,
    buffers: Vec<Vec<f32>>,
}

impl Matrices {
    fn new(rows: usize, places: &Places, network: &Network) -> Self {
        let mut buffer_of = vec![None; network.boundaries()];
        let mut buffers = Vec::new();
        for (index, boundaries) in places.buffers().iter().enumerate() {
            let width = boundaries.iter().map(|&boundary| network.width(boundary)).max();
            buffers.push(vec![0.0; rows * width.unwrap_or(0)]);
            for boundary in boundaries {
                buffer_of[usize::from(boundary.0)] = Some(index);
            }
        }
        Self { places: buffer_of, buffers }
    }

    fn buffer(&self, at: Boundary) -> usize {
        self.places[usize::from(at.0)].expect("the schedule uses the boundaries it asked for")
    }

    fn at(&self, at: Boundary) -> &[f32] {
        &self.buffers[self.buffer(at)]
    }

    fn at_mut(&mut self, at: Boundary) -> &mut Vec<f32> {
        let buffer = self.buffer(at);
        &mut self.buffers[buffer]
    }
}

impl Workspace {
    /// The workspace that a strategy asks for.
    pub fn new(asked: &strategy::Workspace, network: &Network, timeline: &Timeline) -> Self {
        let slot = |rows, values, errors| SlotMemory {
            rows: 0,
            labels: Vec::new(),
            values: Matrices::new(rows, values, network),
            pooled: (0..network.boundaries()).map(|_| None).collect(),
            errors: Matrices::new(rows, errors, network),
        };
        let mut slots: Vec<_> =
            (0..asked.slots).map(|_| slot(timeline.chunk_rows(), &asked.values, &asked.errors)).collect();
        slots.push(slot(timeline.evaluation_rows, &asked.evaluation, &Places::default()));
        let widths = (0..network.boundaries()).map(|b| network.width(Boundary(b as u16))).collect();
        Self { slots, kept: HashMap::new(), widths }
    }

    /// Samples in a slot.
    pub fn rows(&self, slot: Slot) -> usize {
        self.slots[usize::from(slot.0)].rows
    }

    /// Their labels.
    pub fn labels(&self, slot: Slot) -> &[u8] {
        &self.slots[usize::from(slot.0)].labels
    }

    /// The values at a boundary, `[rows × width]`.
    pub fn values(&self, slot: Slot, at: Boundary) -> &[f32] {
        let memory = &self.slots[usize::from(slot.0)];
        let values = match &memory.pooled[usize::from(at.0)] {
            Some(Pooled::Here(panel)) => panel.as_f32(),
            Some(Pooled::Coming(_)) => panic!("values at {at:?} are used before they are waited for"),
            None => memory.values.at(at),
        };
        &values[..self.len(slot, at)]
    }

    /// Puts values that lie in the store's memory, or will, at a boundary.
    pub fn put_pooled(&mut self, slot: Slot, at: Boundary, values: Pooled) {
        let before = self.slots[usize::from(slot.0)].pooled[usize::from(at.0)].replace(values);
        assert!(before.is_none(), "values at {at:?} are in memory already");
    }

    /// Takes them away.
    pub fn take_pooled(&mut self, slot: Slot, at: Boundary) -> Option<Pooled> {
        self.slots[usize::from(slot.0)].pooled[usize::from(at.0)].take()
    }

    /// Whether values at a boundary are on their way.
    pub fn is_coming(&self, slot: Slot, at: Boundary) -> bool {
        matches!(self.slots[usize::from(slot.0)].pooled[usize::from(at.0)], Some(Pooled::Coming(_)))
    }

    /// The errors at a boundary, `[rows × width]`.
    pub fn errors(&self, slot: Slot, at: Boundary) -> &[f32] {
        &self.slots[usize::from(slot.0)].errors.at(at)[..self.len(slot, at)]
    }

    /// Lets `write` change the values at a boundary, `[rows × width]`, while it looks at the others.
    pub fn write_values<T>(
        &mut self,
        slot: Slot,
        at: Boundary,
        write: impl FnOnce(&Self, &mut [f32]) -> T,
    ) -> T {
        let len = self.len(slot, at);
        if let Some(Pooled::Here(mut panel)) = self.take_pooled(slot, at) {
            let values =
                Arc::get_mut(&mut panel).expect("a slot is the one holder of its values").as_f32_mut();
            let result = write(self, &mut values[..len]);
            self.put_pooled(slot, at, Pooled::Here(panel));
            return result;
        }
        let mut values = std::mem::take(self.slots[usize::from(slot.0)].values.at_mut(at));
        let result = write(self, &mut values[..len]);
        *self.slots[usize::from(slot.0)].values.at_mut(at) = values;
        result
    }

    /// Lets `write` change the errors at a boundary, `[rows × width]`, while it looks at the others.
    pub fn write_errors<T>(
        &mut self,
        slot: Slot,
        at: Boundary,
        write: impl FnOnce(&mut Self, &mut [f32]) -> T,
    ) -> T {
        let len = self.len(slot, at);
        let mut errors = std::mem::take(self.slots[usize::from(slot.0)].errors.at_mut(at));
        let result = write(self, &mut errors[..len]);
        *self.slots[usize::from(slot.0)].errors.at_mut(at) = errors;
        result
    }

    fn len(&self, slot: Slot, at: Boundary) -> usize {
        self.rows(slot) * self.widths[usize::from(at.0)]
    }

    /// Fills a slot with samples: their labels, and with `pixels` their values at boundary 0.
    pub fn load(
        &mut self,
        slot: Slot,
        samples: &Samples,
        indices: impl ExactSizeIterator<Item = usize> + Clone,
        pixels: bool,
    ) {
        let memory = &mut self.slots[usize::from(slot.0)];
        let labels = samples.labels();
        memory.rows = indices.len();
        memory.labels.clear();
        memory.labels.extend(indices.clone().map(|index| labels[index]));
        if pixels {
            self.load_values(slot, samples, indices);
        }
    }

    /// Fills boundary 0 of a slot with the values of its samples.
    pub fn load_values(&mut self, slot: Slot, samples: &Samples, indices: impl Iterator<Item = usize>) {
        self.write_values(slot, Boundary(0), |_, values| {
            for (row, index) in values.chunks_exact_mut(samples.features()).zip(indices) {
                for (value, pixel) in row.iter_mut().zip(samples.pixels(index..index + 1)) {
                    *value = f32::from(*pixel) * (1.0 / 255.0);
                }
            }
        });
    }

    /// A copy of what is in a slot.
    pub fn pack(&self, message: Message, slot: Slot) -> Parcel {
        let values = match message {
            Message::Values(at) => self.values(slot, at),
            Message::Errors(at) => self.errors(slot, at),
        };
        Parcel { rows: self.rows(slot), values: values.to_vec() }
    }

    /// Puts a parcel into a slot.
    pub fn unpack(&mut self, message: Message, slot: Slot, parcel: &Parcel) {
        self.slots[usize::from(slot.0)].rows = parcel.rows;
        match message {
            Message::Values(at) => self.write_values(slot, at, |_, to| to.copy_from_slice(&parcel.values)),
            Message::Errors(at) => self.write_errors(slot, at, |_, to| to.copy_from_slice(&parcel.values)),
        }
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
}
