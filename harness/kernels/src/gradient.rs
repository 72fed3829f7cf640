//! dW = dzᵀ·x and db = Σ dz: formed in strips that stay in cache, then stored, or applied on the spot.
//!
//! A gradient is a fixed sum: in a shard, the blocks of [`REDUCTION_BLOCK`](crate::REDUCTION_BLOCK) samples of
//! its micro-batches in index order; over shards, a binary tree over neighbours. A power of two of ranks,
//! each with as many consecutive shards, that combine their sums by the same tree get the same bits.

use std::ops::Range;

use half::bf16;

use crate::micro::{Ahead, Kernel, Region};
use crate::panel::Panel;
use crate::parallel::{Shared, for_each_tile, part};
use crate::precision::{Mastered, ParametersMut, Stochastic, StochasticRounding, Target};
use crate::rule::{Applied, Folded, UpdateRule, add};
use crate::strip::{FEW_TILES, reduction_block};
use crate::vectorised::vectorised;
use crate::workspace::with_workspace;

/// One micro-batch: a layer's input `[rows × inputs]` and the error at its output, before the activation,
/// `[rows × total_units]`. It may have no rows.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// The layer's input.
    pub x: &'a [f32],
    /// The derivative of the loss by the layer's pre-activation output.
    pub dz: &'a [f32],
    /// Samples in this micro-batch.
    pub rows: usize,
}

/// Writes the panel's gradient, summed over all samples of all shards, to `out` as `[dW | db]`.
///
/// # Panics
/// If a slice does not have the length its shape says.
pub fn gradient(panel: &Panel, shards: &[&[Chunk]], out: &mut [f32]) {
    gradient_with(Kernel::of_this_cpu(), panel, shards, out);
}

pub(crate) fn gradient_with(kernel: &Kernel, panel: &Panel, shards: &[&[Chunk]], out: &mut [f32]) {
    assert_eq!(out.len(), panel.parameters(), "gradient of {panel:?}");
    form(kernel, panel, shards, &Stored { out: Shared::new(out) });
}

/// Applies the panel's gradient by `rule`, without the whole of it ever existing: each piece is summed over
/// all shards, scaled by `scale` (1/B makes it a mean), and applied while it is in cache. The bits are those
/// of [`gradient()`] followed by [`apply`](crate::apply).
///
/// `params` is `[W | b]`; `state` is the rule's, see [`UpdateRule`].
///
/// # Panics
/// If a slice does not have the length its shape says.
pub fn update<'a>(
    panel: &Panel,
    shards: &[&[Chunk]],
    params: impl Into<ParametersMut<'a>>,
    state: &mut [f32],
    rule: &UpdateRule,
    scale: f32,
) {
    update_with(Kernel::of_this_cpu(), panel, shards, params.into(), state, &rule.applied(scale));
}

/// Folds the update into the product: W += −η·scale·dzᵀ·x, b likewise, for plain SGD on one micro-batch. The
/// scaled gradient is not rounded before it is added, so the bits differ from [`update`]'s.
///
/// # Panics
/// If a slice does not have the length its shape says.
pub fn update_folded(panel: &Panel, chunk: &Chunk, params: &mut [f32], learning_rate: f64, scale: f32) {
    let factor = (-learning_rate * f64::from(scale)) as f32;
    let applied = Applied::Folded(Folded { factor });
    update_with(Kernel::of_this_cpu(), panel, &[&[*chunk]], params.into(), &mut [], &applied);
}

pub(crate) fn update_with(
    kernel: &Kernel,
    panel: &Panel,
    shards: &[&[Chunk]],
    params: ParametersMut,
    state: &mut [f32],
    applied: &Applied,
) {
    let parameters = panel.parameters();
    assert_eq!(params.len(), parameters, "parameters of {panel:?}");
    assert_eq!(state.len(), parameters * applied.state_per_parameter(), "optimizer state of {panel:?}");
    form(
        kernel,
        panel,
        shards,
        &Updated { params: SharedParameters::new(panel, params), state: Shared::new(state), applied },
    );
}

/// A piece of a gradient: lines of `columns` values, `width` apart, each of which belongs to the parameters from
/// `offset` on, `stride` further line by line.
struct Piece<'a> {
    sums: &'a [f32],
    width: usize,
    lines: usize,
    columns: usize,
    offset: usize,
    stride: usize,
    /// Where the first line is.
    place: Place,
}

/// Where a line lies in its panel; the next line is the next unit's.
#[derive(Clone, Copy)]
enum Place {
    /// Weights of a unit, from its input `first` on.
    Inputs { unit: usize, first: usize },
    /// Biases, from the unit `first` on.
    Biases { first: usize },
}

/// A line of a piece.
struct Line<'a> {
    offset: usize,
    sums: &'a [f32],
    place: Place,
}

impl Line<'_> {
    /// The parameters that it belongs to.
    const fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.sums.len()
    }
}

impl<'a> Piece<'a> {
    fn lines(&self) -> impl Iterator<Item = Line<'a>> {
        let (offset, stride, columns, place) = (self.offset, self.stride, self.columns, self.place);
        let lines = self.sums.chunks_exact(self.width).take(self.lines).enumerate();
        lines.map(move |(line, sums)| Line {
            offset: offset + line * stride,
            sums: &sums[..columns],
            place: match place {
                Place::Inputs { unit, first } => Place::Inputs { unit: unit + line, first },
                biases @ Place::Biases { .. } => biases,
            },
        })
    }
}

/// What becomes of a gradient.
trait Destination: Sync {
    /// Takes a piece; over all calls, every parameter once.
    fn take(&self, piece: &Piece);

    /// Where `lines` lines of `length` parameters and their state are, the first from `offset`, each `stride` further.
    fn locate(&self, offset: usize, stride: usize, lines: usize, length: usize, regions: &mut Vec<Region>);
}

struct Stored<'a> {
    out: Shared<'a, f32>,
}

impl Destination for Stored<'_> {
    fn take(&self, piece: &Piece) {
        for line in piece.lines() {
            // SAFETY: every parameter is in one piece.
            unsafe { self.out.part(line.range()) }.copy_from_slice(line.sums);
        }
    }

    fn locate(&self, offset: usize, stride: usize, lines: usize, length: usize, regions: &mut Vec<Region>) {
        regions.push(Region::new(self.out.locate(offset), stride, lines, length));
    }
}

struct Updated<'a> {
    params: SharedParameters<'a>,
    state: Shared<'a, f32>,
    applied: &'a Applied,
}

/// Parameters whose disjoint parts are changed by different tiles at once.
enum SharedParameters<'a> {
    F32(Shared<'a, f32>),
    Bf16(Shared<'a, bf16>, StochasticRounding),
    Bf16Master { rounded: Shared<'a, bf16>, master: Shared<'a, f32> },
}

impl<'a> SharedParameters<'a> {
    fn new(panel: &Panel, params: ParametersMut<'a>) -> Self {
        match params {
            ParametersMut::F32(values) => Self::F32(Shared::new(values)),
            ParametersMut::Bf16 { values, key } => {
                Self::Bf16(Shared::new(values), StochasticRounding::new(panel, key))
            }
            ParametersMut::Bf16Master { rounded, master } => {
                Self::Bf16Master { rounded: Shared::new(rounded), master: Shared::new(master) }
            }
        }
    }

    const fn len(&self) -> usize {
        match self {
            Self::F32(values) | Self::Bf16Master { master: values, .. } => values.len(),
            Self::Bf16(values, _) => values.len(),
        }
    }
}

impl Destination for Updated<'_> {
    fn take(&self, piece: &Piece) {
        update_piece(self, piece);
    }

    fn locate(&self, offset: usize, stride: usize, lines: usize, length: usize, regions: &mut Vec<Region>) {
        regions.push(match &self.params {
            SharedParameters::F32(values) | SharedParameters::Bf16Master { master: values, .. } => {
                Region::new(values.locate(offset), stride, lines, length)
            }
            SharedParameters::Bf16(values, _) => Region::new(values.locate(offset), stride, lines, length),
        });
        for index in 0..self.applied.state_per_parameter() {
            let start = index * self.params.len() + offset;
            regions.push(Region::new(self.state.locate(start), stride, lines, length));
        }
    }
}

vectorised! {
    fn update_piece(to: &Updated, piece: &Piece) {
        // SAFETY, of all parts below: every parameter is in one piece, and so is each value of its state.
        match &to.params {
            SharedParameters::F32(values) => {
                update_lines(to, piece, |line| unsafe { values.part(line.range()) });
            }
            SharedParameters::Bf16(values, rounding) => update_lines(to, piece, |line| {
                let bits = match line.place {
                    Place::Inputs { unit, first } => rounding.of_unit(unit).skip(first),
                    Place::Biases { first } => rounding.of_biases().skip(first),
                };
                // SAFETY: and where `WIDE`, the CPU has the features.
                unsafe { Stochastic::<WIDE>::new(values.part(line.range()), bits) }
            }),
            SharedParameters::Bf16Master { rounded, master } => update_lines(to, piece, |line| Mastered {
                rounded: unsafe { rounded.part(line.range()) },
                master: unsafe { master.part(line.range()) },
            }),
        }
    }
}

/// Applies the rule line by line to the parameters that `params` makes a target of.
#[allow(clippy::inline_always)]
#[inline(always)]
fn update_lines<T: Target>(to: &Updated, piece: &Piece, params: impl Fn(&Line) -> T) {
    let (states, parameters) = (to.applied.state_per_parameter(), to.params.len());
    for line in piece.lines() {
        let state = |index: usize| {
            let range = line.range();
            if index < states {
                index * parameters + range.start..index * parameters + range.end
            } else {
                0..0
            }
        };
        // SAFETY: every parameter is in one piece, and so is each value of its state.
        let (first, second) = unsafe { (to.state.part(state(0)), to.state.part(state(1))) };
        to.applied.apply(line.sums, params(&line), first, second);
    }
}

/// Units whose gradient a tile forms at most, and inputs. The more units, the more often packed inputs are used.
const UNITS_PER_TILE: usize = 512;
const INPUTS_PER_TILE: usize = 512;

/// Values of packed errors that a tile has at most, unless few units already have more.
const PACKED_ERRORS: usize = 256 << 10;
const FEW_UNITS: usize = 128;

/// Units that a tile keeps where there would be few tiles.
const LEAST_UNITS: usize = 64;

/// Values of packed inputs that stay in the second-level cache while all units of a tile pass.
const PACKED_INPUTS: usize = 32 << 10;

/// Forms the panel's gradient, piece by piece.
fn form(kernel: &Kernel, panel: &Panel, shards: &[&[Chunk]], to: &impl Destination) {
    panel.assert_inside_layer();
    for chunk in shards.iter().copied().flatten() {
        assert_eq!(chunk.x.len(), chunk.rows * panel.inputs, "input of {panel:?}");
        assert_eq!(chunk.dz.len(), chunk.rows * panel.total_units, "output error of {panel:?}");
    }
    let samples: usize = shards.iter().copied().flatten().map(|chunk| chunk.rows).sum();
    let input_parts = panel.inputs.div_ceil(INPUTS_PER_TILE);
    let most_units = (PACKED_ERRORS / samples.max(1)).clamp(FEW_UNITS, UNITS_PER_TILE);
    let enough = FEW_TILES.div_ceil(input_parts).min(panel.units.div_ceil(LEAST_UNITS));
    let unit_parts = panel.units.div_ceil(most_units).max(enough);
    for_each_tile(unit_parts * input_parts, panel.product_flops(samples), |tile| {
        let (unit_part, input_part) = (tile / input_parts, tile % input_parts);
        let units = part(panel.units, unit_parts, unit_part);
        // In whole strips, but for the last.
        let strips = part(panel.inputs.div_ceil(kernel.width), input_parts, input_part);
        let inputs = strips.start * kernel.width..(strips.end * kernel.width).min(panel.inputs);
        let tile = Tile { kernel, panel, shards, samples, units };
        tile.weights(inputs, to);
        if input_part == 0 {
            tile.biases(to);
        }
    });
}

/// Some consecutive units of a panel and the samples of their gradient.
struct Tile<'a> {
    kernel: &'a Kernel,
    panel: &'a Panel,
    shards: &'a [&'a [Chunk<'a>]],
    /// In all chunks.
    samples: usize,
    units: Range<usize>,
}

impl Tile<'_> {
    /// The gradient of the weights of `inputs`: some inputs at a time, for as many units at a time as a product has rows.
    /// So parameters are walked along their lines, which are contiguous: lines of many units, often a power of two
    /// apart, would drive each other out of a cache's sets.
    fn weights(&self, inputs: Range<usize>, to: &impl Destination) {
        let (kernel, samples) = (self.kernel, self.samples);
        let columns =
            (PACKED_INPUTS / samples.max(1)).clamp(1, INPUTS_PER_TILE).next_multiple_of(kernel.width);
        let mut regions = Vec::new();
        with_workspace(|workspace| {
            let left = workspace.left.get(self.units.len().next_multiple_of(kernel.height) * samples);
            self.pack_errors(left);
            for first in inputs.clone().step_by(columns) {
                let inputs = first..(first + columns).min(inputs.end);
                let columns = inputs.len().next_multiple_of(kernel.width);
                let right = workspace.right.get(columns * samples);
                self.pack_inputs(&inputs, right);
                let sums = workspace.strips.get(kernel.height * columns * tree_slots(self.shards.len()));
                for first in self.units.clone().step_by(kernel.height) {
                    let units = first..(first + kernel.height).min(self.units.end);
                    let left = &left[(first - self.units.start) * samples..][..kernel.height * samples];
                    // The parameters of the next units come while these are computed.
                    regions.clear();
                    let next = units.end..(units.end + kernel.height).min(self.units.end);
                    to.locate(
                        self.offset(next.start, &inputs),
                        self.panel.inputs,
                        next.len(),
                        inputs.len(),
                        &mut regions,
                    );
                    self.sum(left, right, units.len(), columns, sums, &regions);
                    to.take(&Piece {
                        sums,
                        width: columns,
                        lines: units.len(),
                        columns: inputs.len(),
                        offset: self.offset(first, &inputs),
                        stride: self.panel.inputs,
                        place: Place::Inputs { unit: first, first: inputs.start },
                    });
                }
            }
        });
    }

    /// Where the weights of a unit begin, from the first of `inputs` on.
    const fn offset(&self, unit: usize, inputs: &Range<usize>) -> usize {
        unit * self.panel.inputs + inputs.start
    }

    /// Leaves in the first `[height × columns]` values of `sums` the gradient of one height of units, from packed
    /// operands.
    fn sum(
        &self,
        left: &[f32],
        right: &[f32],
        units: usize,
        columns: usize,
        sums: &mut [f32],
        regions: &[Region],
    ) {
        let (kernel, shards) = (self.kernel, self.shards);
        let blocks_in_all = shards.iter().copied().flat_map(blocks).count();
        let mut ahead = Ahead::new(regions, blocks_in_all * columns / kernel.width);
        let mut rest = (left, right);
        reduce_by_tree(shards, sums, kernel.height * columns, |shard, sums| {
            let mut add = false;
            for (_, rows) in blocks(shard) {
                let (left, right);
                (left, rest.0) = rest.0.split_at(rows.len() * kernel.height);
                (right, rest.1) = rest.1.split_at(rows.len() * columns);
                kernel.multiply(rows.len(), left, right, sums, units, add, &mut ahead);
                add = true;
            }
            if !add {
                sums.fill(0.0);
            }
        });
    }

    /// Packs the samples' `inputs`, block by block, strip by strip.
    fn pack_inputs(&self, inputs: &Range<usize>, mut packed: &mut [f32]) {
        let (kernel, stride) = (self.kernel, self.panel.inputs);
        let columns = inputs.len().next_multiple_of(kernel.width);
        for (chunk, rows) in self.shards.iter().copied().flat_map(blocks) {
            let block;
            (block, packed) = packed.split_at_mut(rows.len() * columns);
            let source = &chunk.x[rows.start * stride + inputs.start..];
            kernel.pack_right_rows(source, stride, inputs.len(), rows.len(), block);
        }
    }

    /// Packs the units' errors: height by height, in each block by block.
    fn pack_errors(&self, packed: &mut [f32]) {
        let (kernel, total_units) = (self.kernel, self.panel.total_units);
        let heights = packed.chunks_exact_mut((kernel.height * self.samples).max(1));
        for (first, mut packed) in self.units.clone().step_by(kernel.height).zip(heights) {
            let units = kernel.height.min(self.units.end - first);
            for (chunk, rows) in self.shards.iter().copied().flat_map(blocks) {
                let block;
                (block, packed) = packed.split_at_mut(kernel.height * rows.len());
                let source = &chunk.dz[rows.start * total_units + self.panel.first_unit + first..];
                kernel.pack_left_columns(source, total_units, units, rows.len(), block);
            }
        }
    }

    fn biases(&self, to: &impl Destination) {
        let first = self.panel.first_unit + self.units.start;
        let units = self.units.len();
        with_workspace(|workspace| {
            let sums = workspace.strips.get(units * tree_slots(self.shards.len()));
            reduce_by_tree(self.shards, sums, units, |shard, sums| {
                sums.fill(0.0);
                for chunk in shard {
                    for dz in chunk.dz.chunks_exact(self.panel.total_units) {
                        add(sums, &dz[first..first + units]);
                    }
                }
            });
            let offset = self.panel.weights() + self.units.start;
            let place = Place::Biases { first: self.units.start };
            to.take(&Piece { sums, width: units, lines: 1, columns: units, offset, stride: 0, place });
        });
    }
}

/// A shard's blocks of samples, in the order in which they are added.
fn blocks<'a>(shard: &'a [Chunk<'a>]) -> impl Iterator<Item = (&'a Chunk<'a>, Range<usize>)> {
    shard.iter().flat_map(|chunk| {
        let blocks = chunk.rows.div_ceil(crate::REDUCTION_BLOCK);
        (0..blocks).map(move |block| (chunk, reduction_block(chunk.rows, block)))
    })
}

/// Partial sums that exist at once while `shards` are reduced.
const fn tree_slots(shards: usize) -> usize {
    if shards == 0 { 1 } else { shards.ilog2() as usize + 2 }
}

/// Leaves in the first `length` values of `slots` the sum over shards by a binary tree over neighbours, each
/// shard's own sum being what `compute` writes.
fn reduce_by_tree<'a>(
    shards: &'a [&'a [Chunk<'a>]],
    slots: &mut [f32],
    length: usize,
    mut compute: impl FnMut(&'a [Chunk<'a>], &mut [f32]),
) {
    if shards.is_empty() {
        slots[..length].fill(0.0);
    }
    let mut filled = 0;
    for (index, shard) in shards.iter().enumerate() {
        compute(shard, &mut slots[filled * length..(filled + 1) * length]);
        filled += 1;
        // Like a carry in binary addition: two sums over as many shards become one.
        for _ in 0..(index + 1).trailing_zeros() {
            filled -= 1;
            merge(slots, filled, length);
        }
    }
    while filled > 1 {
        filled -= 1;
        merge(slots, filled, length);
    }
}

/// Adds slot `right` to the one before it.
fn merge(slots: &mut [f32], right: usize, length: usize) {
    let (left, right) = slots[(right - 1) * length..].split_at_mut(length);
    add(left, &right[..length]);
}

#[cfg(test)]
mod tests;
