//! A metric against a numeric factor: a dot a seed, mean and interval, what does not depend on the factor as a band,
//! published values in a style of their own.

use super::{
    Figure,
    axis::Axis,
    canvas::{Align, Canvas, Color, GREY, INK, LABEL, Marker, Stroke, TITLE, draw, shortened, style},
    chart_error,
    panel::{BELOW, EndLabel, LEFT, Panel, label_width},
};
use crate::{
    error::{DrawingError, ReportError},
    metric,
    series::AgainstFactor,
    statistics::Estimate,
    table::factor,
};

const PLOT: (f64, f64) = (500.0, 330.0);
const TOP: f64 = 42.0;
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
    let panel =
        Panel { corner: (LEFT, TOP), size: PLOT, x, y: Axis::linear(range(series).0, range(series).1) };
    let svg = draw((width, TOP + PLOT.1 + BELOW), &title, |canvas| {
        canvas.text(&title, (8.0, 16.0), Align::Left, TITLE)?;
        panel.frame(canvas, series.factor_name(), &what)?;
        paint(canvas, &panel, series)?;
        panel.name_lines(canvas, &labels)
    });
    Ok(Some(Figure {
        caption: caption(series, spacing),
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
        for (x, y) in &reference.points {
            canvas.marker(Marker::Cross, panel.at(*x, *y), 4.0, GREY, 1.0)?;
        }
    }
    for (index, line) in series.lines.iter().enumerate() {
        let (stroke, marker) = style(index);
        let aside = (index as f64 - (series.lines.len() - 1) as f64 / 2.0)
            * DODGE.min(60.0 / series.lines.len() as f64);
        let shifted = |x: f64, y: f64| {
            let place = panel.at(x, y);
            (place.0 + aside, place.1)
        };
        let estimates: Vec<(f64, Estimate)> =
            line.points.iter().filter_map(|(at, sample)| Some((*at, Estimate::of(sample)?))).collect();
        let means: Vec<_> = estimates.iter().map(|(at, estimate)| shifted(*at, estimate.mean)).collect();
        canvas.line(&means, stroke)?;
        for (at, sample) in &line.points {
            for value in sample {
                canvas.marker(Marker::Circle, shifted(*at, *value), 1.5, stroke.color, 0.55)?;
            }
        }
        for (at, estimate) in &estimates {
            if let Some(interval) = estimate.interval {
                let bar = Stroke { width: 1.2, dash: None, ..stroke };
                let (low, high) = (shifted(*at, interval.low), shifted(*at, interval.high));
                canvas.line(&[low, high], bar)?;
                for end in [low, high] {
                    canvas.line(&[(end.0 - 3.0, end.1), (end.0 + 3.0, end.1)], bar)?;
                }
            }
            canvas.marker(marker, shifted(*at, estimate.mean), 4.0, stroke.color, 1.0)?;
        }
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
    let samples = series.lines.iter().flat_map(|line| line.points.iter().map(|(_, sample)| sample));
    let samples = samples.chain(series.constants.iter().map(|(_, sample)| sample));
    let measured = samples.flat_map(|sample| {
        let interval = Estimate::of(sample).and_then(|estimate| estimate.interval);
        sample.iter().copied().chain(interval.into_iter().flat_map(|interval| [interval.low, interval.high]))
    });
    let published =
        series.references.iter().flat_map(|reference| reference.points.iter().map(|(_, value)| *value));
    let (low, high) = measured
        .chain(published)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    // A percentage cannot be more, whatever an interval says.
    if series.metric.ends_with("accuracy") { (low.max(0.0), high) } else { (low, high) }
}

fn caption(series: &AgainstFactor, spacing: &str) -> String {
    let counts = series.lines.iter().flat_map(|line| line.points.iter().map(|(_, sample)| sample.len()));
    let (least, most) = counts.fold((usize::MAX, 0), |(least, most), n| (least.min(n), most.max(n)));
    let n = if least == most { format!("n = {most}") } else { format!("n = {least} to {most}") };
    let mut text = format!("Small dots: one a seed ({n}). Markers: means");
    text += if most > 1 { "; bars: 95 % interval of the mean (Student's t). " } else { ". " };
    text += &format!(
        "{} axis {spacing}; lines that share a value stand side by side.",
        capitalised(series.factor_name())
    );
    if !series.constants.is_empty() {
        let names: Vec<&str> = series.constants.iter().map(|(name, _)| name.as_str()).collect();
        text +=
            &format!(" Horizontal: {}, mean and 95 % band, which does not depend on it.", names.join(", "));
    }
    for reference in &series.references {
        text +=
            &format!(" Crosses: {}, published, not measured here ({}).", reference.name, reference.source);
    }
    text
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
