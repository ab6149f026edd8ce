//! The command line as typed. Nothing here is checked against anything else; that is `resolve`'s part.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::device_line::DeviceCommand;
use super::help;
use crate::queue_name::QueueName;
use crate::size::parse_bytes;

/// Looks after zonal stores: makes them, reads and changes what they hold, shows how they are.
///
/// A store is one file, or a whole device, named by its path. Commands that only read never change a byte of it.
#[derive(Debug, Parser)]
#[command(name = "kvctl", version, after_help = help::EXAMPLES)]
pub(crate) struct CommandLine {
    /// How results are written to stdout
    #[arg(long, global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,

    /// How reads and appends reach the device; `kvctl info` shows which one is in use
    #[arg(long, global = true, value_name = "QUEUE", default_value = "auto")]
    pub(crate) queue: QueueName,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new store
    #[command(after_help = help::CREATE)]
    Create(Create),
    /// Give a key a value
    #[command(after_help = help::PUT)]
    Put(Put),
    /// Write the value of a key to stdout
    #[command(after_help = help::GET)]
    Get(Get),
    /// Take the value of a key away
    #[command(after_help = help::DELETE)]
    Delete(Delete),
    /// List keys and values in order
    #[command(after_help = help::SCAN)]
    Scan(Scan),
    /// Show what a store is: sizes, limits, how its device is accessed
    #[command(after_help = help::INFO)]
    Info(Store),
    /// Show what a store holds and what it has written
    #[command(after_help = help::STATS)]
    Stats(Store),
    /// List the zones, or draw them
    #[command(after_help = help::ZONES)]
    Zones(Zones),
    /// Look for damage; changes and repairs nothing
    #[command(after_help = help::CHECK)]
    Check(Check),
    /// Write a checkpoint of the index, which makes the next opening quick
    #[command(after_help = help::CHECKPOINT)]
    Checkpoint(Store),
    /// Clean a store at once, down to its space target
    #[command(after_help = help::GC)]
    Gc(Store),
    /// Save what can be read of a damaged store into a new one; never changes the damaged one
    #[command(after_help = help::SALVAGE)]
    Salvage(Salvage),
    /// Store the records of JSON lines
    #[command(after_help = help::LOAD)]
    Load(Load),
    /// Write all records as JSON lines
    #[command(after_help = help::DUMP)]
    Dump(Dump),
    /// Look at zoned devices, check them, empty them: below stores
    #[command(subcommand, after_help = help::DEVICE)]
    Device(DeviceCommand),
    /// Write a completion script for a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// The store that a command is about.
#[derive(Debug, Args)]
pub(crate) struct Store {
    /// The store: the path of a file or device
    #[arg(value_name = "STORE")]
    pub(crate) path: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) store: Store,

    /// What all zones together hold, rounded up to whole zones [default: grows as needed, up to 64GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) capacity: Option<u64>,

    /// From one zone start to the next [default: 16MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) zone_size: Option<u64>,

    /// What can be written in a zone, at most the zone size [default: the zone size]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) zone_capacity: Option<u64>,

    /// The device's block size, 512 or 4096 [default: 4096]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) block_size: Option<u64>,

    /// Zones that may be open at once [default: 14]
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_open: Option<u32>,

    /// Zones that may be active, that is open or closed, at once; at least 3 [default: 14]
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_active: Option<u32>,

    /// Destroy what is on a device; without it only a blank one is taken
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    #[command(flatten)]
    pub(crate) store: Store,

    #[command(flatten)]
    pub(crate) key: Key,

    /// The value; `-` reads it from stdin, `@FILE` from a file
    pub(crate) value: String,

    /// Take VALUE as it is, even `-` and what begins with `@`
    #[arg(long)]
    pub(crate) literal: bool,

    #[command(flatten)]
    pub(crate) promise: Promise,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) store: Store,

    #[command(flatten)]
    pub(crate) key: Key,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) store: Store,

    #[command(flatten)]
    pub(crate) key: Key,

    #[command(flatten)]
    pub(crate) promise: Promise,
}

/// A key.
#[derive(Debug, Args)]
pub(crate) struct Key {
    /// The key, 1 to 65,535 bytes
    pub(crate) key: String,

    #[command(flatten)]
    pub(crate) spelling: Spelling,
}

/// How keys are spelt on this command line.
#[derive(Debug, Args)]
pub(crate) struct Spelling {
    /// How keys are spelt on this command line
    #[arg(long, value_name = "ENCODING", default_value = "text")]
    pub(crate) key_encoding: KeyEncoding,
}

/// How keys are spelt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum KeyEncoding {
    /// As UTF-8 text
    Text,
    /// As pairs of hexadecimal digits: 00ff
    Hex,
    /// As base64: AP8=
    Base64,
}

/// What a write's return promises.
#[derive(Debug, Args)]
pub(crate) struct Promise {
    /// What is sure while the command still runs; all of it is durable once it ends with exit code 0
    #[arg(long, value_name = "LEVEL", default_value = "sync")]
    pub(crate) durability: DurabilityName,
}

/// What a write's return promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum DurabilityName {
    /// Each write survives power loss
    Sync,
    /// Each write survives a killed process
    Written,
    /// Writes are collected for some milliseconds
    Buffered,
}

impl From<DurabilityName> for zonal::Durability {
    fn from(name: DurabilityName) -> Self {
        match name {
            DurabilityName::Sync => Self::Sync,
            DurabilityName::Written => Self::Written,
            DurabilityName::Buffered => Self::Buffered,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Scan {
    #[command(flatten)]
    pub(crate) store: Store,

    /// Only keys that begin so
    #[arg(long, value_name = "KEY", conflicts_with_all = ["from", "to"])]
    pub(crate) prefix: Option<String>,

    /// Only this key and those after it
    #[arg(long, value_name = "KEY")]
    pub(crate) from: Option<String>,

    /// Only keys before this one
    #[arg(long, value_name = "KEY")]
    pub(crate) to: Option<String>,

    /// At most so many keys
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,

    /// The last key first
    #[arg(long)]
    pub(crate) reverse: bool,

    /// Without the values
    #[arg(long)]
    pub(crate) keys_only: bool,

    #[command(flatten)]
    pub(crate) spelling: Spelling,
}

#[derive(Debug, Args)]
pub(crate) struct Zones {
    #[command(flatten)]
    pub(crate) store: Store,

    /// Draw the whole device instead of listing its zones
    #[arg(long)]
    pub(crate) map: bool,

    /// Width of the drawing in characters [default: the terminal's, else 80]
    #[arg(long, value_name = "COLUMNS", requires = "map")]
    pub(crate) width: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) store: Store,

    /// Read every value back from the device as well
    #[arg(long)]
    pub(crate) deep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Salvage {
    #[command(flatten)]
    pub(crate) store: Store,

    /// Make a new store here, and copy into it what can be read; without it nothing is written
    #[arg(long, value_name = "NEW")]
    pub(crate) into: Option<PathBuf>,

    /// Where the newest version of a key is damaged, keep the one before
    #[arg(long)]
    pub(crate) older_versions: bool,

    /// Leave out keys of which a newer version may have been lost
    #[arg(long)]
    pub(crate) only_certain: bool,

    /// What the zones of the new store together hold [default: as those of the damaged one]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, requires = "into")]
    pub(crate) capacity: Option<u64>,

    /// Destroy what is on the device for the new store; without it only a blank one is taken
    #[arg(long, requires = "into")]
    pub(crate) yes: bool,

    /// The damaged device's zone size, where neither its header nor its manifest tells
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) zone_size: Option<u64>,

    /// What can be written in a zone, where neither header nor manifest tells [default: the zone size]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) zone_capacity: Option<u64>,

    /// The damaged device's block size, where neither header nor manifest tells [default: 4096]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) block_size: Option<u64>,

    /// The damaged device's number of zones, where neither header nor manifest tells [default: as many as the file holds]
    #[arg(long, value_name = "COUNT")]
    pub(crate) zone_count: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    pub(crate) store: Store,

    /// The JSON lines; `-` reads them from stdin
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) source: PathBuf,

    /// Records written at once: all of a batch survive a crash, or none; a batch ends at 1 MiB, too
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    pub(crate) batch: NonZeroUsize,

    /// Make each batch durable and then write to stdout how many lines of the input are durable by now
    #[arg(long)]
    pub(crate) acknowledge: bool,

    #[command(flatten)]
    pub(crate) promise: Promise,
}

#[derive(Debug, Args)]
pub(crate) struct Dump {
    #[command(flatten)]
    pub(crate) store: Store,

    /// Write to this file, which must not exist yet, instead of stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::CommandLine;

    #[test]
    fn the_options_do_not_contradict_each_other() {
        CommandLine::command().debug_assert();
    }
}
