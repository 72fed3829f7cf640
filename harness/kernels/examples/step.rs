//! Times whole training steps of multilayer perceptrons (forward, loss, backward, update) on these kernels, in
//! memory, on preallocated buffers: the ceiling of what the engine can reach.
//!
//! `step [--threads N] [--seconds S] [--windows W] [--precision P] [--optimizer O] [NAME…]` prints one JSON object a
//! line: the median, over windows of S seconds, of the steps a second, and of the floating-point rate by wall clock
//! and by the CPU time used (which other load on the machine disturbs less). `scripts/peers/pytorch_mlp.py` does the
//! same elsewhere. P is `f32` (the default), `bf16`, `bf16_master`, or several with commas, whose windows take turns;
//! O is `sgd` (the default), `momentum` or `adam`. CPU milliseconds of a step by operation
//! tell where a difference is, in networks whose steps are so long that asking for them costs nothing.

use std::hint::black_box;
use std::time::Instant;

use half::bf16;
use spillbench_kernels::{
    Chunk, OutputActivation, Panel, Parameters, ParametersMut, UpdateRule, activation_backward, forward,
    input_error, loss_cross_entropy, round_to_nearest, update, update_folded,
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

/// Above this much work, a step is timed by operation.
const LONG_STEP_FLOPS: f64 = 1e10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut threads, mut seconds, mut windows, mut names) = (2, 0.5, 7, Vec::new());
    let (mut precisions, mut optimizer) = ("f32".to_owned(), "sgd".to_owned());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--threads" => threads = value()?.parse()?,
            "--seconds" => seconds = value()?.parse()?,
            "--windows" => windows = value()?.parse()?,
            "--precision" => precisions = value()?,
            "--optimizer" => optimizer = value()?,
            _ => names.push(argument),
        }
    }
    let rule = rule(&optimizer).ok_or_else(|| format!("no optimizer {optimizer}"))?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    for (name, widths, batch) in NETWORKS {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        let mut contestants = Vec::new();
        for precision in precisions.split(',') {
            let network = Network::new(widths, batch, precision, rule, false)
                .ok_or_else(|| format!("no precision {precision}"))?;
            contestants.push((precision, "formed", network));
            if precision == "f32" && optimizer == "sgd" {
                contestants.extend(
                    Network::new(widths, batch, precision, rule, true).map(|n| (precision, "folded", n)),
                );
            }
        }
        let mut records: Vec<Vec<Window>> = contestants.iter().map(|_| Vec::new()).collect();
        // One window to warm up.
        for round in 0..=windows.max(1) {
            for ((_, _, network), record) in contestants.iter_mut().zip(&mut records) {
                let window = pool.install(|| network.window(seconds));
                if round > 0 {
                    record.push(window);
                }
            }
        }
        for ((precision, update, network), record) in contestants.iter().zip(&records) {
            let median = |value: &dyn Fn(&Window) -> f64| {
                let mut values: Vec<f64> = record.iter().map(value).collect();
                values.sort_by(f64::total_cmp);
                values[values.len() / 2]
            };
            let giga = network.flops() / 1e9;
            let milliseconds = |index: usize| median(&|window| window.milliseconds[index]);
            println!(
                "{{\"peer\":\"spillbench\",\"network\":\"{name}\",\"update\":\"{update}\",\
                 \"precision\":\"{precision}\",\"optimizer\":\"{optimizer}\",\"threads\":{threads},\
                 \"steps_per_s\":{:.2},\"gflops\":{:.1},\"gflops_by_cpu_time\":{:.1},\
                 \"forward_ms\":{:.2},\"input_error_ms\":{:.2},\"update_ms\":{:.2}}}",
                median(&|window| window.rate),
                median(&|window| window.rate) * giga,
                median(&|window| window.cpu_rate) * giga,
                milliseconds(FORWARD),
                milliseconds(INPUT_ERROR),
                milliseconds(UPDATE),
            );
        }
    }
    Ok(())
}

fn rule(optimizer: &str) -> Option<UpdateRule> {
    match optimizer {
        "sgd" => Some(UpdateRule::Sgd { learning_rate: LEARNING_RATE }),
        "momentum" => Some(UpdateRule::Momentum { learning_rate: LEARNING_RATE, momentum: 0.9 }),
        "adam" => Some(UpdateRule::Adam {
            learning_rate: LEARNING_RATE,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            step: 1000,
        }),
        _ => None,
    }
}

/// What one window measured.
struct Window {
    /// Steps a second.
    rate: f64,
    /// Steps a second of CPU time.
    cpu_rate: f64,
    /// CPU time of a step's forward products, input errors and updates.
    milliseconds: [f64; 3],
}

const FORWARD: usize = 0;
const INPUT_ERROR: usize = 1;
const UPDATE: usize = 2;

/// CPU time that the threads of this process have used, as Linux accounts it to the nanosecond.
fn cpu_seconds() -> f64 {
    let nanoseconds = |thread: std::fs::DirEntry| {
        let account = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        account.split(' ').next()?.parse::<f64>().ok()
    };
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.filter_map(nanoseconds).sum::<f64>() / 1e9
}

/// A panel as it is kept.
struct Kept {
    panel: Panel,
    parameters: Numbers,
    state: Vec<f32>,
}

enum Numbers {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
    Bf16Master { rounded: Vec<bf16>, master: Vec<f32> },
}

impl Numbers {
    fn new(precision: &str, values: Vec<f32>) -> Option<Self> {
        let rounded = || values.iter().copied().map(round_to_nearest).collect();
        match precision {
            "f32" => Some(Self::F32(values)),
            "bf16" => Some(Self::Bf16(rounded())),
            "bf16_master" => Some(Self::Bf16Master { rounded: rounded(), master: values }),
            _ => None,
        }
    }

    fn read(&self) -> Parameters<'_> {
        match self {
            Self::F32(values) => Parameters::F32(values),
            Self::Bf16(values) | Self::Bf16Master { rounded: values, .. } => Parameters::Bf16(values),
        }
    }

    fn change(&mut self) -> ParametersMut<'_> {
        match self {
            Self::F32(values) => ParametersMut::F32(values),
            Self::Bf16(values) => ParametersMut::Bf16 { values, key: 7 },
            Self::Bf16Master { rounded, master } => ParametersMut::Bf16Master { rounded, master },
        }
    }
}

struct Network {
    layers: Vec<Vec<Kept>>,
    /// The input, and the output of each layer.
    activations: Vec<Vec<f32>>,
    /// The errors at the same places.
    errors: Vec<Vec<f32>>,
    widths: Vec<usize>,
    labels: Vec<u8>,
    batch: usize,
    rule: UpdateRule,
    folded: bool,
    /// CPU seconds of each operation in the window under way.
    spent: [f64; 3],
}

impl Network {
    fn new(widths: &[usize], batch: usize, precision: &str, rule: UpdateRule, folded: bool) -> Option<Self> {
        let layers = widths.windows(2).map(|pair| layer(pair[0], pair[1], precision, &rule));
        let layers = layers.collect::<Option<_>>()?;
        let buffers = || widths.iter().map(|width| vec![0.0; width * batch]).collect::<Vec<_>>();
        let mut activations = buffers();
        activations[0].iter_mut().enumerate().for_each(|(index, value)| *value = noise(index).abs());
        let labels = (0..batch).map(|sample| (sample % 10) as u8).collect();
        let (errors, widths, spent) = (buffers(), widths.to_vec(), [0.0; 3]);
        Some(Self { layers, activations, errors, widths, labels, batch, rule, folded, spent })
    }

    /// Steps for `seconds`.
    fn window(&mut self, seconds: f64) -> Window {
        let (start, cpu_start) = (Instant::now(), cpu_seconds());
        self.spent = [0.0; 3];
        let mut steps = 0;
        while steps == 0 || start.elapsed().as_secs_f64() < seconds {
            self.step();
            steps += 1;
        }
        let steps = f64::from(steps);
        Window {
            rate: steps / start.elapsed().as_secs_f64(),
            cpu_rate: steps / (cpu_seconds() - cpu_start),
            milliseconds: self.spent.map(|seconds| 1e3 * seconds / steps),
        }
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
        let timed = self.flops() > LONG_STEP_FLOPS;
        let clock = || if timed { cpu_seconds() } else { 0.0 };
        for layer in 0..self.layers.len() {
            let activation = self.activation(layer);
            let (before, after) = self.activations.split_at_mut(layer + 1);
            let start = clock();
            for Kept { panel, parameters, .. } in &self.layers[layer] {
                forward(panel, parameters.read(), &before[layer], &mut after[0], batch, activation);
            }
            self.spent[FORWARD] += clock() - start;
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
            for Kept { panel, parameters, state } in &mut self.layers[layer] {
                let start = clock();
                if layer > 0 {
                    input_error(panel, parameters.read(), dz, dx, batch, panel.first_unit > 0);
                }
                let middle = clock();
                let scale = 1.0 / batch as f32;
                match parameters {
                    Numbers::F32(values) if self.folded => {
                        update_folded(panel, &chunk, values, LEARNING_RATE, scale);
                    }
                    _ => update(panel, &[&[chunk]], parameters.change(), state, &self.rule, scale),
                }
                self.spent[INPUT_ERROR] += middle - start;
                self.spent[UPDATE] += clock() - middle;
            }
        }
    }
}

/// A layer's panels; none where there is no such precision.
fn layer(inputs: usize, units: usize, precision: &str, rule: &UpdateRule) -> Option<Vec<Kept>> {
    let units_per_panel = (PANEL_WEIGHTS / inputs).min(units);
    let bound = 1.0 / (inputs as f32).sqrt();
    (0..units)
        .step_by(units_per_panel)
        .map(|first_unit| {
            let units_here = units_per_panel.min(units - first_unit);
            let panel = Panel { total_units: units, inputs, first_unit, units: units_here };
            let values = (0..panel.parameters()).map(|index| bound * noise(index)).collect();
            let state = vec![0.0; panel.parameters() * rule.state_per_parameter()];
            Some(Kept { panel, parameters: Numbers::new(precision, values)?, state })
        })
        .collect()
}

/// Numbers in [−1, 1) without pattern.
fn noise(index: usize) -> f32 {
    let hash = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (hash >> 40) as f32 / (1 << 23) as f32 - 1.0
}
