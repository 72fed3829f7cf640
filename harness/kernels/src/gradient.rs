//! dW = dzᵀ·x and db = Σ dz: formed in strips that stay in cache, then stored, or applied on the spot.
//!
//! A gradient is a fixed sum: in a shard, the blocks of [`REDUCTION_BLOCK`](crate::REDUCTION_BLOCK) samples of
//! its micro-batches in index order; over shards, a binary tree over neighbours. A power of two of ranks,
//! each with as many consecutive shards, that combine their sums by the same tree get the same bits.

use std::ops::Range;

use half::bf16;

use crate::micro::{Ahead, Kernel};
use crate::panel::Panel;
use crate::parallel::{Shared, for_each_tile, part};
use crate::precision::{Mastered, ParametersMut, Stochastic, StochasticRounding, Target};
use crate::rule::{Applied, Folded, UpdateRule, add};
use crate::strip::reduction_block;
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

    /// Where `lines` lines of `length` parameters and their state are, the first from `offset`, each `stride` further:
    /// to be fetched before their piece is formed.
    fn ahead(&self, offset: usize, stride: usize, lines: usize, length: usize) -> [Ahead; 3];
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

    fn ahead(&self, offset: usize, stride: usize, lines: usize, length: usize) -> [Ahead; 3] {
        [Ahead::new(self.out.locate(offset), stride, lines, length), Ahead::NONE, Ahead::NONE]
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

    fn ahead(&self, offset: usize, stride: usize, lines: usize, length: usize) -> [Ahead; 3] {
        let params = match &self.params {
            SharedParameters::F32(values) | SharedParameters::Bf16Master { master: values, .. } => {
                Ahead::new(values.locate(offset), stride, lines, length)
            }
            SharedParameters::Bf16(values, _) => Ahead::new(values.locate(offset), stride, lines, length),
        };
        let state = |index: usize| {
            if index < self.applied.state_per_parameter() {
                let start = index * self.params.len() + offset;
                Ahead::new(self.state.locate(start), stride, lines, length)
            } else {
                Ahead::NONE
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

/// Units whose gradient a tile forms.
const UNITS_PER_TILE: usize = 128;

/// Forms the panel's gradient, piece by piece.
fn form(kernel: &Kernel, panel: &Panel, shards: &[&[Chunk]], to: &impl Destination) {
    panel.assert_inside_layer();
    for chunk in shards.iter().copied().flatten() {
        assert_eq!(chunk.x.len(), chunk.rows * panel.inputs, "input of {panel:?}");
        assert_eq!(chunk.dz.len(), chunk.rows * panel.total_units, "output error of {panel:?}");
    }
    let samples: usize = shards.iter().copied().flatten().map(|chunk| chunk.rows).sum();
    let tiles = panel.units.div_ceil(UNITS_PER_TILE);
    for_each_tile(tiles, panel.product_flops(samples), |tile| {
        let units = part(panel.units, tiles, tile);
        let tile = Tile { kernel, panel, shards, first_unit: units.start, units: units.len() };
        tile.weights(samples, to);
        tile.biases(to);
    });
}

/// Some consecutive units of a panel and the samples of their gradient.
struct Tile<'a> {
    kernel: &'a Kernel,
    panel: &'a Panel,
    shards: &'a [&'a [Chunk<'a>]],
    first_unit: usize,
    units: usize,
}

impl Tile<'_> {
    fn weights(&self, samples: usize, to: &impl Destination) {
        let (kernel, inputs) = (self.kernel, self.panel.inputs);
        let padded = self.units.next_multiple_of(kernel.height);
        let strip_length = padded * kernel.width;
        with_workspace(|workspace| {
            let left = workspace.left.get(padded * samples);
            self.pack_errors(padded, left);
            let strips = workspace.strips.get(strip_length * tree_slots(self.shards.len()));
            for first_input in (0..inputs).step_by(kernel.width) {
                let columns = kernel.width.min(inputs - first_input);
                // The parameters of the next strip come while this one is computed.
                let next = self.first_unit * inputs + first_input + columns;
                let mut ahead = to.ahead(next, inputs, self.units, kernel.width);
                let mut rest = &*left;
                reduce_by_tree(self.shards, strips, strip_length, |shard, strip| {
                    let mut add = false;
                    for (chunk, rows) in blocks(shard) {
                        let (block, after) = rest.split_at(padded * rows.len());
                        rest = after;
                        let right = workspace.right.get(rows.len() * kernel.width);
                        let source = &chunk.x[rows.start * inputs + first_input..];
                        kernel.pack_right_rows(source, inputs, columns, rows.len(), right);
                        kernel.multiply(rows.len(), block, right, strip, add, &ahead);
                        ahead = [Ahead::NONE; 3];
                        add = true;
                    }
                    if !add {
                        strip.fill(0.0);
                    }
                });
                to.take(&Piece {
                    sums: strips,
                    width: kernel.width,
                    lines: self.units,
                    columns,
                    offset: self.first_unit * inputs + first_input,
                    stride: inputs,
                    place: Place::Inputs { unit: self.first_unit, first: first_input },
                });
            }
        });
    }

    fn pack_errors(&self, padded: usize, mut packed: &mut [f32]) {
        let total_units = self.panel.total_units;
        for (chunk, rows) in self.shards.iter().copied().flat_map(blocks) {
            let (block, after) = packed.split_at_mut(padded * rows.len());
            packed = after;
            let source = &chunk.dz[rows.start * total_units + self.panel.first_unit + self.first_unit..];
            self.kernel.pack_left_columns(source, total_units, self.units, rows.len(), block);
        }
    }

    fn biases(&self, to: &impl Destination) {
        let first = self.panel.first_unit + self.first_unit;
        with_workspace(|workspace| {
            let sums = workspace.strips.get(self.units * tree_slots(self.shards.len()));
            reduce_by_tree(self.shards, sums, self.units, |shard, sums| {
                sums.fill(0.0);
                for chunk in shard {
                    for dz in chunk.dz.chunks_exact(self.panel.total_units) {
                        add(sums, &dz[first..first + self.units]);
                    }
                }
            });
            let offset = self.panel.weights() + self.first_unit;
            let place = Place::Biases { first: self.first_unit };
            to.take(&Piece {
                sums,
                width: self.units,
                lines: 1,
                columns: self.units,
                offset,
                stride: 0,
                place,
            });
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
