//! The ledger: for each zone its live bytes, its filling, and where its units lie.
//!
//! Invariant: `live_bytes` of a zone is the sum of [`charge_bytes`] over the records in it that the index points at;
//! `tombstone_bytes` the same over the deletes among them.

use crate::counter::{RoughCounter, StripedCounter};
use crate::format::manifest::WrittenToStream;
use crate::format::record::RECORD_HEADER_BYTES;
use crate::format::unit::{MOST_CLASSES, StreamKind, StreamName};
use crate::gc::policy::{Clock, Lifetime, StreamId, ZoneHistory};
use crate::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::units::{Generation, SeqNo, ZoneId, ZoneOffset, ZoneSector};

/// What a live record counts for in the ledger, in bytes.
#[must_use]
pub(crate) const fn charge_bytes(key_bytes: usize, value_bytes: usize) -> i64 {
    (RECORD_HEADER_BYTES + key_bytes + value_bytes) as i64
}

/// Set where the history of a zone is known.
const KNOWN: u64 = 1 << 24;

/// What the engine uses a zone for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Empty and unused.
    Free,
    /// A stream appends to it.
    Open(StreamKind),
    /// Nothing more is appended to it; the collector may choose it.
    Sealed(StreamKind),
    /// Holds versions of the manifest.
    Manifest,
    /// Holds part of a checkpoint of the index. It counts as room for data: checkpoints give way when data need it.
    Checkpoint,
    /// Cannot be written any more: read-only or offline.
    Lost,
    /// Has no write pointer: the store leaves it alone.
    Conventional,
}

impl Role {
    const ALL: [Self; 9] = [
        Self::Free,
        Self::Open(StreamKind::User),
        Self::Open(StreamKind::Relocation),
        Self::Sealed(StreamKind::User),
        Self::Sealed(StreamKind::Relocation),
        Self::Manifest,
        Self::Checkpoint,
        Self::Lost,
        Self::Conventional,
    ];

    /// Whether the zone holds data of the store, or may.
    pub(crate) const fn is_for_data(self) -> bool {
        !matches!(self, Self::Manifest | Self::Lost | Self::Conventional)
    }

    fn code(self) -> u8 {
        let place = Self::ALL.iter().position(|&role| role == self).expect("every role is listed");
        u8::try_from(place).expect("few roles")
    }
}

/// One zone as the engine sees it.
#[derive(Debug)]
pub struct Zone {
    role: AtomicU8,
    class: AtomicU8,
    /// When its records were written, on average: a seqno.
    written_at: AtomicU64,
    /// Zero while nothing is known; else [`KNOWN`], the number of the stream (8 bits), how long its records are expected to
    /// live (16 bits).
    expected: AtomicU64,
    generation: AtomicU64,
    live_bytes: AtomicI64,
    tombstone_bytes: AtomicI64,
    tombstone_barrier: AtomicU64,
    written_bytes: AtomicU64,
    copied_bytes: AtomicU64,
    newest_seqno: AtomicU64,
    first_seqno: AtomicU64,
    holds_moved_units: AtomicBool,
    sealed_at_bytes: AtomicU64,
    /// The latest round of the collector in which a record of it was superseded.
    died_in_round: AtomicU64,
    /// As the device has it.
    reset_count: AtomicU32,
    /// By unit number: the sector where the unit lies plus one, 0 while the device has not told.
    places: RwLock<Vec<u32>>,
    claims: Mutex<ZoneClaims>,
}

/// Units of a zone that are on stable media, by ranges of their numbers, end exclusive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ZoneClaims {
    /// As recovery found them.
    pub(crate) recovered: Vec<(u32, u32)>,
    /// As the stream that left the zone knows them: once all that it appended has become durable.
    pub(crate) left: Option<(u32, u32)>,
}

impl Zone {
    fn new() -> Self {
        Self {
            role: AtomicU8::new(Role::Free.code()),
            class: AtomicU8::new(0),
            written_at: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            live_bytes: AtomicI64::new(0),
            tombstone_bytes: AtomicI64::new(0),
            tombstone_barrier: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            copied_bytes: AtomicU64::new(0),
            newest_seqno: AtomicU64::new(0),
            first_seqno: AtomicU64::new(0),
            holds_moved_units: AtomicBool::new(false),
            sealed_at_bytes: AtomicU64::new(0),
            died_in_round: AtomicU64::new(0),
            reset_count: AtomicU32::new(0),
            places: RwLock::new(Vec::new()),
            claims: Mutex::default(),
        }
    }

    /// What the zone is used for.
    #[must_use]
    pub fn role(&self) -> Role {
        Role::ALL[usize::from(self.role.load(Ordering::Acquire))]
    }

    pub(crate) fn set_role(&self, role: Role) {
        self.role.store(role.code(), Ordering::Release);
    }

    /// Which filling of the zone this is; 0 for none.
    #[must_use]
    pub fn generation(&self) -> Generation {
        Generation::new(self.generation.load(Ordering::Acquire))
    }

    /// Starts a filling.
    pub(crate) fn begin(&self, generation: Generation) {
        self.places.write().clear();
        self.forget_claims();
        self.live_bytes.store(0, Ordering::Release);
        self.tombstone_bytes.store(0, Ordering::Release);
        self.tombstone_barrier.store(0, Ordering::Release);
        self.written_bytes.store(0, Ordering::Release);
        self.copied_bytes.store(0, Ordering::Release);
        self.newest_seqno.store(0, Ordering::Release);
        self.first_seqno.store(0, Ordering::Release);
        self.died_in_round.store(0, Ordering::Release);
        self.holds_moved_units.store(false, Ordering::Release);
        self.class.store(0, Ordering::Release);
        self.expected.store(0, Ordering::Release);
        self.generation.store(generation.get(), Ordering::Release);
    }

    /// Which of the streams of its kind fills the zone or has filled it.
    #[must_use]
    pub fn class(&self) -> u8 {
        self.class.load(Ordering::Acquire)
    }

    pub(crate) fn set_class(&self, class: u8) {
        self.class.store(class, Ordering::Release);
    }

    /// What its records are like, as far as they have been appended; `None` while nothing is known.
    ///
    /// While the zone is filled the two halves may be those of neighbouring moments: nothing hangs on them but where records
    /// are placed.
    #[must_use]
    pub fn history(&self) -> Option<ZoneHistory> {
        let packed = self.expected.load(Ordering::Relaxed);
        let [low, high, stream, known, ..] = packed.to_le_bytes();
        (known != 0).then(|| ZoneHistory {
            stream: StreamId::new(stream),
            written_at: Clock::new(self.written_at.load(Ordering::Relaxed)),
            expected: Lifetime::of_steps(u16::from_le_bytes([low, high])),
        })
    }

    pub(crate) fn set_history(&self, history: ZoneHistory) {
        self.written_at.store(history.written_at.get(), Ordering::Relaxed);
        let (stream, steps) = (u64::from(history.stream.get()), u64::from(history.expected.steps()));
        self.expected.store(KNOWN | stream << 16 | steps, Ordering::Relaxed);
    }

    /// Bytes of records that the index points at.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        u64::try_from(self.live_bytes.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// The same without hiding an account that went wrong.
    pub(crate) fn live_bytes_signed(&self) -> i64 {
        self.live_bytes.load(Ordering::Acquire)
    }

    /// How many of the live bytes are those of deletes.
    #[must_use]
    pub fn tombstone_bytes(&self) -> u64 {
        u64::try_from(self.tombstone_bytes.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// Counts a record in that is moved here from another zone, or out when negative; the sum over all zones stays.
    pub(crate) fn move_record(&self, bytes: i64) {
        self.live_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// The same for a delete.
    pub(crate) fn move_tombstone(&self, bytes: i64) {
        self.tombstone_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.move_record(bytes);
    }

    /// The latest barrier of the deletes that the collector has copied here since the store was opened.
    #[must_use]
    pub fn tombstone_barrier(&self) -> Generation {
        Generation::new(self.tombstone_barrier.load(Ordering::Acquire))
    }

    pub(crate) fn raise_tombstone_barrier(&self, barrier: Generation) {
        self.tombstone_barrier.fetch_max(barrier.get(), Ordering::AcqRel);
    }

    /// Bytes that sealed units take, padding included.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Acquire)
    }

    pub(crate) fn add_written(&self, bytes: u64) {
        self.written_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Bytes of the records that the collector has copied into it, those that have died since among them. It tells how
    /// much fits into a zone; zero where it would not, since the zone was left before it was full.
    #[must_use]
    pub(crate) fn copied_bytes(&self) -> u64 {
        self.copied_bytes.load(Ordering::Acquire)
    }

    pub(crate) fn add_copied(&self, bytes: u64) {
        self.copied_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn forget_copied(&self) {
        self.copied_bytes.store(0, Ordering::Release);
    }

    /// The newest write in it that was not copied there by the collector.
    #[must_use]
    pub fn newest_seqno(&self) -> SeqNo {
        SeqNo::new(self.newest_seqno.load(Ordering::Acquire))
    }

    pub(crate) fn raise_newest_seqno(&self, seqno: SeqNo) {
        self.newest_seqno.fetch_max(seqno.get(), Ordering::AcqRel);
    }

    /// In a zone of new writes: no write in it is older, but for those of moved units. Zero in a zone of copies.
    #[must_use]
    pub fn first_seqno(&self) -> SeqNo {
        SeqNo::new(self.first_seqno.load(Ordering::Acquire))
    }

    pub(crate) fn set_first_seqno(&self, seqno: SeqNo) {
        self.first_seqno.store(seqno.get(), Ordering::Release);
    }

    /// Whether units were moved into it that were to go to a zone filled before, which wore out.
    #[must_use]
    pub fn holds_moved_units(&self) -> bool {
        self.holds_moved_units.load(Ordering::Acquire)
    }

    pub(crate) fn set_holds_moved_units(&self) {
        self.holds_moved_units.store(true, Ordering::Release);
    }

    /// The latest round of the collector in which a record of it was superseded or deleted; 0 for none.
    pub(crate) fn died_in_round(&self) -> u64 {
        self.died_in_round.load(Ordering::Acquire)
    }

    /// Most deaths find the round noted already: they only look.
    fn note_death(&self, round: u64) {
        if self.died_in_round.load(Ordering::Acquire) < round {
            self.died_in_round.fetch_max(round, Ordering::AcqRel);
        }
    }

    /// How often the zone has been reset: a hint for choosing among zones.
    pub(crate) fn reset_count(&self) -> u32 {
        self.reset_count.load(Ordering::Relaxed)
    }

    pub(crate) fn set_reset_count(&self, count: u32) {
        self.reset_count.store(count, Ordering::Relaxed);
    }

    pub(crate) fn note_reset(&self) {
        self.reset_count.fetch_add(1, Ordering::Relaxed);
    }

    /// The engine's clock, in bytes written, when the zone was sealed.
    #[must_use]
    pub fn sealed_at_bytes(&self) -> u64 {
        self.sealed_at_bytes.load(Ordering::Acquire)
    }

    pub(crate) fn set_sealed_at_bytes(&self, clock_bytes: u64) {
        self.sealed_at_bytes.store(clock_bytes, Ordering::Release);
    }

    /// What is claimed of the zone.
    pub(crate) fn claims(&self) -> ZoneClaims {
        self.claims.lock().clone()
    }

    pub(crate) fn set_recovered_claims(&self, ranges: Vec<(u32, u32)>) {
        self.claims.lock().recovered = ranges;
    }

    pub(crate) fn set_left_claim(&self, first: u32, end: u32) {
        self.claims.lock().left = Some((first, end));
    }

    /// The zone takes no appends any more, and all that was appended to it is on stable media: from now on that is claimed,
    /// and not the units that never came to be in it.
    pub(crate) fn claim_landed(&self) {
        let landed = |unit: &u32| self.place(*unit).is_some();
        let mut claims = self.claims.lock();
        let Some((first, end)) = claims.left.take() else { return };
        for unit in (first..end).filter(landed) {
            match claims.recovered.last_mut() {
                Some((_, end)) if *end == unit => *end += 1,
                _ => claims.recovered.push((unit, unit + 1)),
            }
        }
    }

    /// The zone is about to be reset: that its units cannot be found any more is no damage.
    pub(crate) fn forget_claims(&self) {
        *self.claims.lock() = ZoneClaims::default();
    }

    /// Where a unit lies, once the device has told.
    #[must_use]
    pub fn place(&self, unit: u32) -> Option<ZoneOffset> {
        let sector = *self.places.read().get(unit as usize)?;
        Some(ZoneSector::new(sector.checked_sub(1)?).offset())
    }

    /// How many units have a place.
    pub(crate) fn unit_count(&self) -> usize {
        self.places.read().len()
    }

    /// By unit number: the sector where the unit lies plus one, 0 where that is not known.
    pub(crate) fn places(&self) -> Vec<u32> {
        self.places.read().clone()
    }

    pub(crate) fn set_places(&self, places: Vec<u32>) {
        *self.places.write() = places;
    }

    pub(crate) fn set_place(&self, unit: u32, sector: ZoneSector) {
        let mut places = self.places.write();
        let index = unit as usize;
        if places.len() <= index {
            places.resize(index + 1, 0);
        }
        places[index] = sector.get() + 1;
    }
}

/// All zones of a device.
#[derive(Debug)]
pub struct ZoneTable {
    zones: Box<[Zone]>,
    /// The sum over all zones, kept because every put asks for it.
    live_bytes: RoughCounter,
    tombstone_bytes: StripedCounter,
    /// What has been written to each stream over the life of the store: new writes by class, then copies.
    written_bytes: Box<[AtomicU64]>,
    /// The collector's, by which it tells when records died.
    round: AtomicU64,
}

/// Where a table by stream has this one.
fn place_of(stream: StreamName) -> usize {
    let of_copies = if stream.kind == StreamKind::Relocation { usize::from(MOST_CLASSES) } else { 0 };
    of_copies + usize::from(stream.class)
}

/// All streams there can be, in the order of such a table.
fn all_streams() -> impl Iterator<Item = StreamName> {
    let of_kind = |kind| (0..MOST_CLASSES).map(move |class| StreamName { kind, class });
    of_kind(StreamKind::User).chain(of_kind(StreamKind::Relocation))
}

impl ZoneTable {
    /// A table of free zones.
    #[must_use]
    pub fn new(zone_count: u32) -> Self {
        Self {
            zones: (0..zone_count).map(|_| Zone::new()).collect(),
            live_bytes: RoughCounter::default(),
            tombstone_bytes: StripedCounter::default(),
            written_bytes: all_streams().map(|_| AtomicU64::new(0)).collect(),
            round: AtomicU64::new(1),
        }
    }

    /// One zone.
    ///
    /// # Panics
    /// When the device has no such zone.
    #[must_use]
    pub fn zone(&self, zone: ZoneId) -> &Zone {
        &self.zones[zone.index()]
    }

    /// All zones with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (ZoneId, &Zone)> {
        (0u32..).map(ZoneId::new).zip(&self.zones)
    }

    /// Bytes of all records that the index points at.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes.count()
    }

    /// Whether they are certainly no more than so many: quick, and wrong only near the limit.
    #[must_use]
    pub fn live_bytes_certainly_within(&self, limit_bytes: u64) -> bool {
        let limit_bytes = i64::try_from(limit_bytes).unwrap_or(i64::MAX);
        self.live_bytes.rough() <= limit_bytes - RoughCounter::ERROR
    }

    /// Whether they are certainly fewer than so many: likewise.
    #[must_use]
    pub fn live_bytes_certainly_below(&self, limit_bytes: u64) -> bool {
        let limit_bytes = i64::try_from(limit_bytes).unwrap_or(i64::MAX);
        self.live_bytes.rough() < limit_bytes.saturating_sub(RoughCounter::ERROR)
    }

    /// How many of them are those of deletes.
    #[must_use]
    pub fn tombstone_bytes(&self) -> u64 {
        self.tombstone_bytes.count()
    }

    /// Counts what is written to a stream.
    pub(crate) fn count_written(&self, stream: StreamName, bytes: u64) {
        self.written_bytes[place_of(stream)].fetch_add(bytes, Ordering::Relaxed);
    }

    /// The streams that have been written to, and how many bytes.
    pub(crate) fn written_by_stream(&self) -> Vec<WrittenToStream> {
        let all = all_streams().zip(&self.written_bytes);
        all.map(|(stream, bytes)| WrittenToStream { stream, bytes: bytes.load(Ordering::Relaxed) })
            .filter(|written| written.bytes > 0)
            .collect()
    }

    /// Begins the collector's next round and gives its number. Records that die from now on die in it, but for those whose
    /// death somebody pinned is about to count.
    pub(crate) fn begin_round(&self) -> u64 {
        self.round.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn note_death(&self, zone: ZoneId, bytes: i64) {
        if bytes < 0 {
            self.zone(zone).note_death(self.round.load(Ordering::Acquire));
        }
    }

    /// Counts a delete in, or out when negative.
    pub(crate) fn charge_tombstone(&self, zone: ZoneId, bytes: i64) {
        self.note_death(zone, bytes);
        self.tombstone_bytes.add(bytes);
        self.live_bytes.add(bytes);
        self.zone(zone).move_tombstone(bytes);
    }

    /// Counts in what a checkpoint holds of a zone: all live bytes, and those of deletes among them.
    pub(crate) fn charge_loaded(&self, zone: ZoneId, bytes: i64, tombstone_bytes: i64) {
        self.live_bytes.add(bytes);
        self.tombstone_bytes.add(tombstone_bytes);
        self.zone(zone).move_tombstone(tombstone_bytes);
        self.zone(zone).move_record(bytes - tombstone_bytes);
    }

    /// Counts a record in whose zone is charged with its unit.
    pub(crate) fn charge_store(&self, bytes: i64) {
        self.live_bytes.add(bytes);
    }

    /// Counts a record of the zone in, or out when negative.
    pub(crate) fn charge(&self, zone: ZoneId, bytes: i64) {
        self.note_death(zone, bytes);
        self.live_bytes.add(bytes);
        self.zone(zone).move_record(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_CLASSES, Role, StreamKind, StreamName, Zone, ZoneTable};
    use crate::gc::policy::{Clock, Lifetime, StreamId, ZoneHistory};
    use crate::units::{Generation, ZoneId, ZoneOffset, ZoneSector};

    #[test]
    fn every_role_survives_being_stored() {
        let zone = Zone::new();
        for role in Role::ALL {
            zone.set_role(role);
            assert_eq!(zone.role(), role);
        }
    }

    #[test]
    fn the_history_of_a_zone_is_what_was_said_and_forgotten_with_the_filling() {
        let zone = Zone::new();
        let stream = StreamId::new(9);
        let history = ZoneHistory { stream, written_at: Clock::new(u64::MAX), expected: Lifetime::LONGEST };
        assert_eq!(zone.history(), None);
        zone.set_history(history);
        assert_eq!(zone.history(), Some(history));
        zone.begin(Generation::new(1));
        assert_eq!(zone.history(), None);
    }

    #[test]
    fn a_place_is_unknown_until_told_and_forgotten_with_the_filling() {
        let zone = Zone::new();
        zone.begin(Generation::new(1));
        zone.set_place(2, ZoneSector::new(0));
        assert_eq!(zone.place(2), Some(ZoneOffset::START));
        assert_eq!(zone.place(1), None);
        assert_eq!(zone.place(3), None);
        zone.begin(Generation::new(2));
        assert_eq!(zone.place(2), None);
    }

    #[test]
    fn what_is_written_is_counted_by_stream() {
        let table = ZoneTable::new(1);
        let copies = StreamName { kind: StreamKind::Relocation, class: MOST_CLASSES - 1 };
        for (stream, bytes) in [(copies, 5), (StreamName::user(2), 7), (copies, 6)] {
            table.count_written(stream, bytes);
        }
        let written: Vec<_> = table.written_by_stream().iter().map(|it| (it.stream, it.bytes)).collect();
        assert_eq!(written, [(StreamName::user(2), 7), (copies, 11)]);
    }

    #[test]
    fn the_ledger_sums_over_zones() {
        let table = ZoneTable::new(3);
        table.charge(ZoneId::new(0), 100);
        table.charge(ZoneId::new(2), 50);
        table.charge(ZoneId::new(0), -30);
        assert_eq!(table.zone(ZoneId::new(0)).live_bytes(), 70);
        assert_eq!(table.live_bytes(), 120);
    }
}
