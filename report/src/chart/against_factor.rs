//! A metric against a numeric factor: a dot a seed, mean and interval, what does not depend on the factor as a band,
//! published values in a style of their own.

use super::{
    Figure,
    axis::Axis,
    canvas::{
        Align, Canvas, Color, GREY, INK, LABEL, Lettering, Marker, Stroke, TITLE, draw, shortened, style,
    },
    chart_error,
    panel::{BELOW, EndLabel, LEFT, Panel, label_width},
};
use crate::{
    error::{DrawingError, ReportError},
    metric,
    series::{AgainstFactor, Line},
    statistics::{Estimate, mean},
    table::factor,
};

const PLOT: (f64, f64) = (500.0, 330.0);
const TOP: f64 = 42.0;
/// The height of the enlarged part.
const DETAIL: f64 = 200.0;
/// The part of the whole range that is too small to tell several lines apart in.
const CROWD: f64 = 0.12;
/// Lines that share a value stand side by side, this far apart.
const DODGE: f64 = 9.0;
const LONGEST_NAME: f64 = 240.0;

/// The figure of `series`; none where no arm has the factor.
pub fn figure(series: &AgainstFactor) -> Result<Option<Figure>, ReportError> {
    if series.lines.is_empty() {
        return Ok(None);
    }
    let what = metric::title(series.metric);
    let short = what.split(" (").next().unwrap_or(&what).to_owned();
    let title = format!("{} against {}", capitalised(&short), series.factor_name());
    let name =
        format!("{}-against-{}", series.metric.replace('_', "-"), series.factor_name().replace('_', "-"));
    let labels = end_labels(series);
    let width = LEFT + PLOT.0 + label_width(labels.iter().map(|label| label.text.as_str()));
    let x = Axis::of_values(&series.values);
    let spacing = x.spacing();
    let y = range(series);
    let whole = Panel { corner: (LEFT, TOP), size: PLOT, x, y: Axis::linear(y.0, y.1) };
    let below = TOP + PLOT.1 + BELOW;
    let detail = upper_end(series, y).map(|(low, high)| Panel {
        corner: (LEFT, below + TOP - 10.0),
        size: (PLOT.0, DETAIL),
        y: Axis::linear(low, high),
        ..whole.clone()
    });
    let height = if detail.is_some() { below + TOP - 10.0 + DETAIL + BELOW } else { below };
    let svg = draw((width, height), &title, |canvas| {
        canvas.text(&title, (8.0, 16.0), Align::Left, TITLE)?;
        for panel in [&whole].into_iter().chain(&detail) {
            panel.frame(canvas, series.factor_name(), &what)?;
            paint(canvas, panel, series)?;
            let inside = |label: &&EndLabel| panel.at(label.from_x, label.value).is_some();
            let inside: Vec<EndLabel> = labels.iter().filter(inside).cloned().collect();
            panel.name_lines(canvas, &inside)?;
        }
        detail.as_ref().map_or(Ok(()), |panel| {
            let heading = Lettering { bold: true, ..LABEL };
            canvas.text("The upper end, enlarged", (LEFT, panel.corner.1 - 14.0), Align::Left, heading)
        })
    });
    Ok(Some(Figure {
        caption: caption(series, spacing, detail.is_some()),
        svg: svg.map_err(chart_error(&name))?,
        numbers: factor::frame(series)?,
        name,
        title,
    }))
}

fn paint(canvas: &Canvas<'_>, panel: &Panel, series: &AgainstFactor) -> Result<(), DrawingError> {
    let across = (series.values[0], series.values[series.values.len() - 1]);
    for (index, (_, sample)) in series.constants.iter().enumerate() {
        let Some(estimate) = Estimate::of(sample) else { continue };
        let stroke = constant_stroke(index);
        if let Some(interval) = estimate.interval {
            let band = [across.0, across.1].map(|x| (x, interval.low, interval.high));
            panel.band(canvas, &band, stroke.color, 0.16)?;
        }
        panel.curve(canvas, &[(across.0, estimate.mean), (across.1, estimate.mean)], stroke)?;
    }
    for reference in &series.references {
        panel.curve(canvas, &reference.points, REFERENCE)?;
        for point in &reference.points {
            panel.mark(canvas, Marker::Cross, *point, 4.0, (GREY, 1.0))?;
        }
    }
    let gap = DODGE.min(60.0 / series.lines.len() as f64);
    for (index, line) in series.lines.iter().enumerate() {
        let aside = (index as f64 - (series.lines.len() - 1) as f64 / 2.0) * gap;
        paint_line(canvas, &panel.beside(aside), line, style(index))?;
    }
    for point in &series.diverged {
        let index = series.lines.iter().position(|line| line.name == point.line);
        let color = index.map_or(INK, |index| style(index).0.color);
        let others = series.diverged.iter().take_while(|other| *other != point);
        let below = others.filter(|other| other.at.total_cmp(&point.at).is_eq()).count();
        let (x, bottom) = panel.foot(point.at);
        let y = bottom - 8.0 - 14.0 * below as f64;
        canvas.marker(Marker::Cross, (x, y), 5.0, color, 1.0)?;
        canvas.text(&format!("{} diverged", point.seeds), (x + 9.0, y), Align::Left, LABEL)?;
    }
    Ok(())
}

fn paint_line(
    canvas: &Canvas<'_>,
    panel: &Panel,
    line: &Line,
    (stroke, marker): (Stroke, Marker),
) -> Result<(), DrawingError> {
    let estimates: Vec<(f64, Estimate)> =
        line.points.iter().filter_map(|(at, sample)| Some((*at, Estimate::of(sample)?))).collect();
    let means: Vec<(f64, f64)> = estimates.iter().map(|(at, estimate)| (*at, estimate.mean)).collect();
    panel.curve(canvas, &means, stroke)?;
    for (at, sample) in &line.points {
        for value in sample {
            panel.mark(canvas, Marker::Circle, (*at, *value), 1.5, (stroke.color, 0.55))?;
        }
    }
    let bar = Stroke { width: 1.2, dash: None, ..stroke };
    for (at, estimate) in &estimates {
        if let Some(interval) = estimate.interval {
            panel.curve(canvas, &[(*at, interval.low), (*at, interval.high)], bar)?;
            for (x, y) in [interval.low, interval.high].into_iter().filter_map(|end| panel.at(*at, end)) {
                canvas.line(&[(x - 3.0, y), (x + 3.0, y)], bar)?;
            }
        }
        panel.mark(canvas, marker, (*at, estimate.mean), 4.0, (stroke.color, 1.0))?;
    }
    Ok(())
}

const REFERENCE: Stroke = Stroke { color: GREY, width: 1.2, dash: Some((2, 4)) };

fn constant_stroke(index: usize) -> Stroke {
    const COLORS: [Color; 2] = [INK, GREY];
    Stroke { color: COLORS[index % 2], width: 1.4, dash: (index >= 2).then_some((9, 2)) }
}

fn end_labels(series: &AgainstFactor) -> Vec<EndLabel> {
    let mut labels = Vec::new();
    let last = series.values[series.values.len() - 1];
    for (index, line) in series.lines.iter().enumerate() {
        let (stroke, marker) = style(index);
        if let Some((at, sample)) = line.points.last()
            && let Some(estimate) = Estimate::of(sample)
        {
            labels.push(EndLabel {
                text: shortened(&line.name, LABEL, LONGEST_NAME),
                value: estimate.mean,
                color: stroke.color,
                marker: Some(marker),
                from_x: *at,
            });
        }
    }
    for (index, (name, sample)) in series.constants.iter().enumerate() {
        if let Some(estimate) = Estimate::of(sample) {
            let color = constant_stroke(index).color;
            let text = shortened(name, LABEL, LONGEST_NAME);
            labels.push(EndLabel { text, value: estimate.mean, color, marker: None, from_x: last });
        }
    }
    for reference in &series.references {
        if let Some((at, value)) = reference.points.last() {
            labels.push(EndLabel {
                text: shortened(&format!("{} (published)", reference.name), LABEL, LONGEST_NAME),
                value: *value,
                color: GREY,
                marker: Some(Marker::Cross),
                from_x: *at,
            });
        }
    }
    labels
}

/// Everything that is drawn: values, ends of intervals, published values.
fn range(series: &AgainstFactor) -> (f64, f64) {
    let (low, high) = extent(samples(series));
    let published =
        series.references.iter().flat_map(|reference| reference.points.iter().map(|(_, value)| *value));
    let (low, high) = published.fold((low, high), |(low, high), value| (low.min(value), high.max(value)));
    // A percentage has its limits, whatever an interval says.
    if series.metric.ends_with("accuracy") { (low.max(0.0), high.min(100.0)) } else { (low, high) }
}

/// The range of the best values, where most of them crowd into a small part of the whole and could not be told apart.
fn upper_end(series: &AgainstFactor, (low, high): (f64, f64)) -> Option<(f64, f64)> {
    let limit = high - CROWD * (high - low);
    let crowd: Vec<&Vec<f64>> =
        samples(series).filter(|sample| mean(sample).is_some_and(|mean| mean > limit)).collect();
    let (least, most) = extent(crowd.iter().copied());
    let crowded = crowd.len() >= 3 && 2 * crowd.len() > samples(series).count() && least > limit;
    crowded.then_some((least, most.min(high)))
}

fn samples(series: &AgainstFactor) -> impl Iterator<Item = &Vec<f64>> {
    let lines = series.lines.iter().flat_map(|line| line.points.iter().map(|(_, sample)| sample));
    lines.chain(series.constants.iter().map(|(_, sample)| sample))
}

/// The least and greatest of the values and of the ends of their intervals.
fn extent<'a>(samples: impl Iterator<Item = &'a Vec<f64>>) -> (f64, f64) {
    let values = samples.flat_map(|sample| {
        let interval = Estimate::of(sample).and_then(|estimate| estimate.interval);
        sample.iter().copied().chain(interval.into_iter().flat_map(|interval| [interval.low, interval.high]))
    });
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

fn caption(series: &AgainstFactor, spacing: &str, enlarged: bool) -> String {
    let counts = series.lines.iter().flat_map(|line| line.points.iter().map(|(_, sample)| sample.len()));
    let (least, most) = counts.fold((usize::MAX, 0), |(least, most), n| (least.min(n), most.max(n)));
    let n = if least == most { format!("n = {most}") } else { format!("n = {least} to {most}") };
    let intervals = if most > 1 { "; bars: 95 % interval of the mean (Student's t)" } else { "" };
    let factor = capitalised(series.factor_name());
    let mut sentences = vec![
        format!("Small dots: one a seed ({n}). Markers: means{intervals}."),
        format!("{factor} axis {spacing}; lines that share a value stand side by side."),
    ];
    if !series.diverged.is_empty() {
        sentences.push("Crosses at the lower edge: seeds that diverged; they have no value.".to_owned());
    }
    if enlarged {
        sentences.push("Below: the same, its upper end enlarged.".to_owned());
    }
    if !series.constants.is_empty() {
        let names: Vec<&str> = series.constants.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(", ");
        sentences.push(format!("Horizontal: {names}, mean and 95 % band, which does not depend on it."));
    }
    sentences.extend(series.references.iter().map(|reference| {
        format!("Crosses: {}, published, not measured here ({}).", reference.name, reference.source)
    }));
    sentences.join(" ")
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
