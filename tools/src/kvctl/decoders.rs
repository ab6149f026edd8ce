//! What must hold of the parsers of what people and dumps say, whatever it is: for fuzzing. Not part of any interface.

use super::record::{decode_line, encode_line};
use crate::size::{human_bytes, parse_bytes};

/// A line of a dump.
pub fn dump_line(bytes: &[u8]) {
    let Ok(record) = decode_line(bytes) else { return };
    let again = encode_line(&record.key, Some(&record.value));
    assert_eq!(decode_line(again.as_bytes()), Ok(record), "a record that was read is written differently");
}

/// A size.
pub fn size(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(size) = parse_bytes(text) {
        assert_eq!(parse_bytes(&size.to_string()), Ok(size));
        let _ = human_bytes(size);
    }
}
