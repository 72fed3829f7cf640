//! How fast a machine is at a moment, beside when it was probed: the neighbours of a virtual machine, its clock and the
//! other users of its disk change its rates by a third within minutes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Machine;

/// A machine's rates at a moment, as shares of those that were probed: 1.1 is a tenth faster.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Speed {
    /// Of products by all cores.
    pub compute: f64,
    /// Of the disk, where it was asked.
    pub disk: Option<DiskSpeed>,
}

/// A disk's rates at a moment, as shares of those that were probed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiskSpeed {
    /// Of reads alone.
    pub read: f64,
    /// Of as many bytes written as read, together.
    pub mixed: f64,
}

impl Machine {
    /// The machine with the rates of a moment. Writes alone, and other mixes, are taken to have changed as the mix
    /// that was measured; memory's traffic, and what one thread reaches, as not at all.
    #[must_use]
    pub fn at(mut self, speed: &Speed) -> Self {
        for rate in self.compute.products.iter_mut().flat_map(|table| table.gflops.values_mut()) {
            *rate *= speed.compute;
        }
        if let Some(speed) = speed.disk {
            for rates in &mut self.disk.rates {
                rates.read_gb_per_s *= speed.read;
                rates.write_gb_per_s *= speed.mixed;
                for mixed in &mut rates.mixed {
                    mixed.gb_per_s *= speed.mixed;
                }
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{DiskSpeed, Speed};
    use crate::{Machine, machine::tests::SHORT};

    #[test]
    fn rates_are_those_of_the_moment_where_it_was_measured() {
        let machine = Machine::from_text(Path::new("m.yaml"), SHORT).unwrap();
        let slower = machine.clone().at(&Speed { compute: 0.5, disk: None });
        assert_eq!(slower.compute.products[0].gflops[&64], 40.0);
        assert_eq!(slower.disk, machine.disk);
        let disk = machine.at(&Speed { compute: 1.0, disk: Some(DiskSpeed { read: 2.0, mixed: 0.5 }) }).disk;
        assert_eq!((disk.rates[0].read_gb_per_s, disk.rates[0].write_gb_per_s), (6.0, 1.0));
    }
}
