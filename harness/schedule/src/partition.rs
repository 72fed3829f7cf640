//! Contiguous partitions of a sequence of costs: layers over stages, groups over ranks.

use std::ops::Range;

/// Cuts `costs` into `parts` non-empty contiguous runs whose largest sum is as small as it can be.
/// Earlier cuts are taken among equals, so the result is one.
///
/// # Panics
/// Unless `1 ≤ parts ≤ costs.len()`.
pub fn balanced(costs: &[u64], parts: usize) -> Vec<Range<usize>> {
    assert!((1..=costs.len()).contains(&parts), "{} costs cannot be cut into {parts} parts", costs.len());
    let n = costs.len();
    let mut prefix = vec![0_u64; n + 1];
    for (i, cost) in costs.iter().enumerate() {
        prefix[i + 1] = prefix[i] + cost;
    }
    // best[p][i]: smallest largest sum of the first i costs in p + 1 parts; cut[p][i]: where the last part starts.
    let mut best = vec![prefix.clone()];
    let mut cuts = vec![vec![0; n + 1]];
    for p in 1..parts {
        let mut row = vec![u64::MAX; n + 1];
        let mut cut = vec![0; n + 1];
        for i in p + 1..=n {
            for start in p..i {
                let largest = best[p - 1][start].max(prefix[i] - prefix[start]);
                if largest < row[i] {
                    row[i] = largest;
                    cut[i] = start;
                }
            }
        }
        best.push(row);
        cuts.push(cut);
    }
    let mut end = n;
    let mut ranges = Vec::with_capacity(parts);
    for p in (0..parts).rev() {
        let start = cuts[p][end];
        ranges.push(start..end);
        end = start;
    }
    ranges.reverse();
    ranges
}

#[cfg(test)]
mod tests {
    use super::balanced;

    #[test]
    fn the_largest_part_is_as_small_as_it_can_be() {
        for (costs, parts, expected) in [
            (&[1, 1, 1, 1][..], 2, vec![0..2, 2..4]),
            (&[5, 1, 1, 1], 2, vec![0..1, 1..4]),
            (&[1, 1, 1, 5], 3, vec![0..1, 1..3, 3..4]),
            (&[2, 7], 2, vec![0..1, 1..2]),
            (&[0, 0, 0], 3, vec![0..1, 1..2, 2..3]),
        ] {
            assert_eq!(balanced(costs, parts), expected, "{costs:?} in {parts}");
        }
    }
}
