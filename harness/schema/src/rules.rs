//! Rules between keys of one configuration. Each is told at the place of the key to change, with its remedy.
//!
//! A rule looks only at sections that can be read, so one broken section does not hide what is wrong in others.

mod optimizer;

use serde::de::DeserializeOwned;

use crate::{
    config::{
        ActivationPolicy, DataConfig, DataParallel, DataSource, LayerSpec, Layerwise, ModelParallel,
        NetworkConfig, OptimizerConfig, Parallelism, Precision, StorageConfig, StorageMode, TrainConfig,
        Update, limits,
    },
    document::Node,
    problem::Problem,
    shape::Schema,
    structure,
    units::Bytes,
};

/// Pixels of an image of `mnist` and `digits`.
const IMAGE_LEN: usize = 784;
/// Their classes.
const CLASSES: usize = 10;
/// What direct I/O is aligned to.
const IO_ALIGNMENT: u64 = 4096;

/// Checks a configuration whose form has been checked.
pub(crate) fn check(config: &Node, problems: &mut Vec<Problem>) {
    let mut rules = Rules { config, problems };
    let data: Option<DataConfig> = rules.section("data");
    let network: Option<NetworkConfig> = rules.section("network");
    let train: Option<TrainConfig> = rules.section("train");
    let parallelism: Option<Parallelism> = rules.section_or_default("parallelism");
    let storage: Option<StorageConfig> = rules.section_or_default("storage");

    rules.duration();
    if let Some(network) = &network {
        rules.network_size(network);
    }
    if let Some(train) = &train {
        rules.shards(train);
        for (key, message) in optimizer::refusals(&train.optimizer) {
            rules.report(&key, message);
        }
    }
    if let (Some(train), Some(parallelism)) = (&train, &parallelism) {
        rules.data_ranks(train, parallelism);
        rules.folded_update(train, parallelism);
    }
    if let (Some(network), Some(parallelism)) = (&network, &parallelism) {
        rules.layers(network, parallelism);
    }
    if let Some(storage) = &storage {
        rules.storage(storage);
    }
    if let (Some(data), Some(network)) = (&data, &network) {
        rules.images(data, network);
    }
}

struct Rules<'a> {
    config: &'a Node,
    problems: &'a mut Vec<Problem>,
}

impl Rules<'_> {
    /// A section whose values are sound; keys that it should not have, which are told apart, are left out.
    fn section<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let schema = Schema::config().child(key)?;
        let section = structure::without_unknown_keys(self.config.child(key)?, schema);
        if !structure::is_sound(&section, schema) {
            return None;
        }
        serde_json::from_value(section.to_json()).ok()
    }

    fn section_or_default<T: DeserializeOwned + Default>(&self, key: &str) -> Option<T> {
        if self.config.child(key).is_none() { Some(T::default()) } else { self.section(key) }
    }

    fn report(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(self.config.place_of(key), message));
    }

    fn is_set(&self, key: &str) -> bool {
        self.config.at(key).is_some_and(|node| !node.is_null())
    }

    fn duration(&mut self) {
        match (self.is_set("train.epochs"), self.is_set("train.steps")) {
            (true, true) => {
                // The one written last: in a flag, or further down.
                let place = self.config.place_of("train.epochs").max(self.config.place_of("train.steps"));
                let message =
                    "train.epochs and train.steps are both given; keep one (`null` unsets an inherited one)";
                self.problems.push(Problem::new(place, message));
            }
            (false, false) if self.is_set("train") => {
                self.report("train", "neither train.epochs nor train.steps is given; add one of them");
            }
            _ => {}
        }
    }

    /// What the keys of a network multiply to. Each bounds the memory and the time that planning takes.
    fn network_size(&mut self, network: &NetworkConfig) {
        if network.panel.0 == 0 {
            self.report(
                "network.panel",
                "network.panel is 0 bytes, which hold no weight; leave it out for 16MiB",
            );
            return;
        }
        let most = limits::WIDTH;
        if network.input_len().is_none_or(|values| values > most) {
            let message = format!(
                "the dimensions of network.input multiply to more than {most}, the most a layer takes"
            );
            return self.report("network.input", message);
        }
        let (layers, most) = (network.layer_count(), limits::LAYERS);
        if layers > most {
            let message = format!("the network has {layers} layers with repeats; {most} is the most");
            return self.report("network.layers", message);
        }
        let most = limits::PARAMETERS;
        if network.parameters().is_none_or(|parameters| parameters > most) {
            let message =
                format!("the network has more than {most} weights and biases; make its layers narrower");
            return self.report("network.layers", message);
        }
        let most = limits::PANELS;
        if network.panel_count().is_none_or(|panels| panels > most) {
            let message = format!(
                "network.panel is {}, which cuts the network into more than {most} panels; make it larger",
                network.panel
            );
            self.report("network.panel", message);
        }
    }

    fn shards(&mut self, train: &TrainConfig) {
        let &TrainConfig { shards, micro_batches, batch_size, .. } = train;
        if !shards.is_power_of_two() {
            let near = shards.max(1).next_power_of_two();
            self.report(
                "train.shards",
                format!("train.shards is {shards} but must be a power of two, for example {near}"),
            );
        }
        let parts = shards.saturating_mul(micro_batches);
        if parts > limits::CHUNKS {
            let most = limits::CHUNKS;
            let message = format!(
                "train.shards times train.micro_batches is {parts}; {most} parts of a mini-batch are the most"
            );
            self.report("train.micro_batches", message);
        } else if parts > batch_size {
            let key = if self.is_set("train.micro_batches") { "train.micro_batches" } else { "train.shards" };
            self.report(
                key,
                format!(
                    "train.batch_size is {batch_size} but is cut into {shards} shards of {micro_batches} \
                     micro-batches; set train.batch_size to {parts} or more, or cut less"
                ),
            );
        }
    }

    fn data_ranks(&mut self, train: &TrainConfig, parallelism: &Parallelism) {
        let Parallelism::Data(DataParallel::Sync(sync)) = parallelism else { return };
        let (ranks, shards) = (sync.ranks, train.shards);
        let key = "parallelism.data.sync.ranks";
        if !ranks.is_power_of_two() {
            let near = ranks.max(1).next_power_of_two();
            self.report(key, format!("{key} is {ranks} but must be a power of two, for example {near}"));
        } else if !shards.is_multiple_of(ranks) {
            self.report(
                key,
                format!(
                    "train.shards is {shards} but {key} is {ranks}; set train.shards to {ranks} or a multiple \
                     that is a power of two"
                ),
            );
        }
    }

    fn folded_update(&mut self, train: &TrainConfig, parallelism: &Parallelism) {
        if train.update != Update::Folded {
            return;
        }
        let obstacles = [
            (!matches!(train.optimizer, OptimizerConfig::Sgd(_)), "train.optimizer: sgd"),
            (train.shards != 1, "train.shards: 1"),
            (train.micro_batches != 1, "train.micro_batches: 1"),
            (!matches!(parallelism, Parallelism::Single {}), "parallelism: single"),
            (train.precision != Precision::F32, "train.precision: f32"),
        ];
        let needs: Vec<_> = obstacles.iter().filter(|(unmet, _)| *unmet).map(|(_, need)| *need).collect();
        if !needs.is_empty() {
            let message = format!(
                "train.update: folded needs {}; set that, or train.update to formed",
                needs.join(" and ")
            );
            self.report("train.update", message);
        }
    }

    fn layers(&mut self, network: &NetworkConfig, parallelism: &Parallelism) {
        let layers = network.layer_count();
        match parallelism {
            Parallelism::Model(ModelParallel::Pipeline(pipeline)) if pipeline.ranks > layers => {
                let key = "parallelism.model.pipeline.ranks";
                self.report(
                    key,
                    format!(
                        "{key} is {} but the network has {layers} layers; set it to {layers} or less",
                        pipeline.ranks
                    ),
                );
            }
            Parallelism::Layerwise(layerwise) => self.groups(layerwise, layers),
            _ => {}
        }
    }

    fn groups(&mut self, layerwise: &Layerwise, layers: usize) {
        let key = "parallelism.layerwise.groups";
        let groups = layerwise.groups.as_deref();
        if let Some(groups) = groups {
            let sum = groups.iter().fold(0_usize, |sum, size| sum.saturating_add(*size));
            if sum != layers {
                self.report(
                    key,
                    format!(
                        "{key} hold {sum} layers together but the network has {layers}; make them sum to {layers}"
                    ),
                );
            }
        }
        let count = groups.map_or(layers, <[usize]>::len);
        let most = limits::RANKS;
        if layerwise.ranks.is_none() && count > most {
            let message = format!(
                "parallelism.layerwise has {count} groups and so as many ranks; {most} are the most, so set \
                 parallelism.layerwise.ranks to {most} or less"
            );
            self.report("parallelism.layerwise", message);
        }
        if let Some(ranks) = layerwise.ranks.filter(|ranks| *ranks > count) {
            let key = "parallelism.layerwise.ranks";
            self.report(
                key,
                format!("more ranks than groups: {key} is {ranks} but there are {count} groups; set it to {count} or less"),
            );
        }
    }

    fn storage(&mut self, storage: &StorageConfig) {
        if storage.mode != StorageMode::Memory && storage.memory_budget.is_none() {
            self.report(
                "storage.mode",
                format!(
                    "storage.mode: {} needs storage.memory_budget; add it, for example 256MiB",
                    storage.mode.name()
                ),
            );
        }
        if storage.mode == StorageMode::Memory && storage.activations == ActivationPolicy::Spill {
            self.report(
                "storage.activations",
                "storage.activations: spill needs a store to spill to; set storage.mode to direct, or \
                 storage.activations to recompute",
            );
        }
        if storage.generations.is_some() && storage.mode != StorageMode::Direct {
            self.report(
                "storage.generations",
                format!(
                    "storage.generations needs storage.mode: direct, but the mode is {}; set that, or remove \
                     storage.generations (`null` unsets an inherited one)",
                    storage.mode.name()
                ),
            );
        }
        if storage.memory_budget == Some(Bytes(0)) {
            self.report(
                "storage.memory_budget",
                "storage.memory_budget is 0 bytes, in which nothing fits; set it to a size such as 256MiB",
            );
        }
        let chunk = storage.chunk.0;
        if chunk == 0 || !chunk.is_multiple_of(IO_ALIGNMENT) || chunk > limits::CHUNK_BYTES {
            self.report(
                "storage.chunk",
                format!(
                    "storage.chunk is {chunk} bytes but must be a positive multiple of {IO_ALIGNMENT}, at most 1GiB, \
                     for example 1MiB"
                ),
            );
        }
    }

    fn images(&mut self, data: &DataConfig, network: &NetworkConfig) {
        if data.source == DataSource::Synthetic {
            return;
        }
        let source = data.source.name();
        if network.input_len() != Some(IMAGE_LEN) {
            self.report(
                "network.input",
                format!(
                    "data.source is {source}, whose images have {IMAGE_LEN} pixels, so the dimensions of \
                     network.input must multiply to {IMAGE_LEN}; set it to [{IMAGE_LEN}]"
                ),
            );
        }
        let last = network.layers.len().saturating_sub(1);
        if let Some(LayerSpec::Linear(linear)) = network.layers.last()
            && linear.units < CLASSES
        {
            self.report(
                &format!("network.layers.{last}.linear.units"),
                format!(
                    "data.source is {source}, which has {CLASSES} classes, but the last layer has {} units; \
                         set them to {CLASSES} or more",
                    linear.units
                ),
            );
        }
    }
}
