//! Saving what can be read of a damaged store.

use std::path::{Path, PathBuf};

use serde::Serialize;
use zonal_engine::device::Geometry;
use zonal_engine::error::EngineError;
use zonal_engine::salvage as engine;

use crate::info::DeviceDamage;
use crate::{Db, Durability, Error, Options, Result, WriteBatch, WriteOptions};

/// What to do where it is not certain, and what is known of a device that cannot tell it any more.
///
/// ```
/// let options = zonal::SalvageOptions::default().older_versions(true);
/// ```
#[derive(Clone, Debug, Default)]
pub struct SalvageOptions {
    engine: engine::SalvageOptions,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty => $($field:ident).+ = $wrap:expr;)*) => {
        impl SalvageOptions {$(
            $(#[$doc])*
            #[must_use]
            pub fn $name(mut self, $name: $type) -> Self {
                self.engine.$($field).+ = $wrap;
                self
            }
        )*}
    };
}

setters! {
    /// Whether a key whose newest version is damaged gets its older version back, where there is one. Default: no; then it has
    /// no value. Either way it is listed among [`SalvageReport::lost_keys`].
    older_versions: bool => older_versions = older_versions;
    /// Whether keys are left out of which a newer version may have been lost. Default: no; they are kept. Either way they are
    /// listed as [`SalvageReport::doubtful_keys`].
    only_certain: bool => only_certain = only_certain;
    /// The device's block size in bytes, where neither its header nor its manifest can be read. Default: 4096.
    block_bytes: u32 => sizes.block_bytes = Some(block_bytes);
    /// From one zone start to the next, in bytes, where neither header nor manifest can be read.
    zone_size_bytes: u64 => sizes.zone_size_bytes = Some(zone_size_bytes);
    /// What can be written in a zone, in bytes, where neither header nor manifest can be read. Default: the zone size.
    zone_capacity_bytes: u64 => sizes.zone_capacity_bytes = Some(zone_capacity_bytes);
    /// How many zones there are, where neither header nor manifest can be read. Default: as many as the file holds.
    zone_count: u32 => sizes.zone_count = Some(zone_count);
}

/// A key whose value is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostKey {
    /// The key.
    pub key: Vec<u8>,
    /// The number of the write that is gone.
    pub seqno: u64,
    /// The zone of what was hit.
    pub zone: u32,
    /// Where in the zone, in bytes from its start.
    pub offset: u64,
    /// The same place in bytes from the start of the file or device.
    pub device_offset: Option<u64>,
    /// What is wrong there.
    pub what: String,
    /// The number of the next older version that can be read, if there is one.
    pub older_seqno: Option<u64>,
}

/// Why it is not certain that a value is the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Doubt {
    /// The newest version is damaged; this older one was asked for.
    NewerVersionLost,
    /// Writes of unknown keys were lost that came after it: one of them may have been of this key.
    MaybeSuperseded,
    /// It lies where nothing tells whether it still counted.
    MaybeLeftOver,
}

/// A key whose value may not be the present one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DoubtfulKey {
    /// The key.
    pub key: Vec<u8>,
    /// The number of the write that was found.
    pub seqno: u64,
    /// Its zone.
    pub zone: u32,
    /// Where in the zone, in bytes from its start.
    pub offset: u64,
    /// Why.
    pub doubt: Doubt,
    /// Whether its value is kept.
    pub kept: bool,
}

/// Writes that are gone, and nobody knows of which keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LostWrites {
    /// The zone.
    pub zone: u32,
    /// Where in the zone, in bytes from its start.
    pub offset: u64,
    /// The same place in bytes from the start of the file or device.
    pub device_offset: Option<u64>,
    /// How many bytes are concerned.
    pub len_bytes: u64,
    /// What is wrong there.
    pub what: String,
    /// The number of the first write that was there, where it is known.
    pub first_seqno: Option<u64>,
    /// The number of the last one.
    pub last_seqno: Option<u64>,
}

/// Blocks that the device fails to read. What was in them is looked for elsewhere, and told of where it is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Unreadable {
    /// The zone.
    pub zone: u32,
    /// Where in the zone, in bytes from its start.
    pub offset: u64,
    /// The same place in bytes from the start of the file or device.
    pub device_offset: Option<u64>,
    /// How many bytes.
    pub len_bytes: u64,
}

/// A batch of which something is gone; the rest of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TornBatch {
    /// The number of its first write.
    pub first_seqno: u64,
    /// How many writes it had.
    pub writes: u32,
}

/// What a salvage has found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SalvageReport {
    /// Keys that have a value.
    pub keys: u64,
    /// Records found, superseded ones included.
    pub records: u64,
    /// Records that a recovery has cut off.
    pub void_records: u64,
    /// Damaged records that were put right.
    pub mended_records: u64,
    /// Damage outside the zones.
    pub device_damages: Vec<DeviceDamage>,
    /// Blocks of zones that the device fails to read.
    pub unreadable: Vec<Unreadable>,
    /// What could not be read, and how that was made up for.
    pub notes: Vec<String>,
    /// Keys whose value is gone.
    pub lost_keys: Vec<LostKey>,
    /// Writes that are gone, of unknown keys.
    pub lost_writes: Vec<LostWrites>,
    /// Batches of which something is gone.
    pub torn_batches: Vec<TornBatch>,
    /// Keys whose value may not be the present one.
    pub doubtful_keys: Vec<DoubtfulKey>,
}

impl SalvageReport {
    /// Whether everything that the store held was found, and is certain.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.lost_keys.is_empty() && self.lost_writes.is_empty() && self.doubtful_keys.is_empty()
    }
}

/// What can be read of a store, however damaged it is. The store itself is never changed.
///
/// It takes every record that passes its own checksums, wherever it finds one, and the newest version of each key. It says what
/// is gone, and of which keys it cannot be certain. A key whose newest version is damaged has no value unless
/// [`SalvageOptions::older_versions`] asks for the one before.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// # let (damaged, saved) = (directory.path().join("d.zonal"), directory.path().join("saved.zonal"));
/// use zonal::{Db, Options, Salvage, SalvageOptions};
/// # let db = Db::open(&damaged, Options::default())?; db.put("key", "value")?; db.close()?;
/// let salvage = Salvage::open(&damaged, &SalvageOptions::default(), &|_, _| {})?;
/// println!("{} keys can be read", salvage.report().keys);
/// let db = Db::open(&saved, salvage.like_the_original())?;
/// salvage.copy_into(&db, &|_| {})?;
/// # assert_eq!(db.get("key")?.as_deref(), Some(&b"value"[..]));
/// # Ok::<(), zonal::Error>(())
/// ```
#[derive(Debug)]
pub struct Salvage {
    engine: engine::Salvage,
    report: SalvageReport,
    path: PathBuf,
}

/// Keys and values beyond which a batch is written.
const BATCH_BYTES: usize = 1 << 20;

impl Salvage {
    /// Reads all that there is of the store at a path. Blocks for as long as reading the whole device takes; `progress` is told
    /// bytes done and bytes in all.
    ///
    /// Memory for every key, and every version of it that still lies on the device.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound), [`ErrorKind::NotAStore`](crate::ErrorKind::NotAStore) where no part
    /// of a store can be found, [`ErrorKind::Corruption`](crate::ErrorKind::Corruption) where the sizes of the device must be
    /// given, [`ErrorKind::Incompatible`](crate::ErrorKind::Incompatible), [`ErrorKind::Locked`](crate::ErrorKind::Locked),
    /// [`ErrorKind::Io`](crate::ErrorKind::Io).
    pub fn open(
        path: impl AsRef<Path>,
        options: &SalvageOptions,
        progress: &dyn Fn(u64, u64),
    ) -> Result<Self> {
        let path = path.as_ref();
        let read = engine::Salvage::read(path, &options.engine, progress);
        let engine = read.map_err(|error| Error::new(path, error))?;
        let report = report(&engine);
        Ok(Self { engine, report, path: path.to_owned() })
    }

    /// What was found.
    #[must_use]
    pub fn report(&self) -> &SalvageReport {
        &self.report
    }

    /// Options that make a new store with the sizes of this one.
    #[must_use]
    pub fn like_the_original(&self) -> Options {
        let sizes = self.engine.sizes();
        let capacity_bytes = sizes.zone_capacity_bytes * u64::from(sizes.zone_count);
        let options = Options::default()
            .create_new(true)
            .block_bytes(sizes.block_bytes)
            .zone_size_bytes(sizes.zone_size_bytes)
            .zone_capacity_bytes(sizes.zone_capacity_bytes)
            .capacity_bytes(capacity_bytes);
        match self.engine.geometry() {
            Some(Geometry { max_open_zones, max_active_zones, append_limit_bytes, .. }) => options
                .max_open_zones(*max_open_zones)
                .max_active_zones(*max_active_zones)
                .append_limit_bytes(*append_limit_bytes),
            None => options,
        }
    }

    /// Puts every key that was found, with its value, into another store, and makes it durable. `progress` is told the number of
    /// keys done.
    ///
    /// # Errors
    /// As [`Db::put`]; [`ErrorKind::Corruption`](crate::ErrorKind::Corruption) when a value has changed since.
    pub fn copy_into(&self, into: &Db, progress: &dyn Fn(u64)) -> Result<()> {
        let (mut batch, mut batch_bytes, mut done) = (WriteBatch::new(), 0, 0);
        let write = |batch: &mut WriteBatch| {
            let quickly = WriteOptions::default().durability(Durability::Buffered);
            into.write_with(std::mem::take(batch), quickly)
        };
        let copied = self.engine.for_each(|key, value| {
            batch.put(key, value);
            batch_bytes += key.len() + value.len();
            done += 1;
            if batch_bytes >= BATCH_BYTES {
                batch_bytes = 0;
                write(&mut batch).map_err(Failed::Writing)?;
                progress(done);
            }
            Ok(())
        });
        copied.map_err(|failed| match failed {
            Failed::Writing(error) => error,
            Failed::Reading(error) => Error::new(&self.path, error),
        })?;
        write(&mut batch)?;
        progress(done);
        into.flush()
    }
}

enum Failed {
    Reading(EngineError),
    Writing(Error),
}

impl From<EngineError> for Failed {
    fn from(error: EngineError) -> Self {
        Self::Reading(error)
    }
}

fn report(salvage: &engine::Salvage) -> SalvageReport {
    let found = salvage.findings();
    SalvageReport {
        keys: found.key_count,
        records: found.record_count,
        void_records: found.void_record_count,
        mended_records: found.mended_count,
        device_damages: found.flaws.iter().map(DeviceDamage::from).collect(),
        unreadable: found.unreadable.iter().map(|run| unreadable(salvage, run)).collect(),
        notes: found.notes.clone(),
        lost_keys: found.lost_keys.iter().map(|lost| lost_key(salvage, lost)).collect(),
        lost_writes: found.lost_writes.iter().map(|lost| lost_writes(salvage, lost)).collect(),
        torn_batches: found
            .torn_batches
            .iter()
            .map(|batch| TornBatch { first_seqno: batch.first.get(), writes: batch.len })
            .collect(),
        doubtful_keys: found.doubtful_keys.iter().map(doubtful_key).collect(),
    }
}

fn unreadable(salvage: &engine::Salvage, run: &engine::UnreadableRun) -> Unreadable {
    Unreadable {
        zone: run.zone.get(),
        offset: run.offset.get(),
        device_offset: salvage.device_byte(run.zone, run.offset),
        len_bytes: run.len_bytes,
    }
}

fn lost_key(salvage: &engine::Salvage, lost: &engine::LostKey) -> LostKey {
    LostKey {
        key: lost.key.to_vec(),
        seqno: lost.seqno.get(),
        zone: lost.zone.get(),
        offset: lost.offset.get(),
        device_offset: salvage.device_byte(lost.zone, lost.offset),
        what: lost.what.clone(),
        older_seqno: lost.older.map(zonal_engine::units::SeqNo::get),
    }
}

fn lost_writes(salvage: &engine::Salvage, lost: &engine::LostWrites) -> LostWrites {
    LostWrites {
        zone: lost.zone.get(),
        offset: lost.offset.get(),
        device_offset: salvage.device_byte(lost.zone, lost.offset),
        len_bytes: lost.len_bytes,
        what: lost.what.clone(),
        first_seqno: lost.seqnos.map(|(first, _)| first.get()),
        last_seqno: lost.seqnos.map(|(_, last)| last.get()),
    }
}

fn doubtful_key(found: &engine::DoubtfulKey) -> DoubtfulKey {
    DoubtfulKey {
        key: found.key.to_vec(),
        seqno: found.seqno.get(),
        zone: found.zone.get(),
        offset: found.offset.get(),
        doubt: match found.reason {
            engine::Reason::NewerVersionLost => Doubt::NewerVersionLost,
            engine::Reason::MaybeSuperseded => Doubt::MaybeSuperseded,
            engine::Reason::MaybeLeftOver => Doubt::MaybeLeftOver,
        },
        kept: found.kept,
    }
}
