//! The roofline of training from disk (Williams et al. 2009): what a step attains against the operations that it does for
//! each byte moved, under the roofs of this machine's products and of its disk.

use polars::prelude::DataFrame;
use spillbench_schema::{Machine, Summary};

use super::{
    Figure,
    axis::Axis,
    canvas::{Align, Canvas, INK, LABEL, Stroke, TITLE, draw, shortened, style},
    chart_error,
    panel::{BELOW, EndLabel, LEFT, Panel, label_width},
};
use crate::{
    error::ReportError,
    results::{Configuration, Results},
    statistics::median,
    table::frames,
};

const PLOT: (f64, f64) = (440.0, 330.0);
const TOP: f64 = 42.0;
const LONGEST_NAME: f64 = 220.0;

/// Forward, error and gradient: multiplications and additions for each parameter and sample.
const FLOPS: f64 = 6.0;

const ROOF: Stroke = Stroke { color: INK, width: 1.4, dash: None };

/// What a machine can do at most.
struct Roofs {
    /// The fastest product, FLOP/s.
    compute: f64,
    /// The fastest mix of two reads and a write, bytes/s.
    disk: f64,
}

impl Roofs {
    fn of(machine: &Machine) -> Option<Self> {
        let greatest = |values: &mut dyn Iterator<Item = f64>| values.reduce(f64::max);
        let products = &machine.compute.products;
        let compute = greatest(&mut products.iter().flat_map(|rates| rates.gflops.values().copied()))?;
        let mixed = |share: f64| (0.2..0.45).contains(&share);
        let disk = greatest(&mut machine.disk.rates.iter().flat_map(|rates| {
            rates.mixed.iter().filter(|each| mixed(each.write_share)).map(|each| each.gb_per_s)
        }))?;
        Some(Self { compute: compute * 1e9, disk: disk * 1e9 })
    }
}

struct Point {
    label: String,
    /// Operations for each byte.
    intensity: f64,
    /// FLOP/s.
    attained: f64,
}

impl Point {
    fn of(configuration: &Configuration<'_>) -> Option<Self> {
        let median_of = |value: &dyn Fn(&Summary) -> f64| median(&configuration.sample(value));
        let attained = median_of(&|summary| FLOPS * summary.parameters as f64 * summary.samples_per_s)?;
        let bytes =
            median_of(&|summary| (summary.bytes_read + summary.bytes_written) as f64 / summary.train_s)?;
        let label = configuration.label.clone();
        (bytes > 0.0).then(|| Self { label, intensity: attained / bytes, attained })
    }
}

/// The figure; none where the machine was not probed, or fewer than three configurations moved bytes.
pub fn figure(results: &Results) -> Result<Option<Figure>, ReportError> {
    let Some(roofs) = results.machine.as_ref().and_then(Roofs::of) else { return Ok(None) };
    let points: Vec<Point> = results.configurations().iter().filter_map(Point::of).collect();
    if points.len() < 3 {
        return Ok(None);
    }
    let (name, title) = ("roofline", "Roofline of training from disk");
    let ridge = roofs.compute / roofs.disk;
    let ends = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (left, right) = ends(&mut points.iter().map(|point| point.intensity).chain([ridge]));
    let (left, right) = (left / 2.0, right * 2.0);
    let roof = |intensity: f64| (roofs.disk * intensity).min(roofs.compute) / 1e9;
    let attained = points.iter().map(|point| point.attained / 1e9);
    let (low, high) = ends(&mut attained.chain([roof(left), roofs.compute / 1e9]));
    let panel = Panel {
        corner: (LEFT, TOP),
        size: PLOT,
        x: Axis::logarithmic(left, right),
        y: Axis::logarithmic(low / 1.5, high * 1.5),
    };
    let labels: Vec<EndLabel> = points
        .iter()
        .enumerate()
        .map(|(index, point)| {
            let (stroke, marker) = style(index);
            let share = 100.0 * point.attained / 1e9 / roof(point.intensity);
            EndLabel {
                text: format!("{} {share:.0} %", shortened(&point.label, LABEL, LONGEST_NAME)),
                value: point.attained / 1e9,
                color: stroke.color,
                marker: Some(marker),
                from_x: point.intensity,
            }
        })
        .collect();
    let width = LEFT + PLOT.0 + label_width(labels.iter().map(|label| label.text.as_str()));
    let svg = draw((width, TOP + PLOT.1 + BELOW), title, |canvas: &Canvas<'_>| {
        canvas.text(title, (8.0, 16.0), Align::Left, TITLE)?;
        panel.frame(canvas, "operations for each byte moved (FLOP/B)", "attained (GFLOP/s)")?;
        panel.curve(canvas, &[(left, roof(left)), (ridge, roof(ridge)), (right, roof(right))], ROOF)?;
        for (index, point) in points.iter().enumerate() {
            let (stroke, marker) = style(index);
            let place = (point.intensity, point.attained / 1e9);
            panel.mark(canvas, marker, place, 4.5, (stroke.color, 1.0))?;
        }
        panel.name_lines(canvas, &labels)
    });
    Ok(Some(Figure {
        name: name.to_owned(),
        title: title.to_owned(),
        caption: format!(
            "Marks: configurations that move bytes, median over seeds, counted as {FLOPS:.0} operations a parameter and \
             sample; beside each its share of the roof above it. Line: the roof of the machine that was probed, the \
             slower of its disk (two reads with one write, {:.2} GB/s at best) and its fastest product ({:.0} GFLOP/s). \
             Both axes logarithmic.",
            roofs.disk / 1e9,
            roofs.compute / 1e9
        ),
        svg: svg.map_err(chart_error(name))?,
        numbers: numbers(&points, roof)?,
    }))
}

fn numbers(points: &[Point], roof: impl Fn(f64) -> f64) -> Result<DataFrame, ReportError> {
    let column = |name: &str, value: &dyn Fn(&Point) -> f64| {
        frames::number_column(name, points.iter().map(|point| Some(value(point))).collect())
    };
    Ok(DataFrame::new(
        points.len(),
        vec![
            frames::text_column("configuration", points.iter().map(|point| point.label.clone()).collect()),
            column("flop_per_byte", &|point| point.intensity),
            column("gflop_per_s", &|point| point.attained / 1e9),
            column("roof_gflop_per_s", &|point| roof(point.intensity)),
        ],
    )?)
}
