//! What a store tells about itself, ready to be printed or turned into JSON.

use serde::Serialize;
use zonal_engine::device;
use zonal_engine::device::emulated::Flaw;
use zonal_engine::engine::{Engine, EngineInfo, EngineStats, VerifyReport, ZoneStats};
use zonal_engine::format::manifest::CheckpointName;
use zonal_engine::format::unit::StreamKind;
use zonal_engine::recovery::RecoveryReport;
use zonal_engine::zones::Role;

/// Counts and gauges of a store; sizes in bytes.
///
/// Counters marked *life* add up over the life of the store; a crash loses what was counted since the last close or zone
/// reset. The others count since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Keys that have a value.
    pub keys: u64,
    /// Deleted keys that are still remembered, because older versions of them may lie on the device.
    pub tombstones: u64,
    /// Live records: header, key and value of what can be read.
    pub live_bytes: u64,
    /// How many live bytes the store takes before it says `NoSpace`.
    pub live_limit_bytes: u64,
    /// Memory of the index.
    pub index_bytes: u64,
    /// Memory of cached values and recently written units.
    pub cache_bytes: u64,
    /// *Life:* keys and values handed in.
    pub user_bytes_written: u64,
    /// *Life:* everything appended to the device: records, headers, padding, copies, manifests.
    pub device_bytes_written: u64,
    /// *Life:* records copied by the collector.
    pub relocated_bytes: u64,
    /// *Life:* `device_bytes_written / user_bytes_written`; 0 before the first write.
    pub write_amplification: f64,
    /// *Life:* zones that the collector emptied and reset.
    pub zone_resets: u64,
    /// Read from the device.
    pub device_bytes_read: u64,
    /// Flushes of the device, and appends that were made durable by themselves.
    pub device_flushes: u64,
    /// Puts.
    pub puts: u64,
    /// Deletes.
    pub deletes: u64,
    /// Point reads, those of `multi_get` included.
    pub gets: u64,
    /// Reads answered from memory.
    pub memory_hits: u64,
    /// Written to the log since the last checkpoint was begun: what the next opening reads, about.
    pub bytes_since_checkpoint: u64,
    /// Zones by the device's state.
    pub zones: ZoneCounts,
}

/// A checkpoint of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Counts the checkpoints of a store.
    pub number: u64,
    /// All writes up to this one are covered by it, or by what opening reads besides it.
    pub covered_seqno: u64,
    /// Keys and deletes in it. What lies in the zones being filled is not among them.
    pub entries: u64,
    /// What it takes on the device.
    pub bytes: u64,
    /// The zones that hold it.
    pub zones: Vec<u32>,
}

impl Checkpoint {
    pub(crate) fn new(name: &CheckpointName) -> Self {
        Self {
            number: name.number,
            covered_seqno: name.covered.get(),
            entries: name.entry_count,
            bytes: name.byte_count,
            zones: name.zones.iter().map(|(zone, _)| zone.get()).collect(),
        }
    }
}

/// How opening a store went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Opening {
    /// The checkpoint that was used; 0 when everything was read.
    pub checkpoint: u64,
    /// Keys and deletes taken from it.
    pub checkpoint_entries: u64,
    /// Zones that need not be read because of it.
    pub checkpoint_zones: u32,
    /// Checkpoints that could not be used.
    pub unusable_checkpoints: u32,
    /// Zones read.
    pub zones_read: u32,
    /// Bytes of these zones.
    pub bytes_read: u64,
    /// Records found in them, superseded ones included.
    pub records_read: u64,
    /// How long it took, in microseconds.
    pub microseconds: u64,
}

impl Opening {
    pub(crate) fn new(report: &RecoveryReport) -> Self {
        let used = report.checkpoint.unwrap_or_default();
        Self {
            checkpoint: used.number,
            checkpoint_entries: used.record_count,
            checkpoint_zones: used.zone_count,
            unusable_checkpoints: u32::try_from(report.unusable_checkpoints.len()).unwrap_or(u32::MAX),
            zones_read: report.zone_count,
            bytes_read: report.scanned_bytes,
            records_read: report.record_count,
            microseconds: u64::try_from(report.elapsed.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

/// Zones by the device's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ZoneCounts {
    /// Nothing written since the last reset.
    pub empty: u64,
    /// Opened by an append.
    pub implicitly_open: u64,
    /// Opened by command.
    pub explicitly_open: u64,
    /// Partly written, not open.
    pub closed: u64,
    /// Written to the capacity.
    pub full: u64,
    /// Readable only.
    pub read_only: u64,
    /// Gone.
    pub offline: u64,
    /// Conventional zones, which have no write pointer: the store leaves them alone.
    pub not_write_pointer: u64,
}

impl Stats {
    pub(crate) fn new(engine: &EngineStats, zones: &[ZoneStats]) -> Self {
        let mut counts = ZoneCounts::default();
        for zone in zones {
            *counts.of(zone.state.into()) += 1;
        }
        Self {
            keys: engine.keys,
            tombstones: engine.tombstones,
            live_bytes: engine.live_bytes,
            live_limit_bytes: engine.live_limit_bytes,
            index_bytes: engine.index_bytes,
            cache_bytes: engine.cache_bytes,
            user_bytes_written: engine.user_bytes_written,
            device_bytes_written: engine.device_bytes_written,
            relocated_bytes: engine.relocated_bytes,
            write_amplification: ratio(engine.device_bytes_written, engine.user_bytes_written),
            zone_resets: engine.zone_resets,
            device_bytes_read: engine.device_bytes_read,
            device_flushes: engine.device_flushes,
            puts: engine.puts,
            deletes: engine.deletes,
            gets: engine.gets,
            memory_hits: engine.memory_hits,
            bytes_since_checkpoint: engine.bytes_since_checkpoint,
            zones: counts,
        }
    }

    /// What happened since `earlier` statistics of the same opening: counters as differences, gauges as they are now.
    ///
    /// ```
    /// # fn main() -> zonal::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let db = zonal::Db::open(directory.path().join("d.zonal"), zonal::Options::default())?;
    /// let before = db.stats();
    /// db.put("k", "v")?;
    /// assert_eq!(db.stats().since(&before).puts, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let user_bytes_written = self.user_bytes_written - earlier.user_bytes_written;
        let device_bytes_written = self.device_bytes_written - earlier.device_bytes_written;
        Self {
            user_bytes_written,
            device_bytes_written,
            relocated_bytes: self.relocated_bytes - earlier.relocated_bytes,
            write_amplification: ratio(device_bytes_written, user_bytes_written),
            zone_resets: self.zone_resets - earlier.zone_resets,
            device_bytes_read: self.device_bytes_read - earlier.device_bytes_read,
            device_flushes: self.device_flushes - earlier.device_flushes,
            puts: self.puts - earlier.puts,
            deletes: self.deletes - earlier.deletes,
            gets: self.gets - earlier.gets,
            memory_hits: self.memory_hits - earlier.memory_hits,
            ..*self
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl ZoneCounts {
    fn of(&mut self, state: ZoneState) -> &mut u64 {
        match state {
            ZoneState::Empty => &mut self.empty,
            ZoneState::ImplicitlyOpen => &mut self.implicitly_open,
            ZoneState::ExplicitlyOpen => &mut self.explicitly_open,
            ZoneState::Closed => &mut self.closed,
            ZoneState::Full => &mut self.full,
            ZoneState::ReadOnly => &mut self.read_only,
            ZoneState::Offline => &mut self.offline,
            ZoneState::NotWritePointer => &mut self.not_write_pointer,
        }
    }
}

/// What hardly changes while a store is open; sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Info {
    /// Tells this store from every other: 32 hexadecimal digits.
    pub store_id: String,
    /// What the device is.
    pub device: String,
    /// How the device is accessed: `direct I/O` or `page cache`.
    pub access: String,
    /// Which queue appends go through.
    pub queue: String,
    /// Version of the on-disk format.
    pub format_version: u8,
    /// How often the store was opened for writing, its creation included.
    pub incarnation: u32,
    /// The device's block size.
    pub block_bytes: u32,
    /// From one zone start to the next.
    pub zone_size_bytes: u64,
    /// What can be written in a zone.
    pub zone_capacity_bytes: u64,
    /// How many zones there are.
    pub zone_count: u32,
    /// What all zones together hold; conventional ones do not count.
    pub capacity_bytes: u64,
    /// How many zones may be open at once.
    pub max_open_zones: u32,
    /// How many zones may be active at once.
    pub max_active_zones: u32,
    /// The largest single append.
    pub append_limit_bytes: u32,
    /// Which index the store keeps in memory.
    pub index: String,
    /// Checkpoints of the index that the next opening may choose, the newest last.
    pub checkpoints: Vec<Checkpoint>,
    /// How opening the store went.
    pub opening: Opening,
}

impl Info {
    pub(crate) fn new(engine: EngineInfo, opening: Opening) -> Self {
        let geometry = engine.geometry;
        Self {
            store_id: engine.store.iter().map(|byte| format!("{byte:02x}")).collect(),
            device: engine.device.to_owned(),
            access: engine.device_detail,
            queue: engine.queue.to_owned(),
            format_version: engine.format_version,
            incarnation: engine.incarnation,
            block_bytes: geometry.block_bytes,
            zone_size_bytes: geometry.zone_size_bytes,
            zone_capacity_bytes: geometry.zone_capacity_bytes,
            zone_count: geometry.zone_count,
            capacity_bytes: engine.capacity_bytes,
            max_open_zones: geometry.max_open_zones,
            max_active_zones: geometry.max_active_zones,
            append_limit_bytes: geometry.append_limit_bytes,
            index: "ordered".to_owned(),
            checkpoints: engine.checkpoints.iter().map(Checkpoint::new).collect(),
            opening,
        }
    }
}

/// The state of a zone (NVMe ZNS, section 2.1.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ZoneState {
    /// Nothing written since the last reset.
    Empty,
    /// Opened by an append.
    ImplicitlyOpen,
    /// Opened by command.
    ExplicitlyOpen,
    /// Partly written, not open.
    Closed,
    /// Written to the capacity.
    Full,
    /// Readable only.
    ReadOnly,
    /// Gone.
    Offline,
    /// A conventional zone, which has no write pointer.
    NotWritePointer,
}

impl From<device::ZoneState> for ZoneState {
    fn from(state: device::ZoneState) -> Self {
        match state {
            device::ZoneState::Empty => Self::Empty,
            device::ZoneState::ImplicitlyOpen => Self::ImplicitlyOpen,
            device::ZoneState::ExplicitlyOpen => Self::ExplicitlyOpen,
            device::ZoneState::Closed => Self::Closed,
            device::ZoneState::Full => Self::Full,
            device::ZoneState::ReadOnly => Self::ReadOnly,
            device::ZoneState::Offline => Self::Offline,
            device::ZoneState::NotWritePointer => Self::NotWritePointer,
        }
    }
}

/// What the store uses a zone for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ZoneRole {
    /// Nothing.
    Free,
    /// New writes, or those that filled it.
    User,
    /// Copies made by the collector.
    Relocation,
    /// The store's description of itself.
    Manifest,
    /// Part of a checkpoint of the index.
    Checkpoint,
    /// Nothing any more: it cannot be written.
    Lost,
    /// Nothing: it is a conventional zone.
    Conventional,
}

/// One zone; sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Zone {
    /// Its number.
    pub zone: u32,
    /// The device's state of it.
    pub state: ZoneState,
    /// What the store uses it for.
    pub role: ZoneRole,
    /// Whether the store appends to it at present.
    pub open: bool,
    /// How far it is written.
    pub write_pointer: u64,
    /// What it can hold; 0 of a conventional zone, which the store does not use.
    pub capacity_bytes: u64,
    /// Live records in it.
    pub live_bytes: u64,
    /// Which filling it is; 0 for none.
    pub generation: u64,
    /// How often the device has reset it.
    pub reset_count: u32,
}

impl Zone {
    pub(crate) fn new(zone: &ZoneStats, capacity_bytes: u64) -> Self {
        let role = match zone.role {
            Role::Free => ZoneRole::Free,
            Role::Open(StreamKind::User) | Role::Sealed(StreamKind::User) => ZoneRole::User,
            Role::Open(StreamKind::Relocation) | Role::Sealed(StreamKind::Relocation) => ZoneRole::Relocation,
            Role::Manifest => ZoneRole::Manifest,
            Role::Checkpoint => ZoneRole::Checkpoint,
            Role::Lost => ZoneRole::Lost,
            Role::Conventional => ZoneRole::Conventional,
        };
        let capacity_bytes = if role == ZoneRole::Conventional { 0 } else { capacity_bytes };
        Self {
            zone: zone.zone.get(),
            state: zone.state.into(),
            role,
            open: matches!(zone.role, Role::Open(_)),
            write_pointer: zone.write_pointer.get(),
            capacity_bytes,
            live_bytes: zone.live_bytes,
            generation: zone.generation.get(),
            reset_count: zone.reset_count,
        }
    }
}

/// Bytes that should be whole and are not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Damage {
    /// The zone.
    pub zone: u32,
    /// Where in the zone, in bytes from its start.
    pub offset: u64,
    /// The same place in bytes from the start of the file or device.
    pub device_offset: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// Whether only the value of one key is concerned.
    pub confined: bool,
}

/// Damage outside the zones: to what an emulated device keeps of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeviceDamage {
    /// Where, in bytes from the start of the file or device.
    pub device_offset: u64,
    /// What is wrong.
    pub what: String,
}

impl From<&Flaw> for DeviceDamage {
    fn from(flaw: &Flaw) -> Self {
        Self { device_offset: flaw.at_bytes, what: flaw.what.clone() }
    }
}

/// What a check of a store has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Keys looked at.
    pub keys: u64,
    /// Values read back from the device.
    pub values: u64,
    /// Whether the store had been closed in order.
    pub clean: bool,
    /// Records found, superseded ones included.
    pub records: u64,
    /// Records that a recovery has cut off.
    pub void_records: u64,
    /// Damage, in the order of the device.
    pub damages: Vec<Damage>,
    /// Damage that costs nothing as long as there is no more of it: copies of the manifest and of the device's header,
    /// checkpoints of the index, and what fills units up.
    pub harmless_damages: Vec<Damage>,
    /// Damage outside the zones.
    pub device_damages: Vec<DeviceDamage>,
    /// Zones whose account of live bytes is wrong: a fault in zonal.
    pub wrong_accounts: Vec<String>,
}

impl CheckReport {
    /// Whether all is well.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty()
            && self.harmless_damages.is_empty()
            && self.device_damages.is_empty()
            && self.wrong_accounts.is_empty()
    }

    pub(crate) fn new(engine: &Engine, verified: &VerifyReport) -> Self {
        let recovery = engine.recovery();
        let damage = |damage: &zonal_engine::recovery::Damage| Damage {
            zone: damage.zone.get(),
            offset: damage.offset.get(),
            device_offset: engine.device_byte(damage.zone, damage.offset),
            what: damage.what.clone(),
            confined: damage.confined,
        };
        let wrong = verified.wrong_ledger.iter();
        Self {
            keys: verified.key_count,
            values: verified.value_count,
            clean: recovery.clean,
            records: recovery.record_count,
            void_records: recovery.void_record_count,
            damages: verified.damages.iter().map(damage).collect(),
            harmless_damages: verified.harmless.iter().map(damage).collect(),
            device_damages: Vec::new(),
            wrong_accounts: wrong
                .map(|(zone, ledger, index)| {
                    format!("{zone}: {ledger} bytes in the ledger, {index} by the index")
                })
                .collect(),
        }
    }
}
