//! A report is made of what a study has, whatever it has, and is the same each time.

use std::{collections::BTreeMap, fs, path::Path};

use spillbench_report::{check, comparison_markdown, comparison_text, write};
use spillbench_schema::summary::TimeShares;

use crate::fixture::{self, Fixture, load};

/// Every file below `folder`, by its path within it.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found
                .extend(contents(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

fn report(fixture: &Fixture) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    fixture.write(folder.path());
    let results = load(folder.path()).unwrap();
    let out = folder.path().join("report");
    write(&results, &check(&results, None), &out).unwrap();
    // For looking at: SPILLBENCH_KEEP_REPORTS names a folder to copy them to.
    if let Some(kept) = std::env::var_os("SPILLBENCH_KEEP_REPORTS") {
        let kept = Path::new(&kept).join(&fixture.study.name);
        write(&results, &check(&results, None), &kept).unwrap();
    }
    contents(&out)
}

fn text(files: &BTreeMap<String, Vec<u8>>, name: &str) -> String {
    String::from_utf8(files.get(name).unwrap_or_else(|| panic!("{name} is missing")).clone()).unwrap()
}

#[test]
fn the_same_results_give_the_same_bytes() {
    assert_eq!(report(&fixture::comm_interval()), report(&fixture::comm_interval()));
}

#[test]
fn a_study_gets_the_charts_that_it_has_the_data_for() {
    let names = |fixture: &Fixture| -> Vec<String> {
        let files = report(fixture);
        let figures = files.keys().filter_map(|name| name.strip_prefix("figures/")?.strip_suffix(".svg"));
        let names: Vec<String> = figures.map(str::to_owned).collect();
        for name in &names {
            assert!(files.contains_key(&format!("figures/{name}.png")), "{name} as PNG");
            assert!(files.contains_key(&format!("tables/{name}.csv")), "the numbers of {name}");
            assert!(text(&files, "report.md").contains(&format!("figures/{name}.svg")), "{name} in Markdown");
            assert!(
                text(&files, "index.html").contains(&format!("<figure id=\"{name}\">")),
                "{name} in the page"
            );
        }
        names
    };
    let common = ["loss-against-steps", "loss-against-time", "peak-memory"];
    let more = ["throughput", "time-shares"];
    assert_eq!(
        names(&fixture::comm_interval()),
        [&common[..], &["samples-per-s-against-interval", "test-accuracy-against-interval"], &more].concat()
    );
    assert_eq!(names(&fixture::quickstart()), [&common[..], &more].concat());
    assert_eq!(names(&fixture::single_trial()), [&common[..], &more].concat());
}

#[test]
fn predictions_stand_beside_what_was_measured_wherever_there_are_any() {
    let files = report(&fixture::predicted());
    let markdown = text(&files, "report.md");
    assert!(markdown.contains("| predicted step |"), "{markdown}");
    let row = markdown.lines().find(|line| line.starts_with("| budget-0 ") && line.contains("240 ms"));
    assert!(row.is_some_and(|row| row.contains("200 ms")), "{markdown}");
    // Errors of 20, 10 and 0 %.
    assert!(markdown.contains("Median absolute relative error 10.0 % (n = 3)"));
    let numbers = text(&files, "tables/predicted-against-measured.csv");
    assert_eq!(numbers.lines().count(), 4);
    assert!(text(&files, "tables/seeds.csv").lines().next().unwrap().contains("predicted_step_time_s"));
    let without = report(&fixture::quickstart());
    assert!(!without.keys().any(|name| name.contains("predicted")));
    assert!(!text(&without, "report.md").contains("predicted"));
}

#[test]
fn a_study_without_a_finished_trial_is_still_reported() {
    let mut fixture = Fixture::new("nothing", "What if nothing works?");
    fixture.unfinished(fixture::trial("nothing", "a", &[], 1, serde_json::json!({})), "out of <memory>");
    let files = report(&fixture);
    let page = text(&files, "index.html");
    assert!(page.contains("0 of 1 trials finished"));
    assert!(page.contains("out of &lt;memory&gt;"), "the failure's message, escaped");
    assert!(files.keys().all(|name| !name.starts_with("figures/")));
}

#[test]
fn failed_and_missing_trials_are_listed_with_their_reason() {
    let markdown = text(&report(&fixture::many_arms()), "report.md");
    assert!(markdown.contains("24 of 28 trials finished."));
    assert_eq!(markdown.matches("No space left on device").count(), 2);
    assert_eq!(markdown.matches("not run, or cut off").count(), 2);
}

#[test]
fn the_comparison_shows_what_differs_and_notes_what_does_not() {
    let folder = tempfile::tempdir().unwrap();
    fixture::quickstart().write(folder.path());
    let results = load(folder.path()).unwrap();
    let table = comparison_text(&results);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("configuration"), "{table}");
    let direct = lines.iter().find(|line| line.starts_with("single_direct")).unwrap();
    for cell in ["5.63 ms", "44.5 MiB", "48.0 MiB", "4.77 MiB", "2.38 MiB"] {
        assert!(direct.contains(cell), "{cell} in {direct}");
    }
    // mean 98, sd 0.1, n 3: 4.302653 * 0.1 / sqrt(3) = 0.248414
    assert!(table.contains("test accuracy (%) 98.00 ± 0.25"), "equal in every row, so in the note: {table}");
    assert_eq!(comparison_markdown(&results).lines().filter(|line| line.starts_with("| s")).count(), 4);
}

#[test]
fn tables_hold_every_trial_and_exact_aggregates() {
    let files = report(&fixture::quickstart());
    let seeds = text(&files, "tables/seeds.csv");
    assert_eq!(seeds.lines().count(), 13);
    let comparison = text(&files, "tables/comparison.csv");
    let mut lines = comparison.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let row: BTreeMap<&str, &str> = names.into_iter().zip(lines.next().unwrap()).collect();
    let number = |name: &str| row[name].parse::<f64>().unwrap();
    assert_eq!((row["configuration"], row["seeds"]), ("single_memory", "3"));
    assert!((number("test_accuracy.mean") - 98.0).abs() < 1e-9);
    assert!((number("test_accuracy.high") - 98.248_414).abs() < 1e-6);
    assert!((number("train_s.median") - 15.2).abs() < 1e-9);
}

#[test]
fn published_values_stand_beside_the_measured_ones() {
    let markdown = text(&report(&fixture::comm_interval()), "report.md");
    let row = markdown.lines().find(|line| line.starts_with("| historical curve (published)")).unwrap();
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    assert_eq!(cells[2..7], ["88.68", "83.83", "74.35", "55.61", "55.39"]);
    assert!(markdown.contains("historical curve: the author's network on MNIST"));
}

#[test]
fn the_table_of_seeds_has_every_part_of_the_time() {
    let seeds = text(&report(&fixture::single_trial()), "tables/seeds.csv");
    let columns: Vec<&str> = seeds.lines().next().unwrap().split(',').collect();
    let parts = serde_json::to_value(TimeShares::default()).unwrap();
    for part in parts.as_object().unwrap().keys() {
        assert!(columns.contains(&format!("{part}_s").as_str()), "{part} is not in {columns:?}");
    }
}

#[test]
fn one_trial_has_no_interval_and_says_so() {
    let files = report(&fixture::single_trial());
    let markdown = text(&files, "report.md");
    assert!(!markdown.contains('±'), "{markdown}");
    assert!(markdown.contains("One seed."));
    let comparison = text(&files, "tables/comparison.csv");
    let (names, values) = comparison.split_once('\n').unwrap();
    let at = names.split(',').position(|name| name == "test_accuracy.low").unwrap();
    assert_eq!(values.trim_end().split(',').nth(at), Some(""), "an empty cell, not a zero");
}

#[test]
fn a_torn_last_line_of_a_log_is_dropped_and_a_torn_one_inside_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = fixture::single_trial();
    fixture.write(folder.path());
    let log = folder.path().join(fixture.study.trials[0].id()).join("events.jsonl");
    let whole = fs::read_to_string(&log).unwrap();
    let torn = &whole[..whole.len() - 5];
    fs::write(&log, torn).unwrap();
    let results = load(folder.path()).unwrap();
    assert_eq!(results.runs[0].log.len(), whole.lines().count() - 1);
    fs::write(&log, format!("{torn}\n{whole}")).unwrap();
    let error = load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("events.jsonl"), "{error}");
}

#[test]
fn folders_that_the_study_does_not_name_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fixture::single_trial().write(folder.path());
    let stranger = folder.path().join("other-00000000-0000-s1");
    fs::create_dir(&stranger).unwrap();
    fs::write(stranger.join("summary.json"), "not JSON").unwrap();
    assert_eq!(load(folder.path()).unwrap().runs.len(), 1);
}

#[test]
fn a_report_replaces_the_figures_of_an_earlier_one() {
    let folder = tempfile::tempdir().unwrap();
    fixture::single_trial().write(folder.path());
    let out = folder.path().join("report");
    fs::create_dir_all(out.join("figures")).unwrap();
    fs::write(out.join("figures/old.svg"), "").unwrap();
    fs::write(out.join("figures/notes.txt"), "").unwrap();
    write(&load(folder.path()).unwrap(), &[], &out).unwrap();
    assert!(!out.join("figures/old.svg").exists());
    assert!(out.join("figures/notes.txt").exists(), "only what a report makes is removed");
}
