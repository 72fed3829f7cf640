//! Whether the threads of polars can be had. It starts one a core with its first table, and panics where the system
//! refuses: they are tried beforehand.

use std::{
    num::NonZero,
    sync::mpsc::channel,
    thread::{self, Builder},
};

use crate::ReportError;

/// As many threads at once as polars will start.
///
/// # Errors
/// The system refuses one of them.
pub fn check() -> Result<(), ReportError> {
    let asked = std::env::var("POLARS_MAX_THREADS").ok().and_then(|count| count.parse().ok());
    start(asked.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get)))
}

fn start(threads: usize) -> Result<(), ReportError> {
    thread::scope(|scope| {
        // Each waits until this end is dropped, so that all are there at once.
        let (_open, end) = channel::<()>();
        let end = std::sync::Arc::new(std::sync::Mutex::new(end));
        for _ in 0..threads {
            let end = std::sync::Arc::clone(&end);
            let wait = move || drop(end.lock().map(|end| end.recv()));
            let started = Builder::new().spawn_scoped(scope, wait);
            started.map_err(|cause| ReportError::Threads { threads, cause })?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::start;

    #[test]
    fn threads_that_can_be_had_are_had_and_end() {
        start(3).unwrap();
    }
}
