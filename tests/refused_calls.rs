//! What becomes of a run to which the system refuses calls: it goes on with the same bits, or says what is refused.

mod support;

use std::{collections::BTreeSet, fs, process::Command};

use support::{SMALL, Study, end, skipped};

#[test]
fn a_refused_system_call_ends_in_an_error_that_names_it_or_changes_nothing() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/refused-calls");
    let ended = Command::new("python3")
        .args([script, "--quick", "--program", env!("CARGO_BIN_EXE_spillbench")])
        .output();
    let Ok(ended) = ended else { return skipped("python3 is not installed") };
    let said = String::from_utf8_lossy(&ended.stderr);
    match ended.status.code() {
        Some(0) => {}
        Some(77) => skipped(&said),
        _ => panic!("{}{said}", String::from_utf8_lossy(&ended.stdout)),
    }
}

#[test]
fn at_a_limit_of_open_files_it_says_so() {
    let limits = (4..20).map(|files| (format!("ulimit -n {files}"), "ulimit -n"));
    let codes = limited(limits);
    assert!(codes.contains(&0) && codes.len() > 1, "{codes:?}");
}

#[test]
fn at_a_limit_of_memory_it_says_so() {
    let least = (1..100).map(|step| 10_000 * step).find(|kib| {
        let version = format!("ulimit -v {kib}; exec {} --version", env!("CARGO_BIN_EXE_spillbench"));
        let ended = Command::new("bash").args(["-c", &version]).output().expect("bash starts");
        ended.status.success()
    });
    let least = least.expect("some memory is enough");
    let limits = (0..12).map(|step| (format!("ulimit -v {}", least + 5_000 * step), "ulimit -v"));
    let codes = limited(limits);
    assert!(codes.contains(&0), "{codes:?}");
}

#[test]
fn at_a_limit_of_processes_it_says_so() {
    let as_nobody = "setpriv --reuid 61234 --regid 61234 --clear-groups";
    let allowed = Command::new("bash").args(["-c", &format!("{as_nobody} true")]).output();
    if !allowed.is_ok_and(|ended| ended.status.success()) {
        return skipped("another user's limits cannot be tried here");
    }
    let limits = (1..16).map(|count| {
        let limit =
            format!("chmod -R a+rwX .; exec {as_nobody} bash -c 'ulimit -u {count}; exec \"$0\" \"$@\"'");
        (limit, "ulimit -u")
    });
    let codes = limited(limits);
    assert!(codes.contains(&0) && codes.len() > 1, "{codes:?}");
}

/// Runs a study under each limit, in both storage modes: it finishes, or an error has `remedy`. Returns the exit codes.
fn limited(limits: impl Iterator<Item = (String, &'static str)>) -> BTreeSet<i32> {
    let storages = ["", "storage: { mode: direct, memory_budget: 64MiB }\n"];
    let mut codes = BTreeSet::new();
    for (limit, remedy) in limits {
        for storage in storages {
            let study = Study::new(&[SMALL, storage]);
            // Where others may start it.
            fs::copy(env!("CARGO_BIN_EXE_spillbench"), study.path("spillbench")).expect("a copy");
            let then = if limit.ends_with('\'') { "" } else { "; exec" };
            let command = format!("{limit}{then} ./spillbench run scenario.yaml");
            let ended = end(Command::new("bash")
                .args(["-c", &format!("ulimit -c 0; {command}")])
                .current_dir(study.path("")));
            let code = ended.code.unwrap_or_else(|| panic!("{limit}: {ended:#?}"));
            assert!([0, 1, 100].contains(&code), "{limit}: {ended:#?}");
            assert!(!ended.stderr.contains("panicked"), "{limit}: {ended:#?}");
            assert!(code == 0 || ended.stderr.contains(remedy), "{limit}: {ended:#?}");
            codes.insert(code);
        }
    }
    codes
}
