//! YAML text to a located tree: values by `serde_yaml`, places by a second pass with `saphyr-parser`.

use std::{cell::Cell, collections::HashMap, fmt, iter::Peekable, sync::Arc};

use saphyr_parser::{Event, Parser, Span, StrInput, Tag};
use serde::{
    Deserializer,
    de::{DeserializeSeed, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess, Visitor},
};

use super::node::{Content, Entry, Node, Scalar};
use crate::problem::{Place, Problem, Source};

/// Where a text comes from, and so how a place in it is named.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    File(Arc<Source>),
    Flag(Arc<str>),
}

impl Origin {
    fn place(&self, line: usize, column: usize) -> Place {
        match self {
            Self::File(source) => {
                Place::File { source: Arc::clone(source), line: line.max(1), column: column.max(1) }
            }
            Self::Flag(flag) => Place::Flag(Arc::clone(flag)),
        }
    }
}

/// Reads one YAML document. Duplicate keys, merge keys and tags become `problems` and the tree is still given;
/// text that is not YAML is an error.
pub(super) fn parse(text: &str, origin: &Origin, problems: &mut Vec<Problem>) -> Result<Node, Problem> {
    bounded(text, origin)?;
    let values = Cell::new(0);
    let value = UntypedVisitor(&values)
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| syntax(&error, origin))?;
    let mut builder = Builder {
        events: Parser::new_from_str(text).peekable(),
        origin,
        problems,
        anchors: HashMap::new(),
        last: origin.place(1, 1),
    };
    builder.document(value)
}

/// Brackets nested deeper than any scenario's. libyaml takes time that grows with the square of their depth.
const DEEPEST: usize = 1000;

/// Refuses text that would take long to be refused.
fn bounded(text: &str, origin: &Origin) -> Result<(), Problem> {
    let mut depth = 0_usize;
    for (index, line) in text.lines().enumerate() {
        for (column, letter) in line.chars().enumerate() {
            match letter {
                '[' | '{' => depth += 1,
                ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > DEEPEST {
                let message = format!("more than {DEEPEST} brackets are open here; close them");
                return Err(Problem::new(&origin.place(index + 1, column + 1), message));
            }
        }
    }
    Ok(())
}

fn syntax(error: &serde_yaml::Error, origin: &Origin) -> Problem {
    let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
    let message = error.to_string();
    // The place is told apart from the message, so its copy at the end is dropped.
    let message = message.split(" at line ").next().unwrap_or(&message);
    Problem::new(&origin.place(line, column), format!("not YAML: {message}"))
}

/// A YAML value as `serde_yaml` reads it, repeated keys included.
enum Untyped {
    Scalar(Scalar),
    Sequence(Vec<Self>),
    Mapping(Vec<(Self, Self)>),
}

/// More values than any scenario has. Aliases of aliases make billions of a few lines.
const MOST_VALUES: usize = 1_000_000;

/// Makes a value, and counts those made so far.
#[derive(Clone, Copy)]
struct UntypedVisitor<'c>(&'c Cell<usize>);

impl<'de> DeserializeSeed<'de> for UntypedVisitor<'_> {
    type Value = Untyped;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Untyped, D::Error> {
        self.0.set(self.0.get() + 1);
        if self.0.get() > MOST_VALUES {
            let message = format!("it has more than {MOST_VALUES} values, repetitions by aliases included");
            return Err(D::Error::custom(message));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UntypedVisitor<'_> {
    type Value = Untyped;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Untyped, E> {
        Ok(Untyped::Scalar(Scalar::Null))
    }

    fn visit_none<E>(self) -> Result<Untyped, E> {
        Ok(Untyped::Scalar(Scalar::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Untyped, D::Error> {
        DeserializeSeed::deserialize(self, deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Untyped, E> {
        Ok(Untyped::Scalar(Scalar::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Untyped, E> {
        Ok(Untyped::Scalar(Scalar::Integer(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Untyped, E> {
        Ok(Untyped::Scalar(Scalar::Integer(value.into())))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Untyped, E> {
        Ok(Untyped::Scalar(Scalar::Integer(value)))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Untyped, E> {
        let scalar = i128::try_from(value).map_or(Scalar::Float(value as f64), Scalar::Integer);
        Ok(Untyped::Scalar(scalar))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Untyped, E> {
        Ok(Untyped::Scalar(Scalar::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Untyped, E> {
        Ok(Untyped::Scalar(Scalar::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Untyped, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Untyped::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Untyped, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry_seed(self, self)? {
            entries.push(entry);
        }
        Ok(Untyped::Mapping(entries))
    }

    /// A tagged value: the tag itself is reported by the pass that has places.
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Untyped, A::Error> {
        let (_tag, content) = access.variant::<String>()?;
        content.newtype_variant_seed(self)
    }
}

/// Walks the events of `saphyr-parser` beside the values of `serde_yaml`.
struct Builder<'a> {
    events: Peekable<Parser<'a, StrInput<'a>>>,
    origin: &'a Origin,
    problems: &'a mut Vec<Problem>,
    anchors: HashMap<usize, Node>,
    last: Place,
}

impl<'a> Builder<'a> {
    fn document(&mut self, value: Untyped) -> Result<Node, Problem> {
        while let Some(Ok((Event::StreamStart | Event::DocumentStart(_), _))) = self.events.peek() {
            self.events.next();
        }
        if let None | Some(Ok((Event::StreamEnd | Event::DocumentEnd, _))) = self.events.peek() {
            return Ok(Node { place: self.last.clone(), content: Content::Scalar(Scalar::Null) });
        }
        self.node(value)
    }

    fn next(&mut self) -> Result<(Event<'a>, Place), Problem> {
        match self.events.next() {
            Some(Ok((event, span))) => {
                self.last = self.place(span);
                Ok((event, self.last.clone()))
            }
            Some(Err(error)) => {
                let place = self.origin.place(error.marker().line(), error.marker().col() + 1);
                Err(Problem::new(&place, format!("not YAML: {}", error.info())))
            }
            None => Err(self.disagreement()),
        }
    }

    fn place(&self, span: Span) -> Place {
        self.origin.place(span.start.line(), span.start.col() + 1)
    }

    /// The two parsers follow different versions of YAML; where they differ the text is refused.
    fn disagreement(&self) -> Problem {
        Problem::new(
            &self.last,
            "YAML versions 1.1 and 1.2 read this differently; quote it or indent it plainly",
        )
    }

    fn node(&mut self, value: Untyped) -> Result<Node, Problem> {
        let (event, place) = self.next()?;
        let (anchor, tag, content) = match (event, value) {
            (Event::Alias(anchor), _) => {
                return self.anchors.get(&anchor).cloned().ok_or_else(|| self.disagreement());
            }
            (Event::Scalar(_, _, anchor, tag), Untyped::Scalar(scalar)) => {
                (anchor, tag, Content::Scalar(scalar))
            }
            (Event::SequenceStart(anchor, tag), Untyped::Sequence(values)) => {
                let items = values.into_iter().map(|value| self.node(value)).collect::<Result<_, _>>()?;
                self.end(&Event::SequenceEnd)?;
                (anchor, tag, Content::Sequence(items))
            }
            (Event::MappingStart(anchor, tag), Untyped::Mapping(values)) => {
                let entries = self.entries(values)?;
                self.end(&Event::MappingEnd)?;
                (anchor, tag, Content::Mapping(entries))
            }
            _ => return Err(self.disagreement()),
        };
        if let Some(tag) = tag {
            self.refuse_tag(&tag, &place);
        }
        let node = Node { place, content };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn end(&mut self, expected: &Event<'_>) -> Result<(), Problem> {
        let (event, _) = self.next()?;
        if event == *expected { Ok(()) } else { Err(self.disagreement()) }
    }

    fn entries(&mut self, values: Vec<(Untyped, Untyped)>) -> Result<Vec<Entry>, Problem> {
        let mut entries: Vec<Entry> = Vec::with_capacity(values.len());
        for (key, value) in values {
            let written = match self.events.peek() {
                Some(Ok((Event::Scalar(text, ..), _))) => Some(text.to_string()),
                _ => None,
            };
            let key = self.node(key)?;
            let value = self.node(value)?;
            // The key as written, so that `1e3` and `1000` stay what the author sees.
            let Some(name) = written.or_else(|| key.text().map(str::to_owned)) else {
                self.problems.push(Problem::new(&key.place, "a key must be plain text"));
                continue;
            };
            if name == "<<" {
                let message =
                    "merge keys (`<<`) are not supported; write the keys out, or inherit a file by `extends`";
                self.problems.push(Problem::new(&key.place, message));
            } else if entries.iter().any(|entry| entry.key == name) {
                let message = format!("`{name}` is given twice in one mapping; keep one of them");
                self.problems.push(Problem::new(&key.place, message));
            } else {
                entries.push(Entry { key: name, key_place: key.place, value });
            }
        }
        Ok(entries)
    }

    fn refuse_tag(&mut self, tag: &Tag, place: &Place) {
        let handle = if tag.is_yaml_core_schema() { "!!" } else { tag.handle.as_str() };
        let message = format!("YAML tags are not used here; remove `{handle}{}`", tag.suffix);
        self.problems.push(Problem::new(place, message));
    }
}
