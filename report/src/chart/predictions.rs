//! Step times that the cost model predicted, against those that were measured: a mark a configuration, and the diagonal
//! on which a perfect prediction lies.

use polars::prelude::DataFrame;

use super::{
    Figure,
    axis::Axis,
    canvas::{Align, Canvas, GREY, LABEL, Lettering, Stroke, TITLE, draw, shortened, style},
    chart_error,
    panel::{BELOW, EndLabel, LEFT, Panel, label_width},
};
use crate::{
    error::{DrawingError, ReportError},
    results::{Configuration, Results},
    statistics::median,
    table::frames,
};

const WIDTH: f64 = 400.0;
/// A square, or as high as its names need.
const LEAST_HEIGHT: f64 = 400.0;
const ROOM: f64 = 16.0;
const TOP: f64 = 42.0;
const LONGEST_NAME: f64 = 240.0;

struct Point {
    label: String,
    measured_s: f64,
    predicted_s: f64,
    bottleneck: &'static str,
}

impl Point {
    fn error(&self) -> f64 {
        (self.predicted_s - self.measured_s).abs() / self.measured_s
    }
}

/// The figure; none where nothing was predicted.
pub fn figure(results: &Results) -> Result<Option<Figure>, ReportError> {
    let points: Vec<Point> = results.configurations().iter().filter_map(point).collect();
    let Some(error) = median(&points.iter().map(Point::error).collect::<Vec<_>>()) else {
        return Ok(None);
    };
    let (name, title) = ("predicted-against-measured", "Predicted against measured step time");
    let times = points.iter().flat_map(|point| [point.measured_s, point.predicted_s]);
    let (low, high) = times.fold((f64::INFINITY, 0.0_f64), |(low, high), s| (low.min(s), high.max(s)));
    // Milliseconds where everything is below a second.
    let (unit, size) = if high < 1.0 { ("ms", 1e-3) } else { ("s", 1.0) };
    let axis = Axis::logarithmic(low / size / 1.25, high / size * 1.25);
    let labels: Vec<EndLabel> =
        points.iter().enumerate().map(|(index, point)| label(index, point, size)).collect();
    let height = LEAST_HEIGHT.max(ROOM * points.len() as f64);
    let panel = Panel { corner: (LEFT, TOP), size: (WIDTH, height), x: axis.clone(), y: axis };
    let width = LEFT + WIDTH + label_width(labels.iter().map(|label| label.text.as_str()));
    let svg = draw((width, TOP + height + BELOW), title, |canvas| {
        canvas.text(title, (8.0, 16.0), Align::Left, TITLE)?;
        panel.frame(
            canvas,
            &format!("measured step time ({unit})"),
            &format!("predicted step time ({unit})"),
        )?;
        diagonal(canvas, &panel, (low / size / 2.0, high / size * 2.0))?;
        for (index, point) in points.iter().enumerate() {
            let (stroke, marker) = style(index);
            let place = (point.measured_s / size, point.predicted_s / size);
            panel.mark(canvas, marker, place, 4.5, (stroke.color, 1.0))?;
        }
        panel.name_lines(canvas, &labels)
    });
    let speeds = speeds(results);
    Ok(Some(Figure {
        name: name.to_owned(),
        title: title.to_owned(),
        caption: format!(
            "Predicted: by the cost model, before the run, from the machine's description{speeds}. Measured: median wall \
             time of a step. Both: median over seeds. Dashed: prediction and measurement are equal. Median absolute relative error \
             {:.1} % (n = {}). Both axes logarithmic.",
            100.0 * error,
            points.len()
        ),
        svg: svg.map_err(chart_error(name))?,
        numbers: numbers(&points)?,
    }))
}

/// How fast the machine was before the trials, beside its description.
fn speeds(results: &Results) -> String {
    let configurations = results.configurations();
    let runs = configurations.iter().flat_map(|configuration| &configuration.runs);
    let speeds: Vec<_> = runs.filter_map(|run| run.summary.predicted.as_ref()?.speed).collect();
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) =
            values.fold((f64::INFINITY, 0.0_f64), |(low, high), at| (low.min(at), high.max(at)));
        (high > 0.0).then(|| format!("{low:.2} to {high:.2}"))
    };
    let compute = range(&mut speeds.iter().map(|speed| speed.compute));
    let disk = range(&mut speeds.iter().filter_map(|speed| speed.disk).map(|disk| disk.mixed));
    let said = [("computed", compute), ("its disk moved bytes", disk)];
    let said: Vec<String> = said
        .into_iter()
        .filter_map(|(what, range)| Some(format!("{what} at {} of that rate", range?)))
        .collect();
    if said.is_empty() {
        return String::new();
    }
    format!(" and its speed at that moment: before the trials the machine {}", said.join(", "))
}

fn point(configuration: &Configuration<'_>) -> Option<Point> {
    let bottleneck = configuration.runs.iter().find_map(|run| run.summary.predicted.as_ref())?.bottleneck;
    let predicted_s = median(&configuration.predicted_step_times())?;
    let measured_s = median(&configuration.sample(|summary| summary.step_time_s.median))?;
    (measured_s > 0.0 && predicted_s > 0.0).then(|| Point {
        label: configuration.label.clone(),
        measured_s,
        predicted_s,
        bottleneck: bottleneck.name(),
    })
}

fn label(index: usize, point: &Point, size: f64) -> EndLabel {
    let (stroke, marker) = style(index);
    let change = 100.0 * (point.predicted_s / point.measured_s - 1.0);
    let sign = if change < 0.0 { "−" } else { "+" };
    let name = shortened(&point.label, LABEL, LONGEST_NAME);
    EndLabel {
        text: format!("{name} {sign}{:.0} %", change.abs()),
        value: point.predicted_s / size,
        color: stroke.color,
        marker: Some(marker),
        from_x: point.measured_s / size,
    }
}

fn diagonal(canvas: &Canvas<'_>, panel: &Panel, (low, high): (f64, f64)) -> Result<(), DrawingError> {
    let stroke = Stroke { color: GREY, width: 1.2, dash: Some((6, 4)) };
    panel.curve(canvas, &[(low, low), (high, high)], stroke)?;
    let note = Lettering { color: GREY, ..LABEL };
    let corner = (panel.corner.0 + panel.size.0 - 8.0, panel.corner.1 + 10.0);
    canvas.text("equal", (corner.0 - 14.0, corner.1), Align::Right, note)
}

fn numbers(points: &[Point]) -> Result<DataFrame, ReportError> {
    let column = |name: &str, value: fn(&Point) -> f64| {
        frames::number_column(name, points.iter().map(|point| Some(value(point))).collect())
    };
    let text = |name: &str, value: fn(&Point) -> String| {
        frames::text_column(name, points.iter().map(value).collect())
    };
    Ok(DataFrame::new(
        points.len(),
        vec![
            text("configuration", |point| point.label.clone()),
            column("measured_step_s", |point| point.measured_s),
            column("predicted_step_s", |point| point.predicted_s),
            column("absolute_relative_error", Point::error),
            text("predicted_bottleneck", |point| point.bottleneck.to_owned()),
        ],
    )?)
}
