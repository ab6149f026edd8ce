//! What a store does by itself, told to whoever listens, and how cleaning goes.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use zonal_engine::engine::{self, Listener};
use zonal_engine::format::manifest;
use zonal_engine::format::unit;

/// Is told of what a store does by itself: [`Options::event_listener`](crate::Options::event_listener).
///
/// Events come one after another, in order, on a thread of their own that holds none of the store's locks and that the store
/// never waits for. So a listener may do anything: take its time, block, use the store, even close it. What it must know:
/// - The queue holds 1024 events. Those that come while it is full are left out; [`CleaningStats::lost_events`] counts them.
/// - [`Db::close`](crate::Db::close) does not wait for it. Events that were in the queue are told after that, and then the
///   listener is dropped: whoever must know that all has been told can notice that.
/// - After a panic it is not called again; the store goes on.
/// - A [`Db`](crate::Db) that it owns keeps the store open until [`Db::close`](crate::Db::close) is called.
///
/// Closures that take an [`&Event`](Event) are listeners.
pub trait EventListener: Send + Sync + 'static {
    /// Something has happened.
    fn on_event(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync + 'static> EventListener for F {
    fn on_event(&self, event: &Event) {
        self(event);
    }
}

/// Something that a store has done by itself.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The collector has emptied a zone.
    Collection(Collection),
}

/// Which kind of writes a zone or a stream takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StreamKind {
    /// New writes.
    User,
    /// Copies by the collector.
    Relocation,
}

/// One zone emptied by the collector.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct Collection {
    /// The zone.
    pub zone: u32,
    /// Which filling of it.
    pub generation: u64,
    /// What had filled it.
    pub kind: StreamKind,
    /// The class of lifetimes that it was filled with: 0 is the shortest-lived.
    pub class: u8,
    /// How old it was: bytes written to the log since it was full, or since the store was opened, if that was later.
    pub age_bytes: u64,
    /// What was live in it.
    pub live_bytes: u64,
    /// The same as a share of what the zone can hold.
    pub live_share: f64,
    /// Records copied out of it.
    pub moved_records: u64,
    /// Their bytes.
    pub moved_bytes: u64,
    /// How long it took, in microseconds.
    pub microseconds: u64,
    /// Whether the zone is free now. Else it has worn out: it could not be reset.
    pub freed: bool,
}

/// A stream: the zones that one class of new writes or of copies goes to.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct StreamStats {
    /// New writes or copies.
    pub kind: StreamKind,
    /// The class of lifetimes: 0 is the shortest-lived.
    pub class: u8,
    /// Zones that hold what was written to it, the one being filled included.
    pub zones: u32,
    /// What these zones can hold.
    pub capacity_bytes: u64,
    /// Live records in them.
    pub live_bytes: u64,
    /// The same as a share of what they can hold.
    pub live_share: f64,
    /// *Life:* everything written to it: records, headers, padding.
    pub written_bytes: u64,
}

/// How cleaning goes, by [`Db::cleaning_stats`](crate::Db::cleaning_stats).
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct CleaningStats {
    /// Those streams that have zones or have been written to, by kind and class.
    pub streams: Vec<StreamStats>,
    /// The last collections over the life of the store, at most eight, the newest last. A crash loses what came after the last
    /// zone reset.
    pub collections: Vec<Collection>,
    /// Events since the store was opened that the listener was too slow for.
    pub lost_events: u64,
}

/// What a store takes of its device. Zones are counted in full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Footprint {
    /// Zones that hold data, checkpoints or the manifest, or are kept ready.
    pub zones: u64,
    /// How many there should be for what is live: [`Options::space_target`](crate::Options::space_target), or as few as a store
    /// can do with.
    pub target_zones: u64,
    /// What those that there are can hold.
    pub bytes: u64,
    /// Live records.
    pub live_bytes: u64,
}

/// What [`Db::clean`](crate::Db::clean) has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct CleaningReport {
    /// What zones can hold that are free now and were not before.
    pub reclaimed_bytes: u64,
    /// Zones emptied.
    pub zones_emptied: u64,
    /// Live records copied, in bytes.
    pub moved_bytes: u64,
    /// Checkpoints of the index dropped because they took more space than they were worth.
    pub checkpoints_dropped: u64,
    /// How things were.
    pub before: Footprint,
    /// How they are.
    pub after: Footprint,
}

impl From<&engine::Footprint> for Footprint {
    fn from(footprint: &engine::Footprint) -> Self {
        let engine::Footprint { zone_count, target_zone_count, bytes, live_bytes } = *footprint;
        Self { zones: zone_count, target_zones: target_zone_count, bytes, live_bytes }
    }
}

impl From<&engine::CleanReport> for CleaningReport {
    fn from(report: &engine::CleanReport) -> Self {
        Self {
            reclaimed_bytes: report.before.bytes.saturating_sub(report.after.bytes),
            zones_emptied: report.zones_emptied,
            moved_bytes: report.moved_bytes,
            checkpoints_dropped: report.checkpoints_dropped,
            before: (&report.before).into(),
            after: (&report.after).into(),
        }
    }
}

impl From<unit::StreamKind> for StreamKind {
    fn from(kind: unit::StreamKind) -> Self {
        match kind {
            unit::StreamKind::User => Self::User,
            unit::StreamKind::Relocation => Self::Relocation,
        }
    }
}

impl From<&manifest::Collection> for Collection {
    fn from(collection: &manifest::Collection) -> Self {
        Self {
            zone: collection.zone.get(),
            generation: collection.generation.get(),
            kind: collection.stream.kind.into(),
            class: collection.stream.class,
            age_bytes: collection.age_bytes,
            live_bytes: collection.live_bytes,
            live_share: share(collection.live_bytes, collection.capacity_bytes),
            moved_records: collection.moved_records,
            moved_bytes: collection.moved_bytes,
            microseconds: collection.microseconds,
            freed: collection.is_freed,
        }
    }
}

impl From<&engine::StreamStats> for StreamStats {
    fn from(stats: &engine::StreamStats) -> Self {
        Self {
            kind: stats.stream.kind.into(),
            class: stats.stream.class,
            zones: stats.zone_count,
            capacity_bytes: stats.capacity_bytes,
            live_bytes: stats.live_bytes,
            live_share: share(stats.live_bytes, stats.capacity_bytes),
            written_bytes: stats.written_bytes,
        }
    }
}

impl From<&engine::CleaningStats> for CleaningStats {
    fn from(stats: &engine::CleaningStats) -> Self {
        Self {
            streams: stats.streams.iter().map(StreamStats::from).collect(),
            collections: stats.collections.iter().map(Collection::from).collect(),
            lost_events: stats.lost_event_count,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// A listener as options keep it.
#[derive(Clone)]
pub(crate) struct Subscriber(pub(crate) Arc<dyn EventListener>);

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a listener")
    }
}

impl Listener for Subscriber {
    fn note(&self, event: &engine::Event) {
        match event {
            engine::Event::Collection(collection) => {
                self.0.on_event(&Event::Collection(collection.into()));
            }
        }
    }
}
