//! Panics that are no bugs: libraries have no other way to say what the system refuses them.

use std::{
    panic::{self, PanicHookInfo},
    process,
};

/// How such a panic's message begins, and what it means.
const REFUSALS: [(&str, &str); 4] = [
    (
        "failed to allocate an alternative stack",
        "no memory for another thread; set execution.threads lower, or raise the limit (ulimit -v, or the control group's)",
    ),
    (
        "failed to set up alternative stack guard page",
        "no guard page for another thread (mprotect); allow the call in the sandbox, or raise the limit of memory (ulimit -v)",
    ),
    (
        "failed to generate random data",
        "the system gives no random numbers (getrandom); allow the call in the sandbox",
    ),
    (
        "could not spawn threads",
        "cannot start the threads that make the report; raise the limit of processes and threads (ulimit -u, or pids.max \
         of the control group), or set POLARS_MAX_THREADS lower",
    ),
];

/// Ends the program with an error on such a panic. Others are told as ever.
pub fn tell_of_refusals() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |panic| match said(panic).and_then(refusal) {
        Some(text) => {
            eprintln!("error: {text}");
            process::exit(1);
        }
        None => others(panic),
    }));
}

fn said<'a>(panic: &'a PanicHookInfo<'_>) -> Option<&'a str> {
    let payload = panic.payload();
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

fn refusal(message: &str) -> Option<&'static str> {
    REFUSALS.iter().find(|(beginning, _)| message.starts_with(beginning)).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn a_refusal_is_told_from_a_bug() {
        assert!(refusal("failed to generate random data").unwrap().contains("getrandom"));
        assert!(refusal("could not spawn threads: ThreadPoolBuildError").unwrap().contains("ulimit -u"));
        assert_eq!(refusal("called `Option::unwrap()` on a `None` value"), None);
    }
}
