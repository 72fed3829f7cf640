//! Times whole training steps of multilayer perceptrons (forward, loss, backward, update) on these kernels, in
//! memory, on preallocated buffers: the ceiling of what the engine can reach.
//!
//! `step [--threads N] [--seconds S] [--windows W] [NAME…]` prints one JSON object a line: the median, over
//! windows of S seconds, of the steps a second, and of the floating-point rate by wall clock and by the CPU time
//! used (which other load on the machine disturbs less). `scripts/peers/pytorch_mlp.py` does the same elsewhere.

use std::hint::black_box;
use std::time::Instant;

use spillbench_kernels::{
    Chunk, OutputActivation, Panel, UpdateRule, activation_backward, forward, input_error,
    loss_cross_entropy, update, update_folded,
};

/// `(name, widths, batch)`; `scripts/peers/pytorch_mlp.py` has the same.
const NETWORKS: [(&str, &[usize], usize); 7] = [
    ("784-1024-1024-10/64", &[784, 1024, 1024, 10], 64),
    ("784-1024-1024-10/256", &[784, 1024, 1024, 10], 256),
    ("784-4096x4-10/64", &[784, 4096, 4096, 4096, 4096, 10], 64),
    ("784-4096x4-10/256", &[784, 4096, 4096, 4096, 4096, 10], 256),
    ("784-128-10/32", &[784, 128, 10], 32),
    ("8192x2/64", &[8192, 8192, 8192], 64),
    ("8192x2/512", &[8192, 8192, 8192], 512),
];

const LEARNING_RATE: f64 = 0.01;

/// Most weights of a panel: 16 MiB, as the engine cuts them.
const PANEL_WEIGHTS: usize = (16 << 20) / 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut threads, mut seconds, mut windows, mut names) = (2, 0.5, 7, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--threads" => threads = value()?.parse()?,
            "--seconds" => seconds = value()?.parse()?,
            "--windows" => windows = value()?.parse()?,
            _ => names.push(argument),
        }
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    pool.install(|| {
        for (name, widths, batch) in NETWORKS {
            if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
                continue;
            }
            for folded in [false, true] {
                let mut network = Network::new(widths, batch, folded);
                let (rate, cpu_rate) = median_rates(seconds, windows, || network.step());
                let giga = network.flops() / 1e9;
                println!(
                    "{{\"peer\":\"spillbench\",\"network\":\"{name}\",\"update\":\"{}\",\"threads\":{threads},\
                     \"steps_per_s\":{rate:.2},\"gflops\":{:.1},\"gflops_by_cpu_time\":{:.1}}}",
                    if folded { "folded" } else { "formed" },
                    rate * giga,
                    cpu_rate * giga,
                );
            }
        }
    });
    Ok(())
}

/// The medians over `windows` of the rates at which `step` runs, by wall clock and by CPU time, after one window
/// to warm up.
fn median_rates(seconds: f64, windows: usize, mut step: impl FnMut()) -> (f64, f64) {
    let mut window = || {
        let (start, cpu_start) = (Instant::now(), cpu_seconds());
        let mut steps = 0;
        while steps == 0 || start.elapsed().as_secs_f64() < seconds {
            step();
            steps += 1;
        }
        let steps = f64::from(steps);
        (steps / start.elapsed().as_secs_f64(), steps / (cpu_seconds() - cpu_start))
    };
    window();
    let (mut rates, mut cpu_rates): (Vec<_>, Vec<_>) = (0..windows.max(1)).map(|_| window()).unzip();
    rates.sort_by(f64::total_cmp);
    cpu_rates.sort_by(f64::total_cmp);
    (rates[rates.len() / 2], cpu_rates[cpu_rates.len() / 2])
}

/// CPU time that the threads of this process have used, as Linux accounts it to the nanosecond.
fn cpu_seconds() -> f64 {
    let nanoseconds = |thread: std::fs::DirEntry| {
        let account = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        account.split(' ').next()?.parse::<f64>().ok()
    };
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.filter_map(nanoseconds).sum::<f64>() / 1e9
}

struct Network {
    layers: Vec<Vec<(Panel, Vec<f32>)>>,
    /// The input, and the output of each layer.
    activations: Vec<Vec<f32>>,
    /// The errors at the same places.
    errors: Vec<Vec<f32>>,
    widths: Vec<usize>,
    labels: Vec<u8>,
    batch: usize,
    folded: bool,
}

impl Network {
    fn new(widths: &[usize], batch: usize, folded: bool) -> Self {
        let layers = widths.windows(2).map(|pair| layer(pair[0], pair[1])).collect();
        let buffers = || widths.iter().map(|width| vec![0.0; width * batch]).collect::<Vec<_>>();
        let mut activations = buffers();
        activations[0].iter_mut().enumerate().for_each(|(index, value)| *value = noise(index).abs());
        let labels = (0..batch).map(|sample| (sample % 10) as u8).collect();
        Self { layers, activations, errors: buffers(), widths: widths.to_vec(), labels, batch, folded }
    }

    /// Floating-point operations of the products of a step; the input's error is not computed.
    fn flops(&self) -> f64 {
        let products = |(layer, pair): (usize, &[usize])| if layer == 0 { 2 } else { 3 } * pair[0] * pair[1];
        2.0 * (self.batch * self.widths.windows(2).enumerate().map(products).sum::<usize>()) as f64
    }

    fn activation(&self, layer: usize) -> OutputActivation {
        if layer + 1 == self.layers.len() { OutputActivation::Identity } else { OutputActivation::Relu }
    }

    fn step(&mut self) {
        let batch = self.batch;
        for layer in 0..self.layers.len() {
            let activation = self.activation(layer);
            let (before, after) = self.activations.split_at_mut(layer + 1);
            for (panel, params) in &self.layers[layer] {
                forward(panel, params, &before[layer], &mut after[0], batch, activation);
            }
        }
        let last = self.layers.len();
        let (outputs, errors) = (&self.activations[last], &mut self.errors[last]);
        black_box(loss_cross_entropy(outputs, &self.labels, batch, self.widths[last], errors));
        for layer in (0..last).rev() {
            let activation = self.activation(layer);
            let (before, after) = self.errors.split_at_mut(layer + 1);
            let (dx, dz) = (&mut before[layer], &mut after[0]);
            let whole = Panel::whole(self.widths[layer + 1], self.widths[layer]);
            activation_backward(&whole, &self.activations[layer + 1], dz, batch, activation);
            let chunk = Chunk { x: &self.activations[layer], dz, rows: batch };
            for (panel, params) in &mut self.layers[layer] {
                if layer > 0 {
                    input_error(panel, params, dz, dx, batch, panel.first_unit > 0);
                }
                let scale = 1.0 / batch as f32;
                if self.folded {
                    update_folded(panel, &chunk, params, LEARNING_RATE, scale);
                } else {
                    let rule = UpdateRule::Sgd { learning_rate: LEARNING_RATE };
                    update(panel, &[&[chunk]], params, &mut [], &rule, scale);
                }
            }
        }
    }
}

fn layer(inputs: usize, units: usize) -> Vec<(Panel, Vec<f32>)> {
    let units_per_panel = (PANEL_WEIGHTS / inputs).min(units);
    let bound = 1.0 / (inputs as f32).sqrt();
    (0..units)
        .step_by(units_per_panel)
        .map(|first_unit| {
            let units_here = units_per_panel.min(units - first_unit);
            let panel = Panel { total_units: units, inputs, first_unit, units: units_here };
            (panel, (0..panel.parameters()).map(|index| bound * noise(index)).collect())
        })
        .collect()
}

/// Numbers in [−1, 1) without pattern.
fn noise(index: usize) -> f32 {
    let hash = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (hash >> 40) as f32 / (1 << 23) as f32 - 1.0
}
