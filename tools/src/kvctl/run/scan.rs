//! `scan`.

use std::iter;

use zonal::Range;

use super::{open_to_read, readable};
use crate::kvctl::Answer;
use crate::kvctl::escape::escaped;
use crate::kvctl::failure::Failure;
use crate::kvctl::output::Output;
use crate::kvctl::plan::{KeyRange, Scan};
use crate::kvctl::record::encode_line;

/// Lists keys and values in order; those that cannot be read are named on stderr and left out.
pub(super) fn scan(plan: Scan, output: &mut Output) -> Result<Answer, Failure> {
    let db = open_to_read(&plan.store)?;
    let mut range = match plan.keys {
        KeyRange::Prefix(prefix) => db.prefix(prefix),
        KeyRange::Between(low, high) => db.range((low, high)),
    };
    let step = if plan.reverse { Range::next_back } else { Range::next };
    let mut left = plan.limit;
    let items = iter::from_fn(|| {
        left = left.checked_sub(1)?;
        step(&mut range)
    });
    let mut answer = Answer::Yes;
    for item in items {
        let Some((key, value)) = readable(item)? else {
            answer = Answer::No;
            continue;
        };
        let value = Some(&*value).filter(|_| !plan.keys_only);
        output.text(&if output.is_json() { encode_line(&key, value) } else { row(&key, value) })?;
    }
    Ok(answer)
}

fn row(key: &[u8], value: Option<&[u8]>) -> String {
    let mut row = escaped(key);
    if let Some(value) = value {
        row.push('\t');
        row.push_str(&escaped(value));
    }
    row.push('\n');
    row
}
