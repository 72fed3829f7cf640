//! A YAML tree in which every value and every key knows where it was written.

use std::fmt;

use serde_json::{Map, Number, Value};

use crate::problem::Place;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where the value starts.
    pub place: Place,
    /// The value.
    pub content: Content,
}

/// A scalar, a sequence or a mapping.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values as written, each key once.
    Mapping(Vec<Entry>),
}

/// One key of a mapping and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key, as text.
    pub key: String,
    /// Where the key was written.
    pub key_place: Place,
    /// The value.
    pub value: Node,
}

/// A single value. Numbers that YAML knows and JSON does not (`.nan`, `.inf`) are kept, to be refused by name.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// Nothing: `null`, `~` or left out.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Another number.
    Float(f64),
    /// Text.
    Text(String),
}

impl Node {
    /// The entries of a mapping; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a sequence; none for anything else.
    pub fn items(&self) -> &[Self] {
        match &self.content {
            Content::Sequence(items) => items,
            _ => &[],
        }
    }

    /// The text of a text scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(Scalar::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether nothing was written.
    pub fn is_null(&self) -> bool {
        self.content == Content::Scalar(Scalar::Null)
    }

    /// Whether the value is of a type that JSON Schema names.
    pub fn is_of_type(&self, json_type: &str) -> bool {
        match &self.content {
            Content::Scalar(Scalar::Null) => json_type == "null",
            Content::Scalar(Scalar::Bool(_)) => json_type == "boolean",
            Content::Scalar(Scalar::Integer(_)) => matches!(json_type, "integer" | "number"),
            Content::Scalar(Scalar::Float(value)) => json_type == "number" && value.is_finite(),
            Content::Scalar(Scalar::Text(_)) => json_type == "string",
            Content::Sequence(_) => json_type == "array",
            Content::Mapping(_) => json_type == "object",
        }
    }

    /// A whole number or another, as a float.
    pub fn number(&self) -> Option<f64> {
        match &self.content {
            Content::Scalar(Scalar::Integer(value)) => Some(*value as f64),
            Content::Scalar(Scalar::Float(value)) => Some(*value),
            _ => None,
        }
    }

    /// The entry of a mapping under `key`.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value under a key of a mapping, or at an index of a sequence.
    pub fn child(&self, segment: &str) -> Option<&Self> {
        match &self.content {
            Content::Mapping(_) => self.entry(segment).map(|entry| &entry.value),
            Content::Sequence(items) => items.get(segment.parse::<usize>().ok()?),
            Content::Scalar(_) => None,
        }
    }

    /// The value at a dotted path, e.g. `network.layers.0.linear.units`.
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, Self::child)
    }

    /// Where the value at a dotted path was written, or else the key of the nearest value around it.
    pub fn place_of(&self, path: &str) -> &Place {
        let (mut node, mut place) = (self, &self.place);
        for segment in path.split('.') {
            let Some(child) = node.child(segment) else { break };
            place = match node.entry(segment) {
                Some(entry) if !matches!(child.content, Content::Scalar(_)) => &entry.key_place,
                _ => &child.place,
            };
            node = child;
        }
        place
    }

    /// The value without its places. `.nan` and `.inf`, which validation refuses, become null. A whole number beyond 64
    /// bits, which validation refuses wherever a whole number is wanted, becomes the nearest float.
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Scalar(scalar) => scalar.to_json(),
            Content::Sequence(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Content::Mapping(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }
}

impl Scalar {
    fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Integer(value) => Number::from_i128(*value)
                .or_else(|| Number::from_f64(*value as f64))
                .map_or(Value::Null, Value::Number),
            Self::Float(value) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
            Self::Text(text) => Value::String(text.clone()),
        }
    }
}

impl fmt::Display for Node {
    /// The value as a message names it: the text x, 0.5, a list.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Scalar(Scalar::Null) => f.write_str("nothing"),
            Content::Scalar(Scalar::Bool(value)) => write!(f, "{value}"),
            Content::Scalar(Scalar::Integer(value)) => write!(f, "{value}"),
            Content::Scalar(Scalar::Float(value)) => write!(f, "{value:?}"),
            Content::Scalar(Scalar::Text(text)) => write!(f, "the text `{text}`"),
            Content::Sequence(_) => f.write_str("a list"),
            Content::Mapping(_) => f.write_str("a mapping"),
        }
    }
}
