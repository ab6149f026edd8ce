//! Where the manifest is kept: versions appended to both manifest zones, the newest readable one counts.
//!
//! Order of writes: one zone, a flush, then the other. The zone that is known to hold the newest version at opening comes
//! last. A zone that is full is reset after a flush, when the other one holds the newest version on stable media.
//!
//! After a power cut the write pointer may stand behind holes, and what lies last need not be the newest: only a version
//! that ends at the write pointer and says that all was in order is believed without a look at the rest of the zone.
//!
//! The manifest zones are the first two that have a write pointer. Which zones have none is fixed when a drive is made or
//! formatted, so that they are always the same two.
//!
//! A manifest zone that has worn out is left alone; the other one goes on by itself, until it is full. Then the store can be
//! written no more, for a reset would leave it without a manifest if power failed.

use std::sync::Arc;

use crate::buffer::AlignedBuffer;
use crate::device::{Preparation, ZoneDescriptor, ZoneState, ZonedDevice};
use crate::error::{EngineError, EngineResult};
use crate::fault::{self, Fault};
use crate::format::manifest::Manifest;
use crate::log::single_append;
use crate::queue::IoQueue;
use crate::units::{ZoneId, ZoneOffset};

/// The zones that hold the manifest.
///
/// # Errors
/// [`EngineError::InvalidArgument`] for a device that has fewer than two zones with a write pointer; the device's.
pub fn manifest_zones(device: &dyn ZonedDevice) -> EngineResult<[ZoneId; 2]> {
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

/// Bytes looked at when the newest version is not in the last block.
const WINDOW_BYTES: u64 = 256 << 10;

/// Reads and appends versions of the manifest.
#[derive(Debug)]
pub struct ManifestLog {
    device: Arc<dyn ZonedDevice>,
    queue: Arc<dyn IoQueue>,
    /// In the order in which they are appended to.
    zones: [ZoneId; 2],
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

impl ManifestLog {
    /// A manifest log with a queue that nobody else uses; `holder` is the zone that holds the newest version, if any does.
    ///
    /// # Errors
    /// As [`manifest_zones`].
    pub fn new(
        device: Arc<dyn ZonedDevice>,
        queue: Arc<dyn IoQueue>,
        holder: Option<ZoneId>,
    ) -> EngineResult<Self> {
        let [first, second] = manifest_zones(&*device)?;
        let zones = if holder == Some(first) { [second, first] } else { [first, second] };
        Ok(Self { device, queue, zones })
    }

    /// The newest version that can be read; `None` when there is none at all.
    ///
    /// # Errors
    /// The device's; [`EngineError::ManifestDamaged`] when there is something and none of it can be read.
    pub fn read(device: &dyn ZonedDevice) -> EngineResult<Option<Newest>> {
        let mut newest: Option<Newest> = None;
        let (mut written, mut versions) = (false, Vec::new());
        for zone in manifest_zones(device)? {
            let descriptor = device.report(zone)?;
            written |= descriptor.write_pointer > ZoneOffset::START;
            if descriptor.state == ZoneState::Offline {
                continue;
            }
            let found = newest_in_zone(device, &descriptor)?;
            if !descriptor.state.is_worn() {
                versions.push(found.as_ref().map(|manifest| manifest.version));
            }
            if let Some(manifest) = found
                && newest.as_ref().is_none_or(|newest| manifest.version > newest.manifest.version)
            {
                newest = Some(Newest { manifest, zone, is_copied: true });
            }
        }
        if newest.is_none() && written {
            let what = "neither manifest zone has a version that passes its checksum".to_owned();
            return Err(EngineError::ManifestDamaged(what));
        }
        let is_copied = versions.windows(2).all(|pair| pair[0] == pair[1]);
        Ok(newest.map(|newest| Newest { is_copied, ..newest }))
    }

    /// Appends a version. It is on stable media when this returns.
    ///
    /// # Errors
    /// [`EngineError::WornOut`]; the device's.
    pub fn append(&self, manifest: &Manifest) -> EngineResult<()> {
        let states =
            self.zones.map(|zone| self.device.report(zone).map(|descriptor| (zone, descriptor.state)));
        let states = states.into_iter().collect::<Result<Vec<_>, _>>()?;
        let usable: Vec<ZoneId> =
            states.iter().filter(|(_, state)| !state.is_worn()).map(|&(zone, _)| zone).collect();
        match usable[..] {
            [first, second] => {
                match self.append_to(first, manifest, WhenFull::Reset) {
                    // It has worn out just now. Each zone does so once, and this is told anew what is left.
                    Err(_) if self.is_worn(first) => return self.append(manifest),
                    appended => appended?,
                }
                if !fault::is_on(Fault::SkipManifestFlush) {
                    self.device.flush()?;
                }
                match self.append_to(second, manifest, WhenFull::Reset) {
                    // The other one holds this version.
                    Err(_) if self.is_worn(second) => Ok(()),
                    appended => appended,
                }
            }
            [only] => {
                match self.append_to(only, manifest, WhenFull::Refuse) {
                    Err(_) if self.is_worn(only) => return Err(self.worn_out()),
                    appended => appended?,
                }
                Ok(self.device.flush()?)
            }
            _ => Err(self.worn_out()),
        }
    }

    fn worn_out(&self) -> EngineError {
        let mut zones = self.zones;
        zones.sort_unstable();
        let worn = zones.into_iter().find(|&zone| self.is_worn(zone)).unwrap_or(zones[0]);
        EngineError::WornOut { zones, worn }
    }

    fn is_worn(&self, zone: ZoneId) -> bool {
        self.device.report(zone).is_ok_and(|descriptor| descriptor.state.is_worn())
    }

    fn append_to(&self, zone: ZoneId, manifest: &Manifest, when_full: WhenFull) -> EngineResult<()> {
        let geometry = *self.device.geometry();
        let encode = |reset_count| manifest.encode(geometry.block_bytes as usize, reset_count);
        let descriptor = self.device.report(zone)?;
        let mut encoded = encode(descriptor.reset_count);
        if descriptor.write_pointer.get() + encoded.len() as u64 > geometry.zone_capacity_bytes {
            if when_full == WhenFull::Refuse {
                return Err(self.worn_out());
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
