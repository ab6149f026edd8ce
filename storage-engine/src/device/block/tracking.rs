//! What is known of each zone, and asking the device where that is in doubt.
//!
//! Invariants:
//! - `in_flight` is true from the admission of an append to its end; nothing else moves the zone meanwhile.
//! - A zone that is in doubt is asked for before anything is done to it. Asking is all that ends the doubt.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use parking_lot::{Mutex, MutexGuard};
use rustix::io::Errno;

use super::ioctl::{self, Management};
use super::opening;
pub(super) use super::zone::KnownZone;
use super::zone::is_opened_by_command;
use crate::device::presence::Presence;
use crate::device::{DeviceError, DeviceResult, Geometry, ZoneState};
use crate::units::{SECTOR_BYTES, ZoneId, ZoneOffset};

/// What is known of one zone.
#[derive(Debug)]
pub(super) struct TrackedZone {
    pub(super) known: KnownZone,
    /// Whether an append is on its way.
    pub(super) in_flight: bool,
    /// Whether the device may have something else.
    pub(super) in_doubt: bool,
}

impl TrackedZone {
    /// An append has taken the write pointer to `end`.
    pub(super) fn advance(&mut self, end: ZoneOffset, capacity_bytes: u64) {
        let state = match self.known.state {
            _ if end.get() == capacity_bytes => ZoneState::Full,
            ZoneState::ExplicitlyOpen => ZoneState::ExplicitlyOpen,
            _ => ZoneState::ImplicitlyOpen,
        };
        self.known = KnownZone { state, write_pointer: end };
    }
}

/// All zones of an open device.
#[derive(Debug)]
pub(super) struct Tracker {
    path: PathBuf,
    presence: Presence,
    data: File,
    geometry: Geometry,
    zones: Vec<Mutex<TrackedZone>>,
}

impl Tracker {
    /// A tracker that begins with what the device reported when it was opened.
    pub(super) fn new(
        presence: Presence,
        path: PathBuf,
        data: File,
        geometry: Geometry,
        zones: Vec<KnownZone>,
    ) -> Self {
        let tracked = |known| Mutex::new(TrackedZone { known, in_flight: false, in_doubt: false });
        Self { path, presence, data, geometry, zones: zones.into_iter().map(tracked).collect() }
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The descriptor that data are read and written through.
    pub(super) fn data(&self) -> &File {
        &self.data
    }

    pub(super) fn check_exists(&self, zone: ZoneId) -> DeviceResult<()> {
        let zone_count = self.geometry.zone_count;
        if zone.get() < zone_count { Ok(()) } else { Err(DeviceError::NoSuchZone { zone, zone_count }) }
    }

    pub(super) fn lock(&self, zone: ZoneId) -> MutexGuard<'_, TrackedZone> {
        self.zones[zone.index()].lock()
    }

    /// A zone that something may be done to: no append is on its way, and what is known of it is true.
    pub(super) fn settled(&self, zone: ZoneId) -> DeviceResult<MutexGuard<'_, TrackedZone>> {
        let mut tracked = self.lock(zone);
        if tracked.in_flight {
            return Err(DeviceError::AppendInFlight { zone });
        }
        if tracked.in_doubt {
            self.ask(zone, &mut tracked)?;
        }
        Ok(tracked)
    }

    /// Learns from the device how a zone is.
    pub(super) fn ask(&self, zone: ZoneId, tracked: &mut TrackedZone) -> DeviceResult<()> {
        tracked.in_doubt = true;
        // Some drivers answer for a device that is gone, out of memory that is gone as well (null_blk).
        self.presence.check()?;
        let start_sector = self.start_sector(zone);
        let reported = ioctl::report_zones(&self.data, start_sector, 1);
        let reported = reported.map_err(|source| self.failure(format!("asking about {zone}"), source))?;
        let learnt = match reported.first() {
            Some(reported) if reported.start_sector == start_sector => {
                KnownZone::learn(reported, self.geometry.zone_capacity_bytes, Some(tracked.known))
            }
            _ => Err("a report of another zone".to_owned()),
        };
        let unexpected = |what| self.failure(format!("asking about {zone}"), io::Error::other(what));
        tracked.known = learnt.map_err(unexpected)?;
        tracked.in_doubt = false;
        Ok(())
    }

    /// Has the device do something to a zone, and learns what came of it.
    pub(super) fn manage(
        &self,
        zone: ZoneId,
        tracked: &mut TrackedZone,
        management: Management,
    ) -> DeviceResult<()> {
        tracked.in_doubt = true;
        let sector_count = self.geometry.zone_size_bytes / SECTOR_BYTES;
        match ioctl::manage_zone(&self.data, management, self.start_sector(zone), sector_count) {
            Ok(()) => self.ask(zone, tracked),
            Err(source) => {
                let doing = match management {
                    Management::Reset => "resetting",
                    Management::Open => "opening",
                    Management::Close => "closing",
                    Management::Finish => "finishing",
                };
                Err(self.explain(zone, tracked, &format!("{doing} {zone}"), source))
            }
        }
    }

    /// Finds out why something failed: the errno tells it, or what has become of the zone.
    pub(super) fn explain(
        &self,
        zone: ZoneId,
        tracked: &mut TrackedZone,
        action: &str,
        source: io::Error,
    ) -> DeviceError {
        // While an append is on its way the zone is not settled; its end will ask if need be.
        let asked = if tracked.in_flight { Ok(()) } else { self.ask(zone, tracked) };
        match Errno::from_io_error(&source) {
            Some(Errno::OVERFLOW) => {
                return DeviceError::TooManyActive { zone, limit: self.geometry.max_active_zones };
            }
            Some(Errno::TOOMANYREFS) => {
                return DeviceError::TooManyOpen { zone, limit: self.geometry.max_open_zones };
            }
            _ => {}
        }
        match (asked, tracked.known.state) {
            (Err(gone @ DeviceError::Gone { .. }), _) => gone,
            (_, ZoneState::Offline) => DeviceError::ZoneOffline { zone },
            (_, ZoneState::Empty | ZoneState::Closed) if self.all_are_opened_by_command() => {
                DeviceError::TooManyOpen { zone, limit: self.geometry.max_open_zones }
            }
            (_, state) => {
                let pointer = tracked.known.write_pointer;
                self.failure(format!("{action} (now {state:?}, written up to {pointer})"), source)
            }
        }
    }

    /// Whether no zone can be opened: for each that may be open one is, by command, which the device does not close for
    /// another. Not every driver gives an errno of its own for that (zloop gives EIO).
    fn all_are_opened_by_command(&self) -> bool {
        let reported = opening::report_all(&self.data).unwrap_or_default();
        reported.iter().filter(|it| is_opened_by_command(it)).count() >= self.geometry.max_open_zones as usize
    }

    /// Puts on stable media what the device holds in memory, if it holds anything there.
    pub(super) fn sync_cache(&self) -> DeviceResult<()> {
        if !self.geometry.volatile_cache {
            return Ok(());
        }
        let flushed = self.data.sync_data();
        flushed.map_err(|source| self.failure(format!("flushing {}", self.path.display()), source))
    }

    fn failure(&self, action: String, source: io::Error) -> DeviceError {
        match Errno::from_io_error(&source) {
            Some(Errno::NODEV | Errno::NXIO) => DeviceError::Gone { path: self.path.clone() },
            _ => self.presence.explain(DeviceError::Io { action, source }),
        }
    }

    pub(super) fn presence(&self) -> &Presence {
        &self.presence
    }

    fn start_sector(&self, zone: ZoneId) -> u64 {
        self.geometry.zone_start(zone).get() / SECTOR_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::{KnownZone, Tracker};
    use crate::device::presence::Presence;
    use crate::device::{DeviceError, Geometry, ZoneState};
    use crate::units::{ZoneId, ZoneOffset};
    use rustix::io::Errno;

    const ZONE: ZoneId = ZoneId::new(2);

    /// Three zones of a device that answers no question: a file.
    fn tracker() -> Tracker {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let geometry = Geometry {
            block_bytes: 4096,
            zone_size_bytes: 4 << 20,
            zone_capacity_bytes: 3 << 20,
            zone_count: 3,
            max_open_zones: 1,
            max_active_zones: 3,
            append_limit_bytes: 131_072,
            volatile_cache: true,
        };
        let zone = KnownZone { state: ZoneState::Empty, write_pointer: ZoneOffset::START };
        let presence = Presence::of(file.path(), &file.as_file().metadata().expect("of a file"));
        let data = file.reopen().expect("open");
        Tracker::new(presence, file.path().to_owned(), data, geometry, vec![zone; 3])
    }

    #[test]
    fn a_zone_in_doubt_is_not_used_for_as_long_as_the_device_does_not_say_how_it_is() {
        let tracker = tracker();
        assert!(tracker.settled(ZONE).is_ok(), "there is nothing to ask");
        tracker.lock(ZONE).in_doubt = true;
        for _ in 0..2 {
            let error = tracker.settled(ZONE).map(drop).expect_err("nobody knows how it is");
            assert!(error.to_string().contains("asking about zone 2"), "{error}");
        }
    }

    #[test]
    fn a_failure_that_the_device_does_not_explain_is_told_as_it_came_and_leaves_the_zone_in_doubt() {
        let tracker = tracker();
        let mut tracked = tracker.lock(ZONE);
        let error = tracker.explain(ZONE, &mut tracked, "appending", Errno::IO.into());
        assert!(
            matches!(&error, DeviceError::Io { action, .. } if action.starts_with("appending")),
            "{error}"
        );
        assert!(tracked.in_doubt);
    }
}
