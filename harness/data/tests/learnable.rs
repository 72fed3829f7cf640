//! `digits` is worth training on: a network with a hidden layer learns what a linear one cannot.

use std::path::PathBuf;

use spillbench_data::{Dataset, Samples, load};
use spillbench_schema::config::{DataConfig, DataSource};

const BATCH: usize = 32;
const LEARNING_RATE: f32 = 0.1;
const EPOCHS: usize = 5;

#[test]
fn a_small_mlp_is_clearly_better_on_digits_than_a_linear_model() {
    let config = DataConfig {
        source: DataSource::Digits,
        dir: None::<PathBuf>,
        train: Some(10_000),
        validation: 0,
        test: Some(5_000),
    };
    let data = load(&config, &[784], 10).unwrap();
    let (linear, mlp) = rayon::join(|| accuracy(&data, &[784, 10]), || accuracy(&data, &[784, 128, 10]));
    println!("linear {linear:.2} %, 784-128-10 {mlp:.2} %");
    assert!((80.0..94.0).contains(&linear), "linear: {linear:.2} %");
    assert!((95.0..99.5).contains(&mlp), "784-128-10: {mlp:.2} %");
}

/// Test accuracy in percent of a rectified network with softmax, trained by plain SGD.
fn accuracy(data: &Dataset, sizes: &[usize]) -> f32 {
    let mut layers: Vec<Layer> = sizes.windows(2).map(|s| Layer::new(s[0], s[1])).collect();
    let order = |i: usize| (i * 7919) % data.train.len();
    for step in 0..EPOCHS * data.train.len() / BATCH {
        for i in (step * BATCH..(step + 1) * BATCH).map(order) {
            let activations = forward(&layers, values(&data.train, i));
            let mut error = softmax(&activations[layers.len()]);
            error[usize::from(data.train.labels()[i])] -= 1.0;
            for (layer, input) in layers.iter_mut().zip(&activations).rev() {
                error = layer.backward(input, &error);
            }
        }
        layers.iter_mut().for_each(Layer::update);
    }
    let right = (0..data.test.len())
        .filter(|&i| {
            let output = forward(&layers, values(&data.test, i)).pop().unwrap();
            let best = (0..10).max_by(|&a, &b| output[a].total_cmp(&output[b]));
            best == Some(usize::from(data.test.labels()[i]))
        })
        .count();
    100.0 * right as f32 / data.test.len() as f32
}

/// `weights` and `gradient` are `[inputs + 1, outputs]`; the last row is the bias.
struct Layer {
    weights: Vec<f32>,
    gradient: Vec<f32>,
    outputs: usize,
}

impl Layer {
    fn new(inputs: usize, outputs: usize) -> Self {
        let bound = (6.0 / inputs as f32).sqrt();
        let mut state = 1_u32;
        let mut weights: Vec<f32> = (0..inputs * outputs)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((state >> 8) as f32 / 8_388_608.0 - 1.0) * bound
            })
            .collect();
        weights.resize((inputs + 1) * outputs, 0.0);
        Self { gradient: vec![0.0; weights.len()], weights, outputs }
    }

    fn forward(&self, input: &[f32]) -> Vec<f32> {
        let mut rows = self.weights.chunks_exact(self.outputs);
        let mut output = vec![0.0; self.outputs];
        for (x, row) in input.iter().chain(&[1.0]).zip(&mut rows) {
            if *x != 0.0 {
                output.iter_mut().zip(row).for_each(|(o, w)| *o += x * w);
            }
        }
        output
    }

    /// Adds to the gradient and returns the error at the input, past its rectifier.
    fn backward(&mut self, input: &[f32], error: &[f32]) -> Vec<f32> {
        let mut below = vec![0.0; input.len()];
        for (i, gradient) in self.gradient.chunks_exact_mut(self.outputs).enumerate() {
            let x = input.get(i).copied().unwrap_or(1.0);
            if x > 0.0 {
                gradient.iter_mut().zip(error).for_each(|(g, e)| *g += x * e);
                if i < input.len() {
                    let row = &self.weights[i * self.outputs..(i + 1) * self.outputs];
                    below[i] = row.iter().zip(error).map(|(w, e)| w * e).sum();
                }
            }
        }
        below
    }

    fn update(&mut self) {
        for (weight, gradient) in self.weights.iter_mut().zip(&mut self.gradient) {
            *weight -= LEARNING_RATE / BATCH as f32 * *gradient;
            *gradient = 0.0;
        }
    }
}

/// The input and the output of each layer; all but the last output are rectified.
fn forward(layers: &[Layer], input: Vec<f32>) -> Vec<Vec<f32>> {
    let mut activations = vec![input];
    for (i, layer) in layers.iter().enumerate() {
        let mut output = layer.forward(&activations[i]);
        if i + 1 < layers.len() {
            output = output.into_iter().map(|value| value.max(0.0)).collect();
        }
        activations.push(output);
    }
    activations
}

fn softmax(output: &[f32]) -> Vec<f32> {
    let largest = output.iter().copied().fold(f32::MIN, f32::max);
    let exponentials: Vec<f32> = output.iter().map(|value| (value - largest).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.iter().map(|e| e / sum).collect()
}

fn values(samples: &Samples, i: usize) -> Vec<f32> {
    samples.pixels(i..i + 1).iter().map(|&pixel| f32::from(pixel) / 255.0).collect()
}
