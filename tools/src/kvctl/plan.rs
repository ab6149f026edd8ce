//! What a command line comes down to: checked, with every default in its place.

use std::num::NonZeroUsize;
use std::ops::{Bound, RangeInclusive};
use std::path::PathBuf;

use clap_complete::Shell;
use zonal::{Depth, Durability, Options, QueueKind, SalvageOptions};

use super::command_line::Format;

/// One invocation.
#[derive(Debug)]
pub(crate) struct Plan {
    /// How results are written.
    pub(crate) format: Format,
    /// What to do.
    pub(crate) task: Task,
}

/// A store that is there, and how it is opened.
#[derive(Debug)]
pub(crate) struct StoreAt {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Which queue to use.
    pub(crate) queue: QueueKind,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Make a store.
    Create { store: PathBuf, options: Options },
    /// Give a key a value.
    Put { store: StoreAt, key: Vec<u8>, value: ValueSource, durability: Durability },
    /// Show the value of a key.
    Get { store: StoreAt, key: Vec<u8> },
    /// Take the value of a key away.
    Delete { store: StoreAt, key: Vec<u8>, durability: Durability },
    /// Show a range of keys.
    Scan(Scan),
    /// Show what does not change.
    Info { store: StoreAt },
    /// Show counts and gauges.
    Stats { store: StoreAt },
    /// List the zones.
    Zones { store: StoreAt },
    /// Draw the zones.
    ZoneMap { store: StoreAt, width: Option<usize> },
    /// Look for damage.
    Check { store: StoreAt, depth: Depth },
    /// Write a checkpoint of the index.
    Checkpoint { store: StoreAt },
    /// Clean down to the space target.
    Gc { store: StoreAt },
    /// Save what can be read of a damaged store.
    Salvage(SalvageInto),
    /// Write everything as JSON lines.
    Dump { store: StoreAt, destination: Option<PathBuf> },
    /// Put what JSON lines say.
    Load(Load),
    /// Do something with a device.
    Device(DeviceTask),
    /// Write a shell's completion script.
    Completions(Shell),
}

/// What to do with a device.
#[derive(Debug)]
pub(crate) enum DeviceTask {
    /// List the zoned devices under a root directory.
    List { root: PathBuf },
    /// List a device's zones.
    Report { path: PathBuf },
    /// Run the conformance suite.
    Check(DeviceTarget),
    /// Empty zones; none named means all.
    Reset { target: DeviceTarget, zones: Vec<RangeInclusive<u32>> },
    /// Measure appends into one zone.
    Bench(Bench),
}

/// A device that is going to be written.
#[derive(Debug)]
pub(crate) struct DeviceTarget {
    /// Where it is, and which queue to use.
    pub(crate) at: StoreAt,
    /// Whether to ask before data are destroyed.
    pub(crate) consent: Consent,
}

/// Whether somebody has agreed that data are destroyed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Consent {
    /// By an option.
    Given,
    /// Not yet.
    Ask,
}

/// What to measure.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Where.
    pub(crate) target: DeviceTarget,
    /// Bytes in each append.
    pub(crate) append_bytes: u64,
    /// Appends in each measurement, at most.
    pub(crate) append_count: u32,
    /// Measurements of each kind.
    pub(crate) round_count: usize,
}

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ValueSource {
    /// The command line itself.
    Given(Vec<u8>),
    /// All of stdin.
    Stdin,
    /// A file.
    File(PathBuf),
}

/// Which part of a store to show, and how.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The store.
    pub(crate) store: StoreAt,
    /// Which keys.
    pub(crate) keys: KeyRange,
    /// At most so many.
    pub(crate) limit: u64,
    /// From the last key to the first.
    pub(crate) reverse: bool,
    /// Without values.
    pub(crate) keys_only: bool,
}

/// A set of neighbouring keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum KeyRange {
    /// Those that begin so.
    Prefix(Vec<u8>),
    /// Those between two bounds.
    Between(Bound<Vec<u8>>, Bound<Vec<u8>>),
}

/// Where records come from, and how they are stored.
#[derive(Debug)]
pub(crate) struct Load {
    /// The store.
    pub(crate) store: StoreAt,
    /// The JSON lines; `None` is stdin.
    pub(crate) source: Option<PathBuf>,
    /// Records written at once.
    pub(crate) batch: NonZeroUsize,
    /// What the return of a batch promises.
    pub(crate) durability: Durability,
    /// Whether to make each batch durable and say so.
    pub(crate) acknowledge: bool,
}

/// A damaged store, and what is to become of what can be read of it.
#[derive(Debug)]
pub(crate) struct SalvageInto {
    /// The damaged store.
    pub(crate) store: StoreAt,
    /// Where the new store is made; `None` only tells what could be saved.
    pub(crate) into: Option<PathBuf>,
    /// What to do where it is not certain.
    pub(crate) options: SalvageOptions,
    /// What the new store is to hold, where not as much as the damaged one.
    pub(crate) capacity_bytes: Option<u64>,
    /// Whether what is on the device for the new store may be destroyed.
    pub(crate) overwrite_device: bool,
}

impl SalvageInto {
    /// Options for the new store, from those that make one like the damaged one.
    pub(crate) fn adjust(&self, like_the_original: Options) -> Options {
        // A device is given over whole, and a zoned one has its own sizes.
        let is_device = self.into.as_ref().is_some_and(|into| into.exists() && !into.is_file());
        let options = if is_device { Options::default().create_new(true) } else { like_the_original };
        let options = options.overwrite_device(self.overwrite_device);
        self.capacity_bytes.map_or(options.clone(), |bytes| options.capacity_bytes(bytes))
    }
}
