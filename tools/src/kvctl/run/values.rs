//! `put`, `get`, `delete`: one key.

use std::fs::File;
use std::io::{self, Read, Write, stderr, stdin};

use zonal::{Durability, WriteOptions};

use super::{open_to_read, open_to_write};
use crate::kvctl::Answer;
use crate::kvctl::escape::escaped;
use crate::kvctl::failure::Failure;
use crate::kvctl::output::Output;
use crate::kvctl::plan::{StoreAt, ValueSource};
use crate::kvctl::record::encode_line;

/// Longest value in bytes.
const MAX_VALUE_BYTES: u64 = 1 << 30;

/// Gives a key a value.
pub(super) fn put(
    store: &StoreAt,
    key: &[u8],
    value: &ValueSource,
    durability: Durability,
) -> Result<(), Failure> {
    // Before the store is opened: stdin may be long in coming, and the store is locked from then on.
    let value = read_value(value)?;
    let db = open_to_write(store)?;
    db.put_with(key, value, WriteOptions::default().durability(durability))?;
    Ok(db.close()?)
}

/// Shows the value of a key.
pub(super) fn get(store: &StoreAt, key: &[u8], output: &mut Output) -> Result<Answer, Failure> {
    let db = open_to_read(store)?;
    let Some(value) = db.get(key)? else { return Ok(absent(key)) };
    if output.is_json() {
        output.text(&encode_line(key, Some(&value)))?;
        return Ok(Answer::Yes);
    }
    output.bytes(&value)?;
    if output.is_terminal() {
        output.text("\n")?;
    }
    Ok(Answer::Yes)
}

/// Takes the value of a key away.
pub(super) fn delete(store: &StoreAt, key: &[u8], durability: Durability) -> Result<Answer, Failure> {
    let db = open_to_write(store)?;
    // The store is locked, so that nobody can come in between.
    let present = db.contains_key(key)?;
    if present {
        db.delete_with(key, WriteOptions::default().durability(durability))?;
    }
    db.close()?;
    Ok(if present { Answer::Yes } else { absent(key) })
}

fn absent(key: &[u8]) -> Answer {
    // Where stderr is closed, the exit code has to be enough.
    let _ = writeln!(stderr(), "kvctl: no value for the key {}", escaped(key));
    Answer::No
}

fn read_value(source: &ValueSource) -> Result<Vec<u8>, Failure> {
    let (value, name) = match source {
        ValueSource::Given(value) => return Ok(value.clone()),
        ValueSource::Stdin => (read_all(stdin().lock()), "stdin".to_owned()),
        ValueSource::File(path) => (File::open(path).and_then(read_all), path.display().to_string()),
    };
    let value = value.map_err(|source| Failure::File { action: "read", name: name.clone(), source })?;
    value.ok_or_else(|| {
        Failure::Usage(format!("{name} is longer than a value can be, {MAX_VALUE_BYTES} bytes"))
    })
}

/// All bytes, or `None` where they are more than a value can hold.
fn read_all(source: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    source.take(MAX_VALUE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= MAX_VALUE_BYTES))
}
