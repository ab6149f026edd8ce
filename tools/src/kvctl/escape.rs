//! Bytes as text that a terminal can show: nothing in it moves the cursor, ends a line or separates columns.

use std::fmt::Write;

/// Printable text as it is; `\t`, `\n`, `\r`, `\\`, `\0` and `\u{…}` for other characters, `\xNN` for bytes that are not
/// UTF-8. Different bytes give different text.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\'' | '"' => text.push(character),
                _ => text.extend(character.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn printable_text_stays_as_it_is() {
        assert_eq!(escaped("it's \"Zürich\" 東京".as_bytes()), "it's \"Zürich\" 東京");
    }

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        assert_eq!(escaped(b"a\tb\nc\r\\\0\x1b[2J"), r"a\tb\nc\r\\\0\u{1b}[2J");
        assert_eq!(escaped("\u{202e}x\u{85}".as_bytes()), r"\u{202e}x\u{85}");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_one_by_one() {
        assert_eq!(escaped(b"a\xff\xc3b"), r"a\xff\xc3b");
    }
}
