//! What a store tells about itself.

use std::collections::BTreeMap;

use super::events::Event;
use super::{Engine, Inner};
use crate::device::{Geometry, ZoneState};
use crate::error::EngineResult;
use crate::format::manifest::{CheckpointName, CleaningNotes, Collection, WrittenToStream};
use crate::format::unit::{MOST_CLASSES, StreamName};
use crate::sync::atomic::Ordering;
use crate::units::{Generation, ZoneId, ZoneOffset};
use crate::zones::Role;

/// Counts and gauges of a store. All sizes in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EngineStats {
    /// Keys that have a value.
    pub keys: u64,
    /// Deleted keys still remembered.
    pub tombstones: u64,
    /// Records that the index points at.
    pub live_bytes: u64,
    /// How many live bytes the store takes.
    pub live_limit_bytes: u64,
    /// Memory of the index.
    pub index_bytes: u64,
    /// Memory of cached values and recent units.
    pub cache_bytes: u64,
    /// Keys and values written by users, over the life of the store.
    pub user_bytes_written: u64,
    /// Everything appended to the device, over the life of the store.
    pub device_bytes_written: u64,
    /// Records copied by the collector, over the life of the store.
    pub relocated_bytes: u64,
    /// Zones reset by the collector, over the life of the store.
    pub zone_resets: u64,
    /// Read from the device since the store was opened.
    pub device_bytes_read: u64,
    /// Flushes and durable appends since the store was opened.
    pub device_flushes: u64,
    /// Puts since the store was opened.
    pub puts: u64,
    /// Deletes since the store was opened.
    pub deletes: u64,
    /// Point reads since the store was opened.
    pub gets: u64,
    /// Reads answered from memory since the store was opened.
    pub memory_hits: u64,
    /// Written to the log since the last checkpoint was begun, or found at opening beside it.
    pub bytes_since_checkpoint: u64,
}

/// A stream: the zones of one class of new writes or of copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStats {
    /// Which stream.
    pub stream: StreamName,
    /// Zones that it has filled or is filling, as far as they are not free again.
    pub zone_count: u32,
    /// What these zones can hold.
    pub capacity_bytes: u64,
    /// Live records in them.
    pub live_bytes: u64,
    /// What has been written to it over the life of the store.
    pub written_bytes: u64,
}

/// How cleaning goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CleaningStats {
    /// The streams that have zones or have been written to.
    pub streams: Vec<StreamStats>,
    /// The last collections, the newest last.
    pub collections: Vec<Collection>,
    /// Events since the store was opened that the listener was too slow for.
    pub lost_event_count: u64,
}

/// What does not change while a store is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// 16 random bytes that tell one store from another.
    pub store: [u8; 16],
    /// What the device is.
    pub device: &'static str,
    /// How it is accessed.
    pub device_detail: String,
    /// Which queue appends go through.
    pub queue: &'static str,
    /// Sizes and limits.
    pub geometry: Geometry,
    /// What all zones with a write pointer together hold.
    pub capacity_bytes: u64,
    /// How often the store has been opened for writing.
    pub incarnation: u32,
    /// Version of the format of units and records.
    pub format_version: u8,
    /// Checkpoints that recovery may choose, the newest last.
    pub checkpoints: Vec<CheckpointName>,
    /// Whether the device has memory that outlives the process, for a journal.
    pub keeps_journal: bool,
}

/// One zone, as device and engine see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneStats {
    /// Which zone.
    pub zone: ZoneId,
    /// The device's state.
    pub state: ZoneState,
    /// How far it is written.
    pub write_pointer: ZoneOffset,
    /// How often it was reset.
    pub reset_count: u32,
    /// What the store uses it for.
    pub role: Role,
    /// Which filling.
    pub generation: Generation,
    /// Bytes of live records.
    pub live_bytes: u64,
}

impl Engine {
    /// Counts and gauges. Does not block.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        self.inner.stats()
    }

    /// How cleaning goes. Does not block for long.
    #[must_use]
    pub fn cleaning(&self) -> CleaningStats {
        let inner = &self.inner;
        CleaningStats {
            streams: inner.streams(),
            collections: inner.manifest.lock().cleaning.collections.clone(),
            lost_event_count: inner.events.lost_count(),
        }
    }

    /// What does not change while the store is open.
    #[must_use]
    pub fn info(&self) -> EngineInfo {
        let manifest = self.inner.manifest.lock();
        EngineInfo {
            store: manifest.store,
            device: self.inner.device.kind(),
            device_detail: self.inner.device.detail(),
            queue: self.inner.queue_kind,
            geometry: *self.inner.device.geometry(),
            capacity_bytes: self.inner.capacity_bytes(),
            incarnation: manifest.incarnation,
            format_version: crate::format::FORMAT_VERSION,
            checkpoints: manifest.checkpoints.clone(),
            keeps_journal: self.inner.device.keeps_memory(),
        }
    }

    /// All zones.
    ///
    /// # Errors
    /// The device's.
    pub fn zones(&self) -> EngineResult<Vec<ZoneStats>> {
        let inner = &self.inner;
        inner
            .zones
            .iter()
            .map(|(id, zone)| {
                let descriptor = inner.device.report(id)?;
                Ok(ZoneStats {
                    zone: id,
                    state: descriptor.state,
                    write_pointer: descriptor.write_pointer,
                    reset_count: descriptor.reset_count,
                    role: zone.role(),
                    generation: zone.generation(),
                    live_bytes: zone.live_bytes(),
                })
            })
            .collect()
    }
}

impl Inner {
    /// Goes on counting where the last run stopped.
    pub(super) fn resume_notes(&self) {
        for WrittenToStream { stream, bytes } in &self.manifest.lock().cleaning.written {
            if stream.class < MOST_CLASSES {
                self.zones.count_written(*stream, *bytes);
            }
        }
    }

    /// What the manifest takes down of cleaning.
    pub(super) fn notes_to_take_down(&self, known: &CleaningNotes) -> CleaningNotes {
        CleaningNotes { written: self.zones.written_by_stream(), ..known.clone() }
    }

    /// Remembers a collection, and tells whoever listens.
    pub(super) fn note_collection(&self, collection: Collection) {
        self.manifest.lock().cleaning.note(collection);
        self.events.note(Event::Collection(collection));
    }

    fn streams(&self) -> Vec<StreamStats> {
        let written = self.zones.written_by_stream();
        let mut streams: BTreeMap<StreamName, StreamStats> = BTreeMap::new();
        for WrittenToStream { stream, bytes } in written {
            of(&mut streams, stream).written_bytes = bytes;
        }
        for (_, zone) in self.zones.iter().filter(|(_, zone)| zone.generation() > Generation::default()) {
            let (Role::Open(kind) | Role::Sealed(kind)) = zone.role() else { continue };
            let stats = of(&mut streams, StreamName { kind, class: zone.class() });
            stats.zone_count += 1;
            stats.capacity_bytes += self.device.geometry().zone_capacity_bytes;
            stats.live_bytes += zone.live_bytes();
        }
        streams.into_values().collect()
    }

    fn capacity_bytes(&self) -> u64 {
        let has_write_pointer = self.zones.iter().filter(|(_, zone)| zone.role() != Role::Conventional);
        has_write_pointer.count() as u64 * self.device.geometry().zone_capacity_bytes
    }

    fn stats(&self) -> EngineStats {
        let (life, activity) = (self.life_counters(), self.device.activity());
        EngineStats {
            keys: self.catalog.live_key_count(),
            tombstones: self.catalog.tombstone_count(),
            live_bytes: self.zones.live_bytes(),
            live_limit_bytes: self.live_limit_bytes.load(Ordering::Relaxed),
            index_bytes: self.catalog.index().memory_bytes() as u64,
            cache_bytes: self.memory.kept_bytes() + self.values.bytes(),
            user_bytes_written: life.user_bytes_written,
            device_bytes_written: life.device_bytes_written,
            relocated_bytes: life.relocated_bytes,
            zone_resets: life.zone_resets,
            device_bytes_read: activity.read_bytes,
            device_flushes: activity.flush_count,
            puts: self.counters.puts.count(),
            deletes: self.counters.deletes.count(),
            gets: self.counters.gets.count(),
            memory_hits: self.counters.memory_hits.count(),
            bytes_since_checkpoint: self.bytes_since_checkpoint(),
        }
    }
}

fn of(streams: &mut BTreeMap<StreamName, StreamStats>, stream: StreamName) -> &mut StreamStats {
    let nothing = StreamStats { stream, zone_count: 0, capacity_bytes: 0, live_bytes: 0, written_bytes: 0 };
    streams.entry(stream).or_insert(nothing)
}
