//! An embedded key-value store for zoned storage.
//!
//! Concurrent writers append records with *zone append*: an append names a zone, and the device says where it landed. An
//! in-memory index remembers the place; a collector relocates live records and resets zones. The device is an emulated
//! zoned file, so that it runs anywhere.
//!
//! ```
//! use zonal::{Db, Durability, Options, WriteBatch, WriteOptions};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("data.zonal");
//! let db = Db::open(path, Options::default())?;
//! db.put("user:1", "Ada")?; // on stable media when it returns
//! assert_eq!(db.get("user:1")?.as_deref(), Some(&b"Ada"[..]));
//!
//! let mut batch = WriteBatch::new();
//! batch.put("user:2", "Grace");
//! batch.delete("user:1");
//! db.write(batch)?; // all of it or nothing survives a crash
//!
//! db.put_with("hits", "1", WriteOptions::default().durability(Durability::Buffered))?;
//! for item in db.prefix("user:") {
//!     let (key, value) = item?;
//!     println!("{} = {}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value));
//! }
//! db.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//! A crash leaves a prefix of the commit order that contains every write acknowledged at [`Durability::Sync`] and all that
//! came before a completed [`Db::flush`]; a batch survives whole or not at all. Damaged bytes are detected by checksums
//! and never returned as a value.

mod batch;
mod db;
mod error;
mod events;
mod info;
mod iter;
mod options;
mod salvage;
mod value;

pub use batch::WriteBatch;
pub use db::Db;
pub use error::{Error, ErrorKind, Result};
pub use events::{
    CleaningReport, CleaningStats, Collection, Event, EventListener, Footprint, StreamKind, StreamStats,
};
pub use info::{
    CheckReport, Checkpoint, Damage, DeviceDamage, Info, Opening, Stats, Zone, ZoneCounts, ZoneRole,
    ZoneState,
};
pub use iter::Range;
pub use options::{IndexKind, Options, WriteOptions};
pub use salvage::{
    Doubt, DoubtfulKey, LostKey, LostWrites, Salvage, SalvageOptions, SalvageReport, TornBatch, Unreadable,
};
pub use value::Value;
pub use zonal_engine::engine::{Depth, Durability};
pub use zonal_engine::gc::policy::{PolicyKind as CleaningPolicy, UnknownPolicy};
pub use zonal_engine::queue::QueueKind;
