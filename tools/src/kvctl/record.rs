//! A key and its value as one line of JSON: what `dump` writes and `load` reads.
//!
//! `{"key": "…", "value": "…"}`; bytes that are not UTF-8 stand in `key_base64` and `value_base64` instead (RFC 4648,
//! section 4; padding is written, and not demanded). Pure: no I/O.

use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine};
use serde::{Deserialize, Serialize};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Longest key in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 65_535;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

/// A key and a value, from a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    /// The key: 1 to 65,535 bytes.
    pub(crate) key: Vec<u8>,
    /// The value.
    pub(crate) value: Vec<u8>,
}

/// The line of a record, its end included. Without a value it names the key only.
pub(crate) fn encode_line(key: &[u8], value: Option<&[u8]>) -> String {
    let (key, key_base64) = text_or_base64(key);
    let (value, value_base64) = value.map_or((None, None), text_or_base64);
    let line = Line { key, key_base64, value, value_base64 };
    let mut json = serde_json::to_string(&line).expect("a struct of strings is always JSON");
    json.push('\n');
    json
}

/// Reads a line; the error says what is wrong with it.
pub(crate) fn decode_line(line: &[u8]) -> Result<Record, String> {
    // The parser would take a list for a struct whose fields come in order.
    if line.trim_ascii_start().first() != Some(&b'{') {
        return Err("not a record: no JSON object begins here".to_owned());
    }
    let line: Line = serde_json::from_slice(line).map_err(|error| json_reason(&error))?;
    let key = bytes("key", line.key, line.key_base64)?;
    check_key(&key)?;
    Ok(Record { key, value: bytes("value", line.value, line.value_base64)? })
}

/// Says why a key is none.
pub(crate) fn check_key(key: &[u8]) -> Result<(), String> {
    match key.len() {
        1..=MAX_KEY_BYTES => Ok(()),
        len => Err(format!("a key of {len} bytes; a key has 1 to {MAX_KEY_BYTES} bytes")),
    }
}

/// Reads base64, with or without padding.
pub(crate) fn decode_base64(text: &str) -> Result<Vec<u8>, String> {
    BASE64.decode(text).map_err(|error| format!("'{text}' is not base64: {error}"))
}

/// Bytes as a field of JSON: `name`, or `name_base64` where they are not UTF-8.
pub(crate) fn named_bytes(name: &str, bytes: &[u8]) -> (String, String) {
    match text_or_base64(bytes) {
        (Some(text), _) => (name.to_owned(), text),
        (None, base64) => (format!("{name}_base64"), base64.unwrap_or_default()),
    }
}

fn text_or_base64(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(BASE64.encode(bytes))),
    }
}

fn bytes(name: &str, text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, String> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(base64)) => {
            BASE64.decode(base64).map_err(|error| format!("\"{name}_base64\" is not base64: {error}"))
        }
        (None, None) => Err(format!("neither \"{name}\" nor \"{name}_base64\"")),
        (Some(_), Some(_)) => Err(format!("both \"{name}\" and \"{name}_base64\"")),
    }
}

/// The parser counts lines of its own, from the beginning of this one.
fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = text.strip_suffix(&place).unwrap_or(&text);
    format!("column {}: not a record: {reason}", error.column())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{Record, decode_base64, decode_line, encode_line};

    #[test]
    fn text_stands_as_text_and_other_bytes_as_base64() {
        assert_eq!(encode_line(b"k", Some("ü\n".as_bytes())), "{\"key\":\"k\",\"value\":\"ü\\n\"}\n");
        assert_eq!(
            encode_line(b"\xff", Some(b"\x00\xfe")),
            "{\"key_base64\":\"/w==\",\"value_base64\":\"AP4=\"}\n"
        );
        assert_eq!(encode_line(b"k", None), "{\"key\":\"k\"}\n");
    }

    #[test]
    fn a_line_that_is_no_record_is_refused_with_the_reason() {
        for (line, reason) in [
            ("{\"key\":\"k\"", "column 10: not a record: EOF"),
            ("[\"k\",null,\"v\",null]", "no JSON object"),
            ("k v", "no JSON object"),
            ("{\"key\":\"k\"}", "neither \"value\" nor \"value_base64\""),
            ("{\"value\":\"v\"}", "neither \"key\" nor \"key_base64\""),
            ("{\"key\":\"k\",\"key_base64\":\"aw==\",\"value\":\"v\"}", "both \"key\" and"),
            ("{\"key\":\"k\",\"key\":\"l\",\"value\":\"v\"}", "duplicate field"),
            ("{\"key\":\"k\",\"value\":\"v\",\"ttl\":1}", "unknown field `ttl`"),
            ("{\"key\":\"\",\"value\":\"v\"}", "a key of 0 bytes"),
            ("{\"key_base64\":\"!\",\"value\":\"v\"}", "\"key_base64\" is not base64"),
            ("{\"key\":1,\"value\":\"v\"}", "invalid type"),
        ] {
            let found = decode_line(line.as_bytes()).unwrap_err();
            assert!(found.contains(reason), "{line}: {found}");
        }
    }

    #[test]
    fn padding_is_not_demanded() {
        assert_eq!(decode_base64("/w"), Ok(vec![0xff]));
        assert_eq!(decode_base64("/w=="), Ok(vec![0xff]));
    }

    proptest! {
        #[test]
        fn every_record_comes_back_from_its_line(
            key in proptest::collection::vec(any::<u8>(), 1..40),
            value in proptest::collection::vec(any::<u8>(), 0..80),
            text in ".*",
        ) {
            let line = encode_line(&key, Some(&value));
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert_eq!(decode_line(line.as_bytes()), Ok(Record { key: key.clone(), value }));
            let line = encode_line(&key, Some(text.as_bytes()));
            prop_assert_eq!(decode_line(line.as_bytes()), Ok(Record { key, value: text.into_bytes() }));
        }

        #[test]
        fn no_line_makes_the_decoder_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_line(&line);
        }
    }
}
