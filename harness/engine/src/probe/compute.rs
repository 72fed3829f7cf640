//! Rates of the three products, by samples, weights and threads.

use std::{hint::black_box, sync::Arc};

use rayon::ThreadPool;
use spillbench_kernels::{
    Chunk, OutputActivation, Panel, PeakLoop, UpdateRule, forward, input_error, update,
};
use spillbench_schema::{
    Bytes,
    machine::{Product, ProductRates},
};
use spillbench_storage::{ExtentId, ExtentSpec, MemoryStore, StorageError, Store};

use super::{median, rate, rounded};

/// Samples of a product: 4, 8 and 16 are the most that some kernel multiplies with unpacked weights.
const ROWS: [usize; 9] = [1, 4, 8, 16, 32, 64, 128, 256, 512];

/// Widths of square layers: in the nearest cache, in the last one, and in memory, as panels of usual sizes.
const WIDTHS: [usize; 4] = [128, 512, 1024, WIDEST];

/// Layers of this width come from memory.
pub const WIDEST: usize = 2048;

/// Layers take turns until they are larger than any cache, where they are to come from memory.
const COLD_BYTES: usize = 128 << 20;

/// The shortest time that a point of the table is measured over, in each round; the median counts. A round is all of the
/// table, so that a slow minute of the machine falls on no size alone.
const SECONDS: f64 = 0.05;
const ROUNDS: usize = 5;

/// The table of rates, for each pool of that many threads.
///
/// # Errors
/// [`StorageError::OutOfMemory`].
pub fn products(pools: &[(usize, ThreadPool)]) -> Result<Vec<ProductRates>, StorageError> {
    let mut layers = WIDTHS.iter().map(|width| Layers::new(*width)).collect::<Result<Vec<_>, _>>()?;
    let points = || Product::ALL.map(|_| ROWS.map(|_| Vec::with_capacity(ROUNDS)));
    let mut rates: Vec<Vec<_>> = WIDTHS.iter().map(|_| pools.iter().map(|_| points()).collect()).collect();
    for _ in 0..ROUNDS {
        for (layers, rates) in layers.iter_mut().zip(&mut rates) {
            for ((_, pool), rates) in pools.iter().zip(rates) {
                for (product, rates) in Product::ALL.into_iter().zip(rates) {
                    for (rows, rates) in ROWS.into_iter().zip(rates) {
                        rates.push(pool.install(|| rate(SECONDS, || layers.multiply(product, rows))));
                    }
                }
            }
        }
    }
    let mut tables = Vec::new();
    for (width, rates) in WIDTHS.into_iter().zip(rates) {
        let weights = Bytes(4 * (width * width) as u64);
        for ((threads, _), rates) in pools.iter().zip(rates) {
            for (product, rates) in Product::ALL.into_iter().zip(rates) {
                let gflops = ROWS.into_iter().zip(rates.map(|rates| rounded(median(rates) / 1e9)));
                let gflops = gflops.collect();
                tables.push(ProductRates { product: Some(product), threads: *threads, weights, gflops });
            }
        }
    }
    Ok(tables)
}

/// What one thread reaches in the innermost loop, in GFLOP/s.
pub fn peak() -> f64 {
    let mut product = PeakLoop::default();
    let mut many = || (0..100).map(|_| product.run() as f64).sum();
    rounded(median((0..ROUNDS).map(|_| rate(SECONDS, &mut many)).collect()) / 1e9)
}

/// Square layers that take turns, their parameters in a store's memory as in training, and the operands of their products.
pub struct Layers {
    panel: Panel,
    parameters: Vec<spillbench_storage::Panel>,
    turn: usize,
    x: Vec<f32>,
    y: Vec<f32>,
}

impl Layers {
    /// Layers of `width` units and inputs.
    ///
    /// # Errors
    /// [`StorageError::OutOfMemory`].
    pub fn new(width: usize) -> Result<Self, StorageError> {
        let panel = Panel::whole(width, width);
        let bytes = 4 * panel.parameters();
        // Small ones are used again while they are in cache, as in a small network.
        let count = if bytes >= 4 << 20 { COLD_BYTES.div_ceil(bytes) } else { 1 };
        let extents: Vec<_> =
            (0..count).map(|layer| ExtentSpec { name: layer.to_string(), bytes: bytes as u64 }).collect();
        let store = MemoryStore::new(&extents)?;
        let mut parameters =
            (0..count as u32).map(|layer| store.allocate(ExtentId(layer))).collect::<Result<Vec<_>, _>>()?;
        for layer in &mut parameters {
            // The next layer's numbers are about as large as this one's.
            values(layer).fill(1.0 / width as f32);
        }
        let rows = ROWS[ROWS.len() - 1];
        let operand = vec![0.01; rows * width];
        Ok(Self { panel, parameters, turn: 0, x: operand.clone(), y: operand })
    }

    /// Computes a product of the next layer with `rows` samples; returns its floating-point operations.
    pub fn multiply(&mut self, product: Product, rows: usize) -> f64 {
        self.turn = (self.turn + 1) % self.parameters.len();
        let Self { panel, parameters, turn, x, y } = self;
        let parameters = values(&mut parameters[*turn]);
        let (x, y) = (&mut x[..rows * panel.inputs], &mut y[..rows * panel.units]);
        match product {
            Product::Forward => forward(panel, &*parameters, x, y, rows, OutputActivation::Relu),
            Product::InputError => input_error(panel, &*parameters, y, x, rows, false),
            Product::Update => {
                let rule = UpdateRule::Sgd { learning_rate: 1e-9 };
                update(panel, &[&[Chunk { x, dz: y, rows }]], parameters, &mut [], &rule, 1.0);
            }
        }
        black_box(&self.y);
        (2 * rows * self.panel.weights()) as f64
    }
}

/// A layer's parameters.
fn values(layer: &mut spillbench_storage::Panel) -> &mut [f32] {
    Arc::get_mut(layer).expect("a layer has one holder").as_f32_mut()
}
