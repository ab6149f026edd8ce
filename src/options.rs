//! How a store is opened and how a write is made.

use std::sync::Arc;
use std::time::Duration;

use zonal_engine::index::HashShape;

use crate::events::{EventListener, Subscriber};
use crate::{CleaningPolicy, Durability, QueueKind};

pub(crate) const MIB: u64 = 1 << 20;

/// Which index a store keeps in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[non_exhaustive]
pub enum IndexKind {
    /// Keys in order: ranges, prefixes, both ways. Holds every key in memory: 22 to 26 bytes beside the key's own.
    #[default]
    Ordered,
    /// No keys in memory: 15 to 16 bytes for each key, however long it is. For stores whose keys take more memory than there
    /// is, or than is wanted for them.
    ///
    /// The store is the same; what differs is what an opening can do, and what that costs:
    /// - [`Db::range`], [`Db::prefix`] and [`Db::iter`] are refused with
    ///   [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument).
    /// - To overwrite or delete a key whose record is not in memory takes a read of the device, since the record tells whose
    ///   it is; so does [`Db::contains_key`] of a key that is there. Where that read fails the write fails, and changes
    ///   nothing.
    /// - A key that is absent is told without the device, but for one look-up in 4,400 among a billion keys, one in 440,000
    ///   among ten million: those read a record to see that it is another key's.
    /// - No checkpoints are written, and those that are there are dropped when the store is opened for writing: opening reads
    ///   the whole log.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("data.zonal");
    /// use zonal::{Db, ErrorKind, IndexKind, Options};
    /// let db = Db::open(&path, Options::default().index(IndexKind::Hash))?;
    /// db.put("key", "value")?;
    /// assert_eq!(db.get("key")?.as_deref(), Some(&b"value"[..]));
    /// let refused = db.prefix("k").next().expect("an error").unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    /// # db.close()?;
    /// let db = Db::open(&path, Options::default().index(IndexKind::Ordered))?;
    /// assert_eq!(db.prefix("k").count(), 1);
    /// # Ok::<(), zonal::Error>(())
    /// ```
    ///
    /// [`Db::range`]: crate::Db::range
    /// [`Db::prefix`]: crate::Db::prefix
    /// [`Db::iter`]: crate::Db::iter
    /// [`Db::contains_key`]: crate::Db::contains_key
    Hash,
}

impl From<IndexKind> for zonal_engine::index::IndexKind {
    fn from(kind: IndexKind) -> Self {
        match kind {
            IndexKind::Ordered => Self::Ordered,
            IndexKind::Hash => Self::Hash(HashShape::DEFAULT),
        }
    }
}

/// How a store is opened. A builder; every field has a default.
///
/// ```
/// let options = zonal::Options::default().cache_bytes(256 << 20).durability(zonal::Durability::Written);
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) create_if_missing: bool,
    pub(crate) create_new: bool,
    pub(crate) read_only: bool,
    pub(crate) durability: Durability,
    pub(crate) index: IndexKind,
    pub(crate) cache_bytes: u64,
    pub(crate) capacity_bytes: Option<u64>,
    pub(crate) zone_size_bytes: Option<u64>,
    pub(crate) zone_capacity_bytes: Option<u64>,
    pub(crate) block_bytes: Option<u32>,
    pub(crate) max_open_zones: Option<u32>,
    pub(crate) max_active_zones: Option<u32>,
    pub(crate) append_limit_bytes: Option<u32>,
    pub(crate) overwrite_device: bool,
    pub(crate) direct_io: bool,
    pub(crate) queue: QueueKind,
    pub(crate) buffered_delay: Duration,
    pub(crate) unit_bytes: u32,
    pub(crate) checkpoint_interval_bytes: u64,
    pub(crate) cleaning_policy: CleaningPolicy,
    pub(crate) space_target: f64,
    pub(crate) event_listener: Option<Subscriber>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            create_if_missing: true,
            create_new: false,
            read_only: false,
            durability: Durability::Sync,
            index: IndexKind::Ordered,
            cache_bytes: 128 * MIB,
            capacity_bytes: None,
            zone_size_bytes: None,
            zone_capacity_bytes: None,
            block_bytes: None,
            max_open_zones: None,
            max_active_zones: None,
            append_limit_bytes: None,
            overwrite_device: false,
            direct_io: true,
            queue: QueueKind::Automatic,
            buffered_delay: Duration::from_millis(5),
            unit_bytes: 512 << 10,
            checkpoint_interval_bytes: 1024 * MIB,
            cleaning_policy: CleaningPolicy::default(),
            space_target: 1.3,
            event_listener: None,
        }
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty => $wrap:expr;)*) => {
        impl Options {$(
            $(#[$doc])*
            #[must_use]
            pub fn $name(mut self, $name: $type) -> Self {
                self.$name = $wrap;
                self
            }
        )*}
    };
}

setters! {
    /// Whether a path where nothing is gets a new store. Default: yes.
    create_if_missing: bool => create_if_missing;
    /// Whether opening must make a new store, and fail where there is something already. Default: no.
    ///
    /// This is what makes a store on a device; without it a device on which there is no store is refused. On a zoned device
    /// all zones are reset; a conventional block device, or a partition, is given over whole. Sizes and limits of a zoned
    /// device are its own: asking for others is an error.
    create_new: bool => create_new;
    /// New stores on a device: whether what is on it may be destroyed. Default: no; then only a device that looks blank is
    /// taken.
    overwrite_device: bool => overwrite_device;
    /// Whether to open for reading only: not a byte of the store changes, and others may read it as well. Default: no.
    read_only: bool => read_only;
    /// What a write's return promises where the call does not say. Default: [`Durability::Sync`].
    durability: Durability => durability;
    /// Which index is kept in memory; each opening may choose. Default: [`IndexKind::Ordered`].
    index: IndexKind => index;
    /// Memory for values, in bytes: for those read from the device, up to three quarters, and for what was written last,
    /// as it was appended, with all that the others leave. The index comes on top.
    /// Default: 128 MiB.
    cache_bytes: u64 => cache_bytes;
    /// New stores: what all zones together hold, in bytes, rounded up to whole zones.
    ///
    /// With a capacity, the store fills it before it cleans. Default: the file grows as needed up to 64 GiB, and is
    /// cleaned as [`space_target`](Self::space_target) says.
    capacity_bytes: u64 => Some(capacity_bytes);
    /// New stores: from one zone start to the next, in bytes. Default: 16 MiB.
    zone_size_bytes: u64 => Some(zone_size_bytes);
    /// New stores: what can be written in a zone, in bytes; at most the zone size. Default: the zone size.
    zone_capacity_bytes: u64 => Some(zone_capacity_bytes);
    /// New stores: the device's block size in bytes, 512 or 4096. Default: 4096.
    block_bytes: u32 => Some(block_bytes);
    /// New stores: how many zones of the device may be open at once. Default: as many as may be active.
    max_open_zones: u32 => Some(max_open_zones);
    /// New stores: how many zones of the device may be active at once; at least 3, and 5 for checkpoints. Default: 14, which
    /// is enough for all streams of the default [`cleaning_policy`](Self::cleaning_policy).
    max_active_zones: u32 => Some(max_active_zones);
    /// New stores: the largest single append, in bytes; at least 96 KiB. Default: 1 MiB.
    append_limit_bytes: u32 => Some(append_limit_bytes);
    /// Whether to bypass the host's page cache where its file system can. Default: yes.
    direct_io: bool => direct_io;
    /// Which queue operations go through. Default: io_uring, else Linux aio, else a few threads, whichever the device and the
    /// machine have; [`Db::info`](crate::Db::info) tells. Opening fails where a queue that is named is not to be had.
    queue: QueueKind => queue;
    /// The longest that a [`Durability::Buffered`] write stays in memory before it is appended. Default: 5 ms.
    buffered_delay: Duration => buffered_delay;
    /// How many bytes are written to the log between two checkpoints of the index, which make the next opening quick; 0 for
    /// no checkpoints but those asked for by [`Db::checkpoint`](crate::Db::checkpoint). With [`IndexKind::Hash`] there are
    /// none. Default: 1 GiB.
    ///
    /// At least eight times the memory of the index is written in between, so that checkpoints take an eighth of what is
    /// written at most. Closing writes one, too, where the next opening would otherwise have to read 64 MiB or more, and
    /// more than the index takes. Checkpoints take only space that data do not need.
    checkpoint_interval_bytes: u64 => checkpoint_interval_bytes;
    /// Who decides which records share a zone, and which zone is emptied next. It can be another one at each opening.
    /// Default: [`CleaningPolicy::Forecast`]. It fills as many zones at a time as the device lets be active, at most 5 with
    /// writes and 5 with copies and at most one for each 20 zones; each takes a buffer of
    /// [`unit_bytes`](Self::unit_bytes).
    ///
    /// Writes that are waited for, at [`Durability::Sync`] and [`Durability::Written`], share one zone, so that they take
    /// one append.
    cleaning_policy: CleaningPolicy => cleaning_policy;
    /// Stores without a capacity of their own: how many bytes of zones the store takes for each live byte, a few zones for what
    /// is being filled apart. Default: 1.3; below 1.1 counts as 1.1.
    ///
    /// It is cleaned in the background while it takes more, and gives what is freed back to the file system. The lower the
    /// target, the more is copied: at 1.3 a zone that is emptied at random is about two thirds live. Writers faster than the
    /// collector wait when it comes to half as much again, or twice the live data. The index's checkpoints come on top.
    space_target: f64 => space_target;
    /// The largest append unit, in bytes; the device's append limit counts as well. At least 96 KiB. Default: 512 KiB.
    unit_bytes: u32 => unit_bytes;
}

impl Options {
    /// Who is told of what the store does by itself: which zones its collector empties, and at what cost. Default: nobody.
    ///
    /// See [`EventListener`] for what a listener may do: anything, and nothing it does holds the store up. A store that is
    /// open for reading only does nothing by itself.
    ///
    /// ```
    /// use std::sync::mpsc::channel;
    /// use zonal::{Db, Event, Options};
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("data.zonal");
    ///
    /// let (sender, collections) = channel();
    /// let listener = move |event: &Event| {
    ///     if let Event::Collection(collection) = event {
    ///         sender.send(*collection).ok();
    ///     }
    /// };
    /// let options = Options::default().capacity_bytes(12 << 20).zone_size_bytes(1 << 20).event_listener(listener);
    /// let db = Db::open(path, options)?;
    /// # for number in 0..40 { db.put("one key", vec![number; 1 << 20])?; }
    /// // ... much is overwritten, and later:
    /// let collection = collections.recv().expect("zones have been emptied");
    /// assert!(collection.live_share < 1.0 && collection.freed);
    /// # db.close()?;
    /// # Ok::<(), zonal::Error>(())
    /// ```
    #[must_use]
    pub fn event_listener(mut self, listener: impl EventListener) -> Self {
        self.event_listener = Some(Subscriber(Arc::new(listener)));
        self
    }

    /// Bytes of zones for a hundred live bytes.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never negative; it saturates"
    )]
    pub(crate) fn space_target_percent(&self) -> u32 {
        const LEAST: f64 = 1.1;
        const MOST: f64 = 1000.0;
        // What is not a number is not above the least either.
        let target = if self.space_target > LEAST { self.space_target.min(MOST) } else { LEAST };
        (target * 100.0).round() as u32
    }
}

/// How one write is made.
///
/// ```
/// let quick = zonal::WriteOptions::default().durability(zonal::Durability::Buffered);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    pub(crate) durability: Option<Durability>,
}

impl WriteOptions {
    /// What the write's return promises. Default: what the store was opened with.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }
}
