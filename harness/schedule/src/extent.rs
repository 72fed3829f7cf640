//! Extents: what a store holds of each panel.

use spillbench_schema::config::Precision;

use crate::network::{Network, PanelGeometry, PanelId};

/// What an extent holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExtentKind {
    /// The panel's weights and biases, as they are trained.
    Weights,
    /// What only an update needs: the panel's f32 master, if one is kept, and the optimizer's state.
    State,
    /// A copy of the panel's weights as they were at the last exchange.
    Snapshot,
}

/// A panel's bytes of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    /// What it holds.
    pub kind: ExtentKind,
    /// Of which panel.
    pub panel: PanelId,
}

impl Extent {
    /// The weights of a panel.
    pub const fn weights(panel: PanelId) -> Self {
        Self { kind: ExtentKind::Weights, panel }
    }

    /// The master and the optimizer's state of a panel.
    pub const fn state(panel: PanelId) -> Self {
        Self { kind: ExtentKind::State, panel }
    }

    /// The snapshot of a panel's weights.
    pub const fn snapshot(panel: PanelId) -> Self {
        Self { kind: ExtentKind::Snapshot, panel }
    }
}

/// The extents of a trial, in the order of a store's table: all weights, all state, all snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extents {
    /// Parameters of each panel.
    parameters: Vec<u64>,
    precision: Precision,
    /// f32 values a parameter of master and optimizer state.
    state: u64,
    snapshots: bool,
}

/// What a store moves is a multiple of this: direct I/O's alignment.
pub(crate) const ALIGNMENT: u64 = 4096;

impl Extents {
    /// The extents of `network` at a precision, under an optimizer that keeps `state` values a parameter.
    pub fn new(network: &Network, precision: Precision, state: usize, snapshots: bool) -> Self {
        let parameters = network.panels().iter().map(PanelGeometry::parameters).collect();
        let state = state as u64 + u64::from(precision.has_master());
        Self { parameters, precision, state, snapshots }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.parameters.len() * (1 + usize::from(self.has_state()) + usize::from(self.snapshots))
    }

    /// Whether there are none: a network without parameters.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an update needs more than the weights: a master, or optimizer state.
    pub const fn has_state(&self) -> bool {
        self.state > 0
    }

    /// What an extent of a kind holds, in words.
    pub const fn name(&self, kind: ExtentKind) -> &'static str {
        match (kind, self.precision.has_master()) {
            (ExtentKind::Weights, _) => "weights",
            (ExtentKind::State, false) => "optimizer state",
            (ExtentKind::State, true) if self.state == 1 => "f32 master",
            (ExtentKind::State, true) => "f32 master and optimizer state",
            (ExtentKind::Snapshot, _) => "snapshot",
        }
    }

    /// Position in the store's table.
    pub fn index(&self, extent: Extent) -> usize {
        let block = match extent.kind {
            ExtentKind::Weights => 0,
            ExtentKind::State => 1,
            ExtentKind::Snapshot => 1 + usize::from(self.has_state()),
        };
        block * self.parameters.len() + extent.panel.0 as usize
    }

    /// Bytes of the values it holds.
    pub fn payload(&self, extent: Extent) -> u64 {
        let parameters = self.parameters[extent.panel.0 as usize];
        match extent.kind {
            ExtentKind::Weights | ExtentKind::Snapshot => self.precision.parameter_bytes() * parameters,
            ExtentKind::State => 4 * self.state * parameters,
        }
    }

    /// Bytes it takes in memory and moves in one read or write.
    pub fn bytes(&self, extent: Extent) -> u64 {
        self.payload(extent).next_multiple_of(ALIGNMENT)
    }

    /// All of them, in the order of [`Extents::index`].
    pub fn iter(&self) -> impl Iterator<Item = Extent> + '_ {
        let kinds = [
            (ExtentKind::Weights, true),
            (ExtentKind::State, self.has_state()),
            (ExtentKind::Snapshot, self.snapshots),
        ];
        kinds.into_iter().filter(|(_, present)| *present).flat_map(move |(kind, _)| {
            (0..self.parameters.len() as u32).map(move |panel| Extent { kind, panel: PanelId(panel) })
        })
    }
}

#[cfg(test)]
mod tests {
    use spillbench_schema::{
        Bytes,
        config::{Activation, LayerSpec, Linear, NetworkConfig, Precision},
    };

    use super::{ExtentKind, Extents};
    use crate::network::Network;

    #[test]
    fn what_an_update_needs_beside_weights_is_named_by_what_it_holds() {
        let layers = vec![LayerSpec::Linear(Linear { units: 10, activation: Activation::Relu, repeat: 1 })];
        let network = Network::new(&NetworkConfig { input: vec![64], layers, panel: Bytes(4096) });
        for (precision, state, name) in [
            (Precision::F32, 2, "optimizer state"),
            (Precision::Bf16, 1, "optimizer state"),
            (Precision::Bf16Master, 0, "f32 master"),
            (Precision::Bf16Master, 2, "f32 master and optimizer state"),
        ] {
            assert_eq!(Extents::new(&network, precision, state, false).name(ExtentKind::State), name);
        }
    }

    #[test]
    fn extents_are_numbered_in_the_order_they_are_listed() {
        let layers = vec![LayerSpec::Linear(Linear { units: 64, activation: Activation::Relu, repeat: 3 })];
        let network = Network::new(&NetworkConfig { input: vec![64], layers, panel: Bytes(4096) });
        for (state, snapshots) in [(0, false), (1, false), (2, true), (0, true)] {
            for precision in [Precision::F32, Precision::Bf16, Precision::Bf16Master] {
                let extents = Extents::new(&network, precision, state, snapshots);
                let indices: Vec<usize> = extents.iter().map(|extent| extents.index(extent)).collect();
                assert_eq!(indices, (0..extents.len()).collect::<Vec<_>>());
            }
        }
    }
}
