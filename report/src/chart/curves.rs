//! Training loss against steps and against time: a line a configuration, the mean over its seeds, with their range.

use polars::prelude::DataFrame;
use spillbench_schema::{Event, trial::plain, trial::short_key};

use super::{
    Figure,
    axis::Axis,
    canvas::{Align, Canvas, GREY, INK, LABEL, Lettering, Stroke, TITLE, draw, shortened, style},
    chart_error,
    panel::{BELOW, EndLabel, LEFT, Panel, label_width},
};
use crate::{
    error::{DrawingError, ReportError},
    results::{Configuration, Results, Run},
    table::frames,
};

/// What runs along the horizontal axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// Optimizer updates.
    Steps,
    /// Seconds of training, evaluation and set-up left out.
    Time,
}

/// A curve is drawn through this many evenly spaced points: as many as can be told apart.
const POINTS: usize = 120;
/// More lines than this in one panel cannot be told apart.
const LINES: usize = 6;
const TOP: f64 = 42.0;
const PANEL_TOP: f64 = 26.0;

/// The figure of the training loss; none where no log has two lines of it.
pub fn figure(results: &Results, along: Along) -> Result<Option<Figure>, ReportError> {
    let curves: Vec<Curve> =
        results.configurations().iter().filter_map(|each| Curve::of(each, along)).collect();
    if curves.is_empty() {
        return Ok(None);
    }
    let (name, title, x_name) = match along {
        Along::Steps => ("loss-against-steps", "Training loss against steps", "steps"),
        Along::Time => ("loss-against-time", "Training loss against training time", "training time (s)"),
    };
    let x = Axis::up_to(extreme(&curves, |curve| curve.points.iter().map(|point| point.x)).1);
    let (low, high) = extreme(&curves, |curve| curve.points.iter().flat_map(|point| [point.low, point.high]));
    let y = if low > 0.0 && high / low > 10.0 {
        Axis::logarithmic(low / 1.15, high * 1.15)
    } else {
        Axis::linear(low, high)
    };
    let caption = caption(&curves, along, &y);
    let plan = plan(&curves);
    let columns = plan.len().min(2);
    let names = plan.iter().flat_map(|group| group.lines.iter().map(|(label, _)| label.as_str()));
    let beside = label_width(names);
    let size = if columns == 1 { (520.0, 330.0) } else { (330.0, 230.0) };
    let cell = (LEFT + size.0 + beside, PANEL_TOP + size.1 + BELOW + 8.0);
    let whole =
        (cell.0 * columns as f64, TOP - PANEL_TOP + 8.0 + cell.1 * plan.len().div_ceil(columns) as f64);
    let svg = draw(whole, title, |canvas| {
        canvas.text(title, (8.0, 16.0), Align::Left, TITLE)?;
        for (index, group) in plan.iter().enumerate() {
            let corner = (
                cell.0 * (index % columns) as f64 + LEFT,
                TOP - PANEL_TOP + 8.0 + cell.1 * (index / columns) as f64 + PANEL_TOP,
            );
            let panel = Panel { corner, size, x: x.clone(), y: y.clone() };
            panel.frame(canvas, x_name, "training loss")?;
            group.paint(canvas, &panel)?;
        }
        Ok(())
    });
    Ok(Some(Figure {
        name: name.to_owned(),
        title: title.to_owned(),
        caption,
        svg: svg.map_err(chart_error(name))?,
        numbers: frame(&curves, along)?,
    }))
}

/// The mean loss of a configuration, on an even grid that all its seeds cover.
struct Curve {
    label: String,
    arm: String,
    /// The factors alone, where the arm is said elsewhere.
    point: String,
    seeds: usize,
    points: Vec<Point>,
}

struct Point {
    x: f64,
    mean: f64,
    low: f64,
    high: f64,
}

impl Curve {
    fn of(configuration: &Configuration<'_>, along: Along) -> Option<Self> {
        let logs: Vec<Vec<(f64, f64)>> =
            configuration.runs.iter().map(|run| losses(run, along)).filter(|log| log.len() > 1).collect();
        let start = logs.iter().map(|log| log[0].0).max_by(f64::total_cmp)?;
        let end = logs.iter().map(|log| log[log.len() - 1].0).min_by(f64::total_cmp)?;
        let points = (0..POINTS).map(|index| {
            let x = start + (end - start) * index as f64 / (POINTS - 1) as f64;
            let values: Vec<f64> = logs.iter().map(|log| interpolated(log, x)).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(*value), high.max(*value))
            });
            Point { x, mean, low, high }
        });
        let trial = configuration.trial();
        let factors =
            trial.factors.iter().map(|(factor, value)| format!("{} {}", short_key(factor), plain(value)));
        Some(Self {
            label: configuration.label.clone(),
            arm: trial.arm.clone(),
            point: factors.collect::<Vec<_>>().join(", "),
            seeds: logs.len(),
            points: points.collect(),
        })
    }
}

fn losses(run: &Run, along: Along) -> Vec<(f64, f64)> {
    let steps = run.log.iter().filter_map(|event| match event {
        Event::Step { train_s, step, loss, .. } => {
            Some((if along == Along::Steps { *step as f64 } else { *train_s }, *loss))
        }
        _ => None,
    });
    let mut points: Vec<(f64, f64)> = steps.collect();
    points.dedup_by(|next, last| next.0 <= last.0);
    points
}

/// The value at `x` of the broken line through `points` (x ascending), which cover it.
fn interpolated(points: &[(f64, f64)], x: f64) -> f64 {
    let after = points.partition_point(|(at, _)| *at < x).clamp(1, points.len() - 1);
    let ((x0, y0), (x1, y1)) = (points[after - 1], points[after]);
    y0 + (y1 - y0) * ((x - x0) / (x1 - x0)).clamp(0.0, 1.0)
}

/// The lines that share a panel.
#[derive(Clone)]
struct Group<'a> {
    title: String,
    lines: Vec<(String, &'a Curve)>,
    /// Drawn in grey to compare with.
    context: Vec<&'a Curve>,
}

/// One panel while lines can be told apart; otherwise one an arm, with the arms that have no factor in grey in each.
fn plan(curves: &[Curve]) -> Vec<Group<'_>> {
    if curves.len() <= LINES {
        let lines = curves.iter().map(|curve| (named(&curve.label), curve)).collect();
        return vec![Group { title: String::new(), lines, context: Vec::new() }];
    }
    let (varied, fixed): (Vec<&Curve>, Vec<&Curve>) =
        curves.iter().partition(|curve| !curve.point.is_empty());
    let mut groups: Vec<Group<'_>> = Vec::new();
    for curve in &varied {
        let line = (named(&curve.point), *curve);
        match groups.iter_mut().find(|group| group.title == curve.arm) {
            Some(group) => group.lines.push(line),
            None => groups.push(Group { title: curve.arm.clone(), lines: vec![line], context: Vec::new() }),
        }
    }
    let split = groups.into_iter().flat_map(|group| {
        let Group { title, lines, .. } = group;
        lines
            .chunks(LINES)
            .map(|chunk| Group { title: title.clone(), lines: chunk.to_vec(), context: Vec::new() })
            .collect::<Vec<_>>()
    });
    let mut groups: Vec<Group<'_>> = split.collect();
    if !groups.is_empty() && fixed.len() <= 2 {
        for group in &mut groups {
            group.context.clone_from(&fixed);
        }
    } else {
        groups.extend(fixed.chunks(LINES).map(|chunk| {
            let lines = chunk.iter().map(|curve| (named(&curve.label), *curve)).collect();
            Group { title: String::new(), lines, context: Vec::new() }
        }));
    }
    groups
}

fn named(label: &str) -> String {
    shortened(label, LABEL, 230.0)
}

impl Group<'_> {
    fn paint(&self, canvas: &Canvas<'_>, panel: &Panel) -> Result<(), DrawingError> {
        let heading = Lettering { bold: true, ..LABEL };
        canvas.text(&self.title, (panel.corner.0, panel.corner.1 - 13.0), Align::Left, heading)?;
        for curve in &self.context {
            panel.curve(canvas, &means(curve), Stroke { color: GREY, width: 1.0, dash: None })?;
        }
        for (index, (_, curve)) in self.lines.iter().enumerate() {
            if curve.seeds > 1 {
                let band: Vec<(f64, f64, f64)> =
                    curve.points.iter().map(|point| (point.x, point.low, point.high)).collect();
                panel.band(canvas, &band, style(index).0.color, 0.15)?;
            }
        }
        let mut labels = Vec::new();
        for (index, (label, curve)) in self.lines.iter().enumerate() {
            let (stroke, marker) = style(index);
            panel.curve(canvas, &means(curve), stroke)?;
            // A few marks along the line, staggered, so that it is known by them too.
            for point in curve.points.iter().skip(POINTS / 10 + index * 3).step_by(POINTS / 4) {
                panel.mark(canvas, marker, (point.x, point.mean), 3.2, (stroke.color, 1.0))?;
            }
            let last = &curve.points[POINTS - 1];
            labels.push(EndLabel {
                text: label.clone(),
                value: last.mean,
                color: stroke.color,
                marker: Some(marker),
                from_x: last.x,
            });
        }
        for curve in &self.context {
            let last = &curve.points[POINTS - 1];
            let text = named(&curve.label);
            labels.push(EndLabel { text, value: last.mean, color: INK, marker: None, from_x: last.x });
        }
        panel.name_lines(canvas, &labels)
    }
}

fn means(curve: &Curve) -> Vec<(f64, f64)> {
    curve.points.iter().map(|point| (point.x, point.mean)).collect()
}

fn extreme<'a, I: Iterator<Item = f64>>(curves: &'a [Curve], values: impl Fn(&'a Curve) -> I) -> (f64, f64) {
    curves
        .iter()
        .flat_map(values)
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

fn caption(curves: &[Curve], along: Along, y: &Axis) -> String {
    let (least, most) = curves
        .iter()
        .fold((usize::MAX, 0), |(least, most), curve| (least.min(curve.seeds), most.max(curve.seeds)));
    let seeds = match (least, most) {
        (_, 1) => "One seed.".to_owned(),
        (least, most) if least == most => format!("Lines: mean of {most} seeds; bands: their range."),
        (least, most) => format!("Lines: mean of {least} to {most} seeds; bands: their range."),
    };
    let time = match along {
        Along::Steps => "",
        Along::Time => {
            " Measured wall time on this machine, evaluation and set-up left out; a line ends where its fastest seed does."
        }
    };
    format!(
        "{seeds} Each value is the mean since the log's last line, so curves begin after the first steps.{time} Loss \
         axis {}.",
        y.spacing()
    )
}

fn frame(curves: &[Curve], along: Along) -> Result<DataFrame, ReportError> {
    let points = || curves.iter().flat_map(|curve| curve.points.iter().map(move |point| (curve, point)));
    let numbers = |value: fn(&Point) -> f64| points().map(|(_, point)| Some(value(point))).collect();
    let x = if along == Along::Steps { "step" } else { "train_s" };
    Ok(DataFrame::new(
        curves.len() * POINTS,
        vec![
            frames::text_column("configuration", points().map(|(curve, _)| curve.label.clone()).collect()),
            frames::number_column("seeds", points().map(|(curve, _)| Some(curve.seeds as f64)).collect()),
            frames::number_column(x, numbers(|point| point.x)),
            frames::number_column("loss.mean", numbers(|point| point.mean)),
            frames::number_column("loss.min", numbers(|point| point.low)),
            frames::number_column("loss.max", numbers(|point| point.high)),
        ],
    )?)
}
