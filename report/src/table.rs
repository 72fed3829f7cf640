//! Tables as people read them: every cell is text. Numbers for machines are in [`frames`].

pub mod comparison;
pub mod factor;
pub mod frames;
pub mod settings;
pub mod speed;

use std::fmt::Write;

/// A printed table. Every row has as many cells as there are headings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// Its columns.
    pub columns: Vec<Heading>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
    /// What holds of the whole table and is therefore in none of its rows.
    pub notes: Vec<String>,
}

/// The head of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Heading {
    /// What the column holds, with its unit where the cells have none.
    pub name: String,
    /// Whether cells line up on the right.
    pub numeric: bool,
}

impl Heading {
    /// A column of words.
    pub fn words(name: impl Into<String>) -> Self {
        Self { name: name.into(), numeric: false }
    }

    /// A column of quantities.
    pub fn quantity(name: impl Into<String>) -> Self {
        Self { name: name.into(), numeric: true }
    }
}

impl Table {
    /// Moves each column that says the same in every row into a note. The first column, which names the rows, stays.
    #[must_use]
    pub fn without_constant_columns(mut self) -> Self {
        if self.rows.len() < 2 {
            return self;
        }
        let constant = |column: usize| {
            self.rows
                .iter()
                .all(|row| row[column] == self.rows[0][column])
                .then(|| self.rows[0][column].clone())
        };
        let same: Vec<Option<String>> =
            (0..self.columns.len()).map(|column| if column == 0 { None } else { constant(column) }).collect();
        let noted: Vec<String> = self
            .columns
            .iter()
            .zip(&same)
            .filter_map(|(heading, value)| Some((heading, value.as_ref()?)))
            .filter(|(_, value)| !value.is_empty() && *value != NOTHING)
            .map(|(heading, value)| format!("{} {value}", heading.name))
            .collect();
        if !noted.is_empty() {
            self.notes.push(format!("In every row: {}.", noted.join(" · ")));
        }
        let kept = |column: usize| same[column].is_none();
        for row in &mut self.rows {
            *row = keep(std::mem::take(row), kept);
        }
        self.columns = keep(std::mem::take(&mut self.columns), kept);
        self
    }

    /// As a Markdown table, its source aligned; notes follow it.
    pub fn to_markdown(&self) -> String {
        let widths = self.widths(escape_markdown);
        let mut text = self.line(&self.names(), &widths, " | ", "| ", " |", escape_markdown);
        let rules = self.columns.iter().zip(&widths).map(|(heading, width)| {
            if heading.numeric { format!("{}:", "-".repeat(width - 1)) } else { "-".repeat(*width) }
        });
        let _ = writeln!(text, "| {} |", rules.collect::<Vec<_>>().join(" | "));
        for row in &self.rows {
            text += &self.line(row, &widths, " | ", "| ", " |", escape_markdown);
        }
        for note in &self.notes {
            let _ = write!(text, "\n{}\n", escape_markdown(note));
        }
        text
    }

    /// As aligned text for a terminal; notes follow it.
    pub fn to_text(&self) -> String {
        let widths = self.widths(str::to_owned);
        let mut text = self.line(&self.names(), &widths, "  ", "", "", str::to_owned);
        for row in &self.rows {
            text += &self.line(row, &widths, "  ", "", "", str::to_owned);
        }
        for note in &self.notes {
            text += note;
            text.push('\n');
        }
        text
    }

    /// As an HTML table; notes follow it.
    pub fn to_html(&self) -> String {
        let cell = |tag: &str, text: &str, numeric: bool| {
            let class = if numeric { " class=\"quantity\"" } else { "" };
            format!("<{tag}{class}>{}</{tag}>", escape_html(text))
        };
        let row = |tag: &str, cells: &[String]| {
            let cells =
                cells.iter().zip(&self.columns).map(|(text, heading)| cell(tag, text, heading.numeric));
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        };
        let body: String = self.rows.iter().map(|cells| row("td", cells)).collect();
        let mut html = format!(
            "<div class=\"table\"><table>\n<thead>{}</thead>\n<tbody>\n{body}</tbody></table></div>\n",
            row("th", &self.names())
        );
        for note in &self.notes {
            let _ = writeln!(html, "<p class=\"note\">{}</p>", escape_html(note));
        }
        html
    }

    fn names(&self) -> Vec<String> {
        self.columns.iter().map(|heading| heading.name.clone()).collect()
    }

    fn widths(&self, shown: impl Fn(&str) -> String) -> Vec<usize> {
        (0..self.columns.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].as_str());
                let widest =
                    cells.chain([self.columns[column].name.as_str()]).map(|cell| shown(cell).chars().count());
                widest.max().unwrap_or(0).max(3)
            })
            .collect()
    }

    fn line(
        &self,
        cells: &[String],
        widths: &[usize],
        between: &str,
        before: &str,
        after: &str,
        shown: impl Fn(&str) -> String,
    ) -> String {
        let padded = cells.iter().zip(&self.columns).zip(widths).map(|((cell, heading), width)| {
            let cell = shown(cell);
            if heading.numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let line = format!("{before}{}{after}", padded.collect::<Vec<_>>().join(between));
        format!("{}\n", line.trim_end())
    }
}

/// What a cell shows where there is nothing to show.
pub const NOTHING: &str = "–";

/// Text with the characters that HTML gives a meaning replaced.
pub fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Text with the characters that Markdown gives a meaning inside a table escaped, on one line.
pub fn escape_markdown(text: &str) -> String {
    let text: Vec<&str> = text.split_whitespace().collect();
    text.join(" ")
        .replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace('_', "\\_")
        .replace('*', "\\*")
        .replace('<', "\\<")
}

fn keep<T>(cells: Vec<T>, kept: impl Fn(usize) -> bool) -> Vec<T> {
    cells.into_iter().enumerate().filter(|(column, _)| kept(*column)).map(|(_, cell)| cell).collect()
}

#[cfg(test)]
mod tests {
    use super::{Heading, Table};

    fn table() -> Table {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        Table {
            columns: vec![Heading::words("name"), Heading::quantity("value"), Heading::words("same")],
            rows: vec![row(["a_b", "1.5", "x"]), row(["c|d", "12.25", "x"])],
            notes: vec![],
        }
    }

    #[test]
    fn markdown_aligns_quantities_and_escapes_what_would_end_a_cell() {
        assert_eq!(
            table().to_markdown(),
            "| name | value | same |\n| ---- | ----: | ---- |\n| a\\_b |   1.5 | x    |\n| c\\|d | 12.25 | x    |\n"
        );
    }

    #[test]
    fn a_column_that_never_varies_becomes_a_note() {
        let text = table().without_constant_columns().to_text();
        assert_eq!(text, "name  value\na_b     1.5\nc|d   12.25\nIn every row: same x.\n");
    }

    #[test]
    fn html_escapes_text() {
        let mut table = table();
        table.rows[0][0] = "<b>&".to_owned();
        assert!(table.to_html().contains("<td>&lt;b&gt;&amp;</td><td class=\"quantity\">1.5</td>"));
    }
}
