//! Every override is held against the default made by autograd.

use candle_core::{Result, Tensor};
use rand::Rng;
use spillbench_kernels::Chunk;
use spillbench_schedule::{LayerId, PanelGeometry};
use spillbench_schema::config::Activation;

use super::{InputError, Layer, Linear, PanelView};
use crate::random;

/// A layer's definition with every method as autograd makes it.
struct ByAutograd<'a>(&'a dyn Layer);

impl Layer for ByAutograd<'_> {
    fn definition(&self, x: &Tensor, parameters: Option<(&PanelGeometry, &Tensor)>) -> Result<Tensor> {
        self.0.definition(x, parameters)
    }
}

fn noise(name: &str, len: usize) -> Vec<f32> {
    let mut stream = random::stream(3, name, &[]);
    (0..len).map(|_| (stream.next_u64() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
}

struct Outcome {
    y: Vec<f32>,
    dx: Vec<f32>,
    gradient: Vec<f32>,
}

/// Forward, backward and gradient of one panel of a layer of 12 units on 7 inputs and 5 samples in two shards.
fn outcome(layer: &dyn Layer, units: std::ops::Range<usize>, accumulate: bool) -> Result<Outcome> {
    const ROWS: usize = 5;
    const INPUTS: usize = 7;
    const OUTPUTS: usize = 12;
    let geometry = PanelGeometry { layer: LayerId(0), index: 0, units, inputs: INPUTS };
    let parameters = noise("parameters", geometry.parameters() as usize);
    let view = PanelView { geometry: &geometry, parameters: parameters[..].into() };
    let x = noise("x", ROWS * INPUTS);
    let (mut dy, mut dx) = (noise("dy", ROWS * OUTPUTS), noise("dx", ROWS * INPUTS));
    let mut y = vec![0.0; ROWS * OUTPUTS];
    layer.forward(Some(view), &x, &mut y, ROWS)?;
    layer.backward(Some(view), &x, &y, &mut dy, Some(InputError { values: &mut dx, accumulate }), ROWS)?;
    let chunk = |rows: std::ops::Range<usize>| Chunk {
        x: &x[rows.start * INPUTS..rows.end * INPUTS],
        dz: &dy[rows.start * OUTPUTS..rows.end * OUTPUTS],
        rows: rows.len(),
    };
    let mut gradient = vec![0.0; parameters.len()];
    layer.gradient(view, &[&[chunk(0..2), chunk(2..3)], &[chunk(3..3), chunk(3..5)]], &mut gradient)?;
    Ok(Outcome { y, dx, gradient })
}

fn assert_close(what: &str, fused: &[f32], reference: &[f32]) {
    for (i, (a, b)) in fused.iter().zip(reference).enumerate() {
        assert!((a - b).abs() <= 2e-6 * (1.0 + b.abs()), "{what}[{i}]: {a} and {b}");
    }
}

#[test]
fn fused_linear_layers_agree_with_autograd() -> Result<()> {
    for activation in
        [Activation::Identity, Activation::Relu, Activation::LeakyRelu, Activation::Sigmoid, Activation::Tanh]
    {
        let fused = Linear::new(7, 12, activation);
        for (units, accumulate) in [(0..12, false), (3..9, true), (11..12, false)] {
            let ours = outcome(&fused, units.clone(), accumulate)?;
            let reference = outcome(&ByAutograd(&fused), units, accumulate)?;
            assert_close("y", &ours.y, &reference.y);
            assert_close("dx", &ours.dx, &reference.dx);
            assert_close("gradient", &ours.gradient, &reference.gradient);
        }
    }
    Ok(())
}
