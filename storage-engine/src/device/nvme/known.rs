//! What is known of the zones without asking the drive.
//!
//! Invariants, for each zone:
//! - `written` is at or before the drive's write pointer, and moves forward until the zone is reset.
//! - While the zone is *certain*, `promised` is where the write pointer will be when all appends in flight have landed.
//!   Any command that failed, or whose outcome is not known, makes the zone uncertain; a report that nothing came in between of
//!   makes it certain again.
//! - `state` is what the drive last said or must have made of it. It is believed only as far as it says that nothing can
//!   be appended: the drive closes and wears out zones without telling.
//!
//! No I/O happens here. Each zone has a lock, held for a few instructions, but in [`KnownZones::while_untouched`].

use parking_lot::Mutex;

use crate::device::{DeviceError, DeviceResult, Geometry, ZoneState};
use crate::units::{ZoneId, ZoneOffset};

/// What a drive says of a zone, in our units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Told {
    pub(super) state: ZoneState,
    /// `None` in states where the drive gives none.
    pub(super) write_pointer: Option<ZoneOffset>,
}

/// A moment in the history of a zone; a report that was asked for then counts only if nothing has happened since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Moment(u64);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Certainty {
    Certain,
    /// The zone must be reported before it is used again.
    Uncertain,
}

#[derive(Debug)]
struct Zone {
    state: ZoneState,
    written: ZoneOffset,
    promised: ZoneOffset,
    in_flight_count: u32,
    certainty: Certainty,
    event_count: u64,
}

/// What is known of each zone.
#[derive(Debug)]
pub(super) struct KnownZones {
    geometry: Geometry,
    zones: Vec<Mutex<Zone>>,
}

impl KnownZones {
    /// As the first report tells it, one entry a zone.
    pub(super) fn new(geometry: Geometry, told: &[Told]) -> Self {
        assert_eq!(told.len(), geometry.zone_count as usize, "a report has an entry for each zone");
        let zone = |told: &Told| {
            let written = told.write_pointer.unwrap_or(unseen_write_pointer(told.state, &geometry));
            Mutex::new(Zone {
                state: told.state,
                written,
                promised: written,
                in_flight_count: 0,
                certainty: Certainty::Certain,
                event_count: 0,
            })
        };
        Self { zones: told.iter().map(zone).collect(), geometry }
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// # Errors
    /// [`DeviceError::NoSuchZone`].
    pub(super) fn check_exists(&self, zone: ZoneId) -> DeviceResult<()> {
        let zone_count = self.geometry.zone_count;
        if zone.get() < zone_count { Ok(()) } else { Err(DeviceError::NoSuchZone { zone, zone_count }) }
    }

    /// Admits an append, or says why the drive would surely refuse it. The drive may refuse what is admitted.
    ///
    /// # Errors
    /// [`DeviceError::ZoneFull`], [`DeviceError::ZoneReadOnly`], [`DeviceError::ZoneOffline`], [`DeviceError::ZoneBoundary`].
    pub(super) fn admit(&self, zone: ZoneId, len_bytes: u64) -> DeviceResult<()> {
        let mut known = self.zones[zone.index()].lock();
        let reached = match known.certainty {
            Certainty::Certain => known.promised,
            Certainty::Uncertain => known.written,
        };
        let room_bytes = self.geometry.zone_capacity_bytes.saturating_sub(reached.get());
        match known.state {
            ZoneState::ReadOnly => return Err(DeviceError::ZoneReadOnly { zone }),
            ZoneState::Offline => return Err(DeviceError::ZoneOffline { zone }),
            ZoneState::Full => return Err(DeviceError::ZoneFull { zone }),
            _ if room_bytes == 0 => return Err(DeviceError::ZoneFull { zone }),
            _ if len_bytes > room_bytes => {
                return Err(DeviceError::ZoneBoundary { zone, len_bytes, room_bytes });
            }
            _ => {}
        }
        known.happened();
        known.promised = known.promised.forward(len_bytes);
        known.in_flight_count += 1;
        Ok(())
    }

    /// An append landed, up to `end`.
    pub(super) fn landed(&self, zone: ZoneId, end: ZoneOffset) {
        let mut known = self.zones[zone.index()].lock();
        known.ended();
        known.written = known.written.max(end);
        if known.written.get() == self.geometry.zone_capacity_bytes {
            known.state = ZoneState::Full;
        } else if !known.state.is_open() {
            known.state = ZoneState::ImplicitlyOpen;
        }
    }

    /// An append failed, or its outcome is not known.
    pub(super) fn append_failed(&self, zone: ZoneId) {
        let mut known = self.zones[zone.index()].lock();
        known.ended();
        known.certainty = Certainty::Uncertain;
    }

    /// Whether the zone must be reported before it is used again.
    pub(super) fn is_uncertain(&self, zone: ZoneId) -> bool {
        self.zones[zone.index()].lock().certainty == Certainty::Uncertain
    }

    /// State and write pointer as far as they are known.
    pub(super) fn look(&self, zone: ZoneId) -> (ZoneState, ZoneOffset) {
        let known = self.zones[zone.index()].lock();
        (known.state, known.written)
    }

    /// Take this before asking the drive for a report.
    pub(super) fn moment(&self, zone: ZoneId) -> Moment {
        Moment(self.zones[zone.index()].lock().event_count)
    }

    /// Books what the drive told of a zone when asked after `asked`; gives the write pointer that goes with it.
    pub(super) fn learn(&self, zone: ZoneId, told: Told, asked: Moment) -> ZoneOffset {
        let mut known = self.zones[zone.index()].lock();
        let write_pointer = told.write_pointer.unwrap_or(match told.state {
            // A zone that wears out keeps what is written in it.
            ZoneState::ReadOnly | ZoneState::Offline => known.written,
            _ => unseen_write_pointer(told.state, &self.geometry),
        });
        if known.event_count != asked.0 {
            return write_pointer;
        }
        known.state = told.state;
        if known.in_flight_count == 0 {
            known.written = write_pointer;
            known.promised = write_pointer;
            known.certainty = Certainty::Certain;
        } else {
            known.written = known.written.max(write_pointer);
        }
        write_pointer
    }

    /// The zone has been emptied.
    pub(super) fn emptied(&self, zone: ZoneId) {
        self.settled(zone, ZoneState::Empty, ZoneOffset::START);
    }

    /// Does something while nothing can be appended to the zone, if nothing was written to it for certain, and nothing is in
    /// flight. `None` when that is not so. What is done must not come back here.
    pub(super) fn while_untouched<T>(&self, zone: ZoneId, action: impl FnOnce() -> T) -> Option<T> {
        let known = self.zones[zone.index()].lock();
        let is_untouched = known.certainty == Certainty::Certain
            && known.in_flight_count == 0
            && known.written == ZoneOffset::START;
        is_untouched.then(action)
    }

    /// The zone has been made full.
    pub(super) fn filled(&self, zone: ZoneId) {
        self.settled(zone, ZoneState::Full, ZoneOffset::new(self.geometry.zone_capacity_bytes));
    }

    fn settled(&self, zone: ZoneId, state: ZoneState, written: ZoneOffset) {
        let mut known = self.zones[zone.index()].lock();
        known.happened();
        (known.state, known.written, known.promised) = (state, written, written);
        // Whether appends in flight come before or after it, only the drive can say.
        known.certainty = if known.in_flight_count == 0 { Certainty::Certain } else { Certainty::Uncertain };
    }

    /// Something was done to the zone whose outcome is not known.
    pub(super) fn doubt(&self, zone: ZoneId) {
        let mut known = self.zones[zone.index()].lock();
        known.happened();
        known.certainty = Certainty::Uncertain;
    }
}

impl Zone {
    fn happened(&mut self) {
        self.event_count += 1;
    }

    fn ended(&mut self) {
        self.happened();
        assert!(self.in_flight_count > 0, "an append ended that was not begun");
        self.in_flight_count -= 1;
    }
}

/// What to take for the write pointer of a zone that was never seen in a state with one: all that may be readable.
const fn unseen_write_pointer(state: ZoneState, geometry: &Geometry) -> ZoneOffset {
    match state {
        ZoneState::Full | ZoneState::ReadOnly => ZoneOffset::new(geometry.zone_capacity_bytes),
        _ => ZoneOffset::START,
    }
}

#[cfg(test)]
mod tests {
    use super::{KnownZones, Told};
    use crate::device::{DeviceError, Geometry, ZoneState};
    use crate::units::{ZoneId, ZoneOffset};

    const CAPACITY: u64 = 3 << 20;
    const GEOMETRY: Geometry = Geometry {
        block_bytes: 4096,
        zone_size_bytes: 4 << 20,
        zone_capacity_bytes: CAPACITY,
        zone_count: 1,
        max_open_zones: 1,
        max_active_zones: 1,
        append_limit_bytes: 131_072,
        volatile_cache: true,
    };
    const ZONE: ZoneId = ZoneId::new(0);

    fn told(state: ZoneState, write_pointer: Option<u64>) -> Told {
        Told { state, write_pointer: write_pointer.map(ZoneOffset::new) }
    }

    fn zone_that_is(state: ZoneState, write_pointer: Option<u64>) -> KnownZones {
        KnownZones::new(GEOMETRY, &[told(state, write_pointer)])
    }

    fn empty() -> KnownZones {
        zone_that_is(ZoneState::Empty, Some(0))
    }

    #[test]
    fn a_zone_that_takes_nothing_refuses_by_its_state() {
        let refusal = |state| zone_that_is(state, None).admit(ZONE, 4096).expect_err("refused");
        assert!(matches!(refusal(ZoneState::Full), DeviceError::ZoneFull { zone: ZONE }));
        assert!(matches!(refusal(ZoneState::ReadOnly), DeviceError::ZoneReadOnly { zone: ZONE }));
        assert!(matches!(refusal(ZoneState::Offline), DeviceError::ZoneOffline { zone: ZONE }));
    }

    #[test]
    fn appends_in_flight_count_against_the_room_that_is_left() {
        let known = zone_that_is(ZoneState::Closed, Some(CAPACITY - 12_288));
        known.admit(ZONE, 8192).expect("there is room");
        let refusal = known.admit(ZONE, 8192).expect_err("there is no room");
        assert!(matches!(refusal, DeviceError::ZoneBoundary { len_bytes: 8192, room_bytes: 4096, .. }));
        known.admit(ZONE, 4096).expect("there is room for that");
        assert!(matches!(known.admit(ZONE, 4096), Err(DeviceError::ZoneFull { .. })));
        known.landed(ZONE, ZoneOffset::new(CAPACITY));
        known.landed(ZONE, ZoneOffset::new(CAPACITY - 8192));
        assert_eq!(known.look(ZONE), (ZoneState::Full, ZoneOffset::new(CAPACITY)));
    }

    #[test]
    fn places_may_be_told_in_any_order_and_the_furthest_counts() {
        let known = empty();
        (0..3).for_each(|_| known.admit(ZONE, 4096).expect("there is room"));
        known.landed(ZONE, ZoneOffset::new(8192));
        known.landed(ZONE, ZoneOffset::new(4096));
        assert_eq!(known.look(ZONE), (ZoneState::ImplicitlyOpen, ZoneOffset::new(8192)));
        known.landed(ZONE, ZoneOffset::new(12_288));
        assert_eq!(known.look(ZONE).1, ZoneOffset::new(12_288));
    }

    #[test]
    fn a_failed_append_leaves_the_zone_uncertain_until_it_is_reported() {
        let known = empty();
        known.admit(ZONE, 4096).expect("there is room");
        known.append_failed(ZONE);
        assert!(known.is_uncertain(ZONE));
        let asked = known.moment(ZONE);
        let write_pointer = known.learn(ZONE, told(ZoneState::ImplicitlyOpen, Some(4096)), asked);
        assert_eq!(write_pointer, ZoneOffset::new(4096));
        assert!(!known.is_uncertain(ZONE));
        assert_eq!(known.look(ZONE).1, ZoneOffset::new(4096));
    }

    /// The report may have been made before the append, after it, or anywhere between.
    #[test]
    fn a_report_that_something_came_in_between_of_changes_nothing() {
        let known = empty();
        known.doubt(ZONE);
        let asked = known.moment(ZONE);
        known.admit(ZONE, 4096).expect("there is room");
        known.landed(ZONE, ZoneOffset::new(4096));
        known.learn(ZONE, told(ZoneState::Empty, Some(0)), asked);
        assert!(known.is_uncertain(ZONE));
        assert_eq!(known.look(ZONE).1, ZoneOffset::new(4096));
    }

    #[test]
    fn while_appends_are_in_flight_a_report_does_not_end_the_doubt() {
        let known = empty();
        (0..2).for_each(|_| known.admit(ZONE, 4096).expect("there is room"));
        known.append_failed(ZONE);
        known.learn(ZONE, told(ZoneState::ImplicitlyOpen, Some(4096)), known.moment(ZONE));
        assert!(known.is_uncertain(ZONE), "where the other one lands is open");
        known.landed(ZONE, ZoneOffset::new(4096));
        known.learn(ZONE, told(ZoneState::ImplicitlyOpen, Some(4096)), known.moment(ZONE));
        assert!(!known.is_uncertain(ZONE));
    }

    #[test]
    fn a_zone_that_wears_out_keeps_what_was_written() {
        let known = zone_that_is(ZoneState::Closed, Some(8192));
        let write_pointer = known.learn(ZONE, told(ZoneState::ReadOnly, None), known.moment(ZONE));
        assert_eq!(write_pointer, ZoneOffset::new(8192));
        assert_eq!(known.look(ZONE), (ZoneState::ReadOnly, ZoneOffset::new(8192)));
    }

    #[test]
    fn of_a_zone_found_read_only_everything_may_be_readable() {
        let known = zone_that_is(ZoneState::ReadOnly, None);
        assert_eq!(known.look(ZONE).1, ZoneOffset::new(CAPACITY));
        assert_eq!(zone_that_is(ZoneState::Offline, None).look(ZONE).1, ZoneOffset::START);
    }

    #[test]
    fn a_zone_is_untouched_when_nothing_was_written_for_certain_and_nothing_is_in_flight() {
        let known = empty();
        let is_untouched = || known.while_untouched(ZONE, || ()).is_some();
        assert!(is_untouched());
        known.admit(ZONE, 4096).expect("there is room");
        assert!(!is_untouched());
        known.append_failed(ZONE);
        assert!(!is_untouched());
        known.learn(ZONE, told(ZoneState::ImplicitlyOpen, Some(0)), known.moment(ZONE));
        assert!(is_untouched());
        known.learn(ZONE, told(ZoneState::ImplicitlyOpen, Some(4096)), known.moment(ZONE));
        assert!(!is_untouched());
    }

    #[test]
    fn a_reset_and_a_finish_settle_the_zone() {
        let known = zone_that_is(ZoneState::Closed, Some(8192));
        known.doubt(ZONE);
        known.filled(ZONE);
        assert_eq!(known.look(ZONE), (ZoneState::Full, ZoneOffset::new(CAPACITY)));
        known.emptied(ZONE);
        assert_eq!(known.look(ZONE), (ZoneState::Empty, ZoneOffset::START));
        assert!(!known.is_uncertain(ZONE));
        known.admit(ZONE, CAPACITY).expect("the whole zone is free");
    }
}
