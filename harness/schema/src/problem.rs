//! What is wrong with a scenario, where, and what to do about it.

use std::{
    fmt::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Value, json};

use crate::text::{seen, spelled, unseen_in};

/// A text that places point into.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The file, as it was named.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a file; line and column count from 1.
    File {
        /// The file.
        source: Arc<Source>,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In a flag of the command line: its whole text, `--set a.b=c`.
    Flag(Arc<str>),
}

impl Place {
    /// The file, where there is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File { source, .. } => Some(&source.path),
            Self::Flag(_) => None,
        }
    }

    /// The line pointed at and a caret below it; nothing for a flag.
    fn excerpt(&self) -> Option<String> {
        let Self::File { source, line, column } = self else { return None };
        let text = source.text.lines().nth(line - 1)?;
        let before: String = text.chars().take(column - 1).collect();
        // Tabs stay tabs, so that the caret lines up whatever their width.
        let indent: String = spelled(&before).chars().map(|c| if c == '\t' { c } else { ' ' }).collect();
        Some(format!("{line:>5} | {}\n      | {indent}^", spelled(text)))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { source, line, column } => write!(f, "{}:{line}:{column}", source.path.display()),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong, and its remedy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong and what to do about it, in one line.
    pub message: String,
}

impl Problem {
    /// A problem at a place.
    pub fn new(place: &Place, message: impl Into<String>) -> Self {
        Self { place: place.clone(), message: message.into() }
    }

    /// For programs: `file`, `line`, `column` or `flag`, and `message`.
    pub fn to_json(&self) -> Value {
        match &self.place {
            Place::File { source, line, column } => {
                json!({ "file": source.path, "line": line, "column": column, "message": self.message })
            }
            Place::Flag(flag) => json!({ "flag": **flag, "message": self.message }),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", spelled(&self.place.to_string()), spelled(&self.message))
    }
}

/// All that is wrong with a scenario: at least one problem, in the order of files, lines, flags, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `Ok` if there are none; otherwise sorts them and drops repetitions.
    ///
    /// # Errors
    /// The problems, if there is one.
    pub(crate) fn none_of(mut problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort();
        problems.dedup();
        Err(Self(problems))
    }

    /// The problems, sorted by place.
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    /// `file:line:column: message`, the line and a caret below it; a blank line between problems.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{problem}")?;
            if let Some(excerpt) = problem.place.excerpt() {
                f.write_char('\n')?;
                f.write_str(&excerpt)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The name in `valid` that `written` was probably meant to be.
pub(crate) fn nearest<'a>(written: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    valid
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(written, name), name))
        .filter(|(likeness, _)| *likeness >= 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// `; did you mean `x`? Valid: a, b, x`, as the end of a message about an unknown name.
pub(crate) fn suggestion(written: &str, valid: &[&str]) -> String {
    let mut text = match nearest(&seen(written), valid.iter().copied()) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => ";".to_owned(),
    };
    if let Some(characters) = unseen_in(written) {
        let _ = write!(text, " it contains {characters};");
    }
    if valid.is_empty() {
        text.push_str(" there are none");
    } else {
        let _ = write!(text, " valid: {}", valid.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Place, Problem, Problems, Source, suggestion};
    use std::sync::Arc;

    #[test]
    fn problems_are_sorted_and_show_their_line() {
        let source = Arc::new(Source { path: "a.yaml".into(), text: "one: 1\n\ttwo: 2\n".into() });
        let at = |line, column| Place::File { source: Arc::clone(&source), line, column };
        let flag = Place::Flag("--set x=1".into());
        let problems = Problems::none_of(vec![
            Problem::new(&flag, "third"),
            Problem::new(&at(2, 3), "second"),
            Problem::new(&at(1, 1), "first"),
            Problem::new(&at(1, 1), "first"),
        ])
        .unwrap_err();
        let expected = "a.yaml:1:1: first\n    1 | one: 1\n      | ^\n\n\
            a.yaml:2:3: second\n    2 | \ttwo: 2\n      | \t ^\n\n--set x=1: third";
        assert_eq!(problems.to_string(), expected);
    }

    #[test]
    fn a_suggestion_is_made_only_when_it_is_near() {
        assert_eq!(
            suggestion("epoch", &["epochs", "steps"]),
            "; did you mean `epochs`? valid: epochs, steps"
        );
        assert_eq!(suggestion("zzz", &["epochs", "steps"]), "; valid: epochs, steps");
    }

    #[test]
    fn a_character_that_cannot_be_seen_is_told_by_its_number() {
        let told = suggestion("ep\u{200b}ochs", &["epochs", "steps"]);
        assert_eq!(told, "; did you mean `epochs`? it contains U+200B; valid: epochs, steps");
        let source = Arc::new(Source { path: "a.yaml".into(), text: "a\u{a0}b\u{1b}: 1\n".into() });
        let problem = Problem::new(&Place::File { source, line: 1, column: 4 }, "no \u{202e} here");
        assert_eq!(
            Problems::from(problem).to_string(),
            "a.yaml:1:4: no <U+202E> here\n    1 | a<U+00A0>b<U+001B>: 1\n      |           ^"
        );
    }
}
