//! A zoned namespace of an NVMe drive, by passthrough on its character device (`/dev/ngXnY`).
//!
//! # What is promised
//! - An append is one Zone Append command, never split and never sent twice. Any number may be in flight to one zone; the drive
//!   gives each its place.
//! - After a command to a zone whose outcome is not known, the zone is reported before it is used again.
//! - One writer or many readers, by this device file and by the block device of the same namespace together.
//! - A durable append carries Force Unit Access, and a reset is followed by a flush; both only where the drive says that it has
//!   a volatile cache.
//!
//! # What is taken for granted
//! - What the drive acknowledged with Force Unit Access, or before a flush, survives a power cut, zone states and write pointers
//!   included (NVM Express Base Specification, Flush: "commit data and metadata").
//!
//! # What the caller sees to
//! - A zone is not reset while appends to it are in flight.
//! - Nobody writes to the zones by another route; the locks see to it that nobody does who heeds them.
//!
//! # How it is divided
//! `command` lays out what the kernel takes, `identify` and `zone_report` read what the drive gives, `status` what it
//! refuses: all pure. `namespace` sends commands, `sysfs` and `hold` find and keep the namespace, `opening` puts a device
//! together, `known` is what need not be asked again. `appending` and `reading` are the device's methods for those.

mod appending;
mod bytes;
mod command;
#[cfg(feature = "decoders")]
pub(crate) mod decoders;
mod hold;
mod identify;
mod known;
mod namespace;
mod opening;
mod reading;
mod status;
mod sysfs;
mod zone_report;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::io::Errno;

use self::command::ZoneAction;
use self::hold::Hold;
use self::identify::Controller;
use self::known::KnownZones;
use self::namespace::{Failure, Namespace};
use self::zone_report::report_bytes;
use super::activity::ActivityCounters;
use super::emulated::Access;
use super::presence::Presence;
use super::{
    AppendTicket, CommandSet, DeviceActivity, DeviceError, DeviceResult, Geometry, NvmeCommand, Persistence,
    Preparation, RawResult, ReadCommand, ZoneDescriptor, ZonedDevice,
};
use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};

/// The Write command that does what an append was to do, at a place of the caller's choice: the zone's write pointer, or
/// the drive refuses it.
#[must_use]
pub(crate) const fn write_instead(append: NvmeCommand, start_lba: u64) -> NvmeCommand {
    NvmeCommand::write_instead(append, start_lba)
}

/// A zoned NVMe namespace, held until it is shut down or dropped.
#[derive(Debug)]
pub struct NvmeDevice {
    path: PathBuf,
    access: Access,
    namespace: Namespace,
    hold: Mutex<Hold>,
    presence: Presence,
    controller: Controller,
    /// The most that one command moves.
    transfer_limit_bytes: u32,
    known: KnownZones,
    counters: ActivityCounters,
    /// Set when others may have the namespace.
    is_shut_down: AtomicBool,
}

impl NvmeDevice {
    /// Opens a namespace by its character device. Nothing on it is changed.
    ///
    /// # Errors
    /// [`DeviceError::NotFound`]; [`DeviceError::NotOurs`] for what is not a zoned namespace; [`DeviceError::Locked`]
    /// naming who has it, by either route; [`DeviceError::InvalidGeometry`] and [`DeviceError::Implausible`] for one that
    /// does not fit here; [`DeviceError::Nvme`] and [`DeviceError::Io`], among them that the user may not.
    pub fn open(path: impl AsRef<Path>, access: Access) -> DeviceResult<Self> {
        let opened = opening::open(path.as_ref(), access)?;
        Ok(Self {
            path: opened.path,
            access,
            namespace: opened.namespace,
            hold: Mutex::new(opened.hold),
            presence: opened.presence,
            controller: opened.controller,
            transfer_limit_bytes: opened.transfer_limit_bytes,
            known: KnownZones::new(opened.geometry, &opened.zones),
            counters: ActivityCounters::default(),
            is_shut_down: AtomicBool::new(false),
        })
    }

    /// Takes a zone for empty, whatever the drive says, so that the drive alone judges the next append to it.
    #[cfg(test)]
    pub(crate) fn take_for_empty(&self, zone: ZoneId) {
        self.known.emptied(zone);
    }

    fn start_lba(&self, zone: ZoneId) -> u64 {
        self.geometry().zone_start(zone).get() / u64::from(self.geometry().block_bytes)
    }

    fn check_may_change(&self) -> DeviceResult<()> {
        if self.access == Access::ReadOnly {
            return Err(DeviceError::ReadOnly { path: self.path.clone() });
        }
        if self.is_shut_down.load(Ordering::Acquire) {
            let action = format!("changing {} after it was given up", self.path.display());
            return Err(DeviceError::Io { action, source: Errno::BADF.into() });
        }
        Ok(())
    }

    fn manage(&self, zone: ZoneId, action: ZoneAction) -> DeviceResult<()> {
        self.known.check_exists(zone)?;
        self.check_may_change()?;
        let done = self.namespace.manage_zone(self.start_lba(zone), action);
        done.map_err(|failure| self.management_error(zone, action, failure))
    }

    fn management_error(&self, zone: ZoneId, action: ZoneAction, failure: Failure) -> DeviceError {
        self.known.doubt(zone);
        match failure {
            Failure::Status(status) => {
                let state = self.report(zone).ok().map(|descriptor| descriptor.state);
                self.explain(status.management_error(action, zone, state, self.geometry()))
            }
            Failure::Kernel(source) => self.kernel_error(action.command(), zone, source),
        }
    }

    /// Puts on stable media what the drive holds in a volatile cache.
    fn flush_cache(&self) -> DeviceResult<()> {
        if !self.geometry().volatile_cache {
            return Ok(());
        }
        let flushed = self.namespace.flush();
        flushed.map_err(|failure| self.explain(opening::plain_error(failure, "Flush", &self.path)))
    }

    fn kernel_error(&self, command: &'static str, zone: ZoneId, source: io::Error) -> DeviceError {
        let action = format!("sending {command} for {zone} to {}", self.path.display());
        self.explain(DeviceError::Io { action, source })
    }

    fn give_up(&self) -> DeviceResult<()> {
        if self.is_shut_down.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.hold.lock().give_up(self.namespace.file(), &self.path)
    }
}

impl Drop for NvmeDevice {
    fn drop(&mut self) {
        // There is nobody to tell; the locks go with the files at the latest.
        let _ = self.give_up();
    }
}

impl ZonedDevice for NvmeDevice {
    fn geometry(&self) -> &Geometry {
        self.known.geometry()
    }

    fn kind(&self) -> &'static str {
        "NVMe zoned namespace"
    }

    fn detail(&self) -> String {
        let Controller { model, serial, .. } = &self.controller;
        format!("passthrough, namespace {} of {model} ({serial})", self.namespace.identifier())
    }

    fn command_set(&self) -> CommandSet {
        CommandSet::Nvme { fd: self.namespace.fd() }
    }

    /// Asks the drive each time: it closes zones to open others, and zones wear out, without telling.
    fn report(&self, zone: ZoneId) -> DeviceResult<ZoneDescriptor> {
        self.known.check_exists(zone)?;
        let asked = self.known.moment(zone);
        let mut report = [0; report_bytes(1)];
        let answer = self.namespace.report_zones(self.start_lba(zone), &mut report);
        answer.map_err(|failure| match failure {
            Failure::Status(status) => {
                self.explain(status.plain_error("Zone Management Receive", Some(zone)))
            }
            Failure::Kernel(source) => self.kernel_error("Zone Management Receive", zone, source),
        })?;
        let zones = zone_report::parse(&report)?;
        let no_zone = || DeviceError::Implausible { what: format!("no {zone}") };
        let told = opening::told(self.geometry(), zone, zones.first().ok_or_else(no_zone)?)?;
        let write_pointer = self.known.learn(zone, told, asked);
        Ok(ZoneDescriptor { zone, state: told.state, write_pointer, reset_count: 0 })
    }

    fn reset(&self, zone: ZoneId) -> DeviceResult<()> {
        self.manage(zone, ZoneAction::Reset)?;
        self.known.emptied(zone);
        self.counters.reset_count.fetch_add(1, Ordering::Relaxed);
        self.flush_cache()
    }

    fn open(&self, zone: ZoneId) -> DeviceResult<()> {
        self.manage(zone, ZoneAction::Open)
    }

    /// A drive keeps an untouched zone active as closed; a reset takes nothing from it and makes it empty.
    fn close(&self, zone: ZoneId) -> DeviceResult<()> {
        self.manage(zone, ZoneAction::Close)?;
        let empty = || self.namespace.manage_zone(self.start_lba(zone), ZoneAction::Reset);
        let emptied = self.known.while_untouched(zone, empty).unwrap_or(Ok(()));
        emptied.map_err(|failure| self.management_error(zone, ZoneAction::Reset, failure))
    }

    fn finish(&self, zone: ZoneId) -> DeviceResult<()> {
        self.manage(zone, ZoneAction::Finish)?;
        self.known.filled(zone);
        Ok(())
    }

    /// Does nothing: a drive needs no preparation.
    fn prepare(&self, zone: ZoneId, _: Preparation) -> DeviceResult<()> {
        self.known.check_exists(zone)
    }

    fn begin_append(
        &self,
        zone_start: DevicePosition,
        len_bytes: u64,
        persistence: Persistence,
    ) -> DeviceResult<AppendTicket> {
        self.admit_append(zone_start, len_bytes, persistence)
    }

    fn end_append(&self, ticket: AppendTicket, result: RawResult) -> DeviceResult<ZoneSector> {
        self.conclude_append(&ticket, result)
    }

    fn explain(&self, error: DeviceError) -> DeviceError {
        self.presence.explain(error)
    }

    fn read_command(&self, zone: ZoneId, offset: ZoneOffset, len_bytes: u64) -> DeviceResult<ReadCommand> {
        self.locate_read(zone, offset, len_bytes)
    }

    fn end_read(
        &self,
        zone: ZoneId,
        offset: ZoneOffset,
        len_bytes: u64,
        result: RawResult,
    ) -> DeviceResult<()> {
        self.conclude_read((zone, offset, len_bytes), result)
    }

    fn read(&self, zone: ZoneId, offset: ZoneOffset, into: &mut [u8]) -> DeviceResult<()> {
        self.read_blocks(zone, offset, into)
    }

    /// On a device that is open for reading there is nothing to flush.
    fn flush(&self) -> DeviceResult<()> {
        if self.access == Access::ReadOnly {
            return Ok(());
        }
        self.flush_cache()?;
        self.counters.flush_count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn shut_down(&self) -> DeviceResult<()> {
        let flushed =
            if self.is_shut_down.load(Ordering::Acquire) { Ok(()) } else { ZonedDevice::flush(self) };
        flushed.and(self.give_up())
    }

    fn activity(&self) -> DeviceActivity {
        self.counters.activity()
    }
}
