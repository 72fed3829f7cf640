//! The hash of a network's parameters, whatever store, ranks, threads or cut into panels they went through.

use spillbench_schedule::{Extent, Extents, Network, PanelId};
use spillbench_storage::{Access, ExtentId, Store};

use crate::EngineError;

/// BLAKE3 of all parameters in layer order, little-endian f32: a layer's weights row by row, then its biases; heads
/// left out.
///
/// # Errors
/// The store failed.
pub fn weights(store: &dyn Store, network: &Network, extents: &Extents) -> Result<String, EngineError> {
    let mut hasher = blake3::Hasher::new();
    for layer in &network.layers()[..network.depth()] {
        let mut biases = Vec::with_capacity(layer.outputs);
        for panel in layer.panels.clone() {
            let id = PanelId(panel);
            let extent = ExtentId(extents.index(Extent::weights(id)) as u32);
            let parameters = store.finish_read(store.begin_read(extent, Access::Shared)?)?;
            let geometry = network.panel(id);
            let (weights, panel_biases) =
                parameters.as_f32().split_at(geometry.units.len() * geometry.inputs);
            absorb(&mut hasher, weights);
            biases.extend_from_slice(panel_biases);
            store.release(extent, parameters);
        }
        absorb(&mut hasher, &biases);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn absorb(hasher: &mut blake3::Hasher, values: &[f32]) {
    let mut bytes = [0_u8; 16 << 10];
    for block in values.chunks(bytes.len() / 4) {
        for (target, value) in bytes.chunks_exact_mut(4).zip(block) {
            target.copy_from_slice(&value.to_le_bytes());
        }
        hasher.update(&bytes[..4 * block.len()]);
    }
}
