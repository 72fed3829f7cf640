//! Losses at the output of a network, with their errors. Sums over samples: 1/B is applied once, by the update.

use crate::exponential::exp;

/// Cross-entropy of softmax(logits) with the labels: returns Σ −log `softmax(logits)[label]` over the samples,
/// and writes softmax − one-hot to `dlogits`. `logits` and `dlogits` are `[rows × classes]`.
///
/// # Panics
/// If a slice does not have the length its shape says, or a label is not below `classes`.
pub fn loss_cross_entropy(
    logits: &[f32],
    labels: &[u8],
    rows: usize,
    classes: usize,
    dlogits: &mut [f32],
) -> f64 {
    assert_shapes(logits, labels, rows, classes, dlogits);
    let mut loss = 0.0;
    let lines = logits.chunks_exact(classes).zip(dlogits.chunks_exact_mut(classes));
    for ((logits, errors), &label) in lines.zip(labels) {
        let label = usize::from(label);
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for (error, logit) in errors.iter_mut().zip(logits) {
            *error = exp(logit - largest);
            sum += *error;
        }
        for error in errors.iter_mut() {
            *error /= sum;
        }
        errors[label] -= 1.0;
        loss += f64::from(sum).ln() - f64::from(logits[label] - largest);
    }
    loss
}

/// Half the squared distance to the one-hot label: returns Σ ½ ‖output − one-hot‖² over the samples, and writes
/// output − one-hot to `doutputs`. Both are `[rows × classes]`.
///
/// # Panics
/// If a slice does not have the length its shape says, or a label is not below `classes`.
pub fn loss_mse(outputs: &[f32], labels: &[u8], rows: usize, classes: usize, doutputs: &mut [f32]) -> f64 {
    assert_shapes(outputs, labels, rows, classes, doutputs);
    doutputs.copy_from_slice(outputs);
    let mut loss = 0.0;
    for (errors, &label) in doutputs.chunks_exact_mut(classes).zip(labels) {
        errors[usize::from(label)] -= 1.0;
        loss += errors.iter().map(|&error| 0.5 * f64::from(error) * f64::from(error)).sum::<f64>();
    }
    loss
}

/// Samples whose largest output is their label's; of equal outputs the first counts.
///
/// # Panics
/// If a slice does not have the length its shape says.
pub fn correct_count(outputs: &[f32], labels: &[u8], rows: usize, classes: usize) -> usize {
    assert_eq!(outputs.len(), rows * classes, "outputs");
    assert_eq!(labels.len(), rows, "labels");
    let correct = |(outputs, &label): (&[f32], &u8)| {
        let best =
            (1..classes).fold(0, |best, class| if outputs[class] > outputs[best] { class } else { best });
        best == usize::from(label)
    };
    outputs.chunks_exact(classes).zip(labels).filter(|&sample| correct(sample)).count()
}

fn assert_shapes(outputs: &[f32], labels: &[u8], rows: usize, classes: usize, errors: &[f32]) {
    assert_eq!(outputs.len(), rows * classes, "outputs");
    assert_eq!(errors.len(), rows * classes, "output errors");
    assert_eq!(labels.len(), rows, "labels");
}

#[cfg(test)]
mod tests {
    use super::{correct_count, loss_cross_entropy, loss_mse};
    use crate::check::numbers;

    #[test]
    fn cross_entropy_and_its_error_are_those_of_plain_f64() {
        let (rows, classes) = (5, 10);
        let logits: Vec<f32> = numbers(rows * classes, 1).iter().map(|value| 30.0 * value).collect();
        let labels = [0, 9, 3, 3, 7];
        let mut errors = vec![f32::NAN; rows * classes];
        let loss = loss_cross_entropy(&logits, &labels, rows, classes, &mut errors);
        let mut expected = 0.0;
        for (row, &label) in labels.iter().enumerate() {
            let exponentials: Vec<f64> =
                logits[row * classes..][..classes].iter().map(|&logit| f64::from(logit).exp()).collect();
            let sum: f64 = exponentials.iter().sum();
            for (class, exponential) in exponentials.iter().enumerate() {
                let error = exponential / sum - f64::from(u8::from(class == usize::from(label)));
                let computed = f64::from(errors[row * classes + class]);
                assert!((computed - error).abs() < 1e-6, "{computed} is not {error}");
            }
            expected -= (exponentials[usize::from(label)] / sum).ln();
        }
        assert!((loss - expected).abs() < 1e-4, "{loss} is not {expected}");
    }

    #[test]
    fn cross_entropy_of_huge_logits_is_finite() {
        let mut errors = [f32::NAN; 3];
        let loss = loss_cross_entropy(&[1e30, -1e30, 0.0], &[0], 1, 3, &mut errors);
        assert_eq!((loss, errors), (0.0, [0.0, 0.0, 0.0]));
    }

    #[test]
    fn squared_error_is_half_the_squared_distance_to_the_label() {
        let mut errors = [f32::NAN; 4];
        let loss = loss_mse(&[1.0, 2.0, 0.5, 0.0], &[0, 1], 2, 2, &mut errors);
        assert_eq!(errors.map(f32::to_bits), [0.0, 2.0, 0.5, -1.0].map(f32::to_bits));
        assert!((loss - (2.0 + 0.125 + 0.5)).abs() < 1e-12, "{loss}");
    }

    #[test]
    fn of_equal_outputs_the_first_is_the_answer() {
        assert_eq!(correct_count(&[1.0, 1.0, 0.0, 2.0, 0.0, 0.0], &[0, 0], 2, 3), 2);
        assert_eq!(correct_count(&[1.0, 1.0], &[1], 1, 2), 0);
        assert_eq!(correct_count(&[], &[], 0, 3), 0);
    }
}
