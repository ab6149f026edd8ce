//! A zoned device in memory for models: it knows what is on stable media, and minds what the engine does.
//!
//! It panics, and so ends the run of a model, when
//! - a read finds its zone reset, before or in the middle of it;
//! - the watermark in a unit is ahead of what is on stable media, or a unit comes after a watermark that covers it.
//!
//! Each step of it is a point at which the model may go on elsewhere; its own state is never seen half changed.

use std::sync::{Arc, Mutex, MutexGuard};

use shuttle::rand::{Rng, thread_rng};

use super::queue::ModelQueue;
use crate::device::{
    AppendCommand, AppendTicket, DeviceActivity, DeviceError, DeviceResult, Geometry, Persistence,
    Preparation, RawResult, ReadCommand, ZoneDescriptor, ZoneState, ZonedDevice,
};
use crate::format::unit::{StreamKind, UnitHeader};
use crate::queue::IoQueue;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::units::{DevicePosition, SeqNo, ZoneId, ZoneOffset, ZoneSector};

pub(super) const GEOMETRY: Geometry = Geometry {
    block_bytes: 4096,
    zone_size_bytes: 128 << 10,
    zone_capacity_bytes: 96 << 10,
    zone_count: 14,
    max_open_zones: 14,
    max_active_zones: 14,
    append_limit_bytes: 96 << 10,
    volatile_cache: true,
};

/// The device.
#[derive(Debug)]
pub(super) struct ModelDevice {
    state: Mutex<State>,
    /// Touched where the model may go on elsewhere.
    steps: AtomicU64,
}

#[derive(Debug, Clone)]
struct State {
    zones: Vec<Zone>,
    /// The last new write that was ever on stable media, and the highest watermark that was ever written.
    durable_seqno: SeqNo,
    watermark: SeqNo,
}

#[derive(Debug, Clone, Default)]
struct Zone {
    bytes: Vec<u8>,
    write_pointer: u64,
    reset_count: u32,
    finished: bool,
    appends: Vec<Append>,
}

#[derive(Debug, Clone)]
struct Append {
    at: usize,
    len: usize,
    /// What it brings of new writes.
    seqnos: Option<(SeqNo, SeqNo)>,
    reached: Reached,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    Begun,
    Completed,
    Media,
}

impl ModelDevice {
    /// A device that was never written to.
    pub(super) fn blank() -> Arc<Self> {
        let zones = vec![Zone::default(); GEOMETRY.zone_count as usize];
        Self::with(State { zones, durable_seqno: SeqNo::ZERO, watermark: SeqNo::ZERO })
    }

    fn with(state: State) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(state), steps: AtomicU64::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a panic ends the run")
    }

    fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Some of what a device does takes as long as many steps of a processor.
    fn take_time(&self) {
        const LONG: usize = 400;
        let long = thread_rng().gen_ratio(1, 8);
        (0..if long { LONG } else { 1 }).for_each(|_| self.step());
    }

    /// What a power cut may leave now: of each append that is not on stable media all or nothing.
    pub(super) fn cut(&self) -> Arc<Self> {
        let mut left = self.state().clone();
        for zone in &mut left.zones {
            for append in &mut zone.appends {
                let kept = append.reached == Reached::Media
                    || append.reached == Reached::Completed && thread_rng().gen_bool(0.5);
                if !kept {
                    zone.bytes[append.at..append.at + append.len].fill(0);
                }
                append.reached = Reached::Media;
            }
        }
        Self::with(left)
    }

    /// Takes a completed append's bytes. The queue calls this before [`ZonedDevice::end_append`].
    pub(super) fn write(&self, ticket: &AppendTicket, payload: &[u8], persistence: Persistence) {
        let mut state = self.state();
        let zone = &mut state.zones[ticket.zone.index()];
        let at = usize::try_from(ticket.place.get()).expect("64-bit sizes");
        zone.bytes[at..at + payload.len()].copy_from_slice(payload);
        let append = zone.appends.iter_mut().find(|append| append.at == at).expect("it was begun");
        append.reached = Reached::Completed;
        let reached = append.seqnos;
        if persistence == Persistence::Durable {
            append.reached = Reached::Media;
            state.raise_durable(reached);
        }
    }

    /// Notes what an append brings, and whether its watermark is true.
    pub(super) fn mind(&self, ticket: &AppendTicket, payload: &[u8]) {
        let Ok(header) = UnitHeader::decode(payload) else { return };
        let mut state = self.state();
        state.check_watermark(&header);
        if header.stream == StreamKind::User && header.record_count > 0 {
            let zone = &mut state.zones[ticket.zone.index()];
            zone.appends.last_mut().expect("it was begun").seqnos =
                Some((header.first_seqno, header.last_seqno()));
        }
    }
}

impl State {
    fn check_watermark(&mut self, header: &UnitHeader) {
        let watermark = header.watermark;
        assert!(
            watermark <= self.durable_seqno,
            "watermark {watermark} where {} is the last on stable media",
            self.durable_seqno
        );
        for append in self.zones.iter().flat_map(|zone| &zone.appends) {
            if let (Some((first, _)), true) = (append.seqnos, append.reached != Reached::Media) {
                assert!(
                    first > watermark,
                    "watermark {watermark} covers {first}, which is not on stable media"
                );
            }
        }
        self.watermark = self.watermark.max(watermark);
        if header.stream == StreamKind::User && header.record_count > 0 {
            let first = header.first_seqno;
            assert!(first > self.watermark, "{first} comes after a watermark of {}", self.watermark);
        }
    }

    fn raise_durable(&mut self, seqnos: Option<(SeqNo, SeqNo)>) {
        if let Some((_, last)) = seqnos {
            self.durable_seqno = self.durable_seqno.max(last);
        }
    }
}

impl ZonedDevice for ModelDevice {
    fn geometry(&self) -> &Geometry {
        &GEOMETRY
    }

    fn kind(&self) -> &'static str {
        "model"
    }

    fn report(&self, zone: ZoneId) -> DeviceResult<ZoneDescriptor> {
        let state = self.state();
        let Zone { write_pointer, reset_count, finished, .. } = state.zones[zone.index()];
        let full = finished || write_pointer == GEOMETRY.zone_capacity_bytes;
        Ok(ZoneDescriptor {
            zone,
            state: match (write_pointer, full) {
                (_, true) => ZoneState::Full,
                (0, _) => ZoneState::Empty,
                _ => ZoneState::ImplicitlyOpen,
            },
            write_pointer: ZoneOffset::new(write_pointer),
            reset_count,
        })
    }

    fn reset(&self, zone: ZoneId) -> DeviceResult<()> {
        self.step();
        let mut state = self.state();
        let zone = &mut state.zones[zone.index()];
        assert!(zone.appends.iter().all(|append| append.reached != Reached::Begun), "reset under an append");
        *zone = Zone { reset_count: zone.reset_count + 1, ..Zone::default() };
        drop(state);
        self.step();
        Ok(())
    }

    fn open(&self, _zone: ZoneId) -> DeviceResult<()> {
        Ok(())
    }

    fn close(&self, _zone: ZoneId) -> DeviceResult<()> {
        Ok(())
    }

    fn finish(&self, zone: ZoneId) -> DeviceResult<()> {
        self.state().zones[zone.index()].finished = true;
        Ok(())
    }

    fn prepare(&self, _zone: ZoneId, _preparation: Preparation) -> DeviceResult<()> {
        Ok(())
    }

    fn begin_append(
        &self,
        zone_start: DevicePosition,
        len_bytes: u64,
        persistence: Persistence,
    ) -> DeviceResult<AppendTicket> {
        let zone = GEOMETRY.zone_starting_at(zone_start).expect("an append names a zone start");
        let mut state = self.state();
        let found = &mut state.zones[zone.index()];
        let place = found.write_pointer;
        assert!(place + len_bytes <= GEOMETRY.zone_capacity_bytes && !found.finished, "no room in {zone}");
        found.write_pointer += len_bytes;
        let (at, len) = (found.bytes.len(), usize::try_from(len_bytes).expect("64-bit sizes"));
        found.bytes.resize(at + len, 0);
        found.appends.push(Append { at, len, seqnos: None, reached: Reached::Begun });
        // The queue of the models does not look at it.
        let command = AppendCommand::PositionedWrite { fd: -1, file_offset_bytes: 0, persistence };
        Ok(AppendTicket { command, zone, len_bytes, place: ZoneOffset::new(place), needs_flush: false })
    }

    fn end_append(&self, ticket: AppendTicket, _result: RawResult) -> DeviceResult<ZoneSector> {
        let AppendTicket { zone, place, .. } = ticket;
        ZoneSector::at(place).ok_or(DeviceError::PlaceOverflow { zone, offset: place })
    }

    fn read_command(&self, _zone: ZoneId, _offset: ZoneOffset, _len_bytes: u64) -> DeviceResult<ReadCommand> {
        Ok(ReadCommand::PositionedRead { fd: -1, file_offset_bytes: 0 })
    }

    fn read(&self, zone: ZoneId, offset: ZoneOffset, into: &mut [u8]) -> DeviceResult<()> {
        self.take_time();
        let begun = self.read_now(zone, offset, into);
        self.step();
        let ended = self.state().zones[zone.index()].reset_count;
        assert_eq!(begun, ended, "{zone} was reset under a reader");
        Ok(())
    }

    fn flush(&self) -> DeviceResult<()> {
        self.step();
        let covered = self.completed();
        self.take_time();
        let mut state = self.state();
        for (zone, reset_count, at) in covered {
            let zone = &mut state.zones[zone];
            let append = zone.appends.iter_mut().find(|append| append.at == at);
            if let Some(append) = append.filter(|_| zone.reset_count == reset_count) {
                append.reached = Reached::Media;
                let seqnos = append.seqnos;
                state.raise_durable(seqnos);
            }
        }
        Ok(())
    }

    fn shut_down(&self) -> DeviceResult<()> {
        Ok(())
    }

    fn activity(&self) -> DeviceActivity {
        DeviceActivity::default()
    }

    fn queue_of_its_own(self: Arc<Self>) -> Option<Arc<dyn IoQueue>> {
        Some(Arc::new(ModelQueue::new(self)))
    }
}

impl ModelDevice {
    /// Gives the zone's reset count.
    fn read_now(&self, zone: ZoneId, offset: ZoneOffset, into: &mut [u8]) -> u32 {
        let state = self.state();
        let found = &state.zones[zone.index()];
        assert!(
            offset.get() < found.write_pointer,
            "{zone} is read at {offset}, written to {}",
            found.write_pointer
        );
        let start = usize::try_from(offset.get()).expect("64-bit sizes");
        let end = found.bytes.len().min(start + into.len());
        into[..end - start].copy_from_slice(&found.bytes[start..end]);
        into[end - start..].fill(0);
        found.reset_count
    }

    /// What a flush that begins now covers.
    fn completed(&self) -> Vec<(usize, u32, usize)> {
        let state = self.state();
        let zones = state.zones.iter().enumerate();
        let appends = zones.flat_map(|(number, zone)| {
            let completed = zone.appends.iter().filter(|append| append.reached == Reached::Completed);
            completed.map(move |append| (number, zone.reset_count, append.at))
        });
        appends.collect()
    }
}
