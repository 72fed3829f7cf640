//! A block of a panel: packed piece by piece, between the products of the block before it.

use std::ops::Range;

use crate::micro::{Ahead, Kernel, Meanwhile, Region};
use crate::product::Right;

/// Lines of a piece at most, unless a strip has more. Lines a power of two apart share a few sets of a second-level cache:
/// of a hundred, many would have been driven out of it before they are packed.
const LINES: usize = 32;

/// Some columns of a right operand, and some terms of them, of one run of a reduction.
pub(super) struct Block<'a, R> {
    pub kernel: &'a Kernel,
    pub right: &'a R,
    pub columns: Range<usize>,
    pub terms: Range<usize>,
}

/// Some of a block, counted from its first column and term.
struct Piece {
    columns: Range<usize>,
    terms: Range<usize>,
}

impl<R: Right> Block<'_, R> {
    /// Its columns, filled up to whole strips.
    pub fn width(&self) -> usize {
        self.columns.len().next_multiple_of(self.kernel.width)
    }

    /// Packs all of it, strip by strip.
    pub fn pack(&self, packed: &mut [f32]) {
        (0..self.pieces()).for_each(|piece| self.pack_piece(piece, packed));
    }

    /// Its lines in memory, and how many of them a piece has.
    fn lines(&self) -> (usize, usize) {
        // A strip is transposed as a whole.
        if R::COLUMNS_ARE_LINES { (self.columns.len(), self.kernel.width) } else { (self.terms.len(), LINES) }
    }

    fn pieces(&self) -> usize {
        let (lines, of_a_piece) = self.lines();
        lines.div_ceil(of_a_piece)
    }

    fn piece(&self, index: usize) -> Piece {
        let (all, of_a_piece) = self.lines();
        let lines = index * of_a_piece..((index + 1) * of_a_piece).min(all);
        if R::COLUMNS_ARE_LINES {
            Piece { columns: lines, terms: 0..self.terms.len() }
        } else {
            Piece { columns: 0..self.columns.len(), terms: lines }
        }
    }

    /// Where a piece is in memory.
    fn locate(&self, index: usize) -> Region {
        let Piece { columns, terms } = self.piece(index);
        self.right.locate(shifted(columns, self.columns.start), shifted(terms, self.terms.start))
    }

    fn pack_piece(&self, index: usize, packed: &mut [f32]) {
        let Piece { columns, terms } = self.piece(index);
        let width = self.kernel.width;
        let apart = self.terms.len() * width;
        let first = columns.start / width * apart + terms.start * width;
        let length = (columns.len().div_ceil(width) - 1) * apart + terms.len() * width;
        let (columns, terms) = (shifted(columns, self.columns.start), shifted(terms, self.terms.start));
        self.right.pack(columns, terms, &mut packed[first..first + length], apart);
    }
}

fn shifted(range: Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}

/// The block that is multiplied next, if there is one: asked for and packed while another is multiplied.
pub(super) struct Coming<'a, R> {
    block: Option<&'a Block<'a, R>>,
    ahead: Ahead<Regions<'a, R>>,
    /// Pieces that are packed.
    done: usize,
    packed: &'a mut [f32],
}

impl<'a, R: Right> Coming<'a, R> {
    /// To be packed into `packed` during so many products.
    pub fn new(block: Option<&'a Block<'a, R>>, products: usize, packed: &'a mut [f32]) -> Self {
        Self { block, ahead: Ahead::new(Regions { block, next: 0 }, products), done: 0, packed }
    }

    /// Packs what those products have left.
    pub fn pack_rest(&mut self) {
        self.pack_until(self.block.map_or(0, Block::pieces));
    }

    fn pack_until(&mut self, pieces: usize) {
        if let Some(block) = self.block {
            (self.done..pieces).for_each(|piece| block.pack_piece(piece, self.packed));
            self.done = pieces;
        }
    }
}

impl<R: Right> Meanwhile for Coming<'_, R> {
    fn before_product(&mut self, addresses: &mut [*const u8], idle: *const u8) -> usize {
        self.pack_until(self.ahead.done());
        self.ahead.before_product(addresses, idle)
    }
}

/// Where the pieces of a block are in memory.
struct Regions<'a, R> {
    block: Option<&'a Block<'a, R>>,
    next: usize,
}

impl<R> Clone for Regions<'_, R> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<R: Right> Iterator for Regions<'_, R> {
    type Item = Region;

    fn next(&mut self) -> Option<Region> {
        let block = self.block.filter(|block| self.next < block.pieces())?;
        self.next += 1;
        Some(block.locate(self.next - 1))
    }
}
