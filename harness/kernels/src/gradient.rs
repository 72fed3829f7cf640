//! dW = dzᵀ·x and db = Σ dz: formed in pieces that stay in cache, then stored, or applied on the spot.
//!
//! A gradient is a fixed sum: in a shard, the blocks of [`REDUCTION_BLOCK`](crate::REDUCTION_BLOCK) samples of
//! its micro-batches in index order, of biases the samples one by one; over shards, a binary tree over neighbours. A power
//! of two of ranks, each with as many consecutive shards, that combine their sums by the same tree get the same bits.

use std::ops::Range;

use half::bf16;

use crate::micro::{Ahead, Blocking, Kernel, Meanwhile, Packed, Region, Strips};
use crate::panel::Panel;
use crate::parallel::{ENOUGH_TILES, Shared, part, share, threads};
use crate::precision::{Mastered, ParametersMut, Stochastic, StochasticRounding, Target};
use crate::rule::{Applied, Folded, UpdateRule, add};
use crate::strip::reduction_block;
use crate::vectorised::vectorised;
use crate::workspace::{Buffer, Workspace, with_workspace};

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

/// Some parameters of a panel: `lines` lines of `columns`, the first from `offset` on, each `stride` further.
#[derive(Clone, Copy)]
struct Span {
    offset: usize,
    stride: usize,
    lines: usize,
    columns: usize,
}

impl Span {
    /// Where it is in values that begin at `start`.
    const fn region<T>(&self, start: *const T) -> Region {
        Region::new(start.wrapping_add(self.offset), self.stride, self.lines, self.columns)
    }
}

/// A piece of a gradient: `sums` has a line for each of the span's, `width` apart.
struct Piece<'a> {
    sums: &'a [f32],
    width: usize,
    span: Span,
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
        let (Span { offset, stride, lines, columns }, place) = (self.span, self.place);
        let lines = self.sums.chunks_exact(self.width).take(lines).enumerate();
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

    /// Where parameters, and their state, are in memory.
    fn locate(&self, span: Span) -> [Region; 3];
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

    fn locate(&self, span: Span) -> [Region; 3] {
        [span.region(self.out.locate(0)), Region::NONE, Region::NONE]
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

    fn locate(&self, span: Span) -> [Region; 3] {
        let params = match &self.params {
            SharedParameters::F32(values) | SharedParameters::Bf16Master { master: values, .. } => {
                span.region(values.locate(0))
            }
            SharedParameters::Bf16(values, _) => span.region(values.locate(0)),
        };
        let state = |index: usize| {
            if index < self.applied.state_per_parameter() {
                span.region(self.state.locate(index * self.params.len()))
            } else {
                Region::NONE
            }
        };
        [params, state(0), state(1)]
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

/// Most units of a tile. The more there are, the more often packed inputs are used.
pub(crate) const UNITS_PER_TILE: usize = 512;

/// Units from which on a tile is made no larger if its packed errors would have more values than [`PACKED_ERRORS`].
pub(crate) const FEW_UNITS: usize = 128;
pub(crate) const PACKED_ERRORS: usize = 256 << 10;

/// Units that a tile keeps where there would be too few tiles.
const LEAST_UNITS: usize = 64;

/// Forms the panel's gradient, piece by piece.
fn form(kernel: &Kernel, panel: &Panel, shards: &[&[Chunk]], to: &impl Destination) {
    panel.assert_inside_layer();
    for chunk in shards.iter().copied().flatten() {
        assert_eq!(chunk.x.len(), chunk.rows * panel.inputs, "input of {panel:?}");
        assert_eq!(chunk.dz.len(), chunk.rows * panel.total_units, "output error of {panel:?}");
    }
    let samples = shards.iter().copied().flatten().map(|chunk| chunk.rows).sum();
    let blocks = shards.iter().copied().flat_map(blocks).count();
    let gradient = &Gradient { kernel, panel, shards, samples, blocks };
    let tiling = Tiling::new(kernel, panel, samples);
    share(tiling.tiles(), 1, threads(panel.product_flops(samples)), |tiles| {
        // The units whose errors this thread has packed. The buffer keeps them: it is asked for the same length again.
        let mut packed = None;
        with_workspace(|Workspace { left, right, sums }| {
            for Tile { units, inputs } in tiles.all().flatten().map(|tile| tiling.tile(tile)) {
                let errors = Errors { of: gradient, units };
                let left = left.get(errors.padded() * samples);
                if packed.as_ref() != Some(&errors.units) {
                    errors.pack(left);
                    packed = Some(errors.units.clone());
                }
                let next = tiles.next().map(|tile| tiling.tile(tile));
                let mut ahead = Ahead::new(
                    next.iter().flat_map(|tile| gradient.locate(tile, to)),
                    errors.products(&inputs),
                );
                errors.weights(&inputs, left, right, sums, to, &mut ahead);
                if inputs.start == 0 {
                    errors.biases(left, sums, to);
                }
            }
        });
    });
}

/// Units and inputs whose weights' gradient is formed at a time.
#[derive(Debug)]
struct Tile {
    units: Range<usize>,
    inputs: Range<usize>,
}

/// How a panel is cut into tiles: all inputs of some units, then those of the next.
struct Tiling<'a> {
    panel: &'a Panel,
    /// Of a strip.
    width: usize,
    unit_parts: usize,
    input_parts: usize,
}

impl<'a> Tiling<'a> {
    fn new(kernel: &Kernel, panel: &'a Panel, samples: usize) -> Self {
        let Blocking { inputs: all, packed_inputs, .. } = kernel.blocking;
        let most_inputs = (packed_inputs / samples.max(1)).clamp(1, all).next_multiple_of(kernel.width);
        let input_parts = panel.inputs.div_ceil(most_inputs);
        let most_units = (PACKED_ERRORS / samples.max(1)).clamp(FEW_UNITS, UNITS_PER_TILE);
        let enough = ENOUGH_TILES.div_ceil(input_parts).min(panel.units.div_ceil(LEAST_UNITS));
        let unit_parts = panel.units.div_ceil(most_units).max(enough);
        Self { panel, width: kernel.width, unit_parts, input_parts }
    }

    const fn tiles(&self) -> usize {
        self.unit_parts * self.input_parts
    }

    fn tile(&self, index: usize) -> Tile {
        let &Self { panel, width, unit_parts, input_parts } = self;
        // In whole strips, but for the last.
        let strips = part(panel.inputs.div_ceil(width), input_parts, index % input_parts);
        let inputs = strips.start * width..(strips.end * width).min(panel.inputs);
        Tile { units: part(panel.units, unit_parts, index / input_parts), inputs }
    }
}

/// A panel and the samples of its gradient.
struct Gradient<'a> {
    kernel: &'a Kernel,
    panel: &'a Panel,
    shards: &'a [&'a [Chunk<'a>]],
    /// In all chunks.
    samples: usize,
    /// Runs of samples that are summed from zero, in all chunks.
    blocks: usize,
}

impl Gradient<'_> {
    /// The weights of some inputs of some units.
    const fn span(&self, units: &Range<usize>, inputs: &Range<usize>) -> Span {
        let stride = self.panel.inputs;
        Span {
            offset: units.start * stride + inputs.start,
            stride,
            lines: units.end - units.start,
            columns: inputs.end - inputs.start,
        }
    }

    /// Where in memory is what a tile needs first: its samples' inputs, and the parameters of its first units.
    fn locate(&self, tile: &Tile, to: &impl Destination) -> impl Iterator<Item = Region> + Clone {
        let (stride, first, length) = (self.panel.inputs, tile.inputs.start, tile.inputs.len());
        let chunks = self.shards.iter().copied().flatten();
        let inputs = chunks
            .map(move |chunk| Region::new(chunk.x.as_ptr().wrapping_add(first), stride, chunk.rows, length));
        let units = tile.units.start..(tile.units.start + self.kernel.height).min(tile.units.end);
        inputs.chain(to.locate(self.span(&units, &tile.inputs)))
    }
}

/// The errors of some consecutive units, and what they make with the panel's inputs.
struct Errors<'a> {
    of: &'a Gradient<'a>,
    units: Range<usize>,
}

impl Errors<'_> {
    /// Its units, filled up to whole heights.
    const fn padded(&self) -> usize {
        (self.units.end - self.units.start).next_multiple_of(self.of.kernel.height)
    }

    /// Packs them, block by block, in each height by height.
    fn pack(&self, mut packed: &mut [f32]) {
        let (stride, first) = (self.of.panel.total_units, self.of.panel.first_unit + self.units.start);
        for (chunk, samples) in self.of.shards.iter().copied().flat_map(blocks) {
            let block;
            (block, packed) = packed.split_at_mut(samples.len() * self.padded());
            let source = &chunk.dz[samples.start * stride + first..];
            self.of.kernel.pack_left_columns(source, stride, self.units.len(), samples.len(), block);
        }
    }

    /// The gradient of the weights of `inputs`, for as many units at a time as a product has rows: so parameters are walked
    /// along their lines, which are contiguous. Lines of many units, often a power of two apart, would drive each other out
    /// of a cache's sets.
    fn weights(
        &self,
        inputs: &Range<usize>,
        left: &[f32],
        right: &mut Buffer,
        sums: &mut Buffer,
        to: &impl Destination,
        meanwhile: &mut impl Meanwhile,
    ) {
        let kernel = self.of.kernel;
        let width = inputs.len().next_multiple_of(kernel.width);
        let right = right.get(width * self.of.samples);
        self.pack_inputs(inputs, right);
        let operands = Operands { left, right, width };
        let sums = sums.get(kernel.height * width * tree_slots(self.of.shards.len()));
        for first in self.units.clone().step_by(kernel.height) {
            let units = first..(first + kernel.height).min(self.units.end);
            // The parameters of the next units come while these are computed.
            let next = units.end..(units.end + kernel.height).min(self.units.end);
            let next = to.locate(self.of.span(&next, inputs));
            let mut ahead = Ahead::new(next.into_iter(), self.of.blocks * width / kernel.width);
            self.sum(&units, operands, sums, &mut (&mut ahead, &mut *meanwhile));
            let place = Place::Inputs { unit: first, first: inputs.start };
            to.take(&Piece { sums, width, span: self.of.span(&units, inputs), place });
        }
    }

    /// Products that [`weights`](Self::weights) makes.
    const fn products(&self, inputs: &Range<usize>) -> usize {
        let strips = (inputs.end - inputs.start).div_ceil(self.of.kernel.width);
        self.padded() / self.of.kernel.height * self.of.blocks * strips
    }

    /// Leaves in the first values of `sums`, `[height × width]`, the gradient of `units`, at most a height of them.
    fn sum(
        &self,
        units: &Range<usize>,
        Operands { mut left, mut right, width }: Operands,
        sums: &mut [f32],
        meanwhile: &mut impl Meanwhile,
    ) {
        let (kernel, rows) = (self.of.kernel, units.len());
        reduce_by_tree(self.of.shards, sums, kernel.height * width, |shard, sums| {
            let mut add = false;
            for (_, samples) in blocks(shard) {
                let depth = samples.len();
                let (left_block, right_block);
                (left_block, left) = left.split_at(depth * self.padded());
                (right_block, right) = right.split_at(depth * width);
                let height = &left_block[depth * (units.start - self.units.start)..][..depth * kernel.height];
                let operands = Packed { depth, rows, left: height, right: right_block };
                kernel.multiply(&operands, sums, add, meanwhile);
                add = true;
            }
            if !add {
                sums.fill(0.0);
            }
        });
    }

    /// Packs the samples' `inputs`, block by block, in each strip by strip.
    fn pack_inputs(&self, inputs: &Range<usize>, mut packed: &mut [f32]) {
        let (stride, width) = (self.of.panel.inputs, inputs.len().next_multiple_of(self.of.kernel.width));
        for (chunk, samples) in self.of.shards.iter().copied().flat_map(blocks) {
            let block;
            (block, packed) = packed.split_at_mut(samples.len() * width);
            let source = &chunk.x[samples.start * stride + inputs.start..];
            let strips = Strips { values: block, apart: samples.len() * self.of.kernel.width };
            self.of.kernel.pack_right_rows(source, stride, inputs.len(), samples.len(), strips);
        }
    }

    /// The gradient of the units' biases.
    fn biases(&self, mut left: &[f32], sums: &mut Buffer, to: &impl Destination) {
        let (columns, height) = (self.units.len(), self.of.kernel.height);
        let width = self.padded();
        let sums = sums.get(width * tree_slots(self.of.shards.len()));
        reduce_by_tree(self.of.shards, sums, width, |shard, sums| {
            sums.fill(0.0);
            for (_, samples) in blocks(shard) {
                let block;
                (block, left) = left.split_at(samples.len() * width);
                let heights = block.chunks_exact(samples.len() * height);
                for (errors, sums) in heights.zip(sums.chunks_exact_mut(height)) {
                    add_terms(sums, errors);
                }
            }
        });
        let offset = self.of.panel.weights() + self.units.start;
        let span = Span { offset, stride: 0, lines: 1, columns };
        let place = Place::Biases { first: self.units.start };
        to.take(&Piece { sums, width, span, place });
    }
}

/// Packed errors, and packed inputs: strips of `width` columns in all.
#[derive(Clone, Copy)]
struct Operands<'a> {
    left: &'a [f32],
    right: &'a [f32],
    width: usize,
}

vectorised! {
    /// Adds each of `terms`, as many values as there are sums.
    fn add_terms(sums: &mut [f32], terms: &[f32]) {
        for term in terms.chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(term) {
                *sum += value;
            }
        }
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
