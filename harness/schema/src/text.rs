//! Text of a user as it may be shown: it never moves a cursor, rings a bell, turns a line around or hides a letter.
//!
//! A name, a question or a message of an error may hold any character. Shown as written, an escape sequence would
//! steer the terminal, and a bidirectional override would make a line read as something else. Whatever shows such
//! text passes it through [`visible`]; a message about text whose letters matter uses [`spelled`].

use std::borrow::Cow;

/// `text` with each character that steers or hides replaced by its number, as `<U+001B>`. Line breaks and tabs stay,
/// as do the joiners of scripts and emoji.
pub fn visible(text: &str) -> Cow<'_, str> {
    replaced(text, |letter| steers(letter) && !matches!(letter, '\n' | '\t'))
}

/// As [`visible`], in one line: each run of white space becomes a space.
pub fn one_line(text: &str) -> String {
    visible(&text.split_whitespace().collect::<Vec<_>>().join(" ")).into_owned()
}

/// `text` with every character replaced by its number that cannot be told from another, or from none, by looking.
pub fn spelled(text: &str) -> Cow<'_, str> {
    replaced(text, |letter| letter != '\n' && unseen(letter))
}

/// The characters of `text` that cannot be seen, each once, as `U+200B, U+00A0`; nothing where there are none.
pub fn unseen_in(text: &str) -> Option<String> {
    let mut found: Vec<String> = Vec::new();
    for letter in text.chars().filter(|letter| unseen(*letter)) {
        let number = number(letter);
        if !found.contains(&number) {
            found.push(number);
        }
    }
    (!found.is_empty()).then(|| found.join(", "))
}

/// `text` without the characters that cannot be seen.
pub(crate) fn seen(text: &str) -> String {
    text.chars().filter(|letter| !unseen(*letter)).collect()
}

fn replaced(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if hidden(letter) {
            shown.push('<');
            shown += &number(letter);
            shown.push('>');
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

fn number(letter: char) -> String {
    format!("U+{:04X}", u32::from(letter))
}

/// Controls, and the formatting characters that change how other characters are shown or take no room.
fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
        || is_noncharacter(letter)
}

fn is_noncharacter(letter: char) -> bool {
    let number = u32::from(letter);
    number & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&number)
}

fn unseen(letter: char) -> bool {
    (steers(letter) && letter != '\t')
        || matches!(letter, '\u{200c}' | '\u{200d}')
        || (letter.is_whitespace() && !matches!(letter, ' ' | '\t' | '\n'))
}

#[cfg(test)]
mod tests {
    use super::{one_line, spelled, unseen_in, visible};

    #[test]
    fn characters_that_steer_a_terminal_are_shown_by_their_number() {
        for (text, expected) in [
            ("red \x1b[31mtext", "red <U+001B>[31mtext"),
            ("bell\x07 \x08 \x7f \u{9b}1m", "bell<U+0007> <U+0008> <U+007F> <U+009B>1m"),
            ("ab\u{202e}dc\u{2066}", "ab<U+202E>dc<U+2066>"),
            ("ba\u{200b}tch", "ba<U+200B>tch"),
            ("line\r\nnext\ttab", "line<U+000D>\nnext\ttab"),
        ] {
            assert_eq!(visible(text), expected);
        }
    }

    #[test]
    fn scripts_and_emoji_stay_as_they_are() {
        for text in ["佐藤 2020 Ωμέγα 🚀", "سلام עברית", "می\u{200c}خواهم", "👩\u{200d}💻", "é"]
        {
            assert_eq!(visible(text), text);
        }
    }

    #[test]
    fn an_error_spells_what_cannot_be_told_apart_by_looking() {
        assert_eq!(spelled("batch\u{a0}size \u{200d}"), "batch<U+00A0>size <U+200D>");
        assert_eq!(unseen_in("a\u{a0}b\u{200b}c\u{a0}").as_deref(), Some("U+00A0, U+200B"));
        assert_eq!(unseen_in("plain text"), None);
    }

    #[test]
    fn a_line_has_no_line_breaks() {
        assert_eq!(one_line("a\r\n\n b\u{b}\u{2028}c\x1b"), "a b c<U+001B>");
    }
}
