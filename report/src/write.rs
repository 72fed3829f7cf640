//! Puts a report on disk.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    error::ReportError,
    page::{self, Content},
    results::Results,
    table::frames,
    threads,
    verdict::Verdict,
};

/// Where a report's parts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportPaths {
    /// The page, complete in itself.
    pub html: PathBuf,
    /// The same in Markdown, with links to the figures.
    pub markdown: PathBuf,
    /// The CSV files.
    pub tables: Vec<PathBuf>,
    /// The figures, SVG and PNG.
    pub figures: Vec<PathBuf>,
}

/// Writes `index.html`, `report.md`, `tables/*.csv` and `figures/*.{svg,png}` under `out_dir`, which is made if it
/// is missing. Tables and figures of an earlier report there are removed, so that none is left over.
///
/// # Errors
/// If a file cannot be written.
pub fn write(results: &Results, verdicts: &[Verdict], out_dir: &Path) -> Result<ReportPaths, ReportError> {
    threads::check()?;
    let content = Content::of(results, verdicts)?;
    let (tables_dir, figures_dir) = (out_dir.join("tables"), out_dir.join("figures"));
    for (folder, endings) in [(&tables_dir, &["csv"][..]), (&figures_dir, &["svg", "png"])] {
        fs::create_dir_all(folder).map_err(ReportError::io("create", folder))?;
        remove_files(folder, endings)?;
    }
    let mut tables = Vec::new();
    for (name, frame) in &content.frames {
        let path = tables_dir.join(name);
        write_file(&path, frames::csv(frame)?.as_bytes())?;
        tables.push(path);
    }
    let mut figures = Vec::new();
    for figure in &content.figures {
        let (svg, png) = (
            figures_dir.join(format!("{}.svg", figure.name)),
            figures_dir.join(format!("{}.png", figure.name)),
        );
        write_file(&svg, figure.svg.as_bytes())?;
        write_file(&png, &figure.png()?)?;
        figures.extend([svg, png]);
    }
    let (html, markdown) = (out_dir.join("index.html"), out_dir.join("report.md"));
    write_file(&html, page::html(&content).as_bytes())?;
    write_file(&markdown, page::markdown(&content).as_bytes())?;
    Ok(ReportPaths { html, markdown, tables, figures })
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    fs::write(path, bytes).map_err(ReportError::io("write", path))
}

fn remove_files(folder: &Path, endings: &[&str]) -> Result<(), ReportError> {
    for entry in fs::read_dir(folder).map_err(ReportError::io("list", folder))? {
        let path = entry.map_err(ReportError::io("list", folder))?.path();
        if path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known)) {
            fs::remove_file(&path).map_err(ReportError::io("remove", &path))?;
        }
    }
    Ok(())
}
