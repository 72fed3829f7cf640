//! A reading of the generated JSON Schema: what a value may be at a place in a scenario.
//!
//! It understands the subset that `schemars` writes for this crate's types, and nothing else.

use std::{cmp::Ordering, fmt};

use serde_json::{Map, Value};

use crate::document::{Content, Node, Scalar as Number};

/// A schema within the schema of scenarios.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema {
    root: &'static Value,
    here: &'static Value,
}

/// What a value must look like.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Anything.
    Any,
    /// One of these names.
    Names(Vec<&'static str>),
    /// A mapping with exactly one of these tags as its key.
    Tagged(Vec<(&'static str, Schema)>),
    /// A mapping.
    Object(Object),
    /// A list with at least so many items.
    Array { items: Option<Schema>, least: usize },
    /// A scalar of one of these JSON types, within bounds.
    Scalar(Scalar),
    /// One of these, told apart by JSON type.
    Untagged(Vec<Schema>),
}

/// The keys of a mapping.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) properties: Vec<(&'static str, Schema)>,
    pub(crate) required: Vec<&'static str>,
    /// The schema of keys not in `properties`, where those are allowed.
    pub(crate) additional: Option<Schema>,
    /// What keys not in `properties` look like.
    pub(crate) key_pattern: Option<&'static str>,
}

/// Bounds of a scalar.
#[derive(Debug)]
pub(crate) struct Scalar {
    pub(crate) types: Vec<&'static str>,
    pub(crate) minimum: Option<Bound>,
    pub(crate) maximum: Option<Bound>,
    pub(crate) pattern: Option<&'static str>,
}

/// One end of a range. Whole numbers are compared as such: a float cannot tell 2⁵³ from its neighbour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    Integer(i128),
    Float(f64),
}

impl Bound {
    fn of(value: &Value) -> Option<Self> {
        let integer = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
        integer.map(Self::Integer).or_else(|| value.as_f64().map(Self::Float))
    }

    /// The range of the integer type that reads a number of this format.
    fn of_format(format: &str) -> Option<(Self, Self)> {
        let (least, most): (i128, i128) = match format {
            "uint8" => (0, u8::MAX.into()),
            "uint16" => (0, u16::MAX.into()),
            "uint32" => (0, u32::MAX.into()),
            "uint" | "uint64" => (0, u64::MAX.into()),
            "int32" => (i32::MIN.into(), i32::MAX.into()),
            "int64" => (i64::MIN.into(), i64::MAX.into()),
            _ => return None,
        };
        Some((Self::Integer(least), Self::Integer(most)))
    }

    /// Whether a number is below, at or above this bound; none for anything but a number.
    pub(crate) fn order_of(self, node: &Node) -> Option<Ordering> {
        let Content::Scalar(number) = &node.content else { return None };
        match (number, self) {
            (Number::Integer(number), Self::Integer(bound)) => Some(number.cmp(&bound)),
            (Number::Integer(number), Self::Float(bound)) => (*number as f64).partial_cmp(&bound),
            (Number::Float(number), Self::Integer(bound)) => number.partial_cmp(&(bound as f64)),
            (Number::Float(number), Self::Float(bound)) => number.partial_cmp(&bound),
            _ => None,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(bound) => write!(f, "{bound}"),
            Self::Float(bound) => write!(f, "{bound}"),
        }
    }
}

impl Schema {
    /// The schema of a scenario file.
    pub(crate) fn scenario() -> Self {
        let root = crate::scenario::schema();
        Self { root, here: root }
    }

    /// The schema of a complete configuration.
    pub(crate) fn config() -> Self {
        let root = crate::scenario::schema();
        Self { root, here: &root["$defs"]["Config"] }
    }

    fn with(self, here: &'static Value) -> Self {
        Self { root: self.root, here }
    }

    /// The value when none is written, where the schema tells.
    pub(crate) fn default(self) -> Option<&'static Value> {
        self.here.get("default")
    }

    fn resolved(self) -> Self {
        match self.here.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#')) {
            Some(pointer) => match self.root.pointer(pointer) {
                Some(target) => self.with(target).resolved(),
                None => self,
            },
            None => self,
        }
    }

    fn branches(self, keyword: &str) -> Option<Vec<Self>> {
        let branches = self.here.get(keyword)?.as_array()?;
        Some(branches.iter().map(|branch| self.with(branch).resolved()).collect())
    }

    fn types(self) -> Vec<&'static str> {
        match self.here.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether null may be written, which leaves the key unset.
    pub(crate) fn nullable(self) -> bool {
        let schema = self.resolved();
        schema.types().contains(&"null")
            || schema.branches("anyOf").is_some_and(|branches| branches.iter().any(|b| b.types() == ["null"]))
    }

    /// What a value other than null must look like.
    pub(crate) fn shape(self) -> Shape {
        let schema = self.resolved();
        if let Some(branches) = schema.branches("oneOf") {
            let names: Vec<_> = branches.iter().filter_map(|b| b.here.get("const")?.as_str()).collect();
            if names.len() == branches.len() {
                return Shape::Names(names);
            }
            return Shape::Tagged(branches.iter().flat_map(|branch| branch.properties()).collect());
        }
        if let Some(branches) = schema.branches("anyOf") {
            let branches: Vec<_> = branches.into_iter().filter(|b| b.types() != ["null"]).collect();
            return match branches.as_slice() {
                [only] => only.shape(),
                _ => Shape::Untagged(branches),
            };
        }
        let types: Vec<_> = schema.types().into_iter().filter(|name| *name != "null").collect();
        match types.as_slice() {
            [] => Shape::Any,
            ["object"] => Shape::Object(schema.object()),
            ["array"] => Shape::Array {
                items: schema.here.get("items").map(|items| schema.with(items)),
                least: schema
                    .here
                    .get("minItems")
                    .and_then(Value::as_u64)
                    .and_then(|least| usize::try_from(least).ok())
                    .unwrap_or(0),
            },
            _ => {
                let format = schema.here.get("format").and_then(Value::as_str);
                let (least, most) = format.and_then(Bound::of_format).unzip();
                Shape::Scalar(Scalar {
                    types,
                    minimum: schema.here.get("minimum").and_then(Bound::of).or(least),
                    maximum: schema.here.get("maximum").and_then(Bound::of).or(most),
                    pattern: schema.here.get("pattern").and_then(Value::as_str),
                })
            }
        }
    }

    fn object(self) -> Object {
        let required = self.here.get("required").and_then(Value::as_array);
        Object {
            properties: self.properties(),
            required: required.into_iter().flatten().filter_map(Value::as_str).collect(),
            additional: self
                .here
                .get("additionalProperties")
                .filter(|additional| **additional != Value::Bool(false))
                .map(|additional| self.with(additional)),
            key_pattern: self.here.pointer("/propertyNames/pattern").and_then(Value::as_str),
        }
    }

    fn properties(self) -> Vec<(&'static str, Self)> {
        let properties = self.here.get("properties").and_then(Value::as_object);
        let entries = properties.into_iter().flat_map(Map::iter);
        entries.map(|(key, schema)| (key.as_str(), self.with(schema))).collect()
    }

    /// The schema of the value under a key or index.
    pub(crate) fn child(self, segment: &str) -> Option<Self> {
        match self.shape() {
            Shape::Tagged(tags) => find(&tags, segment),
            Shape::Object(object) => find(&object.properties, segment).or(object.additional),
            Shape::Array { items, .. } => items,
            _ => None,
        }
    }

    /// Whether a node's JSON type is one that this schema allows.
    pub(crate) fn accepts_type_of(self, node: &Node) -> bool {
        match self.shape() {
            Shape::Any => true,
            Shape::Names(_) => node.text().is_some(),
            Shape::Tagged(_) | Shape::Object(_) => matches!(node.content, Content::Mapping(_)),
            Shape::Array { .. } => matches!(node.content, Content::Sequence(_)),
            Shape::Scalar(scalar) => scalar.types.iter().any(|name| node.is_of_type(name)),
            Shape::Untagged(branches) => branches.iter().any(|branch| branch.accepts_type_of(node)),
        }
    }

    /// What is expected, in words.
    pub(crate) fn expectation(self) -> String {
        match self.shape() {
            Shape::Any => "a value".to_owned(),
            Shape::Names(names) => format!("one of {}", names.join(", ")),
            Shape::Tagged(tags) => {
                format!(
                    "a mapping with one of {}",
                    tags.iter().map(|(tag, _)| *tag).collect::<Vec<_>>().join(", ")
                )
            }
            Shape::Object(_) => "a mapping".to_owned(),
            Shape::Array { .. } => "a list".to_owned(),
            Shape::Scalar(scalar) => {
                let words: Vec<_> = scalar.types.iter().map(|name| in_words(name)).collect();
                words.join(" or ")
            }
            Shape::Untagged(branches) => {
                let words: Vec<_> = branches.iter().map(|branch| branch.expectation()).collect();
                words.join(" or ")
            }
        }
    }
}

fn find(entries: &[(&'static str, Schema)], key: &str) -> Option<Schema> {
    entries.iter().find(|(name, _)| *name == key).map(|(_, schema)| *schema)
}

fn in_words(json_type: &str) -> &'static str {
    match json_type {
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        _ => "text",
    }
}

/// Why a dotted key is not one of a configuration's: the part that is unknown, what holds it, and its valid names.
#[derive(Debug)]
pub(crate) struct UnknownSegment {
    pub(crate) segment: String,
    pub(crate) parent: String,
    pub(crate) valid: Vec<&'static str>,
}

/// Follows a dotted key through the schema of configurations, whatever any file says.
pub(crate) fn known_key(key: &str) -> Result<(), UnknownSegment> {
    let mut schema = Schema::config();
    let mut parent = String::new();
    for segment in key.split('.') {
        let valid: Vec<_> = match schema.shape() {
            Shape::Any => return Ok(()),
            Shape::Tagged(entries) => entries.iter().map(|(name, _)| *name).collect(),
            Shape::Object(object) => object.properties.iter().map(|(name, _)| *name).collect(),
            Shape::Array { .. } if segment.parse::<usize>().is_ok() => Vec::new(),
            Shape::Array { .. } => vec!["0", "1", "…"],
            _ => Vec::new(),
        };
        let is_index = matches!(schema.shape(), Shape::Array { .. }) && valid.is_empty();
        match schema.child(segment) {
            Some(child) if is_index || valid.contains(&segment) => schema = child,
            _ => return Err(UnknownSegment { segment: segment.to_owned(), parent, valid }),
        }
        if !parent.is_empty() {
            parent.push('.');
        }
        parent.push_str(segment);
    }
    Ok(())
}

/// Whether a configuration has a known dotted key: each tag on the way is the one selected, as written or by
/// default, and each index exists.
pub(crate) fn has_key(config: &Node, key: &str) -> bool {
    let mut schema = Schema::config();
    let mut node = Some(config);
    let mut default: Option<&Value> = None;
    for segment in key.split('.') {
        match schema.shape() {
            Shape::Tagged(_) => {
                let selected = match node {
                    Some(node) => node.entries().first().map(|entry| entry.key.as_str()),
                    None => {
                        default.and_then(Value::as_object).and_then(|d| d.keys().next()).map(String::as_str)
                    }
                };
                if selected != Some(segment) {
                    return false;
                }
            }
            Shape::Array { .. } if node.and_then(|node| node.child(segment)).is_none() => return false,
            _ => {}
        }
        let Some(child) = schema.child(segment) else { return matches!(schema.shape(), Shape::Any) };
        // A default of the parent's own counts before the one that the key declares.
        default = default.and_then(|default| default.get(segment)).or_else(|| child.default());
        node = node.and_then(|node| node.child(segment)).filter(|node| !node.is_null());
        schema = child;
    }
    true
}
