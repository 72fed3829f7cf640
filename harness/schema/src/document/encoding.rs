//! The bytes of a file to its text: UTF-8, with or without a byte order mark, lines ended in any way.

/// The text of a file, each line ended by `\n`, so that places count lines as YAML does.
///
/// # Errors
/// Another encoding, or a NUL byte: the message names it and the remedy.
pub(super) fn decode(bytes: &[u8]) -> Result<String, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Some(name) = wide(bytes) {
        return Err(format!("the encoding of this file is {name}; save it as UTF-8"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let (line, column) = place(&bytes[..error.valid_up_to()]);
        let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
        format!(
            "the encoding of this file is not UTF-8: byte 0x{byte:02X} in line {line}, column {column}; save it as \
             UTF-8 (it may be Latin-1 or Windows-1252)"
        )
    })?;
    if let Some(at) = text.find('\0') {
        let (line, column) = place(&bytes[..at]);
        return Err(format!(
            "this file is not text: it has a NUL byte (U+0000) in line {line}, column {column}"
        ));
    }
    Ok(if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text.to_owned() })
}

/// The name of an encoding whose letters are wider than a byte, by its mark or by the zeros of its first letters.
fn wide(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [first, 0, 0, 0, ..] | [0, 0, 0, first, ..] if *first != 0 => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        [first, 0, second, 0, ..] | [0, first, 0, second, ..] if *first != 0 && *second != 0 => {
            Some("UTF-16")
        }
        _ => None,
    }
}

/// Line and column, from 1, of the character after `before`.
fn place(before: &[u8]) -> (usize, usize) {
    let text = String::from_utf8_lossy(before).replace("\r\n", "\n").replace('\r', "\n");
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn a_mark_and_any_end_of_line_are_read() {
        for bytes in [
            &b"a: 1\nb: 2\n"[..],
            b"\xef\xbb\xbfa: 1\r\nb: 2\r\n",
            b"a: 1\rb: 2\r",
            b"\xef\xbb\xbfa: 1\nb: 2\n",
        ] {
            assert_eq!(decode(bytes).unwrap(), "a: 1\nb: 2\n");
        }
    }

    #[test]
    fn another_encoding_is_refused_with_its_name() {
        let wide = |of: fn(u16) -> [u8; 2]| "é: 1\n".encode_utf16().flat_map(of).collect::<Vec<u8>>();
        let narrow = |of: fn(u16) -> [u8; 2]| "a: 1\n".encode_utf16().flat_map(of).collect::<Vec<u8>>();
        let marked = |mark: &[u8], rest: Vec<u8>| [mark.to_vec(), rest].concat();
        for (bytes, expected) in [
            (marked(b"\xff\xfe", wide(u16::to_le_bytes)), "encoding of this file is UTF-16"),
            (marked(b"\xfe\xff", wide(u16::to_be_bytes)), "encoding of this file is UTF-16"),
            (narrow(u16::to_le_bytes), "encoding of this file is UTF-16"),
            (narrow(u16::to_be_bytes), "encoding of this file is UTF-16"),
            (b"\xff\xfe\0\0a\0\0\0".to_vec(), "encoding of this file is UTF-32"),
            (b"a: 1\r\nq: f\xfcr\n".to_vec(), "not UTF-8: byte 0xFC in line 2, column 5"),
            (b"a: 1\nb\0: 2".to_vec(), "NUL byte (U+0000) in line 2, column 2"),
        ] {
            let error = decode(&bytes).unwrap_err();
            assert!(error.contains(expected), "`{expected}` is not in: {error}");
        }
    }
}
