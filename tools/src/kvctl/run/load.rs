//! `load`.
//!
//! Lines are applied in order, in batches that survive a crash whole or not at all, so that what is stored at any time
//! is the input up to some line: that line's number is what an acknowledgement and a failure tell.

use std::fs::File;
use std::io::{self, BufRead, BufReader, stdin};
use std::mem;
use std::path::Path;

use serde::Serialize;
use zonal::{Db, Durability, WriteBatch, WriteOptions};

use super::open_to_write;
use crate::kvctl::failure::{Failure, Stored};
use crate::kvctl::output::Output;
use crate::kvctl::plan::Load;
use crate::kvctl::progress::Progress;
use crate::kvctl::record::{Record, decode_line};
use crate::size::{grouped, human_bytes};

/// Keys and values beyond which a batch is written, however few its records.
const MAX_BATCH_BYTES: u64 = 1 << 20;

/// Puts what JSON lines say.
pub(super) fn load(plan: &Load, output: &mut Output) -> Result<(), Failure> {
    let source = Source::open(plan.source.as_deref())?;
    let db = open_to_write(&plan.store)?;
    let mut loader = Loader::new(plan, &db, output);
    let loaded = loader.load(source);
    let (stored, bytes) = (loader.stored, loader.key_and_value_bytes);
    // Also after a failure, so that what was stored is there to be read; the first error is the one to tell.
    let closed = db.close().map_err(Failure::from);
    loaded?;
    closed.map_err(|source| stopped(stored, source))?;
    if plan.acknowledge { Ok(()) } else { show_summary(stored, bytes, output) }
}

fn stopped(stored: Stored, source: Failure) -> Failure {
    Failure::LoadStopped { stored, source: Box::new(source) }
}

fn show_summary(stored: Stored, key_and_value_bytes: u64, output: &mut Output) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Summary {
        records: u64,
        lines: u64,
        key_and_value_bytes: u64,
    }
    let Stored { lines, records } = stored;
    if output.is_json() {
        return output.json(&Summary { records, lines, key_and_value_bytes });
    }
    let size = human_bytes(key_and_value_bytes);
    output.text(&format!("{} records loaded, {size} of keys and values\n", grouped(records)))
}

/// Where lines come from.
struct Source {
    name: String,
    lines: Box<dyn BufRead>,
    bytes: Option<u64>,
}

impl Source {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self { name: "stdin".to_owned(), lines: Box::new(stdin().lock()), bytes: None });
        };
        let name = path.display().to_string();
        let file = File::open(path);
        let file = file.map_err(|source| Failure::File { action: "read", name: name.clone(), source })?;
        let bytes = file.metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len());
        Ok(Self { name, lines: Box::new(BufReader::with_capacity(256 << 10, file)), bytes })
    }

    /// The next line, without its end; `None` after the last.
    fn next_line<'line>(&mut self, line: &'line mut Vec<u8>) -> io::Result<Option<&'line [u8]>> {
        line.clear();
        let found = self.lines.read_until(b'\n', line)?;
        Ok((found > 0).then(|| line.trim_ascii()))
    }
}

/// A load that is under way.
struct Loader<'a> {
    plan: &'a Load,
    db: &'a Db,
    output: &'a mut Output,
    batch: WriteBatch,
    batch_bytes: u64,
    /// Lines read so far, and records among them.
    read: Stored,
    /// Lines applied so far, and records among them.
    stored: Stored,
    key_and_value_bytes: u64,
}

impl<'a> Loader<'a> {
    fn new(plan: &'a Load, db: &'a Db, output: &'a mut Output) -> Self {
        let nothing = Stored { lines: 0, records: 0 };
        let batch = WriteBatch::new();
        Self {
            plan,
            db,
            output,
            batch,
            batch_bytes: 0,
            read: nothing,
            stored: nothing,
            key_and_value_bytes: 0,
        }
    }

    fn load(&mut self, mut source: Source) -> Result<(), Failure> {
        let shows_results = self.plan.acknowledge && self.output.is_terminal();
        let progress =
            if shows_results { Progress::hidden() } else { Progress::of_bytes("loading", source.bytes) };
        let mut buffer = Vec::new();
        loop {
            let line = source.next_line(&mut buffer).map_err(|error| {
                let source = Failure::File { action: "read", name: source.name.clone(), source: error };
                stopped(self.stored, source)
            })?;
            let Some(line) = line else { break };
            self.take_line(line)?;
            progress.advance(buffer.len() as u64);
        }
        self.finish()
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), Failure> {
        if line.is_empty() {
            self.read.lines += 1;
            return Ok(());
        }
        match decode_line(line) {
            Ok(record) => self.take_record(&record),
            Err(reason) => {
                self.finish()?;
                Err(Failure::BadLine { line: self.read.lines + 1, reason, stored: self.stored })
            }
        }
    }

    fn take_record(&mut self, record: &Record) -> Result<(), Failure> {
        let bytes = (record.key.len() + record.value.len()) as u64;
        if self.batch_bytes + bytes > MAX_BATCH_BYTES {
            self.apply()?;
        }
        self.batch.put(&record.key, &record.value);
        self.batch_bytes += bytes;
        self.read.lines += 1;
        self.read.records += 1;
        if self.batch.len() >= self.plan.batch.get() { self.apply() } else { Ok(()) }
    }

    /// Stores what has been read.
    fn apply(&mut self) -> Result<(), Failure> {
        if !self.batch.is_empty() {
            self.write_batch().map_err(|error| stopped(self.stored, error.into()))?;
        }
        self.key_and_value_bytes += mem::take(&mut self.batch_bytes);
        self.stored = self.read;
        if self.plan.acknowledge {
            self.acknowledge().map_err(|failure| stopped(self.stored, failure))?;
        }
        Ok(())
    }

    fn write_batch(&mut self) -> zonal::Result<()> {
        let options = WriteOptions::default().durability(self.plan.durability);
        self.db.write_with(mem::take(&mut self.batch), options)?;
        if self.plan.acknowledge { self.make_durable() } else { Ok(()) }
    }

    fn acknowledge(&mut self) -> Result<(), Failure> {
        let lines = self.stored.lines;
        let json = self.output.is_json();
        self.output.text(&if json {
            format!("{{\"durable_lines\":{lines}}}\n")
        } else {
            format!("{lines}\n")
        })?;
        self.output.flush()
    }

    /// Stores what has been read and makes all of it durable.
    fn finish(&mut self) -> Result<(), Failure> {
        if self.stored != self.read {
            self.apply()?;
        }
        self.make_durable().map_err(|error| stopped(self.stored, error.into()))
    }

    fn make_durable(&self) -> zonal::Result<()> {
        if self.plan.durability == Durability::Sync { Ok(()) } else { self.db.flush() }
    }
}
