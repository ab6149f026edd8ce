//! How long opening a store takes that has no checkpoint: `just opening STORE RECORDS` makes the store where there is
//! none, with values of 100 bytes, opens it for reading and says what that took.
//!
//! To measure the device as well, empty the page cache before: the store reads past it where it can.

use std::error::Error;
use std::path::Path;

use zonal::{Db, Durability, Options};

const VALUE_BYTES: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(records)) = (arguments.next(), arguments.next()) else {
        return Err("usage: opening STORE RECORDS".into());
    };
    let (path, record_count) = (Path::new(&path), records.parse()?);
    if !path.exists() {
        fill(path, record_count)?;
    }
    let began = std::time::Instant::now();
    let db = Db::open(path, Options::default().read_only(true))?;
    let elapsed = began.elapsed();
    let opening = db.info().opening;
    println!(
        "opened in {:.3} s: {} records in {} bytes of {} zones read, {} entries from a checkpoint; {} KiB of memory at most",
        elapsed.as_secs_f64(),
        opening.records_read,
        opening.bytes_read,
        opening.zones_read,
        opening.checkpoint_entries,
        peak_kib(),
    );
    Ok(())
}

/// Fills a store with keys in no order, as workloads of YCSB do.
fn fill(path: &Path, record_count: u64) -> zonal::Result<()> {
    let options = Options::default().durability(Durability::Buffered).checkpoint_interval_bytes(0);
    let db = Db::open(path, options)?;
    for number in 0..record_count {
        let key = format!("user{:019}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 1);
        let value = [u8::try_from(number % 251).expect("below 251"); VALUE_BYTES];
        db.put(key.as_bytes(), value)?;
    }
    db.close()
}

/// The most memory that the process had, in KiB; 0 where the kernel does not tell.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
