//! A scenario file with the files it extends and the flags that override it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Document,
    encoding::decode,
    merge::{Assignment, overlay},
    node::{Content, Node},
    parse::{Origin, parse},
};
use crate::{
    problem::{Place, Problem, Problems, Source},
    scenario::CONFIG_KEYS,
    shape::Schema,
    structure,
};

impl Document {
    /// Reads the file at `path`, the files it extends, and the flags `--set <key>=<value>`, given as
    /// `<key>=<value>`.
    ///
    /// # Errors
    /// Files that cannot be read or are not YAML, a chain of `extends` that comes back to itself, flags that are
    /// not `<key>=<value>`. Everything else that is wrong is told by [`crate::Study::expand`].
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, Problems> {
        let source = read(path).map_err(|message| {
            let nowhere = Arc::new(Source { path: path.to_owned(), text: String::new() });
            Problem::new(&Place::File { source: nowhere, line: 1, column: 1 }, message)
        })?;
        Self::from_source(&source, sets)
    }

    /// As [`Document::load`], for a text at hand; `path` names it and is what `extends` is relative to.
    ///
    /// # Errors
    /// As [`Document::load`].
    pub fn from_text(path: &Path, text: &str, sets: &[String]) -> Result<Self, Problems> {
        let source = |text| Arc::new(Source { path: path.to_owned(), text });
        let decoded = decode(text.as_bytes()).map(source).map_err(|message| {
            Problem::new(&Place::File { source: source(String::new()), line: 1, column: 1 }, message)
        })?;
        Self::from_source(&decoded, sets)
    }

    fn from_source(source: &Arc<Source>, sets: &[String]) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let root = extended(source, &mut Vec::new(), &mut problems);
        let assignments: Vec<_> = sets.iter().map(|set| assignment(set, &mut problems)).collect();
        let mut fatal = Vec::new();
        let root = root.unwrap_or_else(|problem| {
            let place = problem.place.clone();
            fatal.push(problem);
            Node { place, content: Content::Mapping(Vec::new()) }
        });
        let assignments: Vec<_> =
            assignments.into_iter().filter_map(|a| a.map_err(|problem| fatal.push(problem)).ok()).collect();
        if !fatal.is_empty() {
            fatal.append(&mut problems);
        }
        Problems::none_of(fatal)?;
        let mut document = Self { root, overrides: Vec::new(), problems };
        for assignment in assignments {
            document.set(assignment);
        }
        structure::check_file(&document.root, &mut document.problems);
        Ok(document)
    }

    /// Lays a flag over the scenario. One for a key that the matrix varies keeps the matrix at that value; any
    /// other key of a configuration is remembered, because flags win over arms too.
    fn set(&mut self, assignment: Assignment) {
        let key = assignment.key();
        let varied = |part: &str| {
            self.root.at("matrix").and_then(|m| m.child(part)).is_some_and(|m| m.child(&key).is_some())
        };
        if varied("zip") {
            let message =
                format!("`{key}` varies together with others in matrix.zip; set matrix.zip.{key} to a list");
            self.problems.push(Problem::new(&assignment.place, message));
            return;
        }
        let assignment = if varied("grid") {
            let list =
                Node { place: assignment.place.clone(), content: Content::Sequence(vec![assignment.value]) };
            let path = vec!["matrix".to_owned(), "grid".to_owned(), key];
            Assignment { path, value: list, place: assignment.place }
        } else {
            assignment
        };
        if assignment.path[0] == "extends" {
            let message = "`extends` cannot be set by a flag; write it in a file";
            self.problems.push(Problem::new(&assignment.place, message));
            return;
        }
        if let Err(problem) = assignment.apply(&mut self.root, Some(Schema::scenario())) {
            self.problems.push(problem);
        } else if CONFIG_KEYS.contains(&assignment.path[0].as_str()) {
            self.overrides.push(assignment);
        }
    }
}

fn read(path: &Path) -> Result<Arc<Source>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read this file: {error}"))?;
    Ok(Arc::new(Source { path: path.to_owned(), text: decode(&bytes)? }))
}

/// The tree of a file laid over that of the file it extends.
fn extended(
    source: &Arc<Source>,
    chain: &mut Vec<PathBuf>,
    problems: &mut Vec<Problem>,
) -> Result<Node, Problem> {
    chain.push(source.path.clone());
    let node = parse(&source.text, &Origin::File(Arc::clone(source)), problems)?;
    structure::check_file(&node, problems);
    let Some(extends) = node.child("extends") else { return Ok(node) };
    // Anything but text is a problem that the check of the file has told.
    let Some(target) = extends.text() else { return Ok(node) };
    let path = normalized(&source.path.parent().unwrap_or(Path::new("")).join(target));
    if let Some(start) = chain.iter().position(|seen| same_file(seen, &path)) {
        let names: Vec<_> = chain[start..].iter().chain([&path]).map(|p| p.display().to_string()).collect();
        return Err(Problem::new(
            &extends.place,
            format!("`extends` comes back to itself: {}", names.join(" → ")),
        ));
    }
    let parent = read(&path).map_err(|message| {
        Problem::new(&extends.place, format!("`extends` names {}: {message}", path.display()))
    })?;
    let mut base = extended(&parent, chain, problems)?;
    overlay(&mut base, &node, Some(Schema::scenario()));
    base.place = node.place;
    Ok(base)
}

/// The path without `.` and, where it follows a name, `..`.
fn normalized(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}

fn same_file(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Reads `<key>=<value>`.
fn assignment(set: &str, problems: &mut Vec<Problem>) -> Result<Assignment, Problem> {
    let flag: Arc<str> = format!("--set {set}").into();
    let place = Place::Flag(Arc::clone(&flag));
    let Some((key, value)) = set.split_once('=') else {
        return Err(Problem::new(&place, "expected <key>=<value>, for example train.epochs=1"));
    };
    let path = segments(key.trim());
    if path.iter().any(String::is_empty) {
        return Err(Problem::new(&place, "the key has an empty part; write it as train.epochs"));
    }
    let value = parse(value, &Origin::Flag(flag), problems)?;
    Ok(Assignment { path, value, place })
}

/// The parts of a dotted key. Keys of the matrix are dotted themselves, and so the last part.
fn segments(key: &str) -> Vec<String> {
    for part in ["matrix.grid.", "matrix.zip."] {
        if let Some(varied) = key.strip_prefix(part) {
            let mut segments: Vec<_> = part.trim_end_matches('.').split('.').map(str::to_owned).collect();
            segments.push(varied.to_owned());
            return segments;
        }
    }
    key.split('.').map(str::to_owned).collect()
}
