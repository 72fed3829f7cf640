//! A machine as the cost model sees it, `machine.json`: what `spillbench probe` measured, or a description written by
//! hand of a machine that one does not have.
//!
//! Rates are given at a few points; what lies between is interpolated by the cost model, so a description may be as
//! short as one figure a table.

mod disk;
mod speed;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use thiserror::Error;

pub use self::{
    disk::{Disk, DiskRates, MixedRate},
    speed::{DiskSpeed, Speed},
};
use crate::{summary, units::Bytes};

/// The version of the format that this program reads and writes.
pub const MACHINE_VERSION: u32 = 1;

/// What a machine can do: cores, memory, disk. GFLOP are 10⁹ operations, GB 10⁹ bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The version of this format: 1.
    pub version: u32,
    /// What it is called in what is printed.
    pub name: String,
    /// Cores that may compute.
    pub cores: usize,
    /// Physical memory.
    pub memory: Bytes,
    /// How fast it computes.
    pub compute: Compute,
    /// Memory traffic in GB/s, reads and writes together, by number of threads.
    #[serde(deserialize_with = "points")]
    pub memory_gb_per_s: BTreeMap<usize, f64>,
    /// Microseconds from one thread's message to another thread's waking up for it.
    pub hand_over_us: f64,
    /// How fast its disk moves bytes.
    pub disk: Disk,
    /// Where the figures come from; none where they were written by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// Reads a table of points. JSON writes its keys as text, YAML as numbers.
fn points<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<usize, f64>, D::Error> {
    #[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
    #[serde(untagged)]
    enum Key {
        Number(usize),
        Text(String),
    }
    BTreeMap::<Key, f64>::deserialize(deserializer)?
        .into_iter()
        .map(|(key, value)| match key {
            Key::Number(number) => Ok((number, value)),
            Key::Text(text) => text
                .parse()
                .map(|number| (number, value))
                .map_err(|_| D::Error::custom(format!("`{text}` is not a whole number"))),
        })
        .collect()
}

/// How fast a machine computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compute {
    /// What one thread reaches in the innermost loop, its operands in the nearest cache, in GFLOP/s. For comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_gflops: Option<f64>,
    /// Rates of products, at least one.
    pub products: Vec<ProductRates>,
}

/// The rate of a product by number of samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductRates {
    /// Which; none for all three.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<Product>,
    /// By how many threads.
    pub threads: usize,
    /// Bytes of the weights that samples are multiplied with: small ones stay in cache, large ones come from memory.
    pub weights: Bytes,
    /// Samples → GFLOP/s.
    #[serde(deserialize_with = "points")]
    pub gflops: BTreeMap<usize, f64>,
}

/// The products of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    /// y = x·Wᵀ
    Forward,
    /// dx = dz·W
    InputError,
    /// W −= η dzᵀ·x, the gradient formed and applied.
    Update,
}

impl Product {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Forward, Self::InputError, Self::Update];

    /// The name in files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::InputError => "input_error",
            Self::Update => "update",
        }
    }
}

/// Where measured figures come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The processor, memory and kernel.
    pub machine: summary::Machine,
    /// The file system that was measured, and the device below it.
    pub filesystem: String,
    /// What the store said of itself.
    pub store: String,
    /// Seconds since the Unix epoch, at the end.
    pub unix_s: u64,
    /// Seconds that measuring took.
    pub took_s: f64,
    /// The program's version.
    pub version: String,
}

/// Why a description of a machine cannot be used.
#[derive(Debug, Error)]
pub enum MachineError {
    /// The file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// It is not a description of a machine.
    #[error("{}: {cause}; scenarios/machines/server.yaml is an example", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Field and line.
        cause: serde_yaml::Error,
    },
    /// A figure makes no sense.
    #[error("{}: {field} {fault}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which figure.
        field: String,
        /// What is wrong with it, and what it must be.
        fault: String,
    },
}

impl Machine {
    /// Reads a description, JSON or YAML.
    ///
    /// # Errors
    /// See [`MachineError`]: the file and the field are named.
    pub fn load(path: &Path) -> Result<Self, MachineError> {
        let text =
            fs::read_to_string(path).map_err(|cause| MachineError::Read { path: path.to_owned(), cause })?;
        Self::from_text(path, &text)
    }

    /// As [`Machine::load`], for a text at hand; `path` names it.
    ///
    /// # Errors
    /// As [`Machine::load`].
    pub fn from_text(path: &Path, text: &str) -> Result<Self, MachineError> {
        let machine: Self = serde_yaml::from_str(text)
            .map_err(|cause| MachineError::Form { path: path.to_owned(), cause })?;
        match machine.fault() {
            Some((field, fault)) => Err(MachineError::Value { path: path.to_owned(), field, fault }),
            None => Ok(machine),
        }
    }

    /// The first field whose value makes no sense, and why.
    fn fault(&self) -> Option<(String, String)> {
        let mut found = Faults::default();
        if self.version != MACHINE_VERSION {
            found.add("version", format!("is {} but this program reads {MACHINE_VERSION}", self.version));
        }
        found.at_least_one("cores", self.cores);
        found.at_least_one("memory", self.memory.0 as usize);
        found.rates("memory_gb_per_s", &self.memory_gb_per_s);
        if !(self.hand_over_us.is_finite() && self.hand_over_us >= 0.0) {
            found.add("hand_over_us", format!("is {} but must not be negative", self.hand_over_us));
        }
        if self.compute.products.is_empty() {
            found.add("compute.products", "is empty; give at least one table of rates".to_owned());
        }
        for (index, rates) in self.compute.products.iter().enumerate() {
            let field = format!("compute.products[{index}]");
            found.at_least_one(&format!("{field}.threads"), rates.threads);
            found.at_least_one(&format!("{field}.weights"), rates.weights.0 as usize);
            found.rates(&format!("{field}.gflops"), &rates.gflops);
        }
        for product in Product::ALL {
            if self.compute.products.iter().all(|rates| rates.product.is_some_and(|given| given != product)) {
                found.add(
                    "compute.products",
                    format!(
                        "has no rates for `{}`; add them, or leave `product` out of a table",
                        product.name()
                    ),
                );
            }
        }
        self.disk.faults(&mut found);
        found.0
    }
}

/// The first fault found: field, and what is wrong.
#[derive(Default)]
struct Faults(Option<(String, String)>);

impl Faults {
    fn add(&mut self, field: &str, fault: String) {
        self.0.get_or_insert_with(|| (field.to_owned(), fault));
    }

    fn at_least_one(&mut self, field: &str, value: usize) {
        if value == 0 {
            self.add(field, "is 0 but must be at least 1".to_owned());
        }
    }

    fn rate(&mut self, field: &str, value: f64) {
        if !(value.is_finite() && value > 0.0) {
            self.add(field, format!("is {value} but must be greater than 0"));
        }
    }

    fn share(&mut self, field: &str, value: f64) {
        if !(value > 0.0 && value <= 1.0) {
            self.add(field, format!("is {value} but must be a share: greater than 0, at most 1"));
        }
    }

    fn rates(&mut self, field: &str, values: &BTreeMap<usize, f64>) {
        if values.is_empty() {
            self.add(field, "is empty; give at least one point".to_owned());
        }
        for (at, value) in values {
            self.at_least_one(&format!("{field}'s point {at}"), *at);
            self.rate(&format!("{field}.{at}"), *value);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::Machine;

    pub(crate) const SHORT: &str = "
version: 1
name: a short description
cores: 8
memory: 64GiB
compute: { products: [ { threads: 1, weights: 16MiB, gflops: { 1: 8, 64: 80 } } ] }
memory_gb_per_s: { 1: 10, 8: 60 }
hand_over_us: 5
disk: { rates: [ { queue_depth: 32, chunk: 1MiB, read_gb_per_s: 3, write_gb_per_s: 2 } ] }
";

    fn check(from: &str, to: &str, expected: &[&str]) {
        assert!(SHORT.contains(from), "{from}");
        let error =
            Machine::from_text(Path::new("m.yaml"), &SHORT.replace(from, to)).unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }

    #[test]
    fn a_short_description_is_enough_and_comes_back_as_it_was_written() {
        let machine = Machine::from_text(Path::new("m.yaml"), SHORT).unwrap();
        assert_eq!(machine.disk.compute_share_while_streaming, 1.0);
        let json = serde_json::to_string(&machine).unwrap();
        assert_eq!(Machine::from_text(Path::new("m.json"), &json).unwrap(), machine);
    }

    #[test]
    fn what_is_wrong_is_named_with_file_and_field() {
        check("cores: 8", "cores: many", &["m.yaml: cores: invalid type", "line 4"]);
        check("cores: 8", "kores: 8", &["m.yaml: unknown field `kores`", "cores"]);
        check("hand_over_us: 5", "", &["m.yaml: missing field `hand_over_us`"]);
        check("version: 1", "version: 7", &["m.yaml: version is 7 but this program reads 1"]);
        check("read_gb_per_s: 3", "read_gb_per_s: 0", &["m.yaml: disk.rates[0].read_gb_per_s is 0"]);
        check("64: 80", "64: -80", &["m.yaml: compute.products[0].gflops.64 is -80"]);
        check("{ 1: 10, 8: 60 }", "{}", &["m.yaml: memory_gb_per_s is empty"]);
        check("threads: 1", "threads: 1, product: update", &["compute.products has no rates for `forward`"]);
        check("hand_over_us: 5", "hand_over_us: -1", &["m.yaml: hand_over_us is -1"]);
    }
}
