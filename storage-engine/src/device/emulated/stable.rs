//! Keeps the zone table on the file in step with the one in memory, and knows how much of it is on stable media.
//!
//! Invariants:
//! - An entry on the file is never older than an append that was admitted: [`StableTable::record`] returns after the
//!   entry with its write pointer has been written to the page cache. That survives the process, not the machine.
//! - `bound >= write_pointer` in every entry. An append counts as durable only when an entry whose bound covers it is on
//!   stable media. `durable_bound` may lag behind what is there but never lead.
//! - Nothing is changed before the session block says that a session is under way, and its write makes everything
//!   durable that earlier sessions left in the page cache.
//! - After a failed write of the table or a failed flush nothing is written any more: what it covered is unknown.
//! - After the end of the session nothing is written either: the file may be another's by then.
//!
//! Lock order: a zone's row, then the table's mutex or the list of promises. Flushes take no lock while they wait.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::file::DeviceFile;
use super::layout::{SESSION_AT_BYTES, SESSION_BYTES, Session, ZoneEntry, entry_at_bytes};
use super::table::Table;
use crate::device::{DeviceError, DeviceResult, Geometry, ZoneState};
use crate::units::{ZoneId, ZoneOffset};

/// A bound is moved ahead by at least this much, so that few durable appends have to wait for the table as well.
const BOUND_STEP_BYTES: u64 = 4 << 20;
/// In large zones it is moved ahead by this part of the capacity: at most so much is taken for holes after a power cut.
const BOUND_STEPS_PER_ZONE: u64 = 64;

/// Never the boot id of a running machine: sends the next opening to the bounds.
const NO_BOOT: [u8; 16] = [0; 16];

/// Whether the bound that covers an append is on stable media.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Promised {
    /// It is: writing the append's own bytes through is enough.
    Durably,
    /// It is not: only a flush makes the append durable.
    AfterFlush,
}

/// What the file has of one zone.
#[derive(Debug)]
pub(super) struct Row {
    /// The entry in the page cache; `None` when what is there is no entry.
    written: Option<ZoneEntry>,
    /// The bound known to be on stable media.
    durable_bound: ZoneOffset,
}

/// A bound that is in the page cache and becomes durable with the next flush.
#[derive(Clone, Copy, Debug)]
struct Promise {
    zone: ZoneId,
    reset_count: u32,
    bound: ZoneOffset,
}

/// The zone table in memory and on the file.
#[derive(Debug)]
pub(super) struct StableTable {
    path: PathBuf,
    file: DeviceFile,
    table: Table,
    rows: Vec<Mutex<Row>>,
    promises: Mutex<Vec<Promise>>,
    boot_id: [u8; 16],
    session_begun: AtomicBool,
    session: Mutex<()>,
    failed: AtomicBool,
    ended: AtomicBool,
}

impl StableTable {
    /// `found` is what the file has of each zone; it may differ from what `table` takes the zones for.
    pub(super) fn new(
        path: PathBuf,
        file: DeviceFile,
        table: Table,
        found: Vec<Option<ZoneEntry>>,
        boot_id: [u8; 16],
    ) -> Self {
        let row = |written| Mutex::new(Row { written, durable_bound: ZoneOffset::START });
        Self {
            path,
            file,
            table,
            rows: found.into_iter().map(row).collect(),
            promises: Mutex::default(),
            boot_id,
            session_begun: AtomicBool::new(false),
            session: Mutex::default(),
            failed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// Whether the session that the file tells of was ended in order.
    pub(super) fn is_clean_on_file(&self) -> bool {
        let mut bytes = [0; SESSION_BYTES];
        let read = self.file.read_metadata(SESSION_AT_BYTES, &mut bytes);
        read.is_ok() && Session::decode(&bytes).is_ok_and(|session| session.clean)
    }

    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    pub(super) fn file(&self) -> &DeviceFile {
        &self.file
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// Must succeed before anything is changed: begins the session where it has not begun.
    pub(super) fn begin_changes(&self) -> DeviceResult<()> {
        self.check_health()?;
        if self.session_begun.load(Ordering::Acquire) {
            return Ok(());
        }
        let _one_at_a_time = self.session.lock();
        if !self.session_begun.load(Ordering::Acquire) {
            self.begin_session()?;
            self.session_begun.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn begin_session(&self) -> DeviceResult<()> {
        // What the zones were taken for at opening is on stable media before the session block makes later openings
        // believe write pointers again. A crash in between leads to the same reckoning.
        if self.write_all_entries()? {
            self.sync()?;
        }
        self.write_session(Session { boot_id: self.boot_id, clean: false })?;
        for row in &self.rows {
            let mut row = row.lock();
            row.durable_bound = row.written.map_or(ZoneOffset::START, |entry| entry.bound);
        }
        Ok(())
    }

    /// Ends the session, if one has begun, so that the next opening believes every write pointer. Once.
    pub(super) fn close(&self) -> DeviceResult<()> {
        let _one_at_a_time = self.session.lock();
        if self.ended.load(Ordering::Acquire) {
            return Ok(());
        }
        let ended = self.end_session();
        self.ended.store(true, Ordering::Release);
        ended
    }

    fn end_session(&self) -> DeviceResult<()> {
        if !self.session_begun.load(Ordering::Acquire) {
            return Ok(());
        }
        self.write_all_entries()?;
        self.sync()?;
        self.write_session(Session { boot_id: self.boot_id, clean: true })
    }

    /// Leaves the session as a process does that is killed.
    #[cfg(test)]
    pub(super) fn abandon(&self) {
        self.session_begun.store(false, Ordering::Release);
    }

    /// Puts the zone's entry on the file, as it is now or later, and says whether appends up to `end` are covered.
    pub(super) fn record(&self, zone: ZoneId, end: ZoneOffset) -> DeviceResult<Promised> {
        let mut row = self.row(zone);
        self.bring_up_to_date(zone, &mut row)?;
        Ok(if end <= row.durable_bound { Promised::Durably } else { Promised::AfterFlush })
    }

    /// What the file has of a zone; while it is held, no entry of the zone is written and so no append admitted.
    pub(super) fn row(&self, zone: ZoneId) -> MutexGuard<'_, Row> {
        self.rows[zone.index()].lock()
    }

    /// Writes the zone's entry unless it is on the file already; true when it was written.
    pub(super) fn bring_up_to_date(&self, zone: ZoneId, row: &mut Row) -> DeviceResult<bool> {
        let now = self.table.entry(zone);
        let written_bound = row.written.map_or(ZoneOffset::START, |entry| entry.bound);
        let entry = ZoneEntry { bound: next_bound(&now, written_bound, self.table.geometry()), ..now };
        if row.written == Some(entry) {
            return Ok(false);
        }
        self.write_entry(entry, row)?;
        if entry.bound > written_bound {
            let ZoneEntry { reset_count, bound, .. } = entry;
            self.promises.lock().push(Promise { zone, reset_count, bound });
        }
        Ok(true)
    }

    /// Makes it durable that a zone, which memory has emptied, is empty.
    pub(super) fn record_reset(&self, zone: ZoneId, row: &mut Row) -> DeviceResult<()> {
        // An append may have been admitted since; its entry follows when the row is free again.
        let ZoneEntry { blocks_written, reset_count, .. } = self.table.entry(zone);
        row.durable_bound = ZoneOffset::START;
        self.write_entry(ZoneEntry { blocks_written, reset_count, ..ZoneEntry::empty(zone) }, row)?;
        self.sync()
    }

    /// Puts everything that has been written on stable media.
    pub(super) fn flush(&self) -> DeviceResult<()> {
        let promises = std::mem::take(&mut *self.promises.lock());
        self.sync()?;
        for promise in promises {
            let mut row = self.row(promise.zone);
            // A reset in between has taken the bound back.
            if row.written.is_some_and(|entry| entry.reset_count == promise.reset_count) {
                row.durable_bound = row.durable_bound.max(promise.bound);
            }
        }
        Ok(())
    }

    /// Flushes the file and nothing else; for callers that hold a row.
    pub(super) fn sync(&self) -> DeviceResult<()> {
        self.check_health()?;
        self.file.sync().map_err(|source| self.fail("flushing", source))
    }

    /// Refuses when a write of the table or a flush has failed, or the session has ended.
    pub(super) fn check_health(&self) -> DeviceResult<()> {
        if self.ended.load(Ordering::Acquire) {
            let action = format!("writing to {}, which has been closed,", self.path.display());
            return Err(DeviceError::Io {
                action,
                source: io::Error::other("the device has been shut down"),
            });
        }
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let action =
            format!("writing to {}, of which an earlier write or flush failed,", self.path.display());
        Err(DeviceError::Io { action, source: io::Error::other("the device takes no more writes") })
    }

    fn write_all_entries(&self) -> DeviceResult<bool> {
        let mut any_written = false;
        for zone in self.table.geometry().zones() {
            any_written |= self.bring_up_to_date(zone, &mut self.row(zone))?;
        }
        Ok(any_written)
    }

    fn write_entry(&self, entry: ZoneEntry, row: &mut Row) -> DeviceResult<()> {
        self.check_health()?;
        self.file
            .write_metadata(entry_at_bytes(entry.zone), &entry.encode())
            .map_err(|source| self.fail("writing the zone table", source))?;
        row.written = Some(entry);
        Ok(())
    }

    fn write_session(&self, session: Session) -> DeviceResult<()> {
        self.file
            .write_metadata(SESSION_AT_BYTES, &session.encode())
            .map_err(|source| self.fail("writing the session block", source))?;
        self.sync()
    }

    /// Latches the failure. What the page cache has of the table is no longer what the media have, even while the
    /// machine stays up, so the next opening is sent to the bounds.
    fn fail(&self, doing: &str, source: io::Error) -> DeviceError {
        self.failed.store(true, Ordering::Release);
        let doubtful = Session { boot_id: NO_BOOT, clean: false };
        let action = match self.file.write_metadata(SESSION_AT_BYTES, &doubtful.encode()) {
            Ok(()) => format!("{doing} of {}", self.path.display()),
            Err(_) => format!("{doing} of {}, and marking it as doubtful,", self.path.display()),
        };
        DeviceError::Io { action, source }
    }
}

/// The bound that goes with an entry: moved ahead when the write pointer has passed it.
fn next_bound(now: &ZoneEntry, written_bound: ZoneOffset, geometry: &Geometry) -> ZoneOffset {
    if now.state == ZoneState::Empty {
        return ZoneOffset::START;
    }
    if now.write_pointer <= written_bound {
        return written_bound;
    }
    let capacity_bytes = geometry.zone_capacity_bytes;
    let part_bytes = geometry.round_up_to_block(capacity_bytes / BOUND_STEPS_PER_ZONE);
    let ahead = now.write_pointer.forward(part_bytes.max(BOUND_STEP_BYTES));
    ahead.min(ZoneOffset::new(capacity_bytes))
}

#[cfg(test)]
mod tests {
    use std::io;

    use crate::device::emulated::{Access, DirectIo, EmulatedDevice};
    use crate::device::{DeviceError, Geometry, Persistence, ZonedDevice};
    use crate::units::{DevicePosition, ZoneId, ZoneOffset};

    const GEOMETRY: Geometry = Geometry {
        block_bytes: 4096,
        zone_size_bytes: 16 << 20,
        zone_capacity_bytes: 16 << 20,
        zone_count: 2,
        max_open_zones: 1,
        max_active_zones: 1,
        append_limit_bytes: 4096,
        volatile_cache: true,
    };

    #[test]
    fn after_a_failed_flush_nothing_is_written_and_the_next_opening_trusts_only_bounds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("device");
        let device = EmulatedDevice::create(&path, &GEOMETRY, DirectIo::Off).unwrap();
        let begin = || device.begin_append(DevicePosition::new(0), 4096, Persistence::Volatile);
        let ticket = begin().unwrap();
        let error = device.stable.fail("flushing", io::Error::from_raw_os_error(5));
        assert!(error.to_string().starts_with("flushing of "), "{error}");
        assert!(matches!(begin(), Err(DeviceError::Io { .. })));
        assert!(matches!(device.flush(), Err(DeviceError::Io { .. })));
        assert!(matches!(device.reset(ZoneId::new(0)), Err(DeviceError::Io { .. })));
        device.read(ZoneId::new(0), ZoneOffset::START, &mut [0; 4096]).unwrap();
        drop(ticket);
        drop(device);
        let device = EmulatedDevice::open(&path, Access::ReadOnly, DirectIo::Off).unwrap();
        let found = device.report(ZoneId::new(0)).unwrap().write_pointer;
        assert_eq!(found.get(), (4 << 20) + 4096);
    }
}
