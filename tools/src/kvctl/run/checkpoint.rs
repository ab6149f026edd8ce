//! `checkpoint`.

use std::io::{Write, stderr};

use zonal::Checkpoint;

use super::describe::{Row, bytes, count, table, text};
use super::open_to_write;
use crate::kvctl::Answer;
use crate::kvctl::failure::Failure;
use crate::kvctl::output::Output;
use crate::kvctl::plan::StoreAt;

/// Writes a checkpoint and shows it. That there is no room for one is an answer, not a failure.
pub(super) fn checkpoint(store: &StoreAt, output: &mut Output) -> Result<Answer, Failure> {
    let db = open_to_write(store)?;
    let written = db.checkpoint()?;
    db.close()?;
    let Some(checkpoint) = written else {
        // Where stderr is closed, the exit code has to be enough.
        let _ = writeln!(
            stderr(),
            "kvctl: no room for a checkpoint beside the data, or fewer than 5 active zones; the next opening reads the \
             whole log"
        );
        return Ok(Answer::No);
    };
    output.result(&checkpoint, || table(&rows(&checkpoint)))?;
    Ok(Answer::Yes)
}

fn rows(checkpoint: &Checkpoint) -> Vec<Row> {
    vec![
        count("number", checkpoint.number),
        count("covered_seqno", checkpoint.covered_seqno),
        count("entries", checkpoint.entries),
        bytes("bytes", checkpoint.bytes),
        text("zones", &zones(checkpoint)),
    ]
}

/// The numbers of the zones that hold it.
pub(super) fn zones(checkpoint: &Checkpoint) -> String {
    checkpoint.zones.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}
