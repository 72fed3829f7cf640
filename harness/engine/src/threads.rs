//! Starts threads where the system may refuse them: an error, where the usual calls panic.

use std::{
    io,
    thread::{Builder, Scope, ScopedJoinHandle},
};

use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::EngineError;

/// Runs `body` in a pool of threads that are called `name-0`, `name-1` and so on. When it returns they have ended, and count
/// for no limit any more.
///
/// # Errors
/// The system refuses one of them, or `body`'s.
pub fn within_pool<T: Send>(
    threads: usize,
    name: &str,
    body: impl FnOnce() -> Result<T, EngineError> + Send,
) -> Result<T, EngineError> {
    let name = name.to_owned();
    let builder = ThreadPoolBuilder::new().num_threads(threads);
    let builder = builder.thread_name(move |thread| format!("{name}-{thread}"));
    let ran = builder.build_scoped(ThreadBuilder::run, |pool| pool.install(body));
    ran.map_err(|cause| pool_refused(threads, &cause))?
}

/// A pool of threads.
///
/// # Errors
/// The system refuses one of them.
pub fn pool(threads: usize) -> Result<ThreadPool, EngineError> {
    let built = ThreadPoolBuilder::new().num_threads(threads).build();
    built.map_err(|cause| pool_refused(threads, &cause))
}

fn pool_refused(threads: usize, cause: &ThreadPoolBuildError) -> EngineError {
    EngineError::Threads { threads, cause: cause.to_string() }
}

/// Starts a thread in `scope`.
///
/// # Errors
/// The system refuses it.
pub fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    body: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, EngineError> {
    Builder::new().spawn_scoped(scope, body).map_err(|cause| refused(&cause))
}

fn refused(cause: &io::Error) -> EngineError {
    EngineError::Threads { threads: 1, cause: cause.to_string() }
}
