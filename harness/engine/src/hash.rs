//! The hash of a network's parameters, whatever store, ranks, threads or cut into panels they went through.

use half::bf16;
use spillbench_kernels::Parameters;
use spillbench_schedule::{Extent, PanelId, Plan};
use spillbench_schema::config::Precision;
use spillbench_storage::{Access, ExtentId, Store};

use crate::{EngineError, precision};

/// BLAKE3 of all parameters in layer order, little-endian f32: a layer's weights row by row, then its biases; heads
/// left out. bf16 parameters are hashed as the f32 of the same value, and of parameters with a master what products
/// read. None where one is not finite. Equal hashes mean networks that compute the same.
///
/// # Errors
/// The store failed.
pub fn weights(store: &dyn Store, plan: &Plan, precision: Precision) -> Result<Option<String>, EngineError> {
    let network = &plan.network;
    let mut hasher = blake3::Hasher::new();
    let mut finite = true;
    for layer in &network.layers()[..network.depth()] {
        let mut biases = Vec::with_capacity(layer.outputs);
        for panel in layer.panels.clone() {
            let id = PanelId(panel);
            let extent = ExtentId(plan.extents.index(Extent::weights(id)) as u32);
            let parameters = store.finish_read(store.begin_read(extent, Access::Shared)?)?;
            let geometry = network.panel(id);
            let weights = geometry.units.len() * geometry.inputs;
            match precision::parameters(precision, &parameters) {
                Parameters::F32(values) => {
                    finite &= absorb(&mut hasher, &values[..weights], |value| value);
                    biases.extend_from_slice(&values[weights..]);
                }
                Parameters::Bf16(values) => {
                    finite &= absorb(&mut hasher, &values[..weights], bf16::to_f32);
                    biases.extend(values[weights..].iter().map(|value| value.to_f32()));
                }
            }
            store.release(extent, parameters);
        }
        finite &= absorb(&mut hasher, &biases, |value| value);
    }
    Ok(finite.then(|| hasher.finalize().to_hex().to_string()))
}

/// Hashes `values`; returns whether all are finite.
fn absorb<T: Copy>(hasher: &mut blake3::Hasher, values: &[T], to_f32: impl Fn(T) -> f32) -> bool {
    let mut finite = true;
    let mut bytes = [0_u8; 16 << 10];
    for block in values.chunks(bytes.len() / 4) {
        for (target, value) in bytes.chunks_exact_mut(4).zip(block) {
            let value = to_f32(*value);
            finite &= value.is_finite();
            target.copy_from_slice(&value.to_le_bytes());
        }
        hasher.update(&bytes[..4 * block.len()]);
    }
    finite
}

#[cfg(test)]
mod tests {
    use super::absorb;

    #[test]
    fn a_value_that_is_not_finite_is_found_wherever_it_is() {
        let mut hasher = blake3::Hasher::new();
        let mut values = vec![0.5_f32; 10_000];
        assert!(absorb(&mut hasher, &values, |value| value));
        for (at, value) in [(0, f32::NAN), (4_097, f32::INFINITY), (9_999, f32::NEG_INFINITY)] {
            values[at] = value;
            assert!(!absorb(&mut hasher, &values, |value| value), "{value} at {at}");
            values[at] = 0.5;
        }
    }
}
