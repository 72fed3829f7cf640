//! Which code computes a product: chosen by the number of samples, from measurements made beforehand, never by timing at run
//! time. No choice changes a bit.

use crate::micro::{Element, Kernel, Straight};

/// A product of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// y = act(x·Wᵀ + b)
    Forward,
    /// dx = dz·W
    InputError,
    /// dW = dzᵀ·x
    Gradient,
}

impl Operation {
    /// Most samples with which weights are multiplied unpacked.
    ///
    /// Each four samples read the weights again, from cache, and where they are summed along lines transpose them again, so that
    /// packing them once is faster from some number on. That number depends on the layer; a limit is the last at which
    /// unpacked is faster, or nearly as fast, in all of these. GFLOP/s unpacked and packed, f32, two threads, by
    /// `cargo test --release -p spillbench-kernels -- --ignored --nocapture unpacked_beside_packed`.
    ///
    /// AVX2, Zen 3 (before heights were packed a few lines at a time, and blocks between products):
    ///
    /// | samples | forward 1024² | forward 8192² | input error 1024² | input error 8192² |
    /// |---|---|---|---|---|
    /// | 1 | 19.5, 5.9 | 13.5, 7.4 | 13.7, 5.3 | 10.4, 5.0 |
    /// | 4 | 59.1, 39.9 | 58.5, 30.8 | 40.8, 30.4 | 43.7, 18.0 |
    /// | 5 | 40.4, 50.3 | 44.8, 34.1 | 33.9, 38.8 | 42.8, 25.5 |
    /// | 8 | 56.5, 58.4 | 62.4, 53.3 | 47.6, 46.1 | 57.9, 31.6 |
    /// | 9 | 50.8, 61.5 | 52.6, 55.9 | 36.9, 52.1 | 47.3, 30.1 |
    /// | 16 | 54.0, 67.5 | 56.8, 93.1 | 49.5, 78.3 | 71.4, 58.7 |
    ///
    /// AVX-512, Sapphire Rapids:
    ///
    /// | samples | forward 1024² | forward 8192² | input error 1024² | input error 8192² |
    /// |---|---|---|---|---|
    /// | 1 | 18.7, 5.6 | 14.6, 5.7 | 18.7, 4.3 | 13.5, 3.1 |
    /// | 4 | 69.4, 38.7 | 37.9, 22.8 | 76.8, 32.1 | 45.6, 12.7 |
    /// | 7 | 50.4, 52.7 | 45.6, 41.1 | 58.4, 42.0 | 54.8, 24.1 |
    /// | 8 | 54.1, 76.0 | 62.5, 53.8 | 67.5, 49.7 | 55.7, 29.0 |
    /// | 9 | 56.5, 59.9 | 47.7, 46.5 | 63.3, 51.4 | 54.9, 28.8 |
    /// | 16 | 64.8, 108.0 | 52.1, 70.9 | 72.9, 76.1 | 63.9, 47.9 |
    /// | 20 | 71.0, 130.5 | 49.6, 82.4 | 72.7, 90.4 | 62.7, 55.1 |
    const fn few_samples(self, kernel: &Kernel) -> usize {
        match self {
            Self::Forward => kernel.few.along,
            Self::InputError => kernel.few.across,
            Self::Gradient => 0,
        }
    }

    /// The code that multiplies `rows` samples with unpacked weights, where that is how they are multiplied.
    pub(crate) fn straight<T: Element>(self, kernel: &Kernel, rows: usize) -> Option<&Straight<T>> {
        T::straight(kernel).filter(|_| rows <= self.few_samples(kernel))
    }
}

/// The code that computes `operation` with `rows` samples, for the manifest.
pub fn kernel_name(operation: Operation, rows: usize) -> &'static str {
    let kernel = Kernel::of_this_cpu();
    operation.straight::<f32>(kernel, rows).map_or(kernel.name, |straight| straight.name)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use half::bf16;

    use super::{Operation, kernel_name};
    use crate::check::{copied, numbers, with_threads};
    use crate::micro::{Element, Kernel, Samples};
    use crate::precision::round_to_nearest;
    use crate::product::Right;
    use crate::{few, forward, input_error, strip};

    #[test]
    fn few_samples_are_multiplied_by_code_of_their_own() {
        for kernel in Kernel::all() {
            let [along, across] = match kernel.name {
                "avx2_fma_6x16" => [4, 8],
                "avx512_12x32" => [7, 16],
                _ => [0, 0],
            };
            for (operation, few) in
                [(Operation::Forward, along), (Operation::InputError, across), (Operation::Gradient, 0)]
            {
                for rows in 1..20 {
                    let chosen = [
                        operation.straight::<f32>(kernel, rows).is_some(),
                        operation.straight::<bf16>(kernel, rows).is_some(),
                    ];
                    assert_eq!(chosen, [rows <= few; 2], "{} {operation:?} with {rows}", kernel.name);
                }
            }
        }
    }

    #[test]
    fn the_name_follows_the_choice() {
        let kernel = Kernel::of_this_cpu();
        let Some(straight) = f32::straight(kernel) else {
            println!("skipped: {} packs always", kernel.name);
            return;
        };
        for (operation, few) in [(Operation::Forward, kernel.few.along), (Operation::Gradient, 0)] {
            assert_eq!(kernel_name(operation, few + 1), kernel.name);
            assert!(few == 0 || kernel_name(operation, few) == straight.name);
        }
    }

    /// Billions of floating-point operations a second of `multiply`, the best of some rounds.
    fn rate(flops: usize, mut multiply: impl FnMut()) -> f64 {
        multiply();
        let round = |_| {
            let (start, mut done) = (Instant::now(), 0);
            while done == 0 || start.elapsed().as_secs_f64() < 0.1 {
                multiply();
                done += flops;
            }
            done as f64 / 1e9 / start.elapsed().as_secs_f64()
        };
        (0..5).map(round).fold(0.0, f64::max)
    }

    fn measure<R: Right>(name: &str, right: &R, depth: usize, columns: usize) {
        let kernel = Kernel::of_this_cpu();
        let straight = R::Element::straight(kernel).expect("a CPU with code for few samples");
        for rows in [1, 2, 4, 5, 7, 8, 9, 12, 16, 20, 24] {
            let values = numbers(rows * depth, 2);
            let samples = Samples { values: &values, stride: depth, rows, depth };
            let flops = 2 * rows * depth * columns;
            let mut result = vec![0.0; rows * columns];
            let output = copied(&mut result, columns);
            let unpacked = rate(flops, || few::multiply(kernel, straight, samples, columns, right, &output));
            let packed = rate(flops, || strip::multiply(kernel, samples, columns, right, &output));
            println!("{name} {:?} {depth}×{columns} {rows:>2}: {unpacked:.1} {packed:.1}", R::OPERATION);
        }
    }

    fn measure_both<T: Element>(name: &str, element: impl Fn(f32) -> T) {
        let kernel = Kernel::of_this_cpu();
        for (units, inputs) in [(1024, 1024), (512, 8192), (8192, 8192)] {
            let weights: Vec<T> = numbers(units * inputs, 1).into_iter().map(&element).collect();
            measure(name, &forward::Transposed { kernel, weights: &weights, inputs }, inputs, units);
            measure(name, &input_error::Rows { kernel, weights: &weights, inputs }, units, inputs);
        }
    }

    #[test]
    #[ignore = "a measurement, of a minute: prints GFLOP/s of both codes, on two threads"]
    fn unpacked_beside_packed() {
        with_threads(2, || {
            measure_both("f32", |value| value);
            measure_both("bf16", round_to_nearest);
        });
    }
}
