//! Where the time of training went: a stacked bar a configuration.

use polars::prelude::DataFrame;
use spillbench_schema::summary::TimeShares;

use super::{
    Figure,
    bars::{PLOT, ROW, left_of_plot},
    canvas::{Align, Canvas, Color, GREY, INK, LABEL, Lettering, TITLE, WHITE, draw, shortened, text_width},
    chart_error,
};
use crate::{
    error::{DrawingError, ReportError},
    format,
    results::{Configuration, Results},
    statistics::{mean, median},
    table::frames,
};

const TOP: f64 = 70.0;
const LONGEST_NAME: f64 = 300.0;
/// A part of the time: its name, its seconds, its colour, and the colour of text on it.
pub type Part = (&'static str, fn(&TimeShares) -> f64, Color, Color);

/// Six tones as well as six colours, so that they are told apart in grey.
pub const PARTS: [Part; 6] = [
    ("compute", |time| time.compute, plotters::style::RGBColor(0x00, 0x72, 0xb2), WHITE),
    ("read wait", |time| time.read_wait, plotters::style::RGBColor(0xf0, 0xc8, 0x5a), INK),
    ("write wait", |time| time.write_wait, plotters::style::RGBColor(0x80, 0x30, 0x00), WHITE),
    ("buffer wait", |time| time.buffer_wait, plotters::style::RGBColor(0xd5, 0x5e, 0x00), WHITE),
    ("communication wait", |time| time.comm_wait, plotters::style::RGBColor(0x56, 0xb4, 0xe9), INK),
    ("idle", |time| time.idle, plotters::style::RGBColor(0xe2, 0xe2, 0xe2), INK),
];

struct Row {
    label: String,
    /// Mean seconds over seeds, in the order of [`PARTS`].
    seconds: [f64; 6],
    step_s: f64,
}

/// The figure of time shares; none where no trial recorded any.
pub fn figure(results: &Results) -> Result<Option<Figure>, ReportError> {
    let rows: Vec<Row> = results.configurations().iter().filter_map(row).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let (name, title) = ("time-shares", "Where the time of training goes");
    let names: Vec<String> = rows.iter().map(|row| shortened(&row.label, LABEL, LONGEST_NAME)).collect();
    let steps: Vec<String> = rows.iter().map(|row| format::seconds(row.step_s)).collect();
    let left = left_of_plot(&names);
    let bottom = TOP + ROW * rows.len() as f64;
    let figures =
        steps.iter().map(|step| text_width(step, LABEL)).fold(text_width("time a step", LABEL), f64::max);
    let whole = (left + PLOT + figures + 30.0, bottom + 42.0);
    let svg = draw(whole, title, |canvas| {
        canvas.text(title, (8.0, 16.0), Align::Left, TITLE)?;
        key(canvas, &rows)?;
        canvas.text(
            "time a step",
            (whole.0 - 10.0, TOP - 10.0),
            Align::Right,
            Lettering { color: GREY, ..LABEL },
        )?;
        for (index, ((row, name), step)) in rows.iter().zip(&names).zip(&steps).enumerate() {
            let middle = TOP + ROW * (index as f64 + 0.5);
            canvas.text(name, (left - 8.0, middle), Align::Right, LABEL)?;
            canvas.text(step, (whole.0 - 10.0, middle), Align::Right, LABEL)?;
            stack(canvas, row, left, middle)?;
        }
        for percent in [0, 25, 50, 75, 100] {
            let x = left + PLOT * f64::from(percent) / 100.0;
            canvas.text(&percent.to_string(), (x, bottom + 11.0), Align::Center, LABEL)?;
        }
        canvas.text("share of the ranks' time (%)", (left + PLOT / 2.0, bottom + 29.0), Align::Center, LABEL)
    });
    Ok(Some(Figure {
        name: name.to_owned(),
        title: title.to_owned(),
        caption: "Mean over ranks and seeds, as a share of training time; shares of 6 % and more are written out. On the \
                  right the absolute: median wall time of a step."
            .to_owned(),
        svg: svg.map_err(chart_error(name))?,
        numbers: numbers(&rows)?,
    }))
}

fn row(configuration: &Configuration<'_>) -> Option<Row> {
    let seconds = PARTS
        .map(|(_, part, ..)| mean(&configuration.sample(|summary| part(&summary.time_s))).unwrap_or(0.0));
    let step_s = median(&configuration.sample(|summary| summary.step_time_s.median))?;
    (seconds.iter().sum::<f64>() > 0.0).then(|| Row { label: configuration.label.clone(), seconds, step_s })
}

/// Names the parts that occur, in the order of the stack.
fn key(canvas: &Canvas<'_>, rows: &[Row]) -> Result<(), DrawingError> {
    let mut x = 10.0;
    for (index, (name, _, color, _)) in PARTS.iter().enumerate() {
        if rows.iter().all(|row| row.seconds[index] <= 0.0) {
            continue;
        }
        canvas.rectangle((x, 33.0), (x + 12.0, 45.0), *color, 1.0)?;
        canvas.text(name, (x + 17.0, 39.0), Align::Left, LABEL)?;
        x += 17.0 + text_width(name, LABEL) + 18.0;
    }
    Ok(())
}

fn stack(canvas: &Canvas<'_>, row: &Row, left: f64, middle: f64) -> Result<(), DrawingError> {
    let total: f64 = row.seconds.iter().sum();
    let half = ROW * 0.36;
    let mut from = left;
    for (seconds, (_, _, color, ink)) in row.seconds.iter().zip(PARTS) {
        let share = seconds / total;
        let to = from + PLOT * share;
        // A hair of paper between neighbours.
        canvas.rectangle((from, middle - half), ((to - 1.0).max(from), middle + half), color, 1.0)?;
        if share >= 0.06 {
            let text = format!("{:.0}", share * 100.0);
            canvas.text(
                &text,
                (f64::midpoint(from, to), middle),
                Align::Center,
                Lettering { color: ink, ..LABEL },
            )?;
        }
        from = to;
    }
    Ok(())
}

fn numbers(rows: &[Row]) -> Result<DataFrame, ReportError> {
    let mut columns =
        vec![frames::text_column("configuration", rows.iter().map(|row| row.label.clone()).collect())];
    columns.extend(PARTS.iter().enumerate().map(|(index, (name, ..))| {
        let column = format!("{}_s", name.replace(' ', "_"));
        frames::number_column(&column, rows.iter().map(|row| Some(row.seconds[index])).collect())
    }));
    columns.push(frames::number_column("step_s", rows.iter().map(|row| Some(row.step_s)).collect()));
    Ok(DataFrame::new(rows.len(), columns)?)
}
