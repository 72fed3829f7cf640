//! What a user sees of a run: bars on a terminal, plain lines elsewhere, JSON lines for programs.

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use spillbench_schema::{Bytes, Divergence, Summary, Trial, summary::Failure};

use crate::child::ChildLine;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A bar for the trial that runs, a line for each that is done.
    Bars,
    /// A line for each trial that starts, ends or fails.
    Lines,
    /// One JSON object a line on standard output.
    Json,
}

impl Style {
    /// Bars where standard error is a terminal that can move its cursor, else lines.
    pub fn detect() -> Self {
        Self::of(stderr().is_terminal(), std::env::var("TERM").ok().as_deref())
    }

    fn of(terminal: bool, name: Option<&str>) -> Self {
        let moves = name.is_some_and(|name| !matches!(name, "" | "dumb"));
        if terminal && moves { Self::Bars } else { Self::Lines }
    }
}

/// Shows the progress of a study.
pub struct Display {
    style: Style,
    total: usize,
    number: usize,
    bar: ProgressBar,
}

impl Display {
    /// For a study of `total` trials.
    pub fn new(style: Style, total: usize) -> Self {
        let target =
            if style == Style::Bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        // Where no bar can be drawn after all, lines can.
        let style = if style == Style::Bars && bar.is_hidden() { Style::Lines } else { style };
        let template = "{prefix} {wide_bar:.cyan/blue} {pos}/{len} steps, {per_sec}, ETA {eta} {msg}";
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self { style, total, number: 0, bar }
    }

    /// A trial was finished before.
    pub fn skipped(&mut self, trial: &Trial) {
        self.number += 1;
        let id = trial.id();
        self.say(&format!("finished before: {id}"), &json!({ "reason": "trial-skipped", "trial_id": id }));
    }

    /// Another run has a trial.
    pub fn elsewhere(&mut self, trial: &Trial) {
        self.number += 1;
        let id = trial.id();
        self.say(
            &format!("in the hands of another run: {id}"),
            &json!({ "reason": "trial-elsewhere", "trial_id": id }),
        );
    }

    /// A trial starts.
    pub fn started(&mut self, trial: &Trial) {
        self.number += 1;
        self.bar.reset();
        self.bar.set_length(0);
        self.bar.set_position(0);
        self.bar.set_message("");
        self.bar.set_prefix(format!(
            "[{}/{}] {} seed {}",
            self.number,
            self.total,
            trial.label(),
            trial.seed
        ));
        match self.style {
            Style::Bars => {}
            Style::Lines => self.say(&format!("{} seed {} …", trial.label(), trial.seed), &json!({})),
            Style::Json => print(&json!({ "reason": "trial-started", "trial_id": trial.id() })),
        }
    }

    /// A trial that was cut off goes on.
    pub fn resumed(&self, trial: &Trial, line: &ChildLine) {
        let text =
            format!("{} seed {}: resumed at step {} of {}", trial.label(), trial.seed, line.step, line.steps);
        self.say(
            &text,
            &json!({
                "reason": "trial-resumed",
                "trial_id": trial.id(),
                "step": line.step,
                "steps": line.steps,
            }),
        );
    }

    /// A trial has come this far.
    pub fn progress(&self, trial: &Trial, line: &ChildLine) {
        match self.style {
            Style::Bars => {
                self.bar.set_length(line.steps);
                self.bar.set_position(line.step);
                if let Some(loss) = line.loss {
                    self.bar.set_message(format!("loss {loss:.4}"));
                }
            }
            Style::Lines => {}
            Style::Json => print(&json!({
                "reason": "trial-progress",
                "trial_id": trial.id(),
                "step": line.step,
                "steps": line.steps,
                "loss": line.loss,
            })),
        }
    }

    /// A trial is finished.
    pub fn finished(&self, trial: &Trial, summary: &Summary, took: Duration) {
        let text = format!(
            "{} seed {}: test accuracy {:.2} %, {:.1} s, {:.0} samples/s, peak {}",
            trial.label(),
            trial.seed,
            summary.test_accuracy,
            took.as_secs_f64(),
            summary.samples_per_s,
            Bytes(summary.peak_rss_bytes),
        );
        self.say(&text, &json!({ "reason": "trial-finished", "trial_id": trial.id(), "summary": summary }));
    }

    /// A trial diverged.
    pub fn diverged(&self, trial: &Trial, divergence: &Divergence) {
        let text = format!("{} seed {}: {divergence}", trial.label(), trial.seed);
        let id = trial.id();
        self.say(&text, &json!({ "reason": "trial-diverged", "trial_id": id, "divergence": divergence }));
    }

    /// A trial had diverged before, and is not run again.
    pub fn diverged_before(&mut self, trial: &Trial) {
        self.number += 1;
        let id = trial.id();
        self.say(
            &format!("diverged before: {id}; `run --fresh` runs it again"),
            &json!({ "reason": "trial-skipped", "trial_id": id }),
        );
    }

    /// A trial failed.
    pub fn failed(&self, trial: &Trial, failure: &Failure) {
        let text = format!("{} seed {} failed: {}", trial.label(), trial.seed, failure.message);
        self.say(&text, &json!({ "reason": "trial-failed", "trial_id": trial.id(), "failure": failure }));
    }

    /// Something a user should know.
    pub fn note(&self, text: &str) {
        self.say(text, &json!({ "reason": "note", "text": text }));
    }

    /// Nothing more comes.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&self, text: &str, object: &serde_json::Value) {
        match self.style {
            // Not the bar's own way to print, which prints nothing where no bar is drawn.
            Style::Bars | Style::Lines => self.bar.suspend(|| {
                let _ = writeln!(stderr(), "[{}/{}] {text}", self.number, self.total);
            }),
            Style::Json => print(object),
        }
    }
}

fn print(object: &serde_json::Value) {
    let mut object = object.clone();
    object["version"] = json!(1);
    // A reader that has gone away is no reason to end a study.
    let _ = writeln!(stdout(), "{object}");
}

#[cfg(test)]
mod tests {
    use super::Style;

    #[test]
    fn bars_are_drawn_only_on_a_terminal_that_can_move_its_cursor() {
        assert_eq!(Style::of(true, Some("xterm")), Style::Bars);
        for (terminal, name) in [(true, Some("dumb")), (true, Some("")), (true, None), (false, Some("xterm"))]
        {
            assert_eq!(Style::of(terminal, name), Style::Lines, "{terminal} {name:?}");
        }
    }
}
