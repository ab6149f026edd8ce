//! The command line of `kvctl device` as typed.

use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::help;
use crate::size::parse_bytes;

/// What to do with a device.
#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// List the zoned devices of this machine: model, zones, limits, who holds them
    #[command(after_help = help::DEVICE_LIST)]
    List {
        /// Look at a file system under this directory instead of /
        #[arg(long, hide = true, value_name = "DIRECTORY", default_value = "/")]
        root: PathBuf,
    },
    /// List a device's zones and their states; changes nothing
    #[command(after_help = help::DEVICE_REPORT)]
    Report(Device),
    /// Check that a device keeps the rules that stores rely on; DESTROYS what is on it
    #[command(after_help = help::DEVICE_CHECK)]
    Check {
        /// Which device, and whether to ask.
        #[command(flatten)]
        target: Target,
    },
    /// Empty zones; DESTROYS what is in them
    #[command(after_help = help::DEVICE_RESET)]
    Reset(Reset),
    /// Measure appends into one zone, many in flight against one at a time; DESTROYS what is in the zone
    #[command(after_help = help::DEVICE_BENCH)]
    Bench(Bench),
}

/// The device that a command is about.
#[derive(Debug, Args)]
pub(crate) struct Device {
    /// The device: /dev/ngXnY, a zoned block device, or a file made by `kvctl create`
    #[arg(value_name = "DEVICE")]
    pub(crate) path: PathBuf,
}

/// A device that is going to be written.
#[derive(Debug, Args)]
pub(crate) struct Target {
    #[command(flatten)]
    pub(crate) device: Device,

    /// Do not ask before data are destroyed
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    #[command(flatten)]
    pub(crate) target: Target,

    /// Which zones: numbers and ranges, for example 3 or 5-9,12
    #[arg(long, value_name = "ZONES", value_delimiter = ',', value_parser = parse_zones)]
    pub(crate) zones: Vec<RangeInclusive<u32>>,

    /// All zones that can be reset
    #[arg(long, conflicts_with = "zones", required_unless_present = "zones")]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    pub(crate) target: Target,

    /// Bytes in each append, whole blocks of the device
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "4096")]
    pub(crate) append_bytes: u64,

    /// Appends in each measurement, at most; a zone is filled once and no more
    #[arg(long, value_name = "COUNT", default_value = "2000")]
    pub(crate) appends: NonZeroU32,

    /// Measurements of each kind, of which the median counts
    #[arg(long, value_name = "COUNT", default_value = "5")]
    pub(crate) rounds: NonZeroUsize,
}

fn parse_zones(text: &str) -> Result<RangeInclusive<u32>, String> {
    let number = |text: &str| text.trim().parse().map_err(|_| format!("'{text}' is no zone number"));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err(format!("{first} is after {last}")) } else { Ok(first..=last) }
}

#[cfg(test)]
mod tests {
    use super::parse_zones;

    #[test]
    fn zones_are_numbers_and_ranges() {
        assert_eq!(parse_zones("3"), Ok(3..=3));
        assert_eq!(parse_zones("5-9"), Ok(5..=9));
        for (text, reason) in [("9-5", "9 is after 5"), ("x", "no zone number"), ("1-", "no zone number")] {
            assert!(parse_zones(text).unwrap_err().contains(reason), "{text}");
        }
    }
}
