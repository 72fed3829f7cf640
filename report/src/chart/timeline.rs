//! What disk and compute do over the last steps of a run: bandwidth above, where the time goes below.

use polars::prelude::DataFrame;
use spillbench_schema::{Event, summary::TimeShares};

use super::{
    Figure,
    axis::Axis,
    canvas::{Align, Canvas, LABEL, Lettering, OKABE_ITO, Stroke, TITLE, draw, shortened, text_width},
    chart_error,
    panel::{BELOW, LEFT, Panel},
    shares::PARTS,
};
use crate::{
    error::{DrawingError, ReportError},
    results::{Configuration, Results},
    table::frames,
};

/// More runs than this are not shown side by side; those that move the most bytes are.
const MOST: usize = 4;
/// Steps that are shown, and the least time.
const STEPS: f64 = 4.0;
const SECONDS: f64 = 1.0;
/// Stretches of equal length that the time shown is cut into.
const BINS: usize = 160;
const SIZE: (f64, f64) = (520.0, 110.0);
const GAP: f64 = 14.0;
const TOP: f64 = 64.0;
const HEADING: f64 = 24.0;

const READ: Stroke = Stroke { color: OKABE_ITO[0], width: 1.4, dash: None };
const WRITTEN: Stroke = Stroke { color: OKABE_ITO[1], width: 1.4, dash: Some((4, 2)) };

/// The figure of bandwidth and waits; none where no logged span moved a byte.
pub fn figure(results: &Results) -> Result<Option<Figure>, ReportError> {
    let mut runs: Vec<(u64, Timeline)> = results.configurations().iter().filter_map(Timeline::of).collect();
    runs.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let chosen = runs.len() > MOST;
    runs.truncate(MOST);
    let runs: Vec<Timeline> = runs.into_iter().map(|(_, timeline)| timeline).collect();
    if runs.is_empty() {
        return Ok(None);
    }
    let (name, title) = ("timeline", "Bandwidth and waits over the last steps");
    let most = runs.iter().flat_map(|run| &run.bins).map(|bin| bin.read.max(bin.written)).fold(0.0, f64::max);
    let bandwidth = Axis::linear(0.0, most);
    let row = HEADING + 2.0 * SIZE.1 + GAP + BELOW;
    let whole = (LEFT + SIZE.0 + 20.0, TOP + row * runs.len() as f64);
    let svg = draw(whole, title, |canvas| {
        canvas.text(title, (8.0, 16.0), Align::Left, TITLE)?;
        key(canvas)?;
        for (index, run) in runs.iter().enumerate() {
            run.paint(canvas, TOP + row * index as f64, &bandwidth)?;
        }
        Ok(())
    });
    Ok(Some(Figure {
        name: name.to_owned(),
        title: title.to_owned(),
        caption: format!(
            "First seed of each configuration{}; the last {STEPS:.0} steps, or the last second. Above: bytes read and \
             written, as the device completed them. Below: shares of the last rank's time.",
            if chosen { ", those that move the most bytes" } else { "" },
        ),
        svg: svg.map_err(chart_error(name))?,
        numbers: numbers(&runs)?,
    }))
}

/// The end of a run, in stretches of equal length.
struct Timeline {
    label: String,
    /// Seconds of a bin.
    length: f64,
    bins: Vec<Bin>,
}

/// Bytes a second, and shares of time in the order of [`PARTS`].
struct Bin {
    read: f64,
    written: f64,
    shares: [f64; PARTS.len()],
}

/// A logged span.
struct Span {
    from: f64,
    duration: f64,
    read: f64,
    written: f64,
    time: TimeShares,
}

impl Timeline {
    /// The timeline of a configuration's first seed, with the bytes that it moved.
    fn of(configuration: &Configuration<'_>) -> Option<(u64, Self)> {
        let run = configuration.runs[0];
        let bytes = run.summary.bytes_read + run.summary.bytes_written;
        let spans: Vec<Span> = run.log.iter().filter_map(Span::of).collect();
        let end = spans.last().map(|span| span.from + span.duration)?;
        let shown = (STEPS * run.summary.step_time_s.median).max(SECONDS).min(end);
        let (start, length) = (end - shown, shown / BINS as f64);
        let mut bins: Vec<Bin> =
            (0..BINS).map(|_| Bin { read: 0.0, written: 0.0, shares: [0.0; PARTS.len()] }).collect();
        for span in spans.iter().filter(|span| span.from + span.duration > start) {
            for (index, bin) in bins.iter_mut().enumerate() {
                let from = start + index as f64 * length;
                let common = (span.from + span.duration).min(from + length) - span.from.max(from);
                if common > 0.0 {
                    bin.read += span.read / span.duration * common / length;
                    bin.written += span.written / span.duration * common / length;
                    for (share, (_, part, ..)) in bin.shares.iter_mut().zip(PARTS) {
                        *share += part(&span.time) / span.duration * common / length;
                    }
                }
            }
        }
        (bytes > 0).then(|| (bytes, Self { label: configuration.label.clone(), length, bins }))
    }

    fn paint(&self, canvas: &Canvas<'_>, top: f64, bandwidth: &Axis) -> Result<(), DrawingError> {
        let heading = Lettering { bold: true, ..LABEL };
        canvas.text(
            &shortened(&self.label, heading, SIZE.0),
            (LEFT, top + HEADING / 2.0 - 2.0),
            Align::Left,
            heading,
        )?;
        let x = Axis::up_to(self.length * BINS as f64);
        let scaled = bandwidth.clone().marked(gigabytes(bandwidth));
        let above =
            Panel { corner: (LEFT, top + HEADING), size: SIZE, x: x.clone().marked(Vec::new()), y: scaled };
        above.frame(canvas, "", "GB/s")?;
        for (stroke, value) in [(READ, Bin::read as fn(&Bin) -> f64), (WRITTEN, Bin::written)] {
            let points: Vec<(f64, f64)> =
                self.bins.iter().enumerate().map(|(index, bin)| (self.middle(index), value(bin))).collect();
            above.curve(canvas, &points, stroke)?;
        }
        let below = Panel {
            corner: (LEFT, top + HEADING + SIZE.1 + GAP),
            size: SIZE,
            x,
            y: Axis::linear(0.0, 1.0).marked(percent()),
        };
        below.frame(canvas, "seconds of training, from the first that is shown", "time (%)")?;
        for (index, bin) in self.bins.iter().enumerate() {
            let mut from = 0.0;
            for (share, (_, _, color, _)) in bin.shares.iter().zip(PARTS) {
                let edges = [index, index + 1].map(|edge| (edge as f64 * self.length, from, from + share));
                below.band(canvas, &edges, color, 1.0)?;
                from += share;
            }
        }
        Ok(())
    }

    fn middle(&self, bin: usize) -> f64 {
        (bin as f64 + 0.5) * self.length
    }
}

impl Bin {
    fn read(&self) -> f64 {
        self.read
    }

    fn written(&self) -> f64 {
        self.written
    }
}

impl Span {
    fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Span { train_s, duration_s, bytes_read, bytes_written, time_s, .. } => Some(Self {
                from: *train_s,
                duration: *duration_s,
                read: *bytes_read as f64,
                written: *bytes_written as f64,
                time: *time_s,
            }),
            _ => None,
        }
    }
}

/// An axis of bytes a second, marked in GB/s.
fn gigabytes(axis: &Axis) -> Vec<(f64, String)> {
    axis.ticks.iter().map(|(value, _)| (*value, format!("{}", value / 1e9))).collect()
}

fn percent() -> Vec<(f64, String)> {
    [0.0, 0.5, 1.0].map(|share| (share, format!("{:.0}", share * 100.0))).to_vec()
}

fn key(canvas: &Canvas<'_>) -> Result<(), DrawingError> {
    let mut x = 10.0;
    for (name, stroke) in [("read", READ), ("written", WRITTEN)] {
        canvas.line(&[(x, 37.0), (x + 24.0, 37.0)], stroke)?;
        canvas.text(name, (x + 29.0, 37.0), Align::Left, LABEL)?;
        x += 29.0 + text_width(name, LABEL) + 16.0;
    }
    let mut x = 10.0;
    for (name, _, color, _) in PARTS {
        canvas.rectangle((x, 48.0), (x + 12.0, 60.0), color, 1.0)?;
        canvas.text(name, (x + 16.0, 54.0), Align::Left, LABEL)?;
        x += 16.0 + text_width(name, LABEL) + 12.0;
    }
    Ok(())
}

fn numbers(runs: &[Timeline]) -> Result<DataFrame, ReportError> {
    let bins =
        || runs.iter().flat_map(|run| run.bins.iter().enumerate().map(move |(index, bin)| (run, index, bin)));
    let column = |name: &str, value: &dyn Fn(&Bin) -> f64| {
        frames::number_column(name, bins().map(|(_, _, bin)| Some(value(bin))).collect())
    };
    let mut columns = vec![
        frames::text_column("configuration", bins().map(|(run, ..)| run.label.clone()).collect()),
        frames::number_column("s", bins().map(|(run, index, _)| Some(run.middle(index))).collect()),
        column("read_bytes_per_s", &Bin::read),
        column("written_bytes_per_s", &Bin::written),
    ];
    columns.extend(PARTS.iter().enumerate().map(|(index, (name, ..))| {
        column(&format!("{}_share", name.replace(' ', "_")), &move |bin: &Bin| bin.shares[index])
    }));
    Ok(DataFrame::new(runs.len() * BINS, columns)?)
}
