//! Checks a located tree against the generated schema and tells everything that is wrong with its form:
//! unknown keys and names, wrong types, values out of range, lists too short, keys that are missing.

use std::cmp::Ordering;

use crate::{
    document::{Content, Entry, Node},
    problem::{Place, Problem, suggestion},
    scenario::{ARM_PATTERN, NAME_PATTERN},
    shape::{Bound, Object, Scalar, Schema, Shape},
    units::{BYTES_PATTERN, Bytes},
};

/// Checks a scenario file, or one laid over others: what it says, not what it leaves to others.
pub(crate) fn check_file(root: &Node, problems: &mut Vec<Problem>) {
    Checker { problems }.value(Schema::scenario(), root, &Position::top(&root.place));
}

/// Checks a complete configuration.
pub(crate) fn check_config(config: &Node, problems: &mut Vec<Problem>) {
    Checker { problems }.value(Schema::config(), config, &Position::top(&config.place));
}

/// Whether a value breaks nothing that its schema asks.
pub(crate) fn is_sound(node: &Node, schema: Schema) -> bool {
    let mut problems = Vec::new();
    Checker { problems: &mut problems }.value(schema, node, &Position::top(&node.place));
    problems.is_empty()
}

/// A value less the keys that its schema does not know, at any depth outside lists.
pub(crate) fn without_unknown_keys(node: &Node, schema: Schema) -> Node {
    let Content::Mapping(entries) = &node.content else { return node.clone() };
    let known = entries.iter().filter_map(|entry| {
        let value = without_unknown_keys(&entry.value, schema.child(&entry.key)?);
        Some(Entry { value, ..entry.clone() })
    });
    Node { place: node.place.clone(), content: Content::Mapping(known.collect()) }
}

/// Where a value stands: its dotted path, and the place to name when something is missing from it.
struct Position<'a> {
    path: String,
    place: &'a Place,
}

impl<'a> Position<'a> {
    const fn top(place: &'a Place) -> Self {
        Self { path: String::new(), place }
    }

    fn under(&self, segment: &str, place: &'a Place) -> Self {
        // Arms are told by their place; their keys read as those of the configuration they override.
        let path = match self.path.as_str() {
            "" => segment.to_owned(),
            "arms" => String::new(),
            path => format!("{path}.{segment}"),
        };
        Self { path, place }
    }

    /// In which mapping, as the end of a phrase; nothing at the top.
    fn within(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.path) }
    }

    /// The value's dotted key, or the scenario at the top.
    fn subject(&self) -> String {
        if self.path.is_empty() { "the scenario".to_owned() } else { format!("`{}`", self.path) }
    }
}

struct Checker<'p> {
    problems: &'p mut Vec<Problem>,
}

impl Checker<'_> {
    fn report(&mut self, place: &Place, message: String) {
        self.problems.push(Problem::new(place, message));
    }

    fn value(&mut self, schema: Schema, node: &Node, at: &Position<'_>) {
        if node.is_null() && schema.nullable() {
            return;
        }
        match (schema.shape(), &node.content) {
            (Shape::Any, _) => {}
            (Shape::Names(names), Content::Scalar(_)) => self.name(&names, node, at),
            (Shape::Tagged(tags), Content::Mapping(entries)) => self.tagged(&tags, entries, node, at),
            (Shape::Tagged(tags), Content::Scalar(_)) => self.bare_tag(&tags, node, at),
            (Shape::Object(object), Content::Mapping(entries)) => self.object(&object, entries, at),
            (Shape::Array { items, least }, Content::Sequence(nodes)) => {
                if nodes.len() < least {
                    let plural = if least == 1 { "entry" } else { "entries" };
                    let message = format!(
                        "{} has {} entries; it needs at least {least} {plural}",
                        at.subject(),
                        nodes.len()
                    );
                    self.report(&node.place, message);
                }
                for (index, item) in nodes.iter().enumerate() {
                    if let Some(items) = items {
                        self.value(items, item, &at.under(&index.to_string(), &item.place));
                    }
                }
            }
            (Shape::Untagged(branches), _) => {
                match branches.iter().find(|branch| branch.accepts_type_of(node)) {
                    Some(branch) => self.value(*branch, node, at),
                    None => self.wrong_type(schema, node, at),
                }
            }
            (Shape::Scalar(scalar), _) if schema.accepts_type_of(node) => self.scalar(&scalar, node, at),
            _ => self.wrong_type(schema, node, at),
        }
    }

    fn wrong_type(&mut self, schema: Schema, node: &Node, at: &Position<'_>) {
        let message = format!("{} must be {}, but is {node}", at.subject(), schema.expectation());
        self.report(&node.place, message);
    }

    fn name(&mut self, names: &[&str], node: &Node, at: &Position<'_>) {
        match node.text() {
            Some(text) if names.contains(&text) => {}
            Some(text) => {
                let message = format!("{} cannot be `{text}`{}", at.subject(), suggestion(text, names));
                self.report(&node.place, message);
            }
            None => {
                let message = format!("{} must be one of {}, but is {node}", at.subject(), names.join(", "));
                self.report(&node.place, message);
            }
        }
    }

    fn tagged(&mut self, tags: &[(&str, Schema)], entries: &[Entry], node: &Node, at: &Position<'_>) {
        let names: Vec<_> = tags.iter().map(|(tag, _)| *tag).collect();
        if entries.is_empty() {
            let message = format!("{} is empty; give it one of {}", at.subject(), names.join(", "));
            self.report(&node.place, message);
        }
        for (index, entry) in entries.iter().enumerate() {
            if let Some((tag, schema)) = tags.iter().find(|(tag, _)| *tag == entry.key) {
                self.value(*schema, &entry.value, &at.under(tag, &entry.key_place));
            } else {
                let message =
                    format!("unknown kind `{}`{}{}", entry.key, at.within(), suggestion(&entry.key, &names));
                self.report(&entry.key_place, message);
            }
            if index > 0 {
                let message = format!(
                    "{} is already `{}` and cannot be `{}` too; keep one",
                    at.subject(),
                    entries[0].key,
                    entry.key
                );
                self.report(&entry.key_place, message);
            }
        }
    }

    /// A tag written without its mapping: `single` for `single: {}`.
    fn bare_tag(&mut self, tags: &[(&str, Schema)], node: &Node, at: &Position<'_>) {
        let names: Vec<_> = tags.iter().map(|(tag, _)| *tag).collect();
        let message = match node.text() {
            Some(text) if names.contains(&text) => {
                format!("{} must be a mapping; write `{{ {text}: {{}} }}`", at.subject())
            }
            Some(text) => format!("{} cannot be `{text}`{}", at.subject(), suggestion(text, &names)),
            None => {
                format!("{} must be a mapping with one of {}, but is {node}", at.subject(), names.join(", "))
            }
        };
        self.report(&node.place, message);
    }

    fn object(&mut self, object: &Object, entries: &[Entry], at: &Position<'_>) {
        for entry in entries {
            let known =
                object.properties.iter().find(|(key, _)| *key == entry.key).map(|(_, schema)| *schema);
            if let Some(pattern) = object.key_pattern
                && let Err(reason) = matches(pattern, &entry.key)
            {
                self.report(&entry.key_place, reason);
            }
            if let Some(schema) = known.or(object.additional) {
                self.value(schema, &entry.value, &at.under(&entry.key, &entry.key_place));
            } else {
                let valid: Vec<_> = object.properties.iter().map(|(key, _)| *key).collect();
                let message =
                    format!("unknown key `{}`{}{}", entry.key, at.within(), suggestion(&entry.key, &valid));
                self.report(&entry.key_place, message);
            }
        }
        for key in &object.required {
            if !entries.iter().any(|entry| entry.key == *key) {
                self.report(at.place, format!("{} lacks the key `{key}`", at.subject()));
            }
        }
    }

    fn scalar(&mut self, scalar: &Scalar, node: &Node, at: &Position<'_>) {
        if let (Some(pattern), Some(text)) = (scalar.pattern, node.text())
            && let Err(reason) = matches(pattern, text)
        {
            self.report(&node.place, format!("{}: {reason}", at.subject()));
        }
        let beyond = |bound: Option<Bound>, side| bound.and_then(|b| b.order_of(node)) == Some(side);
        let (below, above) =
            (beyond(scalar.minimum, Ordering::Less), beyond(scalar.maximum, Ordering::Greater));
        if below || above {
            let allowed = match (scalar.minimum, scalar.maximum) {
                (Some(least), Some(most)) if least == most => format!("{least}"),
                (Some(least), Some(most)) => format!("from {least} to {most}"),
                (Some(least), None) => format!("at least {least}"),
                (None, Some(most)) => format!("at most {most}"),
                (None, None) => return,
            };
            self.report(&node.place, format!("{} is {node}, but must be {allowed}", at.subject()));
        }
    }
}

/// The schema's patterns are few and known; each has its reader here, which a test makes sure of.
fn matches(pattern: &str, text: &str) -> Result<(), String> {
    let slug = |extra: &[char]| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || extra.contains(&c);
        !text.is_empty() && text.chars().all(fits)
    };
    match pattern {
        NAME_PATTERN if slug(&[]) => Ok(()),
        NAME_PATTERN => Err(format!("`{text}` is not a name; use lower-case letters, digits and hyphens")),
        ARM_PATTERN if slug(&['_']) => Ok(()),
        ARM_PATTERN => Err(format!(
            "`{text}` is not a name of an arm; use lower-case letters, digits, hyphens and underscores"
        )),
        BYTES_PATTERN => text.parse::<Bytes>().map(|_| ()),
        _ => unreachable!("a pattern without a reader: {pattern}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::matches;

    fn patterns(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(members) => {
                for (key, member) in members {
                    match member {
                        Value::String(pattern) if key == "pattern" => found.push(pattern.clone()),
                        member => patterns(member, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| patterns(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_pattern_of_the_schema_has_a_reader() {
        let mut found = Vec::new();
        patterns(&crate::json_schema(), &mut found);
        assert!(found.len() >= 3, "{found:?}");
        for pattern in found {
            assert_eq!(matches(&pattern, "1"), Ok(()), "{pattern}");
        }
    }
}
