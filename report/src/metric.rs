//! The fields of a summary by name, as claims and charts ask for them.

use spillbench_schema::Summary;

/// The field `name` of a summary as a number; none where it is missing or is none.
pub fn number(summary: &Summary, name: &str) -> Option<f64> {
    summary.metric(name)?.as_f64()
}

/// How repeated measurements of a metric bear on a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// Follows from the configuration alone (bytes that a schedule moves, parameters): one value is the whole truth.
    Exact,
    /// A promise to every run, not to their mean (peak memory): the extremes are held against a bound.
    Guarantee,
    /// Varies with the seed: a bound is about the mean, and needs an interval.
    Sampled,
}

/// How repeated measurements of the metric `name` bear on a bound.
pub fn nature(name: &str) -> Nature {
    match name {
        "parameters"
        | "steps"
        | "ranks"
        | "threads"
        | "memory_budget_bytes"
        | "bytes_read"
        | "bytes_written"
        | "io_planned_bytes"
        | "io_floor_bytes"
        | "bytes_communicated" => Nature::Exact,
        "peak_rss_bytes" => Nature::Guarantee,
        _ => Nature::Sampled,
    }
}

/// A value of the metric `name` as people write it, with its unit.
pub fn format(name: &str, value: f64) -> String {
    use crate::format;
    if name.ends_with("_bytes") || name.starts_with("bytes_") {
        format::bytes(value)
    } else if name.ends_with("_s") || name.contains("_s.") {
        if name == "samples_per_s" { format::significant(value, 4) } else { format::seconds(value) }
    } else if name.ends_with("accuracy") {
        format!("{value:.2} %")
    } else {
        format::significant(value, 4)
    }
}

/// A difference of two values of the metric `name`: as [`format()`], but points where values are percentages.
pub fn format_difference(name: &str, value: f64) -> String {
    if name.ends_with("accuracy") { format!("{value:.2} points") } else { format(name, value) }
}

/// The metric `name` as an axis or a heading names it.
pub fn title(name: &str) -> String {
    match name {
        "test_accuracy" => "test accuracy (%)".to_owned(),
        "samples_per_s" => "training samples per second".to_owned(),
        _ => name.replace(['_', '.'], " "),
    }
}
