//! Initial weights: uniform within a bound that keeps the variance of activations from layer to layer.
//!
//! √(6 / inputs) before rectifiers (He et al. 2015), √(6 / (inputs + outputs)) otherwise (Glorot and Bengio 2010).
//! Each unit draws from a stream of its own, so the cut into panels changes nothing. Biases are zero.

use rand::Rng;
use rayon::prelude::*;
use spillbench_schedule::{LayerKind, Network, PanelGeometry};
use spillbench_schema::config::Activation;

use crate::random;

/// Fills a panel's parameters, `[W | b]`, each as `kept` makes it.
pub fn fill<T: Copy + Default + Send>(
    network: &Network,
    panel: &PanelGeometry,
    seed: u64,
    parameters: &mut [T],
    kept: impl Fn(f32) -> T + Sync,
) {
    let bound = bound(network, panel);
    let (weights, biases) = parameters.split_at_mut(panel.units.len() * panel.inputs);
    biases.fill(T::default());
    weights.par_chunks_exact_mut(panel.inputs).zip(panel.units.clone()).for_each(|(row, unit)| {
        let mut stream = random::stream(seed, "init", &[u64::from(panel.layer.0), unit as u64]);
        for weight in row {
            // 24 bits: every value is exact, from −1 to 1.
            let uniform = (stream.next_u64() >> 40) as f32 / (1 << 23) as f32 - 1.0;
            *weight = kept(bound * uniform);
        }
    });
}

fn bound(network: &Network, panel: &PanelGeometry) -> f32 {
    let layer = network.layer(panel.layer);
    let followed_by_rectifier = match layer.kind {
        LayerKind::Linear(Activation::Relu | Activation::LeakyRelu) => true,
        LayerKind::Linear(Activation::Identity) => network
            .layers()
            .iter()
            .any(|next| next.input == layer.output && matches!(next.kind, LayerKind::Elementwise(_))),
        _ => false,
    };
    let fans = if followed_by_rectifier { layer.inputs } else { layer.inputs + layer.outputs };
    (6.0 / fans as f64).sqrt() as f32
}
