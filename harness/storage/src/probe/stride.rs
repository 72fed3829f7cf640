//! When a stream is in its stride: everything it is to do is being done, and counts from then on.

use std::time::Duration;

use super::Mix;

/// Bytes read, and bytes written.
pub(super) type Moved = [u64; 2];

/// What a stream has moved since it first had in all the directions that it is to.
#[derive(Debug)]
pub(super) struct Stride {
    /// Whether the stream reads, and whether it writes.
    wanted: [bool; 2],
    idle: Moved,
    began: Option<(Duration, Moved)>,
}

impl Stride {
    /// Of a stream of `mix` that is about to begin, where so much has moved before.
    pub(super) const fn new(mix: Mix, idle: Moved) -> Self {
        let wanted = match mix {
            Mix::Read => [true, false],
            Mix::Write => [false, true],
            Mix::TwoReadsOneWrite | Mix::OneReadOneWrite => [true, true],
        };
        Self { wanted, idle, began: None }
    }

    /// Is told what has moved at a time. Returns for how long the stream has been in its stride, and the bytes moved in that
    /// time; nothing before it moves in all the directions that it is to.
    pub(super) fn observe(&mut self, at: Duration, moved: Moved) -> Option<(Duration, u64)> {
        let moves = |direction: usize| moved[direction] > self.idle[direction];
        let flows = (0..2).all(|direction| moves(direction) || !self.wanted[direction]);
        if self.began.is_none() && flows {
            self.began = Some((at, moved));
        }
        let (began, before) = self.began?;
        Some((at.saturating_sub(began), moved.iter().sum::<u64>() - before.iter().sum::<u64>()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Mix, Stride};

    /// What a stream of `mix` that begins with 3 bytes read and 5 written tells at each second.
    fn check(mix: Mix, moved: &[[u64; 2]], expected: &[Option<(u64, u64)>]) {
        let mut stride = Stride::new(mix, [3, 5]);
        let told: Vec<_> = (0..)
            .zip(moved)
            .map(|(second, moved)| stride.observe(Duration::from_secs(second), *moved))
            .map(|told| told.map(|(time, bytes)| (time.as_secs(), bytes)))
            .collect();
        assert_eq!(told, expected, "{mix:?}");
    }

    #[test]
    fn what_moves_before_all_directions_do_does_not_count() {
        let moved = [[3, 5], [10, 5], [20, 6], [30, 16], [40, 26]];
        check(Mix::OneReadOneWrite, &moved, &[None, None, Some((0, 0)), Some((1, 20)), Some((2, 40))]);
        check(Mix::TwoReadsOneWrite, &moved[..3], &[None, None, Some((0, 0))]);
        check(Mix::Read, &moved[..3], &[None, Some((0, 0)), Some((1, 11))]);
        check(Mix::Write, &moved[..4], &[None, None, Some((0, 0)), Some((1, 20))]);
    }
}
