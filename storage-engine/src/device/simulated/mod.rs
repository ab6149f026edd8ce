//! A zoned device in memory that keeps every rule of a real one, fails as real ones do, and does so by a seed.
//!
//! Every command that changes the device is an *I/O*. At each one the device can keep an image of itself as it was just
//! before, so that a simulation can crash there without running again. Limits are kept strictly: what exceeds them is
//! refused, and remembered, since it is a fault of the engine.
//!
//! Threading: one lock over everything. Nothing depends on time or on which thread calls.

mod faults;
mod image;
mod kept;

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

pub use faults::Faults;
pub use image::{Crash, Image};

use super::activity::ActivityCounters;
use super::transition::{Contents, Reach, ZoneCommand, transition};
use super::{
    AppendTicket, DeviceActivity, DeviceError, DeviceResult, Geometry, KeptMemory, Persistence, Preparation,
    RawResult, ReadCommand, ZoneDescriptor, ZoneState, ZonedDevice, admission,
};
use crate::buffer::AlignedBuffer;
use crate::seeded::{Seeded, mixed};
use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};
use image::Volatile;
use kept::{Holder, Kept};
use std::sync::atomic::Ordering;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// I/Os that one thing to be done may take: hundreds of times what it does take.
const MOST_IOS: u64 = 20_000;

/// Whether a simulated device takes commands that change it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Changes {
    /// It does.
    Allowed,
    /// They are refused, and remembered as faults of the engine.
    Forbidden,
}

/// The device.
#[derive(Debug)]
pub struct SimulatedDevice {
    geometry: Geometry,
    changes: Changes,
    state: Arc<Mutex<State>>,
    counters: ActivityCounters,
}

/// The device as it was before an I/O, and what the simulation knew then.
#[derive(Clone, Debug)]
pub struct Snapshot<N> {
    /// The device.
    pub image: Image,
    /// The simulation's note.
    pub note: N,
}

/// What the simulation notes with each snapshot: three numbers of its own.
pub type Note = [usize; 3];

#[derive(Debug)]
struct State {
    image: Image,
    random: Seeded,
    faults: Faults,
    next_id: u64,
    io_count: u64,
    /// At this many I/Os the engine is taken to be going round in circles.
    most_ios: u64,
    trace: u64,
    /// Kept at each I/O, if wanted.
    snapshots: Option<Vec<Snapshot<Note>>>,
    note: Note,
    is_kept_memory_held: bool,
    /// What was refused that an engine must never ask for.
    misuse: Option<String>,
}

/// An append on its way.
#[derive(Debug)]
pub struct SimulatedAppend {
    id: u64,
    zone: ZoneId,
    at: usize,
    persistence: Persistence,
}

impl SimulatedDevice {
    /// A device with nothing on it.
    #[must_use]
    pub fn blank(geometry: Geometry, seed: u64) -> Arc<Self> {
        Self::over(Image::blank(geometry), seed, Changes::Allowed)
    }

    /// A device with nothing on it that has so much memory that outlives the process.
    #[must_use]
    pub fn blank_with_kept_memory(geometry: Geometry, kept_memory_bytes: usize, seed: u64) -> Arc<Self> {
        let mut image = Image::blank(geometry);
        image.kept = Kept::of(kept_memory_bytes);
        Self::over(image, seed, Changes::Allowed)
    }

    /// A device that holds an image.
    #[must_use]
    pub fn over(image: Image, seed: u64, changes: Changes) -> Arc<Self> {
        let state = State {
            random: Seeded::new(seed),
            faults: Faults::NONE,
            next_id: 0,
            io_count: 0,
            most_ios: MOST_IOS,
            trace: seed,
            snapshots: None,
            note: Note::default(),
            is_kept_memory_held: false,
            misuse: None,
            image,
        };
        let geometry = state.image.geometry;
        Arc::new(Self {
            geometry,
            changes,
            state: Arc::new(Mutex::new(state)),
            counters: ActivityCounters::default(),
        })
    }

    /// The device as it is now, caches included.
    #[must_use]
    pub fn image(&self) -> Image {
        self.state.lock().image.clone()
    }

    /// Sets what fails from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    /// Keeps an image at every I/O from now on.
    pub fn keep_snapshots(&self) {
        self.state.lock().snapshots.get_or_insert_default();
    }

    /// What goes with the snapshots from now on.
    pub fn set_note(&self, note: Note) {
        self.state.lock().note = note;
    }

    /// The images kept since this was last called.
    #[must_use]
    pub fn take_snapshots(&self) -> Vec<Snapshot<Note>> {
        self.state.lock().snapshots.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// How many I/Os there have been.
    #[must_use]
    pub fn io_count(&self) -> u64 {
        self.state.lock().io_count
    }

    /// Something new is about to be done: it may take as many I/Os as things do at most.
    pub fn allow_ios(&self) {
        let mut state = self.state.lock();
        state.most_ios = state.io_count + MOST_IOS;
    }

    /// A number that depends on every I/O and its result, and their order.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.state.lock().trace
    }

    /// What was asked for that an engine must never ask for.
    #[must_use]
    pub fn misuse(&self) -> Option<String> {
        self.state.lock().misuse.clone()
    }

    /// Takes a place for an append and begins to write it.
    ///
    /// # Errors
    /// Each refusal has its own, and changes nothing.
    pub fn submit_append(
        &self,
        zone_start: DevicePosition,
        payload: &Arc<AlignedBuffer>,
        persistence: Persistence,
    ) -> DeviceResult<SimulatedAppend> {
        let mut state = self.state.lock();
        let len_bytes = payload.len() as u64;
        let zone = admission::zone_named(&self.geometry, zone_start).map_err(|error| state.misused(error))?;
        admission::check_append_length(&self.geometry, zone, len_bytes)
            .map_err(|error| state.misused(error))?;
        self.begin_change(&mut state, b'a', zone, len_bytes)?;
        let at = state.take_place(zone, payload.len())?;
        let before = state.image.zones[zone.index()].bytes[at..at + payload.len()].into();
        state.image.write_over(zone, at, at + payload.len());
        state.image.write(zone, at, payload);
        let id = state.next_id;
        state.next_id += 1;
        let new = Arc::clone(payload);
        state.image.volatile.push(Volatile { id, zone, at, new, before, ended: false, given_up: false });
        let content = u64::from(crc32fast::hash(payload));
        state.trace(content ^ (at as u64) << 32);
        Ok(SimulatedAppend { id, zone, at, persistence })
    }

    /// Ends an append: gives the place where it landed.
    ///
    /// # Errors
    /// [`DeviceError::Io`]: it may have landed all the same, in part, or not at all.
    ///
    /// # Panics
    /// When the append is another device's.
    #[expect(clippy::needless_pass_by_value, reason = "an append ends once")]
    pub fn complete_append(&self, append: SimulatedAppend) -> DeviceResult<ZoneSector> {
        let mut state = self.state.lock();
        let SimulatedAppend { id, zone, at, persistence } = append;
        self.begin_change(&mut state, b'c', zone, at as u64)?;
        let place = state.image.volatile.iter().position(|volatile| volatile.id == id);
        let place = place.expect("an append on its way is volatile");
        let parts = state.faults.append;
        if state.fails(parts) {
            // It stays on its way: a crash decides what became of it.
            return Err(failed(format!("appending to {zone}"), EIO));
        }
        state.image.volatile[place].ended = true;
        let len_bytes = state.image.volatile[place].new.len() as u64;
        if persistence == Persistence::Durable {
            let durable = state.image.volatile.remove(place);
            state.image.harden(&durable);
            self.counters.flush_count.fetch_add(1, Ordering::Relaxed);
        }
        self.counters.appended_bytes.fetch_add(len_bytes, Ordering::Relaxed);
        Ok(ZoneSector::at(ZoneOffset::new(at as u64)).expect("a simulated zone is small"))
    }

    /// Chooses, by the seed, which of so many operations ends next.
    pub(crate) fn choose(&self, count: usize) -> usize {
        self.state.lock().random.index(count)
    }

    fn begin_change(&self, state: &mut State, kind: u8, zone: ZoneId, detail: u64) -> DeviceResult<()> {
        if self.changes == Changes::Forbidden {
            let error = DeviceError::ReadOnly { path: "simulated".into() };
            return Err(state.misused(error));
        }
        state.begin_io(kind, zone, detail)
    }

    fn check_exists(&self, zone: ZoneId) -> DeviceResult<()> {
        let zone_count = self.geometry.zone_count;
        if zone.get() < zone_count { Ok(()) } else { Err(DeviceError::NoSuchZone { zone, zone_count }) }
    }

    fn command(&self, zone: ZoneId, kind: u8, command: ZoneCommand) -> DeviceResult<()> {
        self.check_exists(zone)?;
        let mut state = self.state.lock();
        self.begin_change(&mut state, kind, zone, 0)?;
        state.command(zone, command)
    }
}

impl State {
    fn begin_io(&mut self, kind: u8, zone: ZoneId, detail: u64) -> DeviceResult<()> {
        if self.io_count >= self.most_ios {
            self.misuse.get_or_insert_with(|| format!("{MOST_IOS} I/Os, and no end of them"));
            return Err(failed("going on without an end".to_owned(), EIO));
        }
        self.io_count += 1;
        self.trace(u64::from(kind) << 56 | u64::from(zone.get()) << 32 | detail);
        if let Some(kept) = &mut self.snapshots {
            kept.push(Snapshot { image: self.image.clone(), note: self.note });
        }
        Ok(())
    }

    fn trace(&mut self, number: u64) {
        self.trace = mixed(self.trace ^ number);
    }

    fn fails(&mut self, parts: u32) -> bool {
        parts > 0 && self.random.chance(parts.into(), 1 << 16)
    }

    /// Remembers a refusal that no engine should meet.
    fn misused(&mut self, error: DeviceError) -> DeviceError {
        self.misuse.get_or_insert_with(|| error.to_string());
        error
    }

    fn take_place(&mut self, zone: ZoneId, len: usize) -> DeviceResult<usize> {
        let capacity = self.image.capacity();
        let image::ZoneImage { state, written_bytes: at, .. } = self.image.zones[zone.index()];
        let room = capacity.saturating_sub(at);
        let command = ZoneCommand::Append(if len == room { Reach::Capacity } else { Reach::Inside });
        let next = transition(state, command).map_err(|refusal| refusal.of(zone, state, command));
        let next = next.map_err(|error| match state {
            // Zones wear out by themselves.
            ZoneState::ReadOnly | ZoneState::Offline => error,
            _ => self.misused(error),
        })?;
        if len > room {
            let (len_bytes, room_bytes) = (len as u64, room as u64);
            return Err(self.misused(DeviceError::ZoneBoundary { zone, len_bytes, room_bytes }));
        }
        self.make_room(zone, state, ZoneState::ImplicitlyOpen)?;
        let zone = self.image.zone_mut(zone);
        zone.state = next;
        zone.written_bytes += len;
        Ok(at)
    }

    fn command(&mut self, zone: ZoneId, command: ZoneCommand) -> DeviceResult<()> {
        let state = self.image.zones[zone.index()].state;
        let next =
            transition(state, command).map_err(|refusal| self.misused(refusal.of(zone, state, command)))?;
        self.make_room(zone, state, next)?;
        let capacity = self.image.capacity();
        let zone = self.image.zone_mut(zone);
        zone.state = next;
        if next == ZoneState::Full {
            // What appends that a crash took have left behind the write pointer comes to light.
            zone.written_bytes = capacity;
        }
        Ok(())
    }

    /// Keeps the limits; may close a zone that was opened by an append.
    fn make_room(&mut self, zone: ZoneId, before: ZoneState, after: ZoneState) -> DeviceResult<()> {
        let Geometry { max_active_zones, max_open_zones, .. } = self.image.geometry;
        let count = |is: fn(ZoneState) -> bool| self.image.zones.iter().filter(|zone| is(zone.state)).count();
        let (active_count, open_count) = (count(ZoneState::is_active), count(ZoneState::is_open));
        // Finishing an empty zone makes it active for a moment (NVMe ZNS, Zone Management Send).
        let activates = before == ZoneState::Empty && (after.is_active() || after == ZoneState::Full);
        if activates && active_count >= max_active_zones as usize {
            return Err(self.misused(DeviceError::TooManyActive { zone, limit: max_active_zones }));
        }
        if after.is_open() && !before.is_open() && open_count >= max_open_zones as usize {
            let implicit = |zone: &&mut image::ZoneImage| zone.state == ZoneState::ImplicitlyOpen;
            let Some(victim) = self.image.zones.iter_mut().find(implicit) else {
                return Err(self.misused(DeviceError::TooManyOpen { zone, limit: max_open_zones }));
            };
            victim.state = ZoneState::Closed;
        }
        Ok(())
    }

    fn read(&mut self, zone: ZoneId, offset: ZoneOffset, into: &mut [u8]) -> DeviceResult<()> {
        let from = &self.image.zones[zone.index()];
        if from.state == ZoneState::Offline {
            return Err(DeviceError::ZoneOffline { zone });
        }
        if self.fails(self.faults.read) {
            return Err(failed(format!("reading {} bytes at {offset} of {zone}", into.len()), EIO));
        }
        let at = usize::try_from(offset.get()).expect("64-bit sizes");
        let from = &self.image.zones[zone.index()];
        let written = from.written_bytes.clamp(at, at + into.len()) - at;
        into[..written].copy_from_slice(&from.bytes[at..at + written]);
        into[written..].fill(0);
        if self.fails(self.faults.misdirected) {
            self.misdirect(at, into);
        }
        Ok(())
    }

    /// Puts one block in another one's place, or all that was wanted. `at` is where in its zone that lies.
    fn misdirect(&mut self, at: usize, into: &mut [u8]) {
        let block = self.image.geometry.block_bytes as usize;
        let zones = &self.image.zones;
        let written: Vec<usize> = (0..zones.len()).filter(|&zone| zones[zone].written_bytes > 0).collect();
        let zone = written.get(self.random.index(written.len().max(1))).copied().unwrap_or(0);
        // Mostly from where something was written: other places tell nothing.
        let reach =
            if self.random.chance(7, 8) { zones[zone].written_bytes } else { zones[zone].bytes.len() };
        // The zone may be wrong and the place in it right: where units are alike, what lies there is too.
        let is_as_far = at < reach && self.random.chance(1, 2);
        let from = if is_as_far { at } else { self.random.index((reach / block).max(1)) * block };
        let found = &zones[zone].bytes[from..];
        if is_as_far || self.random.chance(1, 2) {
            let len = found.len().min(into.len());
            into[..len].copy_from_slice(&found[..len]);
        } else {
            let to = self.random.index(into.len() / block) * block;
            into[to..to + block].copy_from_slice(&found[..block]);
        }
    }
}

fn failed(action: String, errno: i32) -> DeviceError {
    DeviceError::Io { action, source: io::Error::from_raw_os_error(errno) }
}

impl ZonedDevice for SimulatedDevice {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn kind(&self) -> &'static str {
        "simulated"
    }

    fn report(&self, zone: ZoneId) -> DeviceResult<ZoneDescriptor> {
        self.check_exists(zone)?;
        let state = self.state.lock();
        let found = &state.image.zones[zone.index()];
        let written =
            if found.state == ZoneState::Full { state.image.capacity() } else { found.written_bytes };
        let write_pointer = ZoneOffset::new(written as u64);
        Ok(ZoneDescriptor { zone, state: found.state, write_pointer, reset_count: found.reset_count })
    }

    fn reset(&self, zone: ZoneId) -> DeviceResult<()> {
        self.command(zone, b'r', ZoneCommand::Reset)?;
        let mut state = self.state.lock();
        state.image.volatile.retain(|append| append.zone != zone);
        let empty = state.image.zone_mut(zone);
        empty.written_bytes = 0;
        empty.stable_bytes = 0;
        empty.stably_full = false;
        empty.reset_count += 1;
        self.counters.reset_count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn open(&self, zone: ZoneId) -> DeviceResult<()> {
        self.command(zone, b'o', ZoneCommand::Open)
    }

    fn close(&self, zone: ZoneId) -> DeviceResult<()> {
        let untouched = self.report(zone)?.write_pointer == ZoneOffset::START;
        let contents = if untouched { Contents::Nothing } else { Contents::Something };
        self.command(zone, b'l', ZoneCommand::Close(contents))
    }

    fn finish(&self, zone: ZoneId) -> DeviceResult<()> {
        self.command(zone, b'f', ZoneCommand::Finish)
    }

    fn prepare(&self, zone: ZoneId, _: Preparation) -> DeviceResult<()> {
        self.check_exists(zone)?;
        let mut state = self.state.lock();
        let parts = state.faults.prepare;
        if state.fails(parts) {
            return Err(failed(format!("allocating {zone}"), ENOSPC));
        }
        Ok(())
    }

    fn begin_append(&self, _: DevicePosition, _: u64, _: Persistence) -> DeviceResult<AppendTicket> {
        Err(DeviceError::Unsupported {
            operation: "an append on a queue of the kernel",
            device: "a simulated device",
            remedy: "it has a queue of its own",
        })
    }

    fn end_append(&self, ticket: AppendTicket, _: RawResult) -> DeviceResult<ZoneSector> {
        unreachable!("{ticket:?} is not of a simulated device, which gives none")
    }

    fn read_command(&self, zone: ZoneId, _: ZoneOffset, _: u64) -> DeviceResult<ReadCommand> {
        self.check_exists(zone)?;
        Err(DeviceError::Unsupported {
            operation: "a read on a queue of the kernel",
            device: "a simulated device",
            remedy: "it has a queue of its own",
        })
    }

    fn read(&self, zone: ZoneId, offset: ZoneOffset, into: &mut [u8]) -> DeviceResult<()> {
        self.check_exists(zone)?;
        admission::check_read(&self.geometry, zone, (offset, into.len() as u64), offset)?;
        self.counters.read_bytes.fetch_add(into.len() as u64, Ordering::Relaxed);
        self.state.lock().read(zone, offset, into)
    }

    fn flush(&self) -> DeviceResult<()> {
        if self.changes == Changes::Forbidden {
            return Ok(());
        }
        let mut state = self.state.lock();
        self.begin_change(&mut state, b'F', ZoneId::default(), 0)?;
        let parts = state.faults.flush;
        if state.fails(parts) {
            state.image.give_up();
            return Err(failed("flushing".to_owned(), EIO));
        }
        state.image.flush();
        self.counters.flush_count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn keep_memory(&self) -> DeviceResult<Option<Box<dyn KeptMemory>>> {
        let mut state = self.state.lock();
        if state.image.kept.len_bytes == 0 {
            return Ok(None);
        }
        self.begin_change(&mut state, b'm', ZoneId::default(), 0)?;
        let parts = state.faults.prepare;
        if state.fails(parts) {
            return Ok(None);
        }
        if std::mem::replace(&mut state.is_kept_memory_held, true) {
            state.misuse.get_or_insert_with(|| "the kept memory has two holders".to_owned());
        }
        let bytes = state.image.kept.held();
        Ok(Some(Box::new(Holder { state: Arc::clone(&self.state), bytes })))
    }

    fn kept_bytes(&self) -> DeviceResult<Vec<u8>> {
        Ok(self.state.lock().image.kept.bytes.to_vec())
    }

    /// What follows is for the simulation to decide.
    fn shut_down(&self) -> DeviceResult<()> {
        Ok(())
    }

    fn activity(&self) -> DeviceActivity {
        self.counters.activity()
    }
}
