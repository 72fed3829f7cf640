//! What it costs to train out of core: step time, bytes, bandwidth and memory against the network's size or the budget.

use polars::prelude::DataFrame;
use spillbench_schema::{Bytes, Summary, config::Config};

use super::{
    Figure,
    axis::Axis,
    canvas::{Align, Canvas, GREY, INK, LABEL, Lettering, Marker, Stroke, TITLE, draw, style, text_width},
    chart_error,
    panel::{BELOW, LEFT, Panel},
};
use crate::{
    error::{DrawingError, ReportError},
    results::Results,
    statistics::median,
    table::frames,
};

/// What the cost is seen along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// Bytes of the network's parameters as `f32`.
    Size,
    /// The memory budget.
    Budget,
}

/// Fewer different sizes or budgets than this are no curve.
const LEAST: usize = 3;
const SIZE: (f64, f64) = (330.0, 190.0);
const CELL: (f64, f64) = (LEFT + SIZE.0 + 24.0, SIZE.1 + BELOW + 30.0);
const TOP: f64 = 76.0;

/// One of the four panels.
struct Quantity {
    title: &'static str,
    unit: &'static str,
    value: fn(&Summary) -> f64,
    /// A limit in the same unit, drawn as a line.
    limit: Option<(&'static str, fn(&Summary) -> f64)>,
}

const GB: f64 = 1e9;

const QUANTITIES: [Quantity; 4] = [
    Quantity { title: "Step time", unit: "s", value: |summary| summary.step_time_s.median, limit: None },
    Quantity {
        title: "Bytes moved a step",
        unit: "GB",
        value: |summary| (summary.bytes_read + summary.bytes_written) as f64 / summary.steps as f64 / GB,
        limit: Some(("floor", |summary| summary.io_floor_bytes as f64 / summary.steps as f64 / GB)),
    },
    Quantity {
        title: "Bandwidth over training",
        unit: "GB/s",
        value: |summary| (summary.bytes_read + summary.bytes_written) as f64 / summary.train_s / GB,
        limit: None,
    },
    Quantity {
        title: "Peak resident memory",
        unit: "GB",
        value: |summary| summary.peak_rss_bytes as f64 / GB,
        limit: Some(("budget", |summary| summary.memory_budget_bytes.unwrap_or(0) as f64 / GB)),
    },
];

impl Against {
    fn of(self, summary: &Summary) -> Option<f64> {
        match self {
            Self::Size => Some(4.0 * summary.parameters as f64),
            Self::Budget => summary.memory_budget_bytes.map(|bytes| bytes as f64),
        }
    }

    const fn axis_name(self) -> &'static str {
        match self {
            Self::Size => "parameters, 4 bytes each",
            Self::Budget => "memory budget",
        }
    }
}

/// Trials that differ in what the cost is seen along alone, ascending.
struct Line {
    /// What the trials share: everything but the network, the budget and the seed.
    shared: String,
    mode: String,
    name: String,
    /// Size or budget → the summaries of its seeds.
    points: Vec<(f64, Vec<Summary>)>,
}

/// The figure of the costs; none where too few sizes or budgets were run with parameters on disk.
pub fn figure(results: &Results, against: Against) -> Result<Option<Figure>, ReportError> {
    let lines = lines(results, against);
    let spilled = lines.iter().filter(|line| line.mode != "memory").map(|line| line.points.len()).max();
    if spilled.unwrap_or(0) < LEAST {
        return Ok(None);
    }
    let (name, title) = match against {
        Against::Size => ("cost-against-size", "What a network's size costs"),
        Against::Budget => ("cost-against-budget", "What a memory budget costs"),
    };
    let whole = (2.0 * CELL.0, TOP + 2.0 * CELL.1);
    let svg = draw(whole, title, |canvas| {
        canvas.text(title, (8.0, 16.0), Align::Left, TITLE)?;
        key(canvas, &lines)?;
        for (index, quantity) in QUANTITIES.iter().enumerate() {
            let corner = (CELL.0 * (index % 2) as f64 + LEFT, TOP + CELL.1 * (index / 2) as f64);
            paint(canvas, quantity, corner, against, &lines)?;
        }
        Ok(())
    });
    let seeds = lines.iter().flat_map(|line| line.points.iter().map(|(_, seeds)| seeds.len()));
    let (least, most) = seeds.fold((usize::MAX, 0), |(least, most), n| (least.min(n), most.max(n)));
    let n = if least == most { format!("n = {most}") } else { format!("n = {least} to {most}") };
    Ok(Some(Figure {
        name: name.to_owned(),
        title: title.to_owned(),
        caption: format!(
            "Markers: median over seeds of each ({n}); step time is a run's median step. Dotted lines: the least bytes \
             that any schedule moves within the budget, and the budget itself. Both axes logarithmic where values span \
             a factor of eight. Measured on this machine."
        ),
        svg: svg.map_err(chart_error(name))?,
        numbers: numbers(&lines, against)?,
    }))
}

fn lines(results: &Results, against: Against) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for run in &results.runs {
        let summary = &run.summary;
        let Some(at) = against.of(summary) else { continue };
        let shared = shared(&run.trial.config);
        let found = lines.iter().position(|line| line.shared == shared);
        let index = found.unwrap_or_else(|| {
            let (mode, name) = (summary.storage_mode.clone(), run.trial.label());
            lines.push(Line { shared, mode, name, points: Vec::new() });
            lines.len() - 1
        });
        let line = &mut lines[index];
        match line.points.iter_mut().find(|(x, _)| (*x - at).abs() < 0.5) {
            Some((_, seeds)) => seeds.push(summary.clone()),
            None => line.points.push((at, vec![summary.clone()])),
        }
    }
    let modes: Vec<String> = lines.iter().map(|line| line.mode.clone()).collect();
    for line in &mut lines {
        // The mode says enough where no other line has it.
        if modes.iter().filter(|mode| **mode == line.mode).count() == 1 {
            line.name.clone_from(&line.mode);
        }
        line.points.sort_by(|left, right| left.0.total_cmp(&right.0));
    }
    lines
}

/// A configuration without what the cost is seen along.
fn shared(config: &Config) -> String {
    let mut config = serde_json::to_value(config).unwrap_or_default();
    config["network"]["layers"] = serde_json::Value::Null;
    config["network"]["input"] = serde_json::Value::Null;
    config["storage"]["memory_budget"] = serde_json::Value::Null;
    config.to_string()
}

impl Line {
    fn medians(&self, value: fn(&Summary) -> f64) -> Vec<(f64, f64)> {
        let of = |seeds: &[Summary]| median(&seeds.iter().map(value).collect::<Vec<_>>());
        self.points.iter().filter_map(|(at, seeds)| Some((*at, of(seeds)?))).collect()
    }
}

fn paint(
    canvas: &Canvas<'_>,
    quantity: &Quantity,
    corner: (f64, f64),
    against: Against,
    lines: &[Line],
) -> Result<(), DrawingError> {
    let heading = Lettering { bold: true, ..LABEL };
    canvas.text(quantity.title, (corner.0, corner.1 - 13.0), Align::Left, heading)?;
    let xs: Vec<f64> = lines.iter().flat_map(|line| line.points.iter().map(|(at, _)| *at)).collect();
    let limits = |line: &Line| quantity.limit.map_or(Vec::new(), |(_, limit)| line.medians(limit));
    let ys: Vec<f64> = lines
        .iter()
        .flat_map(|line| line.medians(quantity.value).into_iter().chain(limits(line)))
        .map(|(_, y)| y)
        .filter(|y| *y > 0.0)
        .collect();
    let panel = Panel { corner, size: SIZE, x: sizes(&xs), y: around(&ys) };
    let name = format!("{} ({})", quantity.title.to_lowercase(), quantity.unit);
    panel.frame(canvas, against.axis_name(), &name)?;
    for (index, line) in lines.iter().enumerate() {
        let (stroke, marker) = style(index);
        let limit: Vec<(f64, f64)> = limits(line).into_iter().filter(|(_, y)| *y > 0.0).collect();
        panel.curve(canvas, &limit, LIMIT)?;
        let points: Vec<(f64, f64)> =
            line.medians(quantity.value).into_iter().filter(|(_, y)| *y > 0.0).collect();
        panel.curve(canvas, &points, stroke)?;
        for point in points {
            panel.mark(canvas, marker, point, 4.0, (stroke.color, 1.0))?;
        }
    }
    Ok(())
}

const LIMIT: Stroke = Stroke { color: GREY, width: 1.4, dash: Some((2, 3)) };

/// An axis of bytes whose marks are doublings, or the values themselves where they are few.
fn sizes(values: &[f64]) -> Axis {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let axis = Axis::of_values(&values);
    let ticks = values.iter().map(|value| (*value, Bytes(*value as u64).to_string())).collect();
    axis.marked(ticks)
}

fn around(values: &[f64]) -> Axis {
    let (low, high) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
    if high / low >= 8.0 {
        Axis::logarithmic(low / 1.2, high * 1.2)
    } else {
        Axis::linear(0.0, high.max(1e-9))
    }
}

fn key(canvas: &Canvas<'_>, lines: &[Line]) -> Result<(), DrawingError> {
    let mut x = 10.0;
    let limit = ("floor, budget", LIMIT, None::<Marker>);
    let entries = lines.iter().enumerate().map(|(index, line)| {
        let (stroke, marker) = style(index);
        (line.name.as_str(), stroke, Some(marker))
    });
    for (name, stroke, marker) in entries.chain([limit]) {
        canvas.line(&[(x, 38.0), (x + 26.0, 38.0)], stroke)?;
        if let Some(marker) = marker {
            canvas.marker(marker, (x + 13.0, 38.0), 4.0, stroke.color, 1.0)?;
        }
        canvas.text(name, (x + 32.0, 38.0), Align::Left, Lettering { color: INK, ..LABEL })?;
        x += 32.0 + text_width(name, LABEL) + 18.0;
    }
    Ok(())
}

fn numbers(lines: &[Line], against: Against) -> Result<DataFrame, ReportError> {
    let x = if against == Against::Size { "parameter_bytes" } else { "memory_budget_bytes" };
    let rows: Vec<(&str, f64)> =
        lines.iter().flat_map(|line| line.points.iter().map(|(at, _)| (line.name.as_str(), *at))).collect();
    let column = |name: &str, value: fn(&Summary) -> f64| {
        let medians = lines.iter().flat_map(|line| line.medians(value)).map(|(_, y)| Some(y)).collect();
        frames::number_column(name, medians)
    };
    let mut columns = vec![
        frames::text_column("line", rows.iter().map(|(mode, _)| (*mode).to_owned()).collect()),
        frames::number_column(x, rows.iter().map(|(_, at)| Some(*at)).collect()),
    ];
    for quantity in &QUANTITIES {
        let name = format!("{}_{}", quantity.title.to_lowercase(), quantity.unit);
        columns.push(column(&name.replace([' ', '/'], "_"), quantity.value));
        if let Some((limit, value)) = quantity.limit {
            columns.push(column(&format!("{limit}_{}", quantity.unit), value));
        }
    }
    Ok(DataFrame::new(rows.len(), columns)?)
}
