//! The store.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zonal_engine::engine::{
    Bytes, Contents, Depth, Direction, Engine, GeometryWishes, NewStore, OpenOptions, Page,
};
use zonal_engine::error::{EngineError, EngineResult};
use zonal_engine::log::writer::LogWrite;

use crate::{
    CheckReport, Checkpoint, CleaningReport, CleaningStats, DeviceDamage, Durability, Error, ErrorKind,
    Footprint, Info, Opening, Options, Range, Result, Stats, Value, WriteBatch, WriteOptions, Zone,
};

/// A key of a page, and its value or why that cannot be read.
pub(crate) type EngineItem = (Box<[u8]>, EngineResult<Bytes>);

/// An open store. Cheap to clone; any number of threads may use it and its clones.
///
/// Dropping the last clone closes the store; so does [`Db::close`], which also tells whether that went well. Nothing
/// acknowledged at [`Durability::Written`] or [`Durability::Sync`] depends on it.
#[derive(Clone)]
pub struct Db {
    engine: Arc<Engine>,
    path: Arc<Path>,
    durability: Durability,
}

impl Db {
    /// Opens the store at a path, or makes one there. Blocks while the store is read in.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("data.zonal");
    /// use zonal::{Db, ErrorKind, Options};
    /// let missing = Db::open(&path, Options::default().create_if_missing(false));
    /// assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    /// let db = Db::open(&path, Options::default())?;
    /// # Ok::<(), zonal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::AlreadyExists`] (with [`Options::create_new`]), [`ErrorKind::NotAStore`],
    /// [`ErrorKind::Incompatible`], [`ErrorKind::Locked`], [`ErrorKind::Corruption`], [`ErrorKind::InvalidArgument`],
    /// [`ErrorKind::Io`]. A store or file that is there already stays as it is.
    #[expect(clippy::needless_pass_by_value, reason = "options are made for the call")]
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        Self::open_at(path.as_ref(), &options, false)
    }

    /// Checks the store at a path as far as it can be read, in spite of damage. Changes nothing.
    ///
    /// Opening reads everything but old values; `deep` reads every live value as well. `progress` is told the number of
    /// keys done. Blocks for as long as reading takes.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("data.zonal");
    /// # zonal::Db::open(&path, zonal::Options::default())?.close()?;
    /// let report = zonal::Db::check(&path, &zonal::Options::default(), zonal::Depth::Deep, &|_| {})?;
    /// assert!(report.is_sound());
    /// # Ok::<(), zonal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Db::open`]; damage to what the store holds is reported, not an error.
    pub fn check(
        path: impl AsRef<Path>,
        options: &Options,
        depth: Depth,
        progress: &dyn Fn(u64),
    ) -> Result<CheckReport> {
        let options = options.clone().read_only(true);
        let path = path.as_ref();
        let db = Self::open_at(path, &options, true)?;
        let verified = db.engine.verify(depth, progress).map_err(|error| db.error(error))?;
        let device_damages = Self::check_device(path)?;
        Ok(CheckReport { device_damages, ..CheckReport::new(&db.engine, &verified) })
    }

    /// Damage to what an emulated device keeps of itself outside its zones, which can be looked for also where the store cannot
    /// be opened. Changes nothing. A zoned drive keeps nothing that could be looked at.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::NotAStore`], [`ErrorKind::Incompatible`], [`ErrorKind::Locked`],
    /// [`ErrorKind::Io`].
    pub fn check_device(path: impl AsRef<Path>) -> Result<Vec<DeviceDamage>> {
        let path = path.as_ref();
        let flaws = Engine::device_flaws(path).map_err(|error| Error::new(path, error))?;
        Ok(flaws.iter().map(DeviceDamage::from).collect())
    }

    fn open_at(path: &Path, options: &Options, in_spite_of_damage: bool) -> Result<Self> {
        let missing = !path.try_exists().unwrap_or(true);
        if options.create_new || missing && options.create_if_missing && !options.read_only {
            create(path, options)?;
        }
        let open = OpenOptions {
            read_only: options.read_only,
            direct_io: options.direct_io,
            index: options.index.into(),
            queue: options.queue,
            cache_bytes: options.cache_bytes,
            buffered_delay: options.buffered_delay,
            unit_bytes: options.unit_bytes as usize,
            expects_durable: options.durability == Durability::Sync,
            in_spite_of_damage,
            checkpoint_interval_bytes: options.checkpoint_interval_bytes,
            space_target_percent: options.space_target_percent(),
            cleaning_policy: options.cleaning_policy,
            listener: options.event_listener.clone().map(|listener| Arc::new(listener) as _),
        };
        let engine = Engine::open(path, &open).map_err(|error| Error::new(path, error))?;
        Ok(Self { engine: Arc::new(engine), path: path.into(), durability: options.durability })
    }

    fn error(&self, engine: EngineError) -> Error {
        Error::new(&self.path, engine)
    }

    /// Where the store is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.path.to_path_buf()
    }

    /// Gives a key a value. Durable as the store's options say.
    ///
    /// Key: 1 to 65,535 bytes. Value: up to 1 GiB. Blocks until it is durable, and while the collector makes room.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let db = zonal::Db::open(directory.path().join("d.zonal"), zonal::Options::default())?;
    /// db.put(b"key", b"value")?;
    /// # Ok::<(), zonal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`], [`ErrorKind::NoSpace`], [`ErrorKind::ReadOnly`], [`ErrorKind::Closed`],
    /// [`ErrorKind::WritesRefused`] after a failed write or flush: then it is unknown whether this one survives.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.put_with(key, value, WriteOptions::default())
    }

    /// Gives a key a value, as durable as `options` say.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let db = zonal::Db::open(directory.path().join("d.zonal"), zonal::Options::default())?;
    /// use zonal::{Durability, WriteOptions};
    /// db.put_with("key", "value", WriteOptions::default().durability(Durability::Buffered))?;
    /// # Ok::<(), zonal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Db::put`].
    pub fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: WriteOptions,
    ) -> Result<()> {
        self.write_all(&[LogWrite { key: key.as_ref(), value: Some(value.as_ref()) }], options)
    }

    /// Takes a key's value away; nothing happens when it has none. Durable as the store's options say.
    ///
    /// Succeeds in a full store, too.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let db = zonal::Db::open(directory.path().join("d.zonal"), zonal::Options::default())?;
    /// db.put("key", "value")?;
    /// db.delete("key")?;
    /// assert_eq!(db.get("key")?, None);
    /// # Ok::<(), zonal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Db::put`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.delete_with(key, WriteOptions::default())
    }

    /// Takes a key's value away, as durably as `options` say.
    ///
    /// # Errors
    /// As [`Db::put`].
    pub fn delete_with(&self, key: impl AsRef<[u8]>, options: WriteOptions) -> Result<()> {
        self.write_all(&[LogWrite { key: key.as_ref(), value: None }], options)
    }

    /// Makes all writes of a batch: all of them survive a crash, or none. Durable as the store's options say.
    ///
    /// # Errors
    /// As [`Db::put`].
    pub fn write(&self, batch: WriteBatch) -> Result<()> {
        self.write_with(batch, WriteOptions::default())
    }

    /// Makes all writes of a batch, as durable as `options` say.
    ///
    /// # Errors
    /// As [`Db::put`].
    #[expect(clippy::needless_pass_by_value, reason = "a batch is spent when it is written")]
    pub fn write_with(&self, batch: WriteBatch, options: WriteOptions) -> Result<()> {
        let writes: Vec<_> = batch.writes().map(|(key, value)| LogWrite { key, value }).collect();
        self.write_all(&writes, options)
    }

    fn write_all(&self, writes: &[LogWrite<'_>], options: WriteOptions) -> Result<()> {
        let durability = options.durability.unwrap_or(self.durability);
        self.engine.write(writes, durability).map_err(|error| self.error(error))
    }

    /// The value of a key, or `None`. Blocks for at most one read of the device (one for each part of a large value).
    ///
    /// # Errors
    /// [`ErrorKind::Corruption`] when the stored bytes are damaged, [`ErrorKind::Closed`], [`ErrorKind::Io`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let value = self.engine.value(key.as_ref()).map_err(|error| self.error(error).about(key.as_ref()))?;
        Ok(value.map(Value::new))
    }

    /// Whether a key has a value. Never touches the device; with [`IndexKind::Hash`](crate::IndexKind::Hash) it reads one
    /// record at most.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`]; with that index as [`Db::get`].
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.engine.contains(key.as_ref()).map_err(|error| self.error(error))
    }

    /// The values of many keys, in the order of the keys; what must be read from the device is in flight together.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let db = zonal::Db::open(directory.path().join("d.zonal"), zonal::Options::default())?;
    /// db.put("a", "1")?;
    /// let many = db.multi_get(&["a", "b"])?;
    /// assert_eq!(many[0].as_deref(), Some(&b"1"[..]));
    /// assert_eq!(many[1], None);
    /// # Ok::<(), zonal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Db::get`], for the first key that fails.
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>> {
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        let values = self.engine.values(&keys).map_err(|error| self.error(error))?;
        Ok(values.into_iter().map(|value| value.map(Value::new)).collect())
    }

    /// Replaces the value of a key (`None`: deletes it) if it is what is expected (`None`: absent).
    ///
    /// `Ok(Ok(()))` when it did, `Ok(Err(current))` when the value is another one. Decided against all writes of the key,
    /// also those in flight. Durable as the store's options say.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let db = zonal::Db::open(directory.path().join("d.zonal"), zonal::Options::default())?;
    /// assert_eq!(db.compare_and_swap("k", None::<&str>, Some("1"))?, Ok(()));
    /// let refused = db.compare_and_swap("k", None::<&str>, Some("2"))?;
    /// assert_eq!(refused.unwrap_err().as_deref(), Some(&b"1"[..]));
    /// # Ok::<(), zonal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Db::put`] and [`Db::get`].
    #[expect(clippy::needless_pass_by_value, reason = "callers pass references or literals")]
    pub fn compare_and_swap(
        &self,
        key: impl AsRef<[u8]>,
        expected: Option<impl AsRef<[u8]>>,
        new: Option<impl AsRef<[u8]>>,
    ) -> Result<std::result::Result<(), Option<Value>>> {
        let (expected, new) = (expected.as_ref().map(AsRef::as_ref), new.as_ref().map(AsRef::as_ref));
        let swapped = self.engine.compare_and_swap(key.as_ref(), expected, new, self.durability);
        let swapped = swapped.map_err(|error| self.error(error))?;
        Ok(swapped.map_err(|current| current.map(Value::new)))
    }

    /// The keys of a range with their values, in order; see [`Range`] for what it sees of concurrent writes. With
    /// [`IndexKind::Hash`](crate::IndexKind::Hash) the first item is an error, [`ErrorKind::InvalidArgument`].
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let db = zonal::Db::open(directory.path().join("d.zonal"), zonal::Options::default())?;
    /// # db.put("user:1", "Ada")?; db.put("user:2", "Grace")?; db.put("zebra", "")?;
    /// let users = db.range("user:".."user;").collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(users.len(), 2);
    /// let (last, _) = db.range("user:"..).next_back().unwrap()?;
    /// assert_eq!(last, b"zebra");
    /// # Ok::<(), zonal::Error>(())
    /// ```
    pub fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Range {
        let low = range.start_bound().map(AsRef::as_ref);
        let high = range.end_bound().map(AsRef::as_ref);
        Range::new(self.clone(), low, high)
    }

    /// The keys that begin with `prefix` with their values, in order. As [`Db::range`] with
    /// [`IndexKind::Hash`](crate::IndexKind::Hash).
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Range {
        let prefix = prefix.as_ref();
        let end = prefix_end(prefix);
        let high = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        Range::new(self.clone(), Bound::Included(prefix), high)
    }

    /// All keys with their values, in order. As [`Db::range`] with [`IndexKind::Hash`](crate::IndexKind::Hash).
    #[must_use]
    pub fn iter(&self) -> Range {
        Range::new(self.clone(), Bound::Unbounded, Bound::Unbounded)
    }

    pub(crate) fn page(
        &self,
        low: Bound<&[u8]>,
        high: Bound<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> Result<Page> {
        self.engine.page(low, high, direction, limit).map_err(|error| self.error(error))
    }

    pub(crate) fn own_item(&self, (key, bytes): EngineItem) -> Result<(Vec<u8>, Value)> {
        match bytes {
            Ok(bytes) => Ok((key.into_vec(), Value::new(bytes))),
            Err(error) => Err(self.error(error).about(&key)),
        }
    }

    /// Makes everything acknowledged before durable, whatever its level. Blocks for at most one flush of the device.
    ///
    /// # Errors
    /// [`ErrorKind::WritesRefused`], [`ErrorKind::ReadOnly`], [`ErrorKind::Closed`].
    pub fn flush(&self) -> Result<()> {
        self.engine.flush().map_err(|error| self.error(error))
    }

    /// Writes a checkpoint of the index, so that the next opening need not read all that was written before. Blocks until
    /// it is on stable media; others read and write meanwhile. `None` when there is no room for one: checkpoints take only
    /// space that data do not need, and a device must allow at least 5 active zones; and always with
    /// [`IndexKind::Hash`](crate::IndexKind::Hash).
    ///
    /// Stores write checkpoints by themselves, too: see [`Options::checkpoint_interval_bytes`].
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let db = zonal::Db::open(directory.path().join("d.zonal"), zonal::Options::default())?;
    /// db.put("key", "value")?;
    /// let checkpoint = db.checkpoint()?.expect("a new store has room");
    /// assert_eq!(checkpoint.number, 1);
    /// # Ok::<(), zonal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::WritesRefused`], [`ErrorKind::ReadOnly`], [`ErrorKind::Closed`], [`ErrorKind::Io`].
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        let written = self.engine.checkpoint().map_err(|error| self.error(error))?;
        Ok(written.as_ref().map(Checkpoint::new))
    }

    /// Cleans at once, until the store takes no more than [`Options::space_target`] says or nothing more can be gained: for
    /// instance after much has been deleted, before a file is copied. Stores are cleaned by themselves as needed; this does the same in a
    /// store that has a capacity of its own, and counts all that the file takes. Blocks until then; others read and write
    /// meanwhile, and what they write is cleaned too. `progress` is told, now and then, how much the store takes.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let db = zonal::Db::open(directory.path().join("d.zonal"), zonal::Options::default())?;
    /// db.put("key", "value")?;
    /// db.delete("key")?;
    /// let report = db.clean(&|now| println!("{} zones, to be {}", now.zones, now.target_zones))?;
    /// assert!(report.after.zones <= report.before.zones);
    /// # Ok::<(), zonal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::WritesRefused`], [`ErrorKind::ReadOnly`], [`ErrorKind::Closed`], [`ErrorKind::Io`].
    pub fn clean(&self, progress: &dyn Fn(&Footprint)) -> Result<CleaningReport> {
        let cleaned = self.engine.clean(&|now| progress(&Footprint::from(&now)));
        cleaned.as_ref().map(CleaningReport::from).map_err(|error| self.error(error.clone()))
    }

    /// Counts and gauges. Does not touch the device.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::new(&self.engine.stats(), &self.engine.zones().unwrap_or_default())
    }

    /// How cleaning goes: the classes of lifetimes that records are sorted into, and the last collections. Does not touch the
    /// device. [`Options::event_listener`] tells of each collection as it happens.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let db = zonal::Db::open(directory.path().join("d.zonal"), zonal::Options::default())?;
    /// db.put("key", "value")?;
    /// let stats = db.cleaning_stats();
    /// assert_eq!((stats.streams.len(), stats.collections.len()), (1, 0));
    /// assert!(stats.streams[0].live_bytes > 0 && stats.streams[0].written_bytes > 0);
    /// # Ok::<(), zonal::Error>(())
    /// ```
    #[must_use]
    pub fn cleaning_stats(&self) -> CleaningStats {
        CleaningStats::from(&self.engine.cleaning())
    }

    /// What hardly changes while the store is open: sizes, limits, how the device is accessed, how opening went.
    #[must_use]
    pub fn info(&self) -> Info {
        Info::new(self.engine.info(), Opening::new(self.engine.recovery(), self.engine.found_journal()))
    }

    /// All zones of the device, in order.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn zones(&self) -> Result<Vec<Zone>> {
        let capacity_bytes = self.engine.info().geometry.zone_capacity_bytes;
        let zones = self.engine.zones().map_err(|error| self.error(error))?;
        Ok(zones.iter().map(|zone| Zone::new(zone, capacity_bytes)).collect())
    }

    /// Flushes and closes the store, for all clones of this handle. Blocks while background work ends. The store can be
    /// opened again at once, here and elsewhere.
    ///
    /// # Errors
    /// [`ErrorKind::WritesRefused`] and others when something buffered could not be made durable. The store is closed
    /// all the same, and recovers when it is opened again.
    pub fn close(self) -> Result<()> {
        self.engine.close().map_err(|error| self.error(error))
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db")
            .field("path", &self.path)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

/// The first key after all that begin with `prefix`; `None` when there is none.
fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|&byte| byte < u8::MAX)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end)
}

fn create(path: &Path, options: &Options) -> Result<()> {
    let new = NewStore {
        wishes: GeometryWishes {
            capacity_bytes: options.capacity_bytes,
            zone_size_bytes: options.zone_size_bytes,
            zone_capacity_bytes: options.zone_capacity_bytes,
            block_bytes: options.block_bytes,
            max_open_zones: options.max_open_zones,
            max_active_zones: options.max_active_zones,
            append_limit_bytes: options.append_limit_bytes,
        },
        unit_bytes: options.unit_bytes as usize,
        direct_io: options.direct_io,
        contents: if options.overwrite_device { Contents::Overwrite } else { Contents::Keep },
    };
    match Engine::create_at(path, &new).map_err(|error| Error::new(path, error)) {
        // Somebody else made it in the meantime: open theirs.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && !options.create_new => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(prefix_end(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(prefix_end(b"\xff"), None);
        assert_eq!(prefix_end(b""), None);
    }
}
