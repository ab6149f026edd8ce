//! What a controller and a namespace say of themselves.
//!
//! Pure: from the bytes of Identify data structures to the few facts that matter here. Bytes of a drive are input: whatever
//! they are, the answer is a value or an error.

use super::bytes::{u16_at, u32_at, u64_at};
use super::command::IDENTIFY_BYTES;

/// One Identify data structure.
pub(super) type IdentifyData = [u8; IDENTIFY_BYTES];

/// Drives count transfer sizes in units of a page size that user programs cannot ask for. None is smaller than this, so that
/// limits reckoned with it are never too large.
const LEAST_PAGE_BYTES: u64 = 4096;

/// What matters of a controller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Controller {
    pub(super) model: String,
    pub(super) serial: String,
    /// The most that one command moves; `None` for no limit.
    pub(super) transfer_limit_bytes: Option<u64>,
    pub(super) volatile_cache: bool,
}

impl Controller {
    pub(super) fn parse(data: &IdentifyData) -> Self {
        Self {
            model: text(&data[24..64]),
            serial: text(&data[4..24]),
            transfer_limit_bytes: power_of_two_pages(data[77]),
            volatile_cache: data[525] & 1 != 0,
        }
    }
}

/// The append limit of a controller for zoned namespaces; `None` when it is the transfer limit.
pub(super) fn append_limit_bytes(zoned_controller: &IdentifyData) -> Option<u64> {
    power_of_two_pages(zoned_controller[0])
}

/// A size as drives give it: a power of two in pages, 0 for none.
fn power_of_two_pages(exponent: u8) -> Option<u64> {
    if exponent == 0 {
        return None;
    }
    // What does not fit is no limit either.
    1u64.checked_shl(u32::from(exponent)).and_then(|pages| pages.checked_mul(LEAST_PAGE_BYTES))
}

/// How the blocks of a namespace are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BlockFormat {
    /// Which of the formats that the namespace can have.
    index: usize,
    /// A power of two; `None` when it is more than a `u32` holds.
    pub(super) block_bytes: Option<u32>,
    /// Bytes that come with each block on top.
    pub(super) metadata_bytes: u16,
    /// How many blocks the namespace has.
    pub(super) block_count: u64,
}

impl BlockFormat {
    pub(super) fn parse(namespace: &IdentifyData) -> Self {
        let formatted = namespace[26];
        let index = usize::from(formatted & 0xf | (formatted & 0x60) >> 1);
        let format = 128 + 4 * index;
        Self {
            index,
            block_bytes: 1u32.checked_shl(u32::from(namespace[format + 2])),
            metadata_bytes: u16_at(namespace, format),
            block_count: u64_at(namespace, 0),
        }
    }
}

/// What matters of a namespace as a zoned one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ZonedNamespace {
    /// From one zone start to the next; 0 where the namespace is not zoned.
    pub(super) zone_size_blocks: u64,
    /// `None` for no limit.
    pub(super) max_active_zones: Option<u32>,
    /// `None` for no limit.
    pub(super) max_open_zones: Option<u32>,
}

impl ZonedNamespace {
    pub(super) fn parse(zoned_namespace: &IdentifyData, format: &BlockFormat) -> Self {
        Self {
            zone_size_blocks: u64_at(zoned_namespace, 2816 + 16 * format.index),
            // Both count from zero, and all ones says that there is no limit.
            max_active_zones: u32_at(zoned_namespace, 4).checked_add(1),
            max_open_zones: u32_at(zoned_namespace, 8).checked_add(1),
        }
    }
}

/// Text of a drive, padded with spaces. What is not printable ASCII becomes `?`.
fn text(bytes: &[u8]) -> String {
    let printable = |&byte: &u8| if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '?' };
    let text: String = bytes.iter().map(printable).collect();
    text.trim_matches([' ', '?']).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    use super::{BlockFormat, Controller, IdentifyData, ZonedNamespace, append_limit_bytes};
    use crate::device::nvme::command::IDENTIFY_BYTES;

    fn data_of(fields: &[(usize, &[u8])]) -> IdentifyData {
        let mut data = [0; IDENTIFY_BYTES];
        for (at, bytes) in fields {
            data[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        data
    }

    #[test]
    fn a_controller_says_what_it_is_and_what_it_moves() {
        let data =
            data_of(&[(4, b"zt0                 "), (24, b"QEMU NVMe Ctrl  "), (77, &[7]), (525, &[7])]);
        let expected = Controller {
            model: "QEMU NVMe Ctrl".to_owned(),
            serial: "zt0".to_owned(),
            transfer_limit_bytes: Some(524_288),
            volatile_cache: true,
        };
        assert_eq!(Controller::parse(&data), expected);
    }

    #[test]
    fn no_limit_and_no_cache_are_told_from_small_ones() {
        let controller = Controller::parse(&data_of(&[(525, &[6])]));
        assert_eq!((controller.transfer_limit_bytes, controller.volatile_cache), (None, false));
        assert_eq!(append_limit_bytes(&data_of(&[])), None);
        assert_eq!(append_limit_bytes(&data_of(&[(0, &[5])])), Some(131_072));
        assert_eq!(append_limit_bytes(&data_of(&[(0, &[200])])), None);
    }

    #[test]
    fn the_block_format_in_use_is_the_one_that_counts() {
        let data = data_of(&[
            (0, &[0, 0, 1]),
            (26, &[0b0010_0011]),
            (128 + 4 * 3, &[8, 0, 9]),
            (128 + 4 * 19, &[0, 0, 12]),
        ]);
        let format = BlockFormat::parse(&data);
        let found = (format.block_bytes, format.metadata_bytes, format.block_count);
        assert_eq!(found, (Some(4096), 0, 65_536));
        let zoned = data_of(&[(2816 + 16 * 19, &[0, 4]), (4, &[11, 0, 0, 0, 7, 0, 0, 0])]);
        let expected =
            ZonedNamespace { zone_size_blocks: 1024, max_active_zones: Some(12), max_open_zones: Some(8) };
        assert_eq!(ZonedNamespace::parse(&zoned, &format), expected);
    }

    #[test]
    fn all_ones_are_no_limit_of_zones() {
        let format = BlockFormat::parse(&data_of(&[]));
        let zoned = ZonedNamespace::parse(&data_of(&[(4, &[0xff; 8])]), &format);
        assert_eq!((zoned.max_active_zones, zoned.max_open_zones), (None, None));
    }

    proptest! {
        #[test]
        fn whatever_a_drive_sends_is_parsed_without_a_panic(noise in vec(any::<u8>(), IDENTIFY_BYTES)) {
            let data: IdentifyData = noise.try_into().expect("as long as a structure");
            let format = BlockFormat::parse(&data);
            assert!(format.block_bytes.is_none_or(u32::is_power_of_two));
            ZonedNamespace::parse(&data, &format);
            let controller = Controller::parse(&data);
            assert!(controller.model.is_ascii() && controller.serial.is_ascii());
            append_limit_bytes(&data);
        }
    }
}
