//! The shape of a scenario file, and the one JSON Schema that both editors and validation use.

use std::{collections::BTreeMap, sync::LazyLock};

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    claim::{Claim, Reference},
    config::{Config, DataConfig, ExecutionConfig, NetworkConfig, Parallelism, StorageConfig, TrainConfig},
    study::Matrix,
};

/// The version of the format that this program reads.
pub const SCHEMA_VERSION: u64 = 1;

/// What names of scenarios look like: they are folders, and parts of identifiers.
pub(crate) const NAME_PATTERN: &str = "^[a-z0-9-]+$";
/// What names of arms look like.
pub(crate) const ARM_PATTERN: &str = "^[a-z0-9_-]+$";

/// The keys of a scenario that make up a [`Config`], and that arms override.
pub(crate) const CONFIG_KEYS: [&str; 6] = ["data", "network", "train", "parallelism", "storage", "execution"];

// A file may leave keys to the one it extends, its arms and its matrix, so no value of this type is ever read:
// it is the source of the schema, and a `Study` is what a file becomes.
/// A scenario file as it is written: one question, and the trials that answer it.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema_version: u64,
    /// The folder of its results: lower-case letters, digits and hyphens.
    #[schemars(regex(pattern = NAME_PATTERN))]
    pub name: String,
    /// The question it answers.
    pub question: String,
    /// Another scenario file, relative to this one, whose keys are inherited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<String>,
    /// Where the samples come from and how they are split.
    pub data: DataConfig,
    /// The network: its input shape and its layers.
    pub network: NetworkConfig,
    /// Loss, optimizer, batches and duration.
    pub train: TrainConfig,
    /// Who computes what, who talks to whom, how often.
    #[serde(default)]
    pub parallelism: Parallelism,
    /// Where parameters and optimizer state live.
    #[serde(default)]
    pub storage: StorageConfig,
    /// How this machine is used; never changes a result.
    #[serde(default)]
    pub execution: ExecutionConfig,
    /// Named variants; each overrides any of the keys above. Default: one, called `default`.
    #[serde(default)]
    pub arms: BTreeMap<String, Config>,
    /// What is varied.
    #[serde(default)]
    pub matrix: Matrix,
    /// What it claims of its results.
    #[serde(default)]
    pub claims: Vec<Claim>,
    /// Published values to print beside the measured ones.
    #[serde(default)]
    pub references: Vec<Reference>,
}

/// The JSON Schema (2020-12) of a scenario file.
///
/// Each definition `X` below [`Config`] has a twin `XOverrides` in which nothing is required, for arms and for
/// files that leave keys to others. A file without `extends`, `arms` and `matrix` must be complete.
pub fn json_schema() -> Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(generate);
    SCHEMA.clone()
}

/// The same schema, for validation.
pub(crate) fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(generate);
    &SCHEMA
}

const DEFINITIONS: &str = "#/$defs/";

fn generate() -> Value {
    let generator: SchemaGenerator = SchemaSettings::draft2020_12().into_generator();
    let mut root = generator.into_root_schema_for::<Scenario>().to_value();
    add_overrides(&mut root["$defs"]);
    let complete: Map<String, Value> =
        CONFIG_KEYS.iter().map(|key| ((*key).to_owned(), root["properties"][key].clone())).collect();
    for key in CONFIG_KEYS {
        rename_references(&mut root["properties"][key]);
    }
    let arms = &mut root["properties"]["arms"];
    rename_references(arms);
    arms["propertyNames"] = json!({ "pattern": ARM_PATTERN });
    root["required"] = json!(["schema_version", "name"]);
    let elsewhere = ["extends", "arms", "matrix"].map(|key| json!({ "required": [key] }));
    root["allOf"] = json!([
        { "if": { "not": { "required": ["extends"] } }, "then": { "required": ["question"] } },
        {
            "if": { "not": { "anyOf": elsewhere } },
            "then": { "required": ["data", "network", "train"], "properties": complete },
        },
    ]);
    root
}

/// Adds to each definition that [`Config`] leads to a twin without required keys.
fn add_overrides(definitions: &mut Value) {
    let mut pending = vec!["Config".to_owned()];
    while let Some(name) = pending.pop() {
        let twin = format!("{name}Overrides");
        if definitions.get(&twin).is_some() {
            continue;
        }
        let mut schema = definitions[&name].clone();
        references(&schema, &mut pending);
        rename_references(&mut schema);
        drop_required(&mut schema);
        definitions[&twin] = schema;
    }
}

fn references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(name) =
                members.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix(DEFINITIONS))
            {
                found.push(name.to_owned());
            }
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn rename_references(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(target) if key == "$ref" => target.push_str("Overrides"),
                    member => rename_references(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(rename_references),
        _ => {}
    }
}

fn drop_required(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    members.remove("required");
    for (key, member) in members {
        match (key.as_str(), member) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(drop_required),
            ("items" | "additionalProperties", member) => drop_required(member),
            ("anyOf", Value::Array(branches)) => branches.iter_mut().for_each(drop_required),
            // A variant's tag stays required: it is what tells the variants apart.
            ("oneOf", Value::Array(branches)) => {
                for branch in branches {
                    if let Some(Value::Object(tags)) = branch.get_mut("properties") {
                        tags.values_mut().for_each(drop_required);
                    }
                }
            }
            _ => {}
        }
    }
}
