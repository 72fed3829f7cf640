//! What becomes of a run to which the system refuses calls: it goes on with the same bits, or says what is refused.

mod support;

use std::process::Command;

use support::skipped;

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
