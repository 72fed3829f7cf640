//! Laying one tree over another: how files extend files, and arms, flags and the matrix override a base.
//!
//! Mappings merge key by key, scalars and lists replace. Where the schema has variants told apart by a tag
//! (`parallelism`, `optimizer`), another tag replaces the whole value and the same tag merges.

use super::node::{Content, Entry, Node};
use crate::{
    problem::{Place, Problem},
    shape::{Schema, Shape},
};

/// Lays `over` over `base`; `schema` is that of both, where there is one.
pub(crate) fn overlay(base: &mut Node, over: &Node, schema: Option<Schema>) {
    let (Content::Mapping(entries), Content::Mapping(changes)) = (&mut base.content, &over.content) else {
        *base = over.clone();
        return;
    };
    if is_tagged(schema) && !same_tag(entries, changes) {
        *base = over.clone();
        return;
    }
    for change in changes {
        let schema = schema.and_then(|schema| schema.child(&change.key));
        match entries.iter_mut().find(|entry| entry.key == change.key) {
            Some(entry) => overlay(&mut entry.value, &change.value, schema),
            None => entries.push(change.clone()),
        }
    }
}

fn is_tagged(schema: Option<Schema>) -> bool {
    schema.is_some_and(|schema| matches!(schema.shape(), Shape::Tagged(_)))
}

fn same_tag(entries: &[Entry], changes: &[Entry]) -> bool {
    matches!((entries, changes), ([entry], [change]) if entry.key == change.key)
}

/// A value for a path into a tree.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    /// The path, outermost first; a number is an index where there is a list.
    pub(crate) path: Vec<String>,
    /// The value.
    pub(crate) value: Node,
    /// Where the path was written.
    pub(crate) place: Place,
}

impl Assignment {
    /// The path as it was written.
    pub(crate) fn key(&self) -> String {
        self.path.join(".")
    }

    /// Lays the value over whatever is at the path, making the mappings that lead to it.
    ///
    /// # Errors
    /// An index that the list does not have.
    pub(crate) fn apply(&self, root: &mut Node, schema: Option<Schema>) -> Result<(), Problem> {
        self.apply_from(0, root, schema)
    }

    fn apply_from(&self, depth: usize, node: &mut Node, schema: Option<Schema>) -> Result<(), Problem> {
        let Some(segment) = self.path.get(depth) else {
            overlay(node, &self.value, schema);
            return Ok(());
        };
        let child_schema = schema.and_then(|schema| schema.child(segment));
        if let Content::Sequence(items) = &mut node.content {
            let length = items.len();
            return if let Some(item) = segment.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                self.apply_from(depth + 1, item, child_schema)
            } else {
                let list = self.path[..depth].join(".");
                let message = match length {
                    0 => format!("`{list}` is an empty list, so there is no `{segment}` in it"),
                    _ => format!(
                        "`{list}` is a list with the indices 0 to {}; there is no `{segment}`",
                        length - 1
                    ),
                };
                Err(Problem::new(&self.place, message))
            };
        }
        let replaced = !matches!(node.content, Content::Mapping(_))
            || (is_tagged(schema) && node.entries().iter().any(|entry| entry.key != *segment));
        if replaced {
            *node = Node { place: self.place.clone(), content: Content::Mapping(Vec::new()) };
        }
        let Content::Mapping(entries) = &mut node.content else { return Ok(()) };
        let index = entries.iter().position(|entry| entry.key == *segment).unwrap_or_else(|| {
            // Nothing yet; the recursion puts the value or a mapping here.
            let value = Node { place: self.place.clone(), ..self.value.clone() };
            let value = if depth + 1 == self.path.len() {
                value
            } else {
                Node { content: Content::Mapping(Vec::new()), ..value }
            };
            entries.push(Entry { key: segment.clone(), key_place: self.place.clone(), value });
            entries.len() - 1
        });
        self.apply_from(depth + 1, &mut entries[index].value, child_schema)
    }
}
