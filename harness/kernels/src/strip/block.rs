//! A block of a panel: packed piece by piece, between the products of the block before it.

use std::ops::Range;

use crate::micro::{Ahead, Kernel, Meanwhile, Region, Strips};
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

    /// Packs all of it.
    pub fn pack(&self, packed: &mut [f32]) {
        let apart = self.apart();
        let values = &mut packed[..self.width() / self.kernel.width * apart];
        self.right.pack(self.columns.clone(), self.terms.clone(), Strips { values, apart });
    }

    /// Values of a packed strip.
    fn apart(&self) -> usize {
        self.terms.len() * self.kernel.width
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
        let (width, apart) = (self.kernel.width, self.apart());
        let first = columns.start / width * apart + terms.start * width;
        let length = (columns.len().div_ceil(width) - 1) * apart + terms.len() * width;
        let (columns, terms) = (shifted(columns, self.columns.start), shifted(terms, self.terms.start));
        self.right.pack(columns, terms, Strips { values: &mut packed[first..first + length], apart });
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

    /// Packs what those products have left: all of it where the kernel does not ask for runs.
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
    fn before_product(&mut self, addresses: &mut [*const u8]) -> usize {
        self.pack_until(self.ahead.done());
        self.ahead.before_product(addresses)
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

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::Mutex;

    use super::{Block, Coming};
    use crate::check::{bits, numbers};
    use crate::choice::Operation;
    use crate::micro::{Kernel, Matrix, Meanwhile, Region, Strips};
    use crate::product::Right;
    use crate::{forward, input_error};

    /// Notes the pieces that are packed.
    struct Noted<R> {
        right: R,
        pieces: Mutex<Vec<[Range<usize>; 2]>>,
    }

    impl<R: Right> Noted<R> {
        fn new(right: R) -> Self {
            Self { right, pieces: Mutex::default() }
        }

        /// What was packed since this was last asked.
        fn packed(&self) -> Vec<[Range<usize>; 2]> {
            std::mem::take(&mut *self.pieces.lock().unwrap())
        }

        /// Where the last value of a piece is.
        fn end(&self, [columns, terms]: &[Range<usize>; 2]) -> usize {
            let Matrix { values, stride } = self.right.lines();
            let (lines, length) =
                if R::COLUMNS_ARE_LINES { (columns.end, terms.end) } else { (terms.end, columns.end) };
            std::ptr::from_ref(&values[(lines - 1) * stride + length - 1]).addr()
        }
    }

    impl<R: Right> Right for Noted<R> {
        type Element = R::Element;
        const OPERATION: Operation = R::OPERATION;
        const COLUMNS_ARE_LINES: bool = R::COLUMNS_ARE_LINES;

        fn pack(&self, columns: Range<usize>, terms: Range<usize>, strips: Strips) {
            self.pieces.lock().unwrap().push([columns.clone(), terms.clone()]);
            self.right.pack(columns, terms, strips);
        }

        fn locate(&self, columns: Range<usize>, terms: Range<usize>) -> Region {
            self.right.locate(columns, terms)
        }

        fn lines(&self) -> Matrix<'_, R::Element> {
            self.right.lines()
        }
    }

    fn check(kernel: &Kernel, right: impl Right, columns: Range<usize>, terms: Range<usize>) {
        const PRODUCTS: usize = 24;
        let right = Noted::new(right);
        let block = Block { kernel, right: &right, columns, terms };
        let length = block.width() * block.terms.len();
        let mut whole = vec![f32::NAN; length];
        block.pack(&mut whole);
        assert_eq!(right.packed(), [[block.columns.clone(), block.terms.clone()]]);

        // More places than a share needs.
        let (mut addresses, mut asked, mut all) = ([std::ptr::null(); 1024], Vec::new(), Vec::new());
        let mut most_at_once = 0;
        let mut packed = vec![f32::NAN; length];
        let mut coming = Coming::new(Some(&block), PRODUCTS, &mut packed);
        for _ in 0..PRODUCTS {
            let runs = coming.before_product(&mut addresses);
            let pieces = right.packed();
            most_at_once = most_at_once.max(pieces.len());
            for piece in pieces {
                let end = right.end(&piece);
                let covered = asked.iter().any(|run| (*run..*run + 256).contains(&end));
                assert!(covered, "{piece:?} was packed before it was asked for");
                all.push(piece);
            }
            asked.extend(addresses[..runs].iter().map(|address: &*const u8| address.addr()));
        }
        coming.pack_rest();
        all.extend(right.packed());
        assert_eq!(most_at_once, 1, "spread over the products");
        assert_eq!(all.len(), block.pieces(), "each piece once");
        assert_eq!(bits(&packed), bits(&whole));

        let mut packed = vec![f32::NAN; length];
        Coming::new(Some(&block), PRODUCTS, &mut packed).pack_rest();
        assert_eq!(bits(&packed), bits(&whole), "all at once");
    }

    #[test]
    fn a_block_is_packed_between_products_when_it_was_asked_for() {
        for kernel in Kernel::all() {
            let (units, inputs) = (300, 400);
            let weights = numbers(units * inputs, 1);
            let columns = kernel.width..kernel.width * 5 - 3;
            let terms = 10..210;
            let right = forward::Transposed { kernel, weights: &weights, inputs };
            check(kernel, right, columns.clone(), terms.clone());
            check(kernel, input_error::Rows { kernel, weights: &weights, inputs }, columns, terms);
        }
    }

    #[test]
    fn behind_the_last_block_nothing_comes() {
        let mut coming = Coming::<forward::Transposed<'_, f32>>::new(None, 5, &mut []);
        assert_eq!(coming.before_product(&mut [std::ptr::null(); 4]), 0);
        coming.pack_rest();
    }
}
