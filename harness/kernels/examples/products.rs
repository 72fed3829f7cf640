//! Times each product of a linear layer on these kernels beside the crate `gemm`, the product under candle's CPU backend,
//! by layer and batch: what a library would give instead.
//!
//! `products [LAYER…]` prints a table of GFLOP/s on all cores, medians of rounds in which the two take turns. A layer is
//! called `units×inputs` (with an `x`). Sums have no bias and no activation in `gemm`, and its update is the folded one:
//! W += factor·dzᵀ·x.

use std::hint::black_box;
use std::time::Instant;

use gemm::Parallelism;
use spillbench_kernels::{Chunk, OutputActivation, Panel, forward, input_error, update_folded};

/// `(units, inputs)`; one of them is a panel of a larger layer.
const LAYERS: [(usize, usize); 5] = [(1024, 784), (1024, 1024), (4096, 4096), (512, 8192), (8192, 8192)];
/// How long a product is timed in each round.
const SECONDS: f64 = 0.2;
const ROUNDS: usize = 3;
const BATCHES: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 256];
const OPERATIONS: [&str; 3] = ["forward", "input error", "update"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let threads = std::thread::available_parallelism()?.get();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    println!("layer       batch  product       own   gemm  ratio");
    for (units, inputs) in LAYERS {
        let name = format!("{units}x{inputs}");
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        for batch in BATCHES {
            let mut layer = Layer::new(units, inputs, batch);
            for (operation, label) in OPERATIONS.into_iter().enumerate() {
                let mut rates = [Vec::new(), Vec::new()];
                for _ in 0..ROUNDS {
                    let own = |layer: &mut Layer| layer.own(operation);
                    let theirs = |layer: &mut Layer| layer.gemm(operation, threads);
                    rates[0].push(pool.install(|| layer.rate(own)));
                    rates[1].push(pool.install(|| layer.rate(theirs)));
                }
                let [own, theirs] = rates.map(median);
                println!(
                    "{name:<11} {batch:>5}  {label:<11} {own:>5.1}  {theirs:>5.1}  {:>5.2}",
                    own / theirs
                );
            }
        }
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A layer in memory, with a mini-batch at both ends.
struct Layer {
    panel: Panel,
    batch: usize,
    /// `[W | b]`
    params: Vec<f32>,
    /// `[batch × inputs]`
    x: Vec<f32>,
    /// `[batch × units]`
    y: Vec<f32>,
    /// `[batch × units]`
    dz: Vec<f32>,
    /// `[batch × inputs]`
    dx: Vec<f32>,
}

/// So small that weights stay what they are in magnitude.
const FACTOR: f32 = -1e-9;

impl Layer {
    fn new(units: usize, inputs: usize, batch: usize) -> Self {
        let panel = Panel::whole(units, inputs);
        let numbers = |count: usize| (0..count).map(|index| (index % 251) as f32 / 251.0 - 0.5).collect();
        let (x, dz) = (numbers(batch * inputs), numbers(batch * units));
        let (y, dx) = (vec![0.0; batch * units], vec![0.0; batch * inputs]);
        Self { panel, batch, params: numbers(panel.parameters()), x, y, dz, dx }
    }

    /// GFLOP/s of `product` over at least [`SECONDS`], once warm.
    fn rate(&mut self, product: impl Fn(&mut Self)) -> f64 {
        product(self);
        let (start, mut done) = (Instant::now(), 0.0);
        while done == 0.0 || start.elapsed().as_secs_f64() < SECONDS {
            product(self);
            done += 1.0;
        }
        black_box((&self.y, &self.dx, &self.params));
        done * 2e-9 * (self.batch * self.panel.weights()) as f64 / start.elapsed().as_secs_f64()
    }

    fn own(&mut self, operation: usize) {
        let Self { panel, batch, params, x, y, dz, dx } = self;
        match operation {
            0 => forward(panel, &params[..], x, y, *batch, OutputActivation::Identity),
            1 => input_error(panel, &params[..], dz, dx, *batch, false),
            _ => {
                let chunk = Chunk { x, dz, rows: *batch };
                update_folded(panel, &chunk, params, f64::from(-FACTOR), 1.0);
            }
        }
    }

    fn gemm(&mut self, operation: usize, threads: usize) {
        let (batch, inputs, units) = (self.batch, self.panel.inputs, self.panel.units);
        let rows_of = |width: usize| (1, width as isize);
        let columns_of = |width: usize| (width as isize, 1);
        let (w, x, dz) = (self.params.as_mut_ptr(), self.x.as_ptr(), self.dz.as_ptr());
        // Strides are of a column and of a row.
        let (shape, result, left, right, add) = match operation {
            0 => {
                let y = (self.y.as_mut_ptr(), rows_of(units));
                ((batch, units, inputs), y, (x, rows_of(inputs)), (w.cast_const(), columns_of(inputs)), false)
            }
            1 => {
                let dx = (self.dx.as_mut_ptr(), rows_of(inputs));
                ((batch, inputs, units), dx, (dz, rows_of(units)), (w.cast_const(), rows_of(inputs)), false)
            }
            _ => {
                let result = (w, rows_of(inputs));
                ((units, inputs, batch), result, (dz, columns_of(units)), (x, rows_of(inputs)), true)
            }
        };
        let (m, n, k) = shape;
        let (keep, factor) = if add { (1.0, FACTOR) } else { (0.0, 1.0) };
        let parallelism = if threads > 1 { Parallelism::Rayon(threads) } else { Parallelism::None };
        // SAFETY: `result` is m × n, `left` m × k and `right` k × n, in the strides given, and `result` is apart from both.
        unsafe {
            let ((d, (dcs, drs)), (l, (lcs, lrs)), (r, (rcs, rrs))) = (result, left, right);
            let no = false;
            gemm::gemm(
                m,
                n,
                k,
                d,
                dcs,
                drs,
                add,
                l,
                lcs,
                lrs,
                r,
                rcs,
                rrs,
                keep,
                factor,
                no,
                no,
                no,
                parallelism,
            );
        }
    }
}
