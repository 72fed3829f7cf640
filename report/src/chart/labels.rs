//! Puts labels beside what they name, without one covering another.

/// Moves labels that want the heights `wanted` apart until each has `room` to itself and all stay within
/// `low..=high` (as far as they fit), moving each as little as its neighbours allow. Heights grow downwards; the order of
/// the labels is that of their wishes.
pub fn spread(wanted: &[f64], room: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|left, right| wanted[*left].total_cmp(&wanted[*right]).then(left.cmp(right)));
    let height = |block: &Block| block.labels.len() as f64 * room;
    let place = |labels: &[usize]| {
        let wishes =
            labels.iter().enumerate().map(|(index, label)| wanted[*label] - (index as f64 + 0.5) * room);
        let top = wishes.sum::<f64>() / labels.len() as f64;
        top.min(high - labels.len() as f64 * room).max(low)
    };
    let mut blocks: Vec<Block> = Vec::new();
    for label in order {
        let mut next = Block { labels: vec![label], top: place(&[label]) };
        while let Some(above) = blocks.pop_if(|above| above.top + height(above) > next.top) {
            let labels: Vec<usize> = above.labels.into_iter().chain(next.labels).collect();
            next = Block { top: place(&labels), labels };
        }
        blocks.push(next);
    }
    let mut found = vec![0.0; wanted.len()];
    for block in blocks {
        for (index, label) in block.labels.into_iter().enumerate() {
            found[label] = block.top + (index as f64 + 0.5) * room;
        }
    }
    found
}

/// Labels that touch: they move as one, about the mean of their wishes.
struct Block {
    labels: Vec<usize>,
    top: f64,
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn labels_that_do_not_touch_stay_where_they_belong() {
        assert_eq!(spread(&[50.0, 10.0, 90.0], 10.0, 0.0, 100.0), [50.0, 10.0, 90.0]);
    }

    #[test]
    fn labels_that_touch_share_the_way() {
        assert_eq!(spread(&[50.0, 50.0], 10.0, 0.0, 100.0), [45.0, 55.0]);
        assert_eq!(spread(&[50.0, 52.0, 54.0], 10.0, 0.0, 100.0), [42.0, 52.0, 62.0]);
    }

    #[test]
    fn labels_stay_on_the_page() {
        assert_eq!(spread(&[1.0, 2.0], 10.0, 0.0, 100.0), [5.0, 15.0]);
        assert_eq!(spread(&[99.0, 98.0], 10.0, 0.0, 100.0), [95.0, 85.0]);
    }
}
