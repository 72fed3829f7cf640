//! Names of the signals that end a trial, with their usual causes.

use std::sync::Arc;

use signal_hook::{
    consts::{
        SIGABRT, SIGBUS, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGKILL, SIGPIPE, SIGQUIT, SIGSEGV, SIGSYS, SIGTERM,
        SIGTRAP, SIGXCPU, SIGXFSZ,
    },
    flag, low_level,
};

use crate::RunnerError;

/// Lets a write beyond the file size limit fail with an error that names the file, rather than end the process.
///
/// # Errors
/// Signals cannot be caught.
pub fn survive_file_size_limit() -> Result<(), RunnerError> {
    // A signal that is caught leaves the write to fail with EFBIG. Nobody reads the flag.
    flag::register(SIGXFSZ, Arc::default()).map(drop).map_err(RunnerError::Signals)
}

/// What is told of a process that a signal ended.
pub fn told(number: i32) -> String {
    let name = low_level::signal_name(number).unwrap_or("a real-time signal");
    let cause = match number {
        SIGKILL => "out of memory, perhaps (see `dmesg`), or ended by a batch system or a user",
        SIGBUS => {
            "a mapped file could not be read or written: the disk is full, a file was cut short, or the device \
             failed; free some space, or set storage.mode to direct"
        }
        SIGXFSZ => "a file would exceed the file size limit; raise it with `ulimit -f unlimited`",
        SIGXCPU => "the limit of CPU time was reached; raise it with `ulimit -t unlimited`",
        SIGSEGV => "access to invalid memory: a bug, or a stack limit that is too small (`ulimit -s`)",
        SIGABRT => "the program gave up: an allocation was refused (`ulimit -v`), or a bug",
        SIGILL => "an instruction that this processor does not have: was the program built for another one?",
        SIGSYS => "a system call was refused by a sandbox (seccomp); allow it, or run outside the sandbox",
        SIGFPE | SIGTRAP => "a bug",
        SIGTERM | SIGINT | SIGHUP | SIGQUIT => "ended from outside, by a user or a batch system",
        SIGPIPE => "whoever read its output went away",
        _ => "no usual cause is known",
    };
    format!("ended by signal {number} ({name}): {cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_named_with_its_usual_cause() {
        let cases = [
            (SIGXFSZ, "ended by signal 25 (SIGXFSZ): ", "ulimit -f"),
            (SIGKILL, "ended by signal 9 (SIGKILL): ", "out of memory"),
            (SIGBUS, "ended by signal 7 (SIGBUS): ", "disk is full"),
            (SIGSYS, "ended by signal 31 (SIGSYS): ", "seccomp"),
            (SIGXCPU, "ended by signal 24 (SIGXCPU): ", "ulimit -t"),
            (40, "ended by signal 40 (a real-time signal): ", "no usual cause"),
        ];
        for (number, name, cause) in cases {
            let told = told(number);
            assert!(told.starts_with(name) && told.contains(cause), "{told}");
        }
    }
}
