//! What the program prints, where its reader may have gone away: `spillbench plan … | head`.
//!
//! These take the place of the standard library's macros, which panic then.

use std::{
    fmt,
    io::{ErrorKind, Write, stderr, stdout},
    process,
};

/// 128 + SIGPIPE: what a shell says of a program that a closed pipe has ended.
pub const CLOSED_PIPE: u8 = 141;

/// Prints a line on standard output; ends the program where nobody reads it any more.
macro_rules! println {
    () => { $crate::output::line(format_args!("")) };
    ($($part:tt)*) => { $crate::output::line(format_args!($($part)*)) };
}

/// Prints a line on standard error; what cannot be said there is no reason to stop.
macro_rules! eprintln {
    ($($part:tt)*) => { $crate::output::diagnostic(format_args!($($part)*)) };
}

pub fn line(text: fmt::Arguments<'_>) {
    if !try_line(text) {
        process::exit(i32::from(CLOSED_PIPE));
    }
}

/// Prints a line on standard output, if anybody still reads it; returns whether.
pub fn try_line(text: fmt::Arguments<'_>) -> bool {
    match writeln!(stdout(), "{text}") {
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => false,
        Err(cause) => {
            diagnostic(format_args!("error: cannot write to standard output: {cause}"));
            process::exit(1);
        }
        Ok(()) => true,
    }
}

pub fn diagnostic(text: fmt::Arguments<'_>) {
    let _ = writeln!(stderr(), "{text}");
}
