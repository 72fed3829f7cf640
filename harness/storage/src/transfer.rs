//! Cutting an extent into requests, and putting it together again when some come up short. Pure: no I/O.

use std::collections::VecDeque;

use crate::extent::ALIGNMENT;

/// Times one piece may be interrupted, refused for the moment or come back without progress.
const ATTEMPTS: u32 = 64;

/// A piece of an extent, moved by one request.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) struct Piece {
    /// From the start of the extent, in bytes.
    pub start: u64,
    pub length: u32,
    attempts: u32,
}

/// The transfer of one extent in pieces.
#[derive(Debug)]
pub(crate) struct Transfer {
    length: u64,
    /// Bytes of a piece, the last may have less.
    piece: u32,
    /// Everything before has been cut into pieces.
    cut: u64,
    /// Pieces to be issued again.
    again: VecDeque<Piece>,
    /// Pieces issued and not completed.
    outstanding: u32,
}

/// What a completed piece means for its transfer.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Progress {
    /// The piece is done; `moved` bytes count.
    Moved { moved: u32 },
    /// `moved` bytes count, the rest of the piece will be issued again.
    Short { moved: u32 },
    /// The kernel's error number.
    Failed { errno: i32 },
    /// Nothing moves any more at `offset` from the start of the extent.
    Stuck { offset: u64 },
}

impl Transfer {
    /// Moves `length` bytes in as few pieces of at most `chunk` as there can be. No piece is much longer than the others,
    /// so that few exceed what a request can be before the kernel splits it. Both are multiples of [`ALIGNMENT`].
    pub(crate) fn new(length: u64, chunk: u32) -> Self {
        debug_assert!(length.is_multiple_of(ALIGNMENT as u64) && chunk.is_multiple_of(ALIGNMENT as u32));
        let pieces = length.div_ceil(u64::from(chunk)).max(1);
        let piece = length.div_ceil(pieces).next_multiple_of(ALIGNMENT as u64);
        Self { length, piece: piece as u32, cut: 0, again: VecDeque::new(), outstanding: 0 }
    }

    /// One piece without bytes.
    pub(crate) fn sync() -> Self {
        let again = VecDeque::from([Piece { start: 0, length: 0, attempts: 0 }]);
        Self { length: 0, piece: ALIGNMENT as u32, cut: 0, again, outstanding: 0 }
    }

    /// Bytes to move in all.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// Pieces that are to be issued.
    pub(crate) fn pieces_left(&self) -> u64 {
        let uncut = (self.length - self.cut).div_ceil(u64::from(self.piece));
        self.again.len() as u64 + uncut
    }

    pub(crate) fn has_next(&self) -> bool {
        !self.again.is_empty() || self.cut < self.length
    }

    /// The next piece to issue.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        let piece = self.again.pop_front().or_else(|| {
            let length = u32::try_from(self.length - self.cut).unwrap_or(u32::MAX).min(self.piece);
            let piece = Piece { start: self.cut, length, attempts: 0 };
            self.cut += u64::from(length);
            (length > 0).then_some(piece)
        })?;
        self.outstanding += 1;
        Some(piece)
    }

    /// Takes the completion of `piece`: bytes moved, or a negative errno.
    pub(crate) fn complete(&mut self, piece: Piece, result: i32) -> Progress {
        self.outstanding -= 1;
        let Ok(moved) = u32::try_from(result) else { return self.failed(piece, -result) };
        assert!(moved <= piece.length, "the device moved more bytes than it was asked for");
        if moved == piece.length {
            return Progress::Moved { moved };
        }
        // Direct I/O goes on only from an aligned offset: an unaligned tail is moved again.
        let aligned = moved - moved % ALIGNMENT as u32;
        let rest = Piece {
            start: piece.start + u64::from(aligned),
            length: piece.length - aligned,
            attempts: if aligned == 0 { piece.attempts + 1 } else { 0 },
        };
        if moved == 0 || rest.attempts > ATTEMPTS {
            return Progress::Stuck { offset: rest.start };
        }
        self.again.push_back(rest);
        Progress::Short { moved: aligned }
    }

    /// Whether every byte has been moved.
    pub(crate) fn is_done(&self) -> bool {
        !self.has_next() && self.outstanding == 0
    }

    /// Whether no piece is with the device.
    pub(crate) const fn is_idle(&self) -> bool {
        self.outstanding == 0
    }

    fn failed(&mut self, piece: Piece, errno: i32) -> Progress {
        let transient = matches!(errno, libc::EINTR | libc::EAGAIN);
        if !transient || piece.attempts >= ATTEMPTS {
            return Progress::Failed { errno };
        }
        self.again.push_back(Piece { attempts: piece.attempts + 1, ..piece });
        Progress::Short { moved: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u32 = ALIGNMENT as u32;

    #[test]
    fn an_extent_is_cut_into_few_pieces_of_about_one_length() {
        for (pages, chunk, expected) in [
            (5, 2, vec![2, 2, 1]),
            (10, 3, vec![3, 3, 3, 1]),
            (5, 4, vec![3, 2]),
            (9, 4, vec![3, 3, 3]),
            (3, 4, vec![3]),
        ] {
            let mut transfer = Transfer::new(pages * 4096, chunk * PAGE);
            let mut start = 0;
            for (index, pages) in expected.iter().enumerate() {
                assert_eq!(transfer.pieces_left(), (expected.len() - index) as u64);
                let piece = transfer.next().unwrap();
                assert_eq!((piece.start, piece.length), (start, pages * PAGE));
                start += u64::from(piece.length);
            }
            assert_eq!((transfer.pieces_left(), transfer.next()), (0, None));
            assert!(!transfer.is_done());
        }
    }

    #[test]
    fn a_short_piece_goes_on_from_the_aligned_rest() {
        let mut transfer = Transfer::new(4 * 4096, 4 * PAGE);
        let piece = transfer.next().unwrap();
        assert_eq!(transfer.complete(piece, 4096 + 100), Progress::Short { moved: PAGE });
        assert_eq!(transfer.pieces_left(), 1);
        let rest = transfer.next().unwrap();
        assert_eq!((rest.start, rest.length, transfer.pieces_left()), (4096, 3 * PAGE, 0));
        assert_eq!(transfer.complete(rest, 3 * 4096), Progress::Moved { moved: 3 * PAGE });
        assert!(transfer.is_done());
    }

    #[test]
    fn nothing_moved_is_not_retried() {
        let mut transfer = Transfer::new(4 * 4096, 4 * PAGE);
        let piece = transfer.next().unwrap();
        transfer.complete(piece, 2 * 4096);
        let rest = transfer.next().unwrap();
        assert_eq!(transfer.complete(rest, 0), Progress::Stuck { offset: 8192 });
    }

    #[test]
    fn interruptions_are_retried_but_not_for_ever() {
        let mut transfer = Transfer::new(4096, PAGE);
        let mut retries = 0;
        loop {
            let piece = transfer.next().unwrap();
            match transfer.complete(piece, -libc::EINTR) {
                Progress::Short { moved: 0 } => retries += 1,
                progress => break assert_eq!(progress, Progress::Failed { errno: libc::EINTR }),
            }
        }
        assert_eq!(retries, ATTEMPTS);
    }

    #[test]
    fn a_hard_error_is_not_retried() {
        let mut transfer = Transfer::new(4096, PAGE);
        let piece = transfer.next().unwrap();
        assert_eq!(transfer.complete(piece, -libc::EIO), Progress::Failed { errno: libc::EIO });
    }

    #[test]
    fn a_sync_is_one_piece_without_bytes() {
        let mut transfer = Transfer::sync();
        let piece = transfer.next().unwrap();
        assert!(transfer.next().is_none());
        assert_eq!(transfer.complete(piece, 0), Progress::Moved { moved: 0 });
        assert!(transfer.is_done());
    }
}
