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

/// How long a machine keeps a speed, in seconds: after that, of a deviation 1/e is expected to be left. On the virtual
/// machine where this was looked at, cores changed between two speeds every 15 to 20 s; of such a change, 1/e is left after
/// half of that. The disk's speed is taken to last as long.
const KEPT_S: f64 = 9.0;

impl Speed {
    /// The mean speed to be expected over the `seconds` that follow: short of a moment it is this speed, in the long run
    /// that of the probe. For a deviation whose correlation decays exponentially, a share (1 − e^−x) ÷ x of it is left
    /// in the mean, x being the seconds over those for which speeds are kept; in logarithms, as speeds are factors.
    #[must_use]
    pub fn over(self, seconds: f64) -> Self {
        let x = seconds / KEPT_S;
        let left = if x > 0.0 { -(-x).exp_m1() / x } else { 1.0 };
        let mean = |speed: f64| speed.powf(left);
        let disk = self.disk.map(|disk| DiskSpeed { read: mean(disk.read), mixed: mean(disk.mixed) });
        Self { compute: mean(self.compute), disk }
    }
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

    use super::{DiskSpeed, KEPT_S, Speed};
    use crate::{Machine, machine::tests::SHORT};

    #[test]
    fn a_speed_is_kept_for_a_moment_and_forgotten_in_the_long_run() {
        let speed = Speed { compute: 2.0, disk: Some(DiskSpeed { read: 0.5, mixed: 1.0 }) };
        assert_eq!(speed.over(0.0), speed);
        let left = 1.0 - (-1.0_f64).exp();
        let kept = speed.over(KEPT_S);
        assert!((kept.compute - 2.0_f64.powf(left)).abs() < 1e-12, "{kept:?}");
        assert!((kept.disk.unwrap().read - 0.5_f64.powf(left)).abs() < 1e-12, "{kept:?}");
        let forgotten = speed.over(1e6);
        assert!((forgotten.compute - 1.0).abs() < 1e-4 && forgotten.disk.unwrap().mixed == 1.0);
    }

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
