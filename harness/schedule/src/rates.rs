//! The rates that a plan is made with: of a described machine, as this trial would use it.

use spillbench_schema::{Machine, Rates, config::Config, machine::Product};

use crate::{
    network::{LayerKind, Network},
    projection, strategy,
};

/// What a machine does in a second for a trial, where ranks have `cores` between them: the disk alone at its queue depth
/// and chunk, and the three products of a training step, each layer's weighted by its operations.
///
/// # Panics
/// If the machine has no rates of its disk, which is refused where one is loaded.
pub fn rates_on(machine: &Machine, config: &Config, cores: usize) -> Rates {
    let disk = machine.disk.nearest(config.storage.queue_depth, config.storage.chunk.0);
    let disk = disk.expect("a machine without rates of its disk is refused when it is loaded");
    let bytes_per_s = |gb_per_s: f64| ((gb_per_s * 1e9).round() as u64).max(1);
    Rates {
        machine: Some(machine.name.clone()),
        read_bytes_per_s: bytes_per_s(disk.read_gb_per_s),
        write_bytes_per_s: bytes_per_s(disk.write_gb_per_s),
        flops_per_s: (flops_per_s(machine, config, cores).round() as u64).max(1),
    }
}

fn flops_per_s(machine: &Machine, config: &Config, cores: usize) -> f64 {
    let mut network = Network::new(&config.network);
    strategy::add_heads(&mut network, &config.parallelism);
    let ranks = config.parallelism.ranks(network.written_layers());
    let threads = ranks * config.execution.threads.unwrap_or((cores / ranks).max(1));
    let train = &config.train;
    let rows = train.batch_size.div_ceil(train.shards).div_ceil(train.micro_batches) as u64;
    let table = projection::tables::MachineTables::new(machine);
    let (mut flops, mut seconds) = (0.0, 0.0);
    for layer in network.layers().iter().filter(|layer| matches!(layer.kind, LayerKind::Linear(_))) {
        let panel = network.panel(crate::PanelId(layer.panels.start));
        let weights = 4 * panel.units.len() as u64 * panel.inputs as u64;
        let each = layer.inputs as f64 * layer.outputs as f64;
        for product in Product::ALL {
            flops += each;
            seconds += each / table.product(product, rows, weights, threads.min(machine.cores));
        }
    }
    flops / seconds
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    const MACHINE: &str = "
version: 1
name: a server
cores: 4
memory: 64GiB
compute: { products: [
  { product: forward, threads: 1, weights: 1MiB, gflops: { 16: 100 } },
  { product: input_error, threads: 1, weights: 1MiB, gflops: { 16: 50 } },
  { product: update, threads: 1, weights: 1MiB, gflops: { 16: 25 } },
] }
memory_gb_per_s: { 1: 10 }
hand_over_us: 5
disk: { rates: [
  { queue_depth: 1, chunk: 1MiB, read_gb_per_s: 0.5, write_gb_per_s: 0.25 },
  { queue_depth: 32, chunk: 1MiB, read_gb_per_s: 3, write_gb_per_s: 2 },
  { queue_depth: 32, chunk: 64KiB, read_gb_per_s: 1, write_gb_per_s: 0.5 },
] }
";

    fn rates(storage: &Value, execution: &Value) -> Rates {
        let config = json!({
            "data": { "source": "synthetic" },
            "network": { "input": [64], "layers": [{ "linear": { "units": 10 } }] },
            "train": {
                "optimizer": { "sgd": { "learning_rate": 0.1 } }, "batch_size": 32, "shards": 2, "steps": 1,
            },
            "storage": storage,
            "execution": execution,
        });
        let config: Config = serde_json::from_value(config).expect("a configuration");
        rates_on(&Machine::from_text(Path::new("server.yaml"), MACHINE).expect("a machine"), &config, 2)
    }

    #[test]
    fn the_rates_of_a_trial_are_those_of_its_requests_and_products() {
        for (queue_depth, chunk, read, written) in [
            (24, "1MiB", 3_000_000_000, 2_000_000_000),
            (2, "2MiB", 500_000_000, 250_000_000),
            (2, "64KiB", 1_000_000_000, 500_000_000),
        ] {
            let storage = json!({ "mode": "direct", "queue_depth": queue_depth, "chunk": chunk });
            let rates = rates(&storage, &json!({}));
            assert_eq!((rates.read_bytes_per_s, rates.write_bytes_per_s), (read, written), "{storage}");
        }
        // Three equal parts at 100, 50 and 25 GFLOP/s a thread; no more threads than the machine has cores.
        for (execution, threads) in
            [(json!({ "threads": 1 }), 1.0), (json!({}), 2.0), (json!({ "threads": 16 }), 4.0)]
        {
            let expected = threads * 3e9 / (1.0 / 100.0 + 1.0 / 50.0 + 1.0 / 25.0);
            let found = rates(&json!({}), &execution).flops_per_s as f64;
            assert!((found / expected - 1.0).abs() < 1e-9, "{execution}: {found} is not {expected}");
        }
    }
}
