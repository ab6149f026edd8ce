//! An emulated device whose volatile cache is known: it can fail as media do, and leave what a power cut may leave.
//!
//! What is volatile: every append since it was begun until a flush that began after its end has succeeded, and every
//! sector of the zone table that was changed since the last such flush. A cut may leave each of them new, old, zeroed or
//! torn, independently.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Mutex, RwLock};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::device::emulated::{Access, Degraded, DirectIo, EmulatedDevice};
use crate::device::{
    AppendCommand, AppendTicket, DeviceActivity, DeviceError, DeviceResult, Geometry, Persistence,
    Preparation, RawResult, ReadCommand, ZoneDescriptor, ZonedDevice,
};
use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};

const TABLE_AT_BYTES: u64 = 12_288;
const SECTOR_BYTES: usize = 512;
const EIO: i32 = 5;

/// The device.
#[derive(Debug)]
pub(super) struct Media {
    inner: EmulatedDevice,
    file: File,
    path: PathBuf,
    /// Held for reading by whatever changes the device, for writing while its state is copied.
    gate: RwLock<()>,
    /// Changes asked for, those that wait at the gate included.
    asked_count: AtomicI64,
    cache: Mutex<Cache>,
    /// Held over what makes things durable, so that of two such the later knows more.
    one_flush: Mutex<()>,
    /// Appends that still succeed; negative when they always do.
    appends_left: AtomicI64,
    /// Flushes that still succeed; negative when they always do.
    flushes_left: AtomicI64,
    flush_count: AtomicI64,
    /// Zones that wear out when the next append to them ends.
    wearing: Mutex<BTreeMap<ZoneId, Degraded>>,
    /// Bytes of a zone that cannot be read.
    unreadable: Mutex<Option<(ZoneId, Range<u64>)>>,
}

#[derive(Debug)]
struct Cache {
    appends: BTreeMap<u64, Volatile>,
    stable_table: Vec<u8>,
    /// Everything appended since the device was opened: file offset and length.
    written: Vec<(u64, u64)>,
}

#[derive(Debug)]
struct Volatile {
    zone: ZoneId,
    before: Vec<u8>,
    ended: bool,
}

/// An append that a power cut took, at least in part.
#[derive(Debug)]
pub(super) struct Lost {
    zone: ZoneId,
    reset_count: u32,
    at_bytes: u64,
    bytes: Vec<u8>,
}

impl Media {
    pub(super) fn open(path: &Path, access: Access, boot: u8) -> DeviceResult<Arc<Self>> {
        let inner = EmulatedDevice::open_in_boot(path, access, DirectIo::Off, [boot; 16])?;
        let file = OpenOptions::new().read(true).open(path).expect("open the file a second time");
        let stable_table = read_table(&file, inner.geometry());
        Ok(Arc::new(Self {
            inner,
            file,
            path: path.to_owned(),
            gate: RwLock::default(),
            asked_count: AtomicI64::new(0),
            cache: Mutex::new(Cache { appends: BTreeMap::new(), stable_table, written: Vec::new() }),
            one_flush: Mutex::default(),
            appends_left: AtomicI64::new(-1),
            flushes_left: AtomicI64::new(-1),
            flush_count: AtomicI64::new(0),
            wearing: Mutex::default(),
            unreadable: Mutex::default(),
        }))
    }

    /// Lets every read fail that touches these bytes of a zone, and is not of a command given to a queue.
    pub(super) fn fail_reads_of(&self, zone: ZoneId, bytes: Range<u64>) {
        *self.unreadable.lock() = Some((zone, bytes));
    }

    /// Lets `count` more appends succeed; then all fail.
    pub(super) fn fail_appends_after(&self, count: i64) {
        self.appends_left.store(count, Ordering::Relaxed);
    }

    /// Lets `count` more flushes succeed; then all fail.
    pub(super) fn fail_flushes_after(&self, count: i64) {
        self.flushes_left.store(count, Ordering::Relaxed);
    }

    pub(super) fn degrade(&self, zone: ZoneId, to: Degraded) {
        let _alone = self.one_flush.lock();
        self.inner.degrade(zone, to).expect("wear a zone out");
        let table = read_table(&self.file, self.inner.geometry());
        let entry = zone.index() * 64..(zone.index() + 1) * 64;
        self.cache.lock().stable_table[entry.clone()].copy_from_slice(&table[entry]);
    }

    /// Wears a zone out at the end of the next append to it, which is refused then, and so are those in flight beside it.
    pub(super) fn degrade_at_next_append(&self, zone: ZoneId, to: Degraded) {
        self.wearing.lock().insert(zone, to);
    }

    /// Refuses an append to a zone that has worn out while it was in flight: it leaves its first sector behind.
    fn refuse_worn(&self, ticket: AppendTicket, file_offset_bytes: u64) -> Result<AppendTicket, DeviceError> {
        let Some(to) = self.wearing.lock().get(&ticket.zone).copied() else { return Ok(ticket) };
        let zone = ticket.zone;
        if !self.inner.report(zone).expect("report").state.is_worn() {
            self.degrade(zone, to);
        }
        if let Some(append) = self.cache.lock().appends.remove(&file_offset_bytes) {
            let image = OpenOptions::new().write(true).open(&self.path).expect("open the file");
            let (before, at_bytes) =
                (&append.before[SECTOR_BYTES..], file_offset_bytes + SECTOR_BYTES as u64);
            image.write_all_at(before, at_bytes).expect("take the append back");
        }
        let _failed = self.inner.end_append(ticket, RawResult::of(-EIO));
        Err(match to {
            Degraded::ReadOnly => DeviceError::ZoneReadOnly { zone },
            Degraded::Offline => DeviceError::ZoneOffline { zone },
        })
    }

    /// Keeps every change waiting.
    pub(super) fn hold(&self) -> impl Drop + '_ {
        self.gate.write()
    }

    /// How many changes have been asked for: preparations, appends and flushes.
    pub(super) fn asked(&self) -> i64 {
        self.asked_count.load(Ordering::Relaxed) + self.flushes()
    }

    /// How many flushes have been asked for.
    pub(super) fn flushes(&self) -> i64 {
        self.flush_count.load(Ordering::Relaxed)
    }

    /// Writes to `path` what a power cut now may leave, and gives what it took.
    pub(super) fn cut_power(&self, path: &Path, random: &mut StdRng) -> Vec<Lost> {
        let _still = self.gate.write();
        std::fs::copy(&self.path, path).expect("copy the image");
        let image = OpenOptions::new().read(true).write(true).open(path).expect("open the image");
        let cache = self.cache.lock();
        self.tear_table(&image, &cache.stable_table, random);
        let torn = cache.appends.iter().filter_map(|(&at_bytes, append)| {
            let mut new = vec![0; append.before.len()];
            image.read_exact_at(&mut new, at_bytes).expect("read the image");
            let left = left_of(&new, &append.before, random);
            image.write_all_at(&left, at_bytes).expect("write the image");
            (left != new).then(|| Lost {
                zone: append.zone,
                reset_count: self.inner.report(append.zone).expect("report").reset_count,
                at_bytes,
                bytes: new,
            })
        });
        torn.collect()
    }

    /// Writes to `path` what is left when a power cut takes the `which`-th of the volatile appends and nothing else, and gives
    /// that one; `None` when there are not so many.
    pub(super) fn lose_one(&self, path: &Path, which: usize) -> Option<Lost> {
        let _still = self.gate.write();
        let cache = self.cache.lock();
        let (&at_bytes, append) = cache.appends.iter().nth(which)?;
        std::fs::copy(&self.path, path).expect("copy the image");
        let image = OpenOptions::new().read(true).write(true).open(path).expect("open the image");
        let mut bytes = vec![0; append.before.len()];
        image.read_exact_at(&mut bytes, at_bytes).expect("read the image");
        image.write_all_at(&append.before, at_bytes).expect("write the image");
        let reset_count = self.inner.report(append.zone).expect("report").reset_count;
        Some(Lost { zone: append.zone, reset_count, at_bytes, bytes })
    }

    /// Writes to `path` what is there, and says whether no power cut could take any of it.
    pub(super) fn lose_none(&self, path: &Path) -> bool {
        let _still = self.gate.write();
        std::fs::copy(&self.path, path).expect("copy the image");
        self.cache.lock().appends.is_empty()
    }

    fn tear_table(&self, image: &File, stable: &[u8], random: &mut StdRng) {
        let now = read_table(&self.file, self.inner.geometry());
        for (sector, (old, new)) in stable.chunks(SECTOR_BYTES).zip(now.chunks(SECTOR_BYTES)).enumerate() {
            let kept = match random.random_range(0..16) {
                // A page may be written to while its sectors are on their way.
                0 => torn_sector(old, new, random),
                1..8 => old.to_vec(),
                _ => new.to_vec(),
            };
            let at_bytes = TABLE_AT_BYTES + (sector * SECTOR_BYTES) as u64;
            image.write_all_at(&kept, at_bytes).expect("write the image");
        }
    }

    /// Drops from `lost` what has been written over or reset since.
    pub(super) fn forget_overwritten(&self, lost: &mut Vec<Lost>) {
        let cache = self.cache.lock();
        lost.retain(|lost| {
            let (from, to) = (lost.at_bytes, lost.at_bytes + lost.bytes.len() as u64);
            let written = cache.written.iter().any(|&(at, len)| at < to && from < at + len);
            let same_filling = self.inner.report(lost.zone).expect("report").reset_count == lost.reset_count;
            same_filling && !written
        });
    }

    fn note_flushed(&self, ended: &[u64], table: Vec<u8>) {
        let mut cache = self.cache.lock();
        ended.iter().for_each(|at_bytes| drop(cache.appends.remove(at_bytes)));
        cache.stable_table = table;
    }

    /// What a flush that starts now makes durable.
    fn flushable(&self) -> (Vec<u64>, Vec<u8>) {
        let cache = self.cache.lock();
        let ended = cache.appends.iter().filter(|(_, append)| append.ended).map(|(&at_bytes, _)| at_bytes);
        (ended.collect(), read_table(&self.file, self.inner.geometry()))
    }
}

/// Puts an append that was lost where it should have been: it has turned up late.
pub(super) fn turn_up(image: &Path, lost: &Lost) {
    let image = OpenOptions::new().write(true).open(image).expect("open the image");
    image.write_all_at(&lost.bytes, lost.at_bytes).expect("write the image");
}

pub(super) fn garble(path: &Path, zone: ZoneId, at_bytes: u64) {
    let media = Media::open(path, Access::ReadOnly, 1).expect("garble the image");
    let geometry = *media.geometry();
    drop(media);
    let file = OpenOptions::new().read(true).write(true).open(path).expect("garble the image");
    let zones_bytes = u64::from(geometry.zone_count) * geometry.zone_size_bytes;
    let at = file.metadata().expect("garble the image").len() - zones_bytes
        + u64::from(zone.get()) * geometry.zone_size_bytes
        + at_bytes;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("garble the image");
    file.write_all_at(&[byte[0] ^ 0x10], at).expect("garble the image");
}

fn read_table(file: &File, geometry: &Geometry) -> Vec<u8> {
    let mut table = vec![0; (geometry.zone_count as usize * 64).next_multiple_of(SECTOR_BYTES)];
    file.read_exact_at(&mut table, TABLE_AT_BYTES).expect("read the zone table");
    table
}

/// A sector that was changed while it was written: each word is old or new.
fn torn_sector(old: &[u8], new: &[u8], random: &mut StdRng) -> Vec<u8> {
    let words = old.chunks(8).zip(new.chunks(8));
    words.flat_map(|(old, new)| if random.random() { old } else { new }).copied().collect()
}

/// What a power cut may leave of an append.
fn left_of(new: &[u8], before: &[u8], random: &mut StdRng) -> Vec<u8> {
    let at = random.random_range(0..=new.len() / SECTOR_BYTES) * SECTOR_BYTES;
    let zeros = vec![0; new.len()];
    match random.random_range(0..8) {
        0..3 => new.to_vec(),
        3 => before.to_vec(),
        4 => zeros,
        5 => [&new[..at], &before[at..]].concat(),
        6 => [&new[..at], &zeros[at..]].concat(),
        _ => {
            let sectors = new.chunks(SECTOR_BYTES).zip(before.chunks(SECTOR_BYTES));
            sectors.flat_map(|(new, before)| if random.random() { new } else { before }).copied().collect()
        }
    }
}

/// Takes one of what is left; false when nothing is.
fn take(left: &AtomicI64) -> bool {
    if left.load(Ordering::Relaxed) < 0 {
        return true;
    }
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count > 0).then_some(count - 1)).is_ok()
}

fn failed(action: &str) -> DeviceError {
    DeviceError::Io { action: action.to_owned(), source: io::Error::from_raw_os_error(EIO) }
}

impl ZonedDevice for Media {
    fn geometry(&self) -> &Geometry {
        self.inner.geometry()
    }

    fn kind(&self) -> &'static str {
        "test media"
    }

    fn report(&self, zone: ZoneId) -> DeviceResult<ZoneDescriptor> {
        self.inner.report(zone)
    }

    fn reset(&self, zone: ZoneId) -> DeviceResult<()> {
        let _changes = self.gate.read();
        let _alone = self.one_flush.lock();
        self.inner.reset(zone)?;
        let table = read_table(&self.file, self.inner.geometry());
        let mut cache = self.cache.lock();
        cache.appends.retain(|_, append| append.zone != zone);
        let entry = zone.index() * 64..(zone.index() + 1) * 64;
        cache.stable_table[entry.clone()].copy_from_slice(&table[entry]);
        Ok(())
    }

    fn open(&self, zone: ZoneId) -> DeviceResult<()> {
        self.inner.open(zone)
    }

    fn close(&self, zone: ZoneId) -> DeviceResult<()> {
        self.inner.close(zone)
    }

    fn finish(&self, zone: ZoneId) -> DeviceResult<()> {
        let _changes = self.gate.read();
        self.inner.finish(zone)
    }

    fn prepare(&self, zone: ZoneId, preparation: Preparation) -> DeviceResult<()> {
        self.asked_count.fetch_add(1, Ordering::Relaxed);
        let _changes = self.gate.read();
        self.inner.prepare(zone, preparation)
    }

    fn begin_append(
        &self,
        zone_start: DevicePosition,
        len_bytes: u64,
        persistence: Persistence,
    ) -> DeviceResult<AppendTicket> {
        self.asked_count.fetch_add(1, Ordering::Relaxed);
        let _changes = self.gate.read();
        let ticket = self.inner.begin_append(zone_start, len_bytes, persistence)?;
        let AppendCommand::PositionedWrite { file_offset_bytes, .. } = ticket.command else {
            unreachable!("the medium is an emulated file");
        };
        let mut before = vec![0; usize::try_from(len_bytes).expect("64-bit sizes")];
        self.file.read_exact_at(&mut before, file_offset_bytes).expect("read what was there before");
        let mut cache = self.cache.lock();
        cache.appends.insert(file_offset_bytes, Volatile { zone: ticket.zone, before, ended: false });
        cache.written.push((file_offset_bytes, len_bytes));
        Ok(ticket)
    }

    fn end_append(&self, ticket: AppendTicket, result: RawResult) -> DeviceResult<ZoneSector> {
        let _changes = self.gate.read();
        let AppendCommand::PositionedWrite { file_offset_bytes, persistence, .. } = ticket.command else {
            unreachable!("the medium is an emulated file");
        };
        let ticket = self.refuse_worn(ticket, file_offset_bytes)?;
        let needs_flush = ticket.needs_flush;
        let _alone = needs_flush.then(|| self.one_flush.lock());
        let (ended, table) = self.flushable();
        let result = if take(&self.appends_left) { result } else { RawResult::of(-EIO) };
        let sector = self.inner.end_append(ticket, result)?;
        if needs_flush {
            self.note_flushed(&ended, table);
        }
        let mut cache = self.cache.lock();
        if needs_flush || persistence == Persistence::Durable {
            cache.appends.remove(&file_offset_bytes);
        } else if let Some(append) = cache.appends.get_mut(&file_offset_bytes) {
            append.ended = true;
        }
        Ok(sector)
    }

    fn read_command(&self, zone: ZoneId, offset: ZoneOffset, len_bytes: u64) -> DeviceResult<ReadCommand> {
        self.inner.read_command(zone, offset, len_bytes)
    }

    fn read(&self, zone: ZoneId, offset: ZoneOffset, into: &mut [u8]) -> DeviceResult<()> {
        let end = offset.get() + into.len() as u64;
        let hits = |(bad, bytes): &(ZoneId, Range<u64>)| {
            *bad == zone && bytes.start < end && offset.get() < bytes.end
        };
        if self.unreadable.lock().as_ref().is_some_and(hits) {
            return Err(failed("reading"));
        }
        self.inner.read(zone, offset, into)
    }

    fn flush(&self) -> DeviceResult<()> {
        self.flush_count.fetch_add(1, Ordering::Relaxed);
        let _changes = self.gate.read();
        if !take(&self.flushes_left) {
            return Err(failed("flushing"));
        }
        let _alone = self.one_flush.lock();
        let (ended, table) = self.flushable();
        self.inner.flush()?;
        self.note_flushed(&ended, table);
        Ok(())
    }

    /// What follows is for the power cut to decide.
    fn shut_down(&self) -> DeviceResult<()> {
        Ok(())
    }

    fn activity(&self) -> DeviceActivity {
        self.inner.activity()
    }
}
