//! One quantity of each configuration as a horizontal bar: the median, a dot a seed, the value in figures, and, where
//! there is one, the limit that the quantity is held to.

use polars::prelude::DataFrame;
use spillbench_schema::Summary;

use super::{
    Figure,
    axis::Axis,
    canvas::{
        Align, Canvas, Color, FAINT, GREY, INK, LABEL, Lettering, Marker, OKABE_ITO, Stroke, TITLE, draw,
        shortened, text_width,
    },
    chart_error,
};
use crate::{
    error::{DrawingError, ReportError},
    format,
    results::Results,
    statistics::median,
    table::frames,
};

/// The height of a row.
pub const ROW: f64 = 26.0;
/// The width of the part that bars may fill.
pub const PLOT: f64 = 400.0;
const TOP: f64 = 58.0;
const LONGEST_NAME: f64 = 300.0;

/// What is shown.
pub struct Quantity {
    name: &'static str,
    title: &'static str,
    value: fn(&Summary) -> f64,
    limit: fn(&Summary) -> Option<u64>,
    /// In figures, at the right end of a row.
    shown: fn(f64) -> String,
    /// The axis's unit for values up to the given one: its name and size.
    unit: fn(f64) -> (&'static str, f64),
    caption: &'static str,
}

/// Training samples per second.
pub const THROUGHPUT: Quantity = Quantity {
    name: "throughput",
    title: "Throughput",
    value: |summary| summary.samples_per_s,
    limit: |_| None,
    shown: |rate| format!("{}/s", format::significant(rate, 4)),
    unit: |most| {
        if most >= 10_000.0 {
            ("thousand training samples per second", 1e3)
        } else {
            ("training samples per second", 1.0)
        }
    },
    caption: "Measured on this machine.",
};

/// The most resident memory, with the budget.
pub const MEMORY: Quantity = Quantity {
    name: "peak-memory",
    title: "Peak resident memory",
    value: |summary| summary.peak_rss_bytes as f64,
    limit: |summary| summary.memory_budget_bytes,
    shown: format::bytes,
    unit: |most| {
        let gib = f64::from(1 << 30);
        if most >= gib {
            ("peak resident memory (GiB)", gib)
        } else {
            ("peak resident memory (MiB)", f64::from(1 << 20))
        }
    },
    caption: "High-water mark of the trial's process. Thick upright lines: the memory budget, where there is one; the \
              process may exceed it by a stated constant.",
};

struct Row {
    label: String,
    sample: Vec<f64>,
    median: f64,
    limit: Option<f64>,
}

/// The figure of a quantity; none where no trial has any of it.
pub fn figure(results: &Results, quantity: &Quantity) -> Result<Option<Figure>, ReportError> {
    let rows: Vec<Row> = results
        .configurations()
        .into_iter()
        .filter_map(|configuration| {
            let sample = configuration.sample(quantity.value);
            let limit = (quantity.limit)(&configuration.runs[0].summary).map(|limit| limit as f64);
            Some(Row { median: median(&sample)?, label: configuration.label, sample, limit })
        })
        .collect();
    let most = rows.iter().flat_map(|row| row.sample.iter().copied().chain(row.limit)).fold(0.0, f64::max);
    if most <= 0.0 {
        return Ok(None);
    }
    let (axis_name, unit) = (quantity.unit)(most);
    let axis = Axis::up_to(most / unit * 1.03);
    let names: Vec<String> = rows.iter().map(|row| shortened(&row.label, LABEL, LONGEST_NAME)).collect();
    let left = left_of_plot(&names);
    let figures = rows.iter().map(|row| text_width(&(quantity.shown)(row.median), LABEL)).fold(0.0, f64::max);
    let bottom = TOP + ROW * rows.len() as f64;
    let whole = (left + PLOT + figures + 34.0, bottom + 44.0);
    let svg = draw(whole, quantity.title, |canvas| {
        canvas.text(quantity.title, (8.0, 16.0), Align::Left, TITLE)?;
        frame(canvas, &axis, left, bottom, axis_name)?;
        canvas.text(
            "median",
            (whole.0 - 10.0, TOP - 12.0),
            Align::Right,
            Lettering { color: GREY, ..LABEL },
        )?;
        for (index, (row, name)) in rows.iter().zip(&names).enumerate() {
            let middle = TOP + ROW * (index as f64 + 0.5);
            canvas.text(name, (left - 8.0, middle), Align::Right, LABEL)?;
            canvas.text(&(quantity.shown)(row.median), (whole.0 - 10.0, middle), Align::Right, LABEL)?;
            bar(canvas, &|value| left + PLOT * axis.position(value / unit), middle, row)?;
        }
        name_limit(canvas, &rows, &|value| left + PLOT * axis.position(value / unit))
    });
    let mut caption = format!("Bars: median over seeds; dots: one a seed. {}", quantity.caption);
    if rows.iter().all(|row| row.sample.len() == 1) {
        caption = format!("One seed. {}", quantity.caption);
    }
    Ok(Some(Figure {
        name: quantity.name.to_owned(),
        title: quantity.title.to_owned(),
        caption,
        svg: svg.map_err(chart_error(quantity.name))?,
        numbers: numbers(&rows)?,
    }))
}

/// The room left of the bars for their names.
pub fn left_of_plot(names: &[String]) -> f64 {
    names.iter().map(|name| text_width(name, LABEL)).fold(0.0, f64::max) + 22.0
}

fn frame(canvas: &Canvas<'_>, axis: &Axis, left: f64, bottom: f64, name: &str) -> Result<(), DrawingError> {
    for (value, label) in &axis.ticks {
        let x = left + PLOT * axis.position(*value);
        canvas.line(&[(x, TOP), (x, bottom)], Stroke { color: FAINT, width: 0.5, dash: None })?;
        canvas.text(label, (x, bottom + 12.0), Align::Center, LABEL)?;
    }
    canvas.line(&[(left, TOP), (left, bottom)], Stroke { color: GREY, width: 1.0, dash: None })?;
    canvas.text(name, (left + PLOT / 2.0, bottom + 31.0), Align::Center, LABEL)
}

fn bar(canvas: &Canvas<'_>, x: &dyn Fn(f64) -> f64, middle: f64, row: &Row) -> Result<(), DrawingError> {
    let half = ROW * 0.32;
    canvas.rectangle((x(0.0), middle - half), (x(row.median), middle + half), OKABE_ITO[0], 0.45)?;
    let edge = Stroke { color: OKABE_ITO[0], width: 2.0, dash: None };
    canvas.line(&[(x(row.median), middle - half), (x(row.median), middle + half)], edge)?;
    if row.sample.len() > 1 {
        for value in &row.sample {
            canvas.marker(Marker::Circle, (x(*value), middle), 2.0, INK, 0.7)?;
        }
    }
    row.limit.map_or(Ok(()), |limit| {
        let line = Stroke { color: LIMIT, width: 2.5, dash: None };
        canvas.line(&[(x(limit), middle - ROW * 0.5), (x(limit), middle + ROW * 0.5)], line)
    })
}

const LIMIT: Color = OKABE_ITO[1];

/// Names the limit once, above the first row that has it.
fn name_limit(canvas: &Canvas<'_>, rows: &[Row], x: &dyn Fn(f64) -> f64) -> Result<(), DrawingError> {
    let Some((index, limit)) = rows.iter().enumerate().find_map(|(index, row)| Some((index, row.limit?)))
    else {
        return Ok(());
    };
    let top = TOP + ROW * index as f64;
    let name = if rows.iter().all(|row| row.limit.is_none_or(|other| other.total_cmp(&limit).is_eq())) {
        format!("budget {}", format::bytes(limit))
    } else {
        "budget".to_owned()
    };
    let lettering = Lettering { color: LIMIT, bold: true, ..LABEL };
    if index > 0 {
        let line = Stroke { color: LIMIT, width: 1.0, dash: Some((2, 2)) };
        canvas.line(&[(x(limit), TOP - 5.0), (x(limit), top)], line)?;
    }
    // Centred above its line, kept on the paper.
    let half = text_width(&name, lettering) / 2.0;
    canvas.text(&name, (x(limit).max(half + 4.0), TOP - 13.0), Align::Center, lettering)
}

fn numbers(rows: &[Row]) -> Result<DataFrame, ReportError> {
    let column = |name: &str, value: &dyn Fn(&Row) -> Option<f64>| {
        frames::number_column(name, rows.iter().map(value).collect())
    };
    let extreme = |row: &Row, pick: fn(f64, f64) -> f64| row.sample.iter().copied().reduce(pick);
    Ok(DataFrame::new(
        rows.len(),
        vec![
            frames::text_column("configuration", rows.iter().map(|row| row.label.clone()).collect()),
            column("seeds", &|row| Some(row.sample.len() as f64)),
            column("median", &|row| Some(row.median)),
            column("min", &|row| extreme(row, f64::min)),
            column("max", &|row| extreme(row, f64::max)),
            column("limit", &|row| row.limit),
        ],
    )?)
}
