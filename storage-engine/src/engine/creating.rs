//! Making stores: in a new file, on a conventional block device, on a zoned device.
//!
//! Nothing is written before everything that can be refused has been looked at: sizes, who else has the device, what is on
//! it. The manifest comes last, so that what was not finished is never taken for a store, and an emulated device cannot be
//! found before it holds one. Both manifest zones have their blocks from the start: a store whose host is full can still be
//! opened, cleaned and closed.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use super::Engine;
use super::opening::{OfUse, append_queue, check_device, check_geometry, direct_io};
use super::placing::{log_streams, policy_within};
use super::running::Running;
use super::substitutes::take_blank_zone;
use super::write::live_limit_bytes;
use crate::device::emulated::{Access, DirectIo, EmulatedDevice, UnfinishedDevice};
use crate::device::{
    DeviceError, Geometry, Place, Preparation, ZoneState, ZonedDevice, erase_leading_conventional,
    identify_device, open_device, place_at,
};
use crate::error::{EngineError, EngineResult};
use crate::format::manifest::{CleaningNotes, Counters as LifeCounters, DeviceSizes, Manifest, SpaceUse};
use crate::format::unit::StoreId;
use crate::gc::policy::PolicyKind;
use crate::log::manifest_log::{ManifestLog, home_zones};
use crate::log::writer::unit_limit_bytes;
use crate::queue::QueueKind;
use crate::units::{Generation, SeqNo};

const DEFAULT_ZONE_BYTES: u64 = 16 << 20;
const DEFAULT_BLOCK_BYTES: u32 = 4096;
const DEFAULT_ACTIVE_ZONES: u32 = 14;
const DEFAULT_APPEND_LIMIT_BYTES: u32 = 1 << 20;
/// Zones that hold no data, but the manifest.
const MANIFEST_ZONES: u64 = 2;
/// How far a file without a capacity of its own grows.
const GROWTH_LIMIT_BYTES: u64 = 64 << 30;

/// How a new store is laid out in a file.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// The device's sizes and limits.
    pub geometry: Geometry,
    /// How much of the device the store takes up.
    pub space_use: SpaceUse,
}

/// What is to become of something that is on a device already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contents {
    /// It stays, and no store is made.
    Keep,
    /// It is destroyed.
    Overwrite,
}

/// A store to be made, wherever that is.
#[derive(Clone, Debug)]
pub struct NewStore {
    /// Sizes and limits that were asked for.
    pub wishes: GeometryWishes,
    /// The largest append unit that the store will be opened with, in bytes.
    pub unit_bytes: usize,
    /// Whether to bypass the page cache where possible.
    pub direct_io: bool,
    /// What becomes of what is on the device.
    pub contents: Contents,
}

/// Sizes and limits that were asked for. What was not, is chosen; of a zoned device everything is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GeometryWishes {
    /// What all zones together hold.
    pub capacity_bytes: Option<u64>,
    /// From one zone start to the next.
    pub zone_size_bytes: Option<u64>,
    /// What can be written in a zone.
    pub zone_capacity_bytes: Option<u64>,
    /// The smallest unit of reading and appending.
    pub block_bytes: Option<u32>,
    /// How many zones may be open at once.
    pub max_open_zones: Option<u32>,
    /// How many zones may be active at once.
    pub max_active_zones: Option<u32>,
    /// The largest single append.
    pub append_limit_bytes: Option<u32>,
}

impl GeometryWishes {
    /// The geometry of an emulated device.
    ///
    /// # Errors
    /// [`EngineError::InvalidArgument`] for zones without size or without number.
    pub fn emulated(&self) -> EngineResult<Geometry> {
        let zone_size_bytes = self.zone_size_bytes.unwrap_or(DEFAULT_ZONE_BYTES);
        let zone_capacity_bytes = self.zone_capacity_bytes.unwrap_or(zone_size_bytes);
        for (what, bytes) in [("size", zone_size_bytes), ("capacity", zone_capacity_bytes)] {
            if bytes == 0 {
                let what = format!("a zone {what} of 0 bytes; zones hold at least 96 KiB");
                return Err(EngineError::InvalidArgument(what));
            }
        }
        let max_active_zones = self.max_active_zones.unwrap_or(DEFAULT_ACTIVE_ZONES);
        Ok(Geometry {
            block_bytes: self.block_bytes.unwrap_or(DEFAULT_BLOCK_BYTES),
            zone_size_bytes,
            zone_capacity_bytes,
            zone_count: self.emulated_zone_count(zone_capacity_bytes)?,
            max_open_zones: self.max_open_zones.unwrap_or(max_active_zones),
            max_active_zones,
            append_limit_bytes: self.append_limit_bytes.unwrap_or(DEFAULT_APPEND_LIMIT_BYTES),
            volatile_cache: true,
        })
    }

    /// The geometry of an emulated device, and how many live bytes a new store there takes before it says that it is full.
    ///
    /// # Errors
    /// [`EngineError::InvalidArgument`] for sizes that make no store.
    pub fn emulated_with_live_limit(&self, policy: PolicyKind) -> EngineResult<(Geometry, u64)> {
        let geometry = self.emulated()?;
        check_geometry(&geometry)?;
        let streams = log_streams(&*policy_within(policy, &geometry, geometry.zone_count)?);
        let data_zones = u64::from(geometry.zone_count).saturating_sub(MANIFEST_ZONES);
        let limit_bytes = live_limit_bytes(data_zones, streams, geometry.zone_capacity_bytes);
        Ok((geometry, limit_bytes))
    }

    fn emulated_zone_count(&self, zone_capacity_bytes: u64) -> EngineResult<u32> {
        let capacity_bytes = self.capacity_bytes.unwrap_or(GROWTH_LIMIT_BYTES);
        let zone_count = capacity_bytes.div_ceil(zone_capacity_bytes);
        u32::try_from(zone_count).map_err(|_| {
            EngineError::InvalidArgument(format!(
                "{capacity_bytes} bytes in zones of {zone_capacity_bytes} bytes make {zone_count} zones; at most {} \
                 are possible",
                u32::MAX
            ))
        })
    }

    /// Whether a zoned device is what was asked for. Its sizes and limits are its own and cannot be chosen.
    ///
    /// # Errors
    /// [`EngineError::InvalidArgument`] for the first wish that it does not fulfil.
    pub fn check_against(&self, geometry: &Geometry, capacity_bytes: u64) -> EngineResult<()> {
        let wishes = [
            ("a capacity of", self.capacity_bytes, capacity_bytes),
            ("a zone size of", self.zone_size_bytes, geometry.zone_size_bytes),
            ("a zone capacity of", self.zone_capacity_bytes, geometry.zone_capacity_bytes),
            ("a block size of", self.block_bytes.map(u64::from), geometry.block_bytes.into()),
            ("a limit of open zones of", self.max_open_zones.map(u64::from), geometry.max_open_zones.into()),
            (
                "a limit of active zones of",
                self.max_active_zones.map(u64::from),
                geometry.max_active_zones.into(),
            ),
            (
                "an append limit of",
                self.append_limit_bytes.map(u64::from),
                geometry.append_limit_bytes.into(),
            ),
        ];
        for (what, wanted, found) in wishes {
            if let Some(wanted) = wanted.filter(|&wanted| wanted != found) {
                return Err(EngineError::InvalidArgument(format!(
                    "{what} {wanted} was asked for; that of this zoned device is {found} and cannot be chosen"
                )));
            }
        }
        Ok(())
    }
}

impl Engine {
    /// Makes a store in a new file and closes it again. It is on stable media on return.
    ///
    /// There is nothing at the path before the store is whole, nor when making it fails or the process ends meanwhile.
    ///
    /// # Errors
    /// [`EngineError::InvalidArgument`] for sizes that make no store; the device's, among them that the path exists.
    pub fn create(path: &Path, options: &CreateOptions) -> EngineResult<()> {
        check_geometry(&options.geometry)?;
        make_store(UnfinishedDevice::in_file(path, &options.geometry)?, options.space_use)
    }

    /// Makes a store at a path, whatever is there, and closes it again. It is on stable media on return.
    ///
    /// Where nothing is, in a new file. On a zoned device all zones are reset first; on a conventional block device an
    /// emulated one is laid out.
    ///
    /// # Errors
    /// As [`Engine::create`]; [`DeviceError::NotBlank`] for a device on which something is that is to be kept. A device that
    /// was refused is as it was.
    pub fn create_at(path: &Path, new: &NewStore) -> EngineResult<()> {
        match place_at(path)? {
            Place::ConventionalBlockDevice => create_on_conventional(path, new),
            Place::ZonedBlockDevice | Place::CharacterDevice => create_on_zoned(path, new),
            Place::Vacant | Place::File | Place::Other => {
                let geometry = new.wishes.emulated()?;
                unit_limit_bytes(&geometry, new.unit_bytes)?;
                let chosen = new.wishes.capacity_bytes.is_some();
                let space_use = if chosen { SpaceUse::Whole } else { SpaceUse::Proportional };
                Self::create(path, &CreateOptions { geometry, space_use })
            }
        }
    }
}

fn create_on_conventional(path: &Path, new: &NewStore) -> EngineResult<()> {
    let target = EmulatedDevice::claim_block_device(path)?;
    let capacity_bytes = match new.wishes.capacity_bytes {
        Some(bytes) => bytes,
        None => target.capacity_bytes(&GeometryWishes { capacity_bytes: Some(0), ..new.wishes }.emulated()?),
    };
    let geometry = GeometryWishes { capacity_bytes: Some(capacity_bytes), ..new.wishes }.emulated()?;
    check_geometry(&geometry)?;
    unit_limit_bytes(&geometry, new.unit_bytes)?;
    if new.contents == Contents::Keep
        && let Some(what) = target.contents()?
    {
        return Err(DeviceError::NotBlank { path: path.to_owned(), what }.into());
    }
    make_store(target.begin(&geometry, direct_io(new.direct_io))?, SpaceUse::Whole)
}

fn make_store(unfinished: UnfinishedDevice, space_use: SpaceUse) -> EngineResult<()> {
    write_new_manifest(&(unfinished.device() as Arc<_>), space_use)?;
    Ok(unfinished.finish()?)
}

fn create_on_zoned(path: &Path, new: &NewStore) -> EngineResult<()> {
    let device = open_device(path, Access::ReadWrite, DirectIo::Preferred)?;
    check_device(&*device, OfUse::ForNewStore)?;
    new.wishes.check_against(device.geometry(), writable_bytes(&*device)?)?;
    unit_limit_bytes(device.geometry(), new.unit_bytes)?;
    let found = contents(&*device)?;
    match (found, new.contents) {
        (Some(what), Contents::Keep) => {
            return Err(DeviceError::NotBlank { path: path.to_owned(), what }.into());
        }
        (Some(_), Contents::Overwrite) => erase_leading_conventional(path, &*device)?,
        (None, _) => {}
    }
    reset_all(&*device)?;
    write_new_manifest(&device, SpaceUse::Whole)?;
    Ok(device.shut_down()?)
}

/// What all zones with a write pointer hold.
fn writable_bytes(device: &dyn ZonedDevice) -> EngineResult<u64> {
    let mut bytes = 0;
    for zone in device.geometry().zones() {
        if device.report(zone)?.state != ZoneState::NotWritePointer {
            bytes += device.geometry().zone_capacity_bytes;
        }
    }
    Ok(bytes)
}

/// What is on a zoned device, in words; `None` when nothing is.
fn contents(device: &dyn ZonedDevice) -> EngineResult<Option<String>> {
    let mut written_count = 0;
    for zone in device.geometry().zones() {
        let state = device.report(zone)?.state;
        written_count += u32::from(!matches!(state, ZoneState::Empty | ZoneState::NotWritePointer));
    }
    let store = match ManifestLog::read(device) {
        Ok(newest) => newest.is_some(),
        Err(EngineError::ManifestDamaged(_)) => false,
        Err(error) => return Err(error),
    };
    let known = if store { Some("a zonal store".to_owned()) } else { identify_device(device)? };
    Ok(match (known, written_count) {
        (Some(what), 0) => Some(format!("it holds {what}")),
        (Some(what), count) => Some(format!("it holds {what}, and {count} of its zones are in use")),
        (None, 0) => None,
        (None, count) => Some(format!("{count} of its {} zones are in use", device.geometry().zone_count)),
    })
}

/// Empties every zone that is not empty and can be emptied.
fn reset_all(device: &dyn ZonedDevice) -> EngineResult<()> {
    for zone in device.geometry().zones() {
        match device.report(zone)?.state {
            ZoneState::Empty | ZoneState::NotWritePointer | ZoneState::ReadOnly | ZoneState::Offline => {}
            _ => device.reset(zone)?,
        }
    }
    Ok(())
}

fn write_new_manifest(device: &Arc<dyn ZonedDevice>, space_use: SpaceUse) -> EngineResult<()> {
    write_first_manifest(device, &Running::Threads, rand::random(), space_use)
}

pub(super) fn write_first_manifest(
    device: &Arc<dyn ZonedDevice>,
    running: &Running,
    store: StoreId,
    space_use: SpaceUse,
) -> EngineResult<()> {
    let mut manifest = Manifest {
        version: first_version(&**device)?,
        store,
        incarnation: 1,
        cuts: Vec::new(),
        watermark: SeqNo::ZERO,
        generation: Generation::default(),
        oldest_generation: Generation::default().next(),
        tails: Vec::new(),
        clean: true,
        space_use,
        counters: LifeCounters::default(),
        device: Some(DeviceSizes::of(device.geometry())),
        checkpoints: Vec::new(),
        last_checkpoint: 0,
        substitutes: Vec::new(),
        cleaning: CleaningNotes::default(),
    };
    for zone in home_zones(&**device)? {
        if !device.report(zone)?.state.is_worn() {
            device.prepare(zone, Preparation::Streaming)?;
        }
    }
    let queue = append_queue(device, running, QueueKind::Automatic)?;
    let taken = RefCell::new(Vec::new());
    let take = |_| {
        let zone = take_blank_zone(&**device, &taken.borrow())?;
        taken.borrow_mut().extend(zone);
        Ok(zone)
    };
    ManifestLog::new(Arc::clone(device), queue, None)?.append(&mut manifest, &take)?;
    Ok(device.flush()?)
}

/// What an earlier store has left in zones that can only be read must not be the newest version.
fn first_version(device: &dyn ZonedDevice) -> EngineResult<u64> {
    match ManifestLog::read(device) {
        Ok(left) => Ok(left.map_or(0, |left| left.manifest.version) + 1),
        Err(EngineError::ManifestDamaged(_)) => Ok(1),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::GeometryWishes;
    use crate::error::EngineError;

    #[test]
    fn sizes_that_a_zoned_device_does_not_have_are_refused() {
        let geometry = GeometryWishes::default().emulated().expect("the defaults");
        let capacity_bytes = geometry.capacity_bytes();
        let exactly = GeometryWishes {
            capacity_bytes: Some(capacity_bytes),
            zone_size_bytes: Some(geometry.zone_size_bytes),
            zone_capacity_bytes: Some(geometry.zone_capacity_bytes),
            block_bytes: Some(geometry.block_bytes),
            max_open_zones: Some(geometry.max_open_zones),
            max_active_zones: Some(geometry.max_active_zones),
            append_limit_bytes: Some(geometry.append_limit_bytes),
        };
        for agreed in [GeometryWishes::default(), exactly] {
            agreed.check_against(&geometry, capacity_bytes).expect("agreed");
        }
        let others = [
            GeometryWishes { capacity_bytes: Some(1), ..exactly },
            GeometryWishes { zone_size_bytes: Some(1), ..exactly },
            GeometryWishes { zone_capacity_bytes: Some(1), ..exactly },
            GeometryWishes { block_bytes: Some(512), ..exactly },
            GeometryWishes { max_open_zones: Some(1), ..exactly },
            GeometryWishes { max_active_zones: Some(1), ..exactly },
            GeometryWishes { append_limit_bytes: Some(1), ..exactly },
        ];
        for other in others {
            match other.check_against(&geometry, capacity_bytes) {
                Err(EngineError::InvalidArgument(what)) => {
                    assert!(what.contains("cannot be chosen"), "{what}");
                }
                answer => panic!("{other:?} gives {answer:?}"),
            }
        }
    }
}
