//! Colour: the flag, then `NO_COLOR`, then whether standard error is a terminal.

use std::{
    io::{IsTerminal, stderr},
    sync::OnceLock,
};

use clap::ColorChoice;

static COLOURED: OnceLock<bool> = OnceLock::new();

/// Decides once whether there is colour.
pub fn choose(flag: ColorChoice) {
    let coloured = match flag {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && stderr().is_terminal()
        }
    };
    COLOURED.get_or_init(|| coloured);
}

/// Text of an error's kind: bold red.
pub fn error(text: &str) -> String {
    paint("1;31", text)
}

/// Text of something that holds: green.
pub fn good(text: &str) -> String {
    paint("32", text)
}

/// Text of something undecided: yellow.
pub fn open(text: &str) -> String {
    paint("33", text)
}

fn paint(code: &str, text: &str) -> String {
    if COLOURED.get().is_some_and(|coloured| *coloured) {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
