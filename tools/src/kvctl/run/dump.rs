//! `dump`.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;
use zonal::Db;

use super::{open_to_read, readable};
use crate::kvctl::Answer;
use crate::kvctl::failure::Failure;
use crate::kvctl::output::Output;
use crate::kvctl::plan::StoreAt;
use crate::kvctl::progress::Progress;
use crate::kvctl::record::encode_line;
use crate::size::{grouped, human_bytes};

const PRIVATE_MODE: u32 = 0o600;

/// What has been dumped, with the names that JSON has.
#[derive(Debug, Default, Serialize)]
struct Summary {
    records: u64,
    key_and_value_bytes: u64,
    /// Records whose values cannot be read.
    skipped: u64,
}

impl Summary {
    fn answer(&self) -> Answer {
        if self.skipped == 0 { Answer::Yes } else { Answer::No }
    }
}

/// Writes all records as JSON lines; those that cannot be read are named on stderr and left out.
pub(super) fn dump(
    store: &StoreAt,
    destination: Option<&Path>,
    output: &mut Output,
) -> Result<Answer, Failure> {
    let db = open_to_read(store)?;
    let Some(destination) = destination else {
        let progress = if output.is_terminal() { Progress::hidden() } else { progress(&db) };
        let summary = write_records(&db, &progress, |line| output.text(line))?;
        return Ok(summary.answer());
    };
    let file = create_file(destination)?;
    let summary = dump_to_file(&db, destination, file).inspect_err(|_| {
        // Half a dump should not be taken for a whole one; the first error is the one worth telling.
        let _ = remove_file(destination);
    })?;
    if output.is_json() {
        output.json(&summary)?;
        return Ok(summary.answer());
    }
    let size = human_bytes(summary.key_and_value_bytes);
    let mut text = format!("{} records dumped, {size} of keys and values", grouped(summary.records));
    if summary.skipped > 0 {
        text.push_str(&format!("; {} that cannot be read left out", grouped(summary.skipped)));
    }
    output.text(&(text + "\n"))?;
    Ok(summary.answer())
}

fn create_file(destination: &Path) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(PRIVATE_MODE);
    options.open(destination).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Failure::DumpExists(destination.to_owned()),
        _ => Failure::File { action: "create", name: destination.display().to_string(), source },
    })
}

fn dump_to_file(db: &Db, destination: &Path, file: File) -> Result<Summary, Failure> {
    let failure = |source| Failure::File { action: "write", name: destination.display().to_string(), source };
    let mut file = BufWriter::with_capacity(256 << 10, file);
    let summary = write_records(db, &progress(db), |line| file.write_all(line.as_bytes()).map_err(failure))?;
    let file = file.into_inner().map_err(|error| failure(error.into_error()))?;
    file.sync_all().map_err(failure)?;
    Ok(summary)
}

fn progress(db: &Db) -> Progress {
    Progress::of_keys("dumping", Some(db.stats().keys))
}

fn write_records(
    db: &Db,
    progress: &Progress,
    mut write: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<Summary, Failure> {
    let mut summary = Summary::default();
    for item in db.iter() {
        let Some((key, value)) = readable(item)? else {
            summary.skipped += 1;
            continue;
        };
        write(&encode_line(&key, Some(&value)))?;
        summary.records += 1;
        summary.key_and_value_bytes += (key.len() + value.len()) as u64;
        progress.advance(1);
    }
    Ok(summary)
}
