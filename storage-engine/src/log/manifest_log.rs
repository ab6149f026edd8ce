//! Where the manifest is kept: versions appended to two zones, the newest readable one counts.
//!
//! Order of writes: one zone, a flush, then the other. The zone that is known to hold the newest version at opening comes
//! last. A zone that is full is reset after a flush, when the other one holds the newest version on stable media.
//!
//! On a device that lets only three zones be active at once, the two zones are written *in turn*: one of them until it is full,
//! and then the other, so that one of the three serves for the manifest. Both copies of a version are in one zone then, as they
//! are when one zone is all that is left: a single one that rots would leave the version before it, without a word.
//!
//! After a power cut the write pointer may stand behind holes, and what lies last need not be the newest: only a version
//! that ends at the write pointer and says that all was in order is believed without a look at the rest of the zone.
//!
//! The home zones of the manifest are the first two that have a write pointer. Which zones have none is fixed when a drive is
//! made or formatted, so that they are always the same two.
//!
//! A zone that has worn out is left alone, and a free one takes its place: a *substitute*. Invariants:
//! - The first block of a substitute is that of a version of the manifest, and each version names all substitutes there are. The
//!   newest version is believed about them, so that a zone that was to become one and did not is a zone like others.
//! - The first version in a substitute is on stable media before another zone is written or reset.
//! - A zone is substituted only when it has worn out: while both home zones are well, no others are looked at.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::buffer::AlignedBuffer;
use crate::device::{Preparation, ZoneDescriptor, ZoneState, ZonedDevice};
use crate::error::{EngineError, EngineResult};
use crate::fault::{self, Fault};
use crate::format::DecodeError;
use crate::format::manifest::Manifest;
use crate::log::single_append;
use crate::queue::IoQueue;
use crate::sync::Mutex;
use crate::units::{ZoneId, ZoneOffset};

/// The zones that hold the manifest as long as none of them has worn out.
///
/// # Errors
/// [`EngineError::InvalidArgument`] for a device that has fewer than two zones with a write pointer; the device's.
pub fn home_zones(device: &dyn ZonedDevice) -> EngineResult<[ZoneId; 2]> {
    let mut found = Vec::with_capacity(2);
    for zone in device.geometry().zones() {
        if device.report(zone)?.state != ZoneState::NotWritePointer {
            found.push(zone);
        }
        if let [first, second] = found[..] {
            return Ok([first, second]);
        }
    }
    let what = format!("{} zones have a write pointer; the manifest alone takes two", found.len());
    Err(EngineError::InvalidArgument(what))
}

/// All zones that hold versions of the manifest, those that have worn out included.
///
/// # Errors
/// As [`home_zones`].
pub fn manifest_zones(device: &dyn ZonedDevice, manifest: &Manifest) -> EngineResult<Vec<ZoneId>> {
    let mut zones = home_zones(device)?.to_vec();
    zones.extend(substitutes(device, manifest));
    Ok(zones)
}

/// Those that a device has: a version that names others is not of this device.
fn substitutes(device: &dyn ZonedDevice, manifest: &Manifest) -> impl Iterator<Item = ZoneId> {
    let zone_count = device.geometry().zone_count;
    manifest.substitutes.iter().copied().filter(move |zone| zone.get() < zone_count)
}

/// Bytes looked at when the newest version is not in the last block.
const WINDOW_BYTES: u64 = 256 << 10;

/// Reads and appends versions of the manifest.
#[derive(Debug)]
pub struct ManifestLog {
    device: Arc<dyn ZonedDevice>,
    queue: Arc<dyn IoQueue>,
    home: [ZoneId; 2],
    /// Held the newest version when the store was opened.
    holder: Option<ZoneId>,
    /// Where zones are written in turn, the one that holds the newest version.
    current: Mutex<Option<ZoneId>>,
}

/// Active zones below which those of the manifest are written in turn.
const ACTIVE_ZONES_FOR_BOTH: u32 = 4;

/// How many active zones the manifest takes on a device that allows so many in all.
#[must_use]
pub const fn active_zones(max_active_zones: u32) -> u32 {
    if max_active_zones < ACTIVE_ZONES_FOR_BOTH { 1 } else { 2 }
}

/// Whether the manifest's zones are written in turn on a device.
#[must_use]
pub fn is_written_in_turn(device: &dyn ZonedDevice) -> bool {
    active_zones(device.geometry().max_active_zones) == 1
}

/// The newest version of the manifest that can be read.
#[derive(Debug)]
pub struct Newest {
    /// What it says.
    pub manifest: Manifest,
    /// A zone that holds it.
    pub zone: ZoneId,
    /// Whether the other one holds it too, where it could.
    pub is_copied: bool,
}

/// How much a zone is wanted that takes the place of a worn one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// The other zone has room: zones that cleaning may need are left alone.
    CanWait,
    /// Nothing can be written any more without it.
    Pressing,
}

/// Gives an empty zone, ready to be appended to, that nobody else uses from then on.
pub type TakeZone<'a> = dyn Fn(Urgency) -> EngineResult<Option<ZoneId>> + 'a;

/// A zone that may hold versions of the manifest, and the newest of them.
struct Looked {
    descriptor: ZoneDescriptor,
    newest: Option<Manifest>,
}

impl Looked {
    fn at(device: &dyn ZonedDevice, zone: ZoneId) -> EngineResult<Self> {
        let descriptor = device.report(zone)?;
        let newest = match descriptor.state {
            ZoneState::Offline => None,
            _ => newest_in_zone(device, &descriptor)?,
        };
        Ok(Self { descriptor, newest })
    }

    fn version(&self) -> Option<u64> {
        self.newest.as_ref().map(|manifest| manifest.version)
    }
}

impl ManifestLog {
    /// A manifest log with a queue that nobody else uses; `holder` is the zone that holds the newest version, if any does.
    ///
    /// # Errors
    /// As [`home_zones`].
    pub fn new(
        device: Arc<dyn ZonedDevice>,
        queue: Arc<dyn IoQueue>,
        holder: Option<ZoneId>,
    ) -> EngineResult<Self> {
        let home = home_zones(&*device)?;
        Ok(Self { device, queue, home, holder, current: Mutex::new(holder) })
    }

    /// The newest version that can be read; `None` when there is none at all.
    ///
    /// # Errors
    /// The device's; [`EngineError::ManifestDamaged`] when there is something and none of it can be read.
    pub fn read(device: &dyn ZonedDevice) -> EngineResult<Option<Newest>> {
        let home = home_zones(device)?;
        let mut looked =
            home.map(|zone| Looked::at(device, zone)).into_iter().collect::<Result<Vec<_>, _>>()?;
        let is_written = looked.iter().any(|it| it.descriptor.write_pointer > ZoneOffset::START);
        if looked.iter().any(|it| it.descriptor.state.is_worn()) {
            for zone in device.geometry().zones().filter(|zone| !home.contains(zone)) {
                if begins_with_a_version(device, &device.report(zone)?)? {
                    looked.push(Looked::at(device, zone)?);
                }
            }
        }
        // The first block of a substitute may be damaged: the newest version names it.
        while let Some(zone) = named_and_not_looked_at(device, &looked) {
            looked.push(Looked::at(device, zone)?);
        }
        let Some((zone, manifest)) = newest_of(&looked) else {
            let what = "neither manifest zone has a version that passes its checksum".to_owned();
            return if is_written { Err(EngineError::ManifestDamaged(what)) } else { Ok(None) };
        };
        let is_used = |it: &Looked| {
            let zone = it.descriptor.zone;
            !it.descriptor.state.is_worn() && (home.contains(&zone) || manifest.substitutes.contains(&zone))
        };
        let is_copied = is_written_in_turn(device)
            || looked.iter().filter(|it| is_used(it)).all(|it| it.version() == Some(manifest.version));
        Ok(Some(Newest { manifest: manifest.clone(), zone, is_copied }))
    }

    /// Appends a version. It is on stable media when this returns. Where a zone has worn out, another one is taken and
    /// named in the version.
    ///
    /// # Errors
    /// [`EngineError::WornOut`]; the device's.
    pub fn append(&self, manifest: &mut Manifest, take_zone: &TakeZone<'_>) -> EngineResult<()> {
        self.substitute(manifest, take_zone)?;
        let [first, second] = match self.in_use(manifest)?[..] {
            [first, second] if is_written_in_turn(&*self.device) => [self.turn(first, second, manifest)?; 2],
            [first, second] => [first, second],
            [only] => [only; 2],
            _ => return Err(self.worn_out(manifest)),
        };
        let when_full = if first == second { WhenFull::Refuse } else { WhenFull::Reset };
        match self.append_to(first, manifest, when_full) {
            // It has worn out just now. Each zone does so once, and this is told anew what is left.
            Err(_) if self.is_worn(first) => return self.append(manifest, take_zone),
            appended => appended?,
        }
        *self.current.lock() = Some(first);
        if !fault::is_on(Fault::SkipManifestFlush) {
            self.device.flush()?;
        }
        self.rest_others(manifest, first)?;
        if first == second && !self.has_room(second, manifest, 1)? {
            return Ok(());
        }
        match self.append_to(second, manifest, when_full) {
            // The first copy is on stable media.
            Err(_) if self.is_worn(second) => Ok(()),
            appended => appended,
        }
    }

    /// The zone whose turn it is: the one that holds the newest version, or the other one, made ready, when that is full.
    fn turn(&self, first: ZoneId, second: ZoneId, manifest: &Manifest) -> EngineResult<ZoneId> {
        let current = *self.current.lock();
        let (current, other) = if current == Some(second) { (second, first) } else { (first, second) };
        let state = self.device.report(current)?.state;
        if state != ZoneState::Full && self.has_room(current, manifest, 2)? {
            return Ok(current);
        }
        // What it holds is to be on stable media before the other one is emptied, and no zone more may be active.
        self.device.flush()?;
        if state.is_active() {
            self.device.finish(current)?;
        }
        self.device.reset(other)?;
        self.device.prepare(other, Preparation::Streaming)?;
        Ok(other)
    }

    /// Sees to it that no zone is active whose turn it is not: a power cut may have undone that it was finished. The newest
    /// version is on stable media elsewhere.
    fn rest_others(&self, manifest: &Manifest, written: ZoneId) -> EngineResult<()> {
        if !is_written_in_turn(&*self.device) {
            return Ok(());
        }
        for zone in self.in_use(manifest)?.into_iter().filter(|&zone| zone != written) {
            if self.device.report(zone)?.state.is_active() {
                self.device.reset(zone)?;
            }
        }
        Ok(())
    }

    /// Takes zones in the place of worn ones, as far as there are any.
    fn substitute(&self, manifest: &mut Manifest, take_zone: &TakeZone<'_>) -> EngineResult<()> {
        loop {
            let urgency = match self.in_use(manifest)?[..] {
                [_, _] => return Ok(()),
                [only] if self.has_room(only, manifest, 1)? => Urgency::CanWait,
                _ => Urgency::Pressing,
            };
            match take_zone(urgency)? {
                Some(zone) => manifest.substitutes.push(zone),
                None => return Ok(()),
            }
        }
    }

    /// The zones to append to, in this order: one that has just been taken comes first, for it holds nothing yet.
    fn in_use(&self, manifest: &Manifest) -> EngineResult<Vec<ZoneId>> {
        let mut zones: Vec<ZoneId> = self.home.into_iter().rev().collect();
        substitutes(&*self.device, manifest).for_each(|zone| zones.insert(0, zone));
        let mut well = Vec::with_capacity(2);
        for zone in zones {
            if well.len() < 2 && !self.device.report(zone)?.state.is_worn() {
                well.push(zone);
            }
        }
        well.sort_by_key(|&zone| self.holder == Some(zone));
        Ok(well)
    }

    fn worn_out(&self, manifest: &Manifest) -> EngineError {
        let zones = self.home.into_iter().chain(substitutes(&*self.device, manifest));
        let worn = zones.into_iter().find(|&zone| self.is_worn(zone)).unwrap_or(self.home[0]);
        EngineError::WornOut { worn }
    }

    fn is_worn(&self, zone: ZoneId) -> bool {
        self.device.report(zone).is_ok_and(|descriptor| descriptor.state.is_worn())
    }

    /// Whether so many copies of a version fit into what is left of a zone.
    fn has_room(&self, zone: ZoneId, manifest: &Manifest, copies: u64) -> EngineResult<bool> {
        let (geometry, descriptor) = (self.device.geometry(), self.device.report(zone)?);
        let len_bytes = manifest.encode(geometry.block_bytes as usize, descriptor.reset_count).len() as u64;
        Ok(descriptor.write_pointer.get() + copies * len_bytes <= geometry.zone_capacity_bytes)
    }

    fn append_to(&self, zone: ZoneId, manifest: &Manifest, when_full: WhenFull) -> EngineResult<()> {
        let geometry = *self.device.geometry();
        let encode = |reset_count| manifest.encode(geometry.block_bytes as usize, reset_count);
        let descriptor = self.device.report(zone)?;
        let mut encoded = encode(descriptor.reset_count);
        if descriptor.write_pointer.get() + encoded.len() as u64 > geometry.zone_capacity_bytes {
            if when_full == WhenFull::Refuse {
                return Err(self.worn_out(manifest));
            }
            self.device.flush()?;
            self.device.reset(zone)?;
            // The append below must not find the host full half way.
            self.device.prepare(zone, Preparation::Streaming)?;
            encoded = encode(self.device.report(zone)?.reset_count);
        }
        let zone_start = geometry.zone_start(zone);
        single_append::append(&*self.queue, zone_start, &encoded, geometry.block_bytes).map(drop)
    }
}

/// What to do with a manifest zone that has no room left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WhenFull {
    /// The other zone holds the newest version.
    Reset,
    /// There is no other.
    Refuse,
}

/// The newest version and, of several zones that hold it, the first one.
fn newest_of(looked: &[Looked]) -> Option<(ZoneId, &Manifest)> {
    let found = looked.iter().filter_map(|it| Some((it.descriptor.zone, it.newest.as_ref()?)));
    found.min_by_key(|(_, manifest)| Reverse(manifest.version))
}

fn named_and_not_looked_at(device: &dyn ZonedDevice, looked: &[Looked]) -> Option<ZoneId> {
    let (_, newest) = newest_of(looked)?;
    substitutes(device, newest).find(|&zone| looked.iter().all(|it| it.descriptor.zone != zone))
}

/// Whether the first block of a zone is that of a version of the manifest. Of a long one it is not the whole.
fn begins_with_a_version(device: &dyn ZonedDevice, zone: &ZoneDescriptor) -> EngineResult<bool> {
    if zone.state == ZoneState::Offline || zone.write_pointer == ZoneOffset::START {
        return Ok(false);
    }
    let mut block = AlignedBuffer::zeroed(device.geometry().block_bytes as usize);
    device.read(zone.zone, ZoneOffset::START, &mut block)?;
    Ok(matches!(Manifest::decode(&block, zone.reset_count), Ok(_) | Err(DecodeError::CutShort { .. })))
}

/// Looks for the newest readable version, backwards from the write pointer.
fn newest_in_zone(device: &dyn ZonedDevice, zone: &ZoneDescriptor) -> EngineResult<Option<Manifest>> {
    let (geometry, end_bytes) = (device.geometry(), zone.write_pointer.get());
    let mut newest: Option<Manifest> = None;
    let mut window_end = end_bytes;
    while window_end > 0 {
        let start = geometry.round_down_to_block(window_end.saturating_sub(WINDOW_BYTES));
        // A version that begins in this window may end in the one looked at before.
        let read_end = (window_end + WINDOW_BYTES).min(end_bytes);
        let mut window = AlignedBuffer::zeroed(usize::try_from(read_end - start).expect("512 KiB at most"));
        device.read(zone.zone, ZoneOffset::new(start), &mut window)?;
        let mut block = window_end;
        while block > start {
            block -= u64::from(geometry.block_bytes);
            let from = usize::try_from(block - start).expect("inside the window");
            let Ok((manifest, len_bytes)) = Manifest::decode(&window[from..], zone.reset_count) else {
                continue;
            };
            let is_last = block + geometry.round_up_to_block(len_bytes as u64) == end_bytes;
            if is_last && manifest.clean {
                return Ok(Some(manifest));
            }
            if newest.as_ref().is_none_or(|newest| manifest.version > newest.version) {
                newest = Some(manifest);
            }
        }
        window_end = start;
    }
    Ok(newest)
}
