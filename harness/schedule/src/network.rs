//! A network's geometry: layers, the boundaries between them, and the panels their parameters are cut into.

use std::ops::Range;

use spillbench_schema::{
    Bytes,
    config::{Activation, LayerSpec, NetworkConfig, panel_rows},
};

/// A layer of the network, in order from the input; auxiliary heads come after the network's own layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId(pub u16);

/// A panel, numbered over the whole network in layer order, heads last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PanelId(pub u32);

/// A place between layers. Boundary `b` of a network with L layers is the input of layer `b` and, for b > 0, the
/// output of layer `b − 1`; boundary L holds the network's outputs. Outputs of heads are numbered from L + 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boundary(pub u16);

/// What a layer computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// y = activation(x·Wᵀ + b), with an activation whose derivative is a function of its output.
    Linear(Activation),
    /// y = activation(x), elementwise; no parameters.
    Elementwise(Activation),
}

/// One layer: its shape and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its number.
    pub id: LayerId,
    /// What it computes.
    pub kind: LayerKind,
    /// Width of one sample at its input.
    pub inputs: usize,
    /// Width of one sample at its output.
    pub outputs: usize,
    /// Where its input lies.
    pub input: Boundary,
    /// Where its output lies.
    pub output: Boundary,
    /// Its panels; none for a layer without parameters.
    pub panels: Range<u32>,
}

/// Rows of a layer's weight matrix, with their biases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PanelGeometry {
    /// The layer.
    pub layer: LayerId,
    /// Position in the layer.
    pub index: usize,
    /// Rows of the weight matrix: output units of the layer.
    pub units: Range<usize>,
    /// Columns of the weight matrix.
    pub inputs: usize,
}

impl PanelGeometry {
    /// Weights and biases.
    pub fn parameters(&self) -> u64 {
        self.units.len() as u64 * (self.inputs as u64 + 1)
    }
}

/// Layers and panels of a network, with the auxiliary heads of a strategy that has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    layers: Vec<Layer>,
    panels: Vec<PanelGeometry>,
    /// Layers of the network itself, heads left out.
    depth: usize,
    /// First layer of each layer that the scenario wrote (repeats unrolled), and `depth` at the end.
    written: Vec<usize>,
    panel: Bytes,
}

impl Network {
    /// The network of a scenario.
    pub fn new(config: &NetworkConfig) -> Self {
        let mut network =
            Self { layers: Vec::new(), panels: Vec::new(), depth: 0, written: vec![0], panel: config.panel };
        let mut width = config.input.iter().product();
        for LayerSpec::Linear(linear) in &config.layers {
            for _ in 0..linear.repeat {
                match linear.activation {
                    Activation::Gelu | Activation::Silu => {
                        network.push_linear(width, linear.units, Activation::Identity);
                        network.push_layer(
                            LayerKind::Elementwise(linear.activation),
                            linear.units,
                            linear.units,
                        );
                    }
                    fused => network.push_linear(width, linear.units, fused),
                }
                width = linear.units;
                network.written.push(network.layers.len());
            }
        }
        network.depth = network.layers.len();
        network
    }

    fn push_layer(&mut self, kind: LayerKind, inputs: usize, outputs: usize) {
        let id = self.layers.len() as u16;
        let end = self.panels.len() as u32;
        self.layers.push(Layer {
            id: LayerId(id),
            kind,
            inputs,
            outputs,
            input: Boundary(id),
            output: Boundary(id + 1),
            panels: end..end,
        });
    }

    fn push_linear(&mut self, inputs: usize, outputs: usize, activation: Activation) {
        self.push_layer(LayerKind::Linear(activation), inputs, outputs);
        self.cut_into_panels();
    }

    /// Cuts the last layer into panels of at most `panel` bytes of weights, in whole rows.
    fn cut_into_panels(&mut self) {
        let Some(layer) = self.layers.last_mut() else { return };
        let rows = panel_rows(self.panel, layer.inputs);
        let first = self.panels.len() as u32;
        for (index, start) in (0..layer.outputs).step_by(rows).enumerate() {
            self.panels.push(PanelGeometry {
                layer: layer.id,
                index,
                units: start..start.saturating_add(rows).min(layer.outputs),
                inputs: layer.inputs,
            });
        }
        layer.panels = first..self.panels.len() as u32;
    }

    /// Adds a linear head of `outputs` units on boundary `at`, and returns its layer.
    pub fn push_head(&mut self, at: Boundary, outputs: usize) -> LayerId {
        let inputs = self.width(at);
        self.push_linear(inputs, outputs, Activation::Identity);
        let id = self.layers.len() - 1;
        let layer = &mut self.layers[id];
        layer.input = at;
        layer.id
    }

    /// Layers of the network, heads left out.
    pub const fn depth(&self) -> usize {
        self.depth
    }

    /// All layers, heads last.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// One layer.
    pub fn layer(&self, id: LayerId) -> &Layer {
        &self.layers[usize::from(id.0)]
    }

    /// All panels, heads last.
    pub fn panels(&self) -> &[PanelGeometry] {
        &self.panels
    }

    /// One panel.
    pub fn panel(&self, id: PanelId) -> &PanelGeometry {
        &self.panels[id.0 as usize]
    }

    /// Panels of the network itself, heads left out.
    pub fn own_panels(&self) -> u32 {
        self.layers[..self.depth].iter().map(|layer| layer.panels.end).max().unwrap_or(0)
    }

    /// Boundaries, those behind heads included.
    pub fn boundaries(&self) -> usize {
        self.layers.len() + 1
    }

    /// Values of one sample at a boundary.
    pub fn width(&self, boundary: Boundary) -> usize {
        match usize::from(boundary.0) {
            0 => self.layers[0].inputs,
            b => self.layers[b - 1].outputs,
        }
    }

    /// The boundary with the network's outputs.
    pub const fn output(&self) -> Boundary {
        Boundary(self.depth as u16)
    }

    /// Outputs of the network: classes.
    pub fn classes(&self) -> usize {
        self.width(self.output())
    }

    /// Parameters of the network, heads left out.
    pub fn parameters(&self) -> u64 {
        self.panels[..self.own_panels() as usize].iter().map(PanelGeometry::parameters).sum()
    }

    /// Layers that the scenario wrote, repeats unrolled: what groups and stages are counted in.
    pub fn written_layers(&self) -> usize {
        self.written.len() - 1
    }

    /// The layers that stand for a run of written layers.
    pub fn layers_of_written(&self, written: Range<usize>) -> Range<usize> {
        self.written[written.start]..self.written[written.end]
    }

    /// Floating-point operations of one sample through a layer, forward; backward costs twice that.
    pub fn forward_flops(&self, layer: usize) -> u64 {
        let layer = &self.layers[layer];
        match layer.kind {
            LayerKind::Linear(_) => 2 * layer.inputs as u64 * layer.outputs as u64,
            LayerKind::Elementwise(_) => layer.outputs as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use spillbench_schema::{
        Bytes,
        config::{Activation, LayerSpec, Linear, NetworkConfig},
    };

    use super::{Boundary, LayerKind, Network};

    fn config(panel: u64, widths: &[(usize, Activation)]) -> NetworkConfig {
        let layers = widths
            .iter()
            .map(|&(units, activation)| LayerSpec::Linear(Linear { units, activation, repeat: 1 }))
            .collect();
        NetworkConfig { input: vec![28, 28], layers, panel: Bytes(panel) }
    }

    #[test]
    fn a_layer_is_cut_into_whole_rows_that_cover_it_once() {
        let network = Network::new(&config(100_000, &[(100, Activation::Relu), (10, Activation::Identity)]));
        let first: Vec<_> = network.panels()[..7].iter().map(|panel| panel.units.clone()).collect();
        assert_eq!(first, [0..16, 16..32, 32..48, 48..64, 64..80, 80..96, 96..100]);
        assert_eq!(network.panels()[7].units, 0..10);
        assert_eq!(network.parameters(), 785 * 100 + 101 * 10);
    }

    #[test]
    fn a_row_larger_than_a_panel_is_a_panel_of_its_own() {
        let network = Network::new(&config(4, &[(3, Activation::Identity)]));
        assert_eq!(network.panels().len(), 3);
    }

    #[test]
    fn an_activation_that_needs_its_input_becomes_a_layer_of_its_own() {
        let network = Network::new(&config(1 << 20, &[(8, Activation::Gelu), (4, Activation::Identity)]));
        let kinds: Vec<_> = network.layers().iter().map(|layer| layer.kind).collect();
        assert_eq!(
            kinds,
            [
                LayerKind::Linear(Activation::Identity),
                LayerKind::Elementwise(Activation::Gelu),
                LayerKind::Linear(Activation::Identity)
            ]
        );
        assert_eq!(network.written_layers(), 2);
        assert_eq!(network.layers_of_written(0..1), 0..2);
    }

    #[test]
    fn a_head_hangs_on_its_boundary_and_is_no_part_of_the_network() {
        let mut network = Network::new(&config(1 << 20, &[(8, Activation::Relu), (4, Activation::Identity)]));
        let parameters = network.parameters();
        let head = network.push_head(Boundary(1), 4);
        assert_eq!(network.layer(head).input, Boundary(1));
        assert_eq!(network.layer(head).output, Boundary(3));
        assert_eq!(network.width(Boundary(3)), 4);
        assert_eq!(network.parameters(), parameters);
        assert_eq!(network.output(), Boundary(2));
    }
}
