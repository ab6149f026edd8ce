//! NVMe commands as Linux takes them for passthrough, byte by byte.
//!
//! Pure. Both ways to hand over a command share one layout (`struct nvme_passthru_cmd64` for ioctl, `struct nvme_uring_cmd`
//! for io_uring, linux/nvme_ioctl.h), in the byte order of the machine:
//!
//! | bytes | field | | bytes | field |
//! |---|---|---|---|---|
//! | 0 | opcode | | 32..36 | metadata length |
//! | 1 | flags | | 36..40 | data length |
//! | 2..4 | reserved | | 40..64 | cdw10 to cdw15 |
//! | 4..8 | namespace | | 64..68 | timeout, ms; 0: the driver's |
//! | 8..16 | cdw2, cdw3 | | 68..72 | reserved |
//! | 16..24 | metadata address | | 72..80 | ioctl only: result |
//! | 24..32 | data address | | | |
//!
//! Invariant: what a command says about its length on the drive agrees with the length of the memory that goes with it. The
//! kernel maps just that memory for the drive, which moves as much as the command says.

use crate::device::NvmeCommand;

/// How long a command is in the larger of the two layouts.
pub(crate) const FRAME_BYTES: usize = 80;

/// How much of it io_uring knows: all but the result.
const URING_COMMAND_BYTES: usize = 72;

/// What an Identify command gives.
pub(super) const IDENTIFY_BYTES: usize = 4096;

/// The number of the Zoned Namespace Command Set.
const ZONED_COMMAND_SET: u32 = 2;
const FORCE_UNIT_ACCESS: u32 = 1 << 30;
const PARTIAL_REPORT: u32 = 1 << 16;

mod opcode {
    pub(super) const FLUSH: u8 = 0x00;
    pub(super) const WRITE: u8 = 0x01;
    pub(super) const READ: u8 = 0x02;
    pub(super) const IDENTIFY: u8 = 0x06;
    pub(super) const ZONE_MANAGEMENT_SEND: u8 = 0x79;
    pub(super) const ZONE_MANAGEMENT_RECEIVE: u8 = 0x7a;
    pub(super) const ZONE_APPEND: u8 = 0x7d;
}

/// Which data structure an Identify command gives (Controller or Namespace Structure, and command set).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Identify {
    /// The namespace as the NVM command set sees it: block formats.
    Namespace,
    /// The controller: what it is, its transfer limit, its cache.
    Controller,
    /// The namespace as a zoned one: zone size and limits.
    ZonedNamespace,
    /// The controller's limits for zoned namespaces: the append limit.
    ZonedController,
}

/// What Zone Management Send makes of a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ZoneAction {
    Close = 1,
    Finish = 2,
    Open = 3,
    Reset = 4,
}

impl ZoneAction {
    /// As in "it cannot be closed".
    pub(super) const fn participle(self) -> &'static str {
        match self {
            Self::Close => "closed",
            Self::Finish => "finished",
            Self::Open => "opened",
            Self::Reset => "reset",
        }
    }

    /// The command in words.
    pub(super) const fn command(self) -> &'static str {
        match self {
            Self::Close => "Close Zone",
            Self::Finish => "Finish Zone",
            Self::Open => "Open Zone",
            Self::Reset => "Reset Zone",
        }
    }
}

/// A command without the memory that goes with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Command {
    opcode: u8,
    namespace: u32,
    /// Command dwords 10 to 15.
    dwords: [u32; 6],
}

impl Command {
    /// Gives [`IDENTIFY_BYTES`].
    pub(super) fn identify(namespace: u32, what: Identify) -> Self {
        let (structure, command_set, of_namespace) = match what {
            Identify::Namespace => (0x00, 0, true),
            Identify::Controller => (0x01, 0, false),
            Identify::ZonedNamespace => (0x05, ZONED_COMMAND_SET, true),
            Identify::ZonedController => (0x06, ZONED_COMMAND_SET, false),
        };
        let namespace = if of_namespace { namespace } else { 0 };
        let mut command = Self { opcode: opcode::IDENTIFY, namespace, ..Self::default() };
        command.dwords[0] = structure;
        command.dwords[1] = command_set << 24;
        command
    }

    /// Gives as many zones, from the one that starts at a block on, as fit in `len_bytes`, whole dwords.
    pub(super) fn report_zones(namespace: u32, start_lba: u64, len_bytes: u32) -> Self {
        assert!(
            len_bytes >= 4 && len_bytes.is_multiple_of(4),
            "a report of {len_bytes} bytes is not whole dwords"
        );
        let mut command = Self::at_block(opcode::ZONE_MANAGEMENT_RECEIVE, namespace, start_lba);
        command.dwords[2] = len_bytes / 4 - 1;
        command.dwords[3] = PARTIAL_REPORT;
        command
    }

    /// Moves no data.
    pub(super) fn manage_zone(namespace: u32, start_lba: u64, action: ZoneAction) -> Self {
        let mut command = Self::at_block(opcode::ZONE_MANAGEMENT_SEND, namespace, start_lba);
        command.dwords[3] = action as u32;
        command
    }

    /// Moves no data.
    pub(super) fn flush(namespace: u32) -> Self {
        Self { opcode: opcode::FLUSH, namespace, ..Self::default() }
    }

    fn at_block(opcode: u8, namespace: u32, lba: u64) -> Self {
        let [low, high] = halves(lba);
        Self { opcode, namespace, dwords: [low, high, 0, 0, 0, 0] }
    }

    /// The command with the memory that goes with it.
    pub(super) fn frame(&self, address: u64, len_bytes: u32) -> [u8; FRAME_BYTES] {
        let mut frame = [0; FRAME_BYTES];
        frame[0] = self.opcode;
        frame[4..8].copy_from_slice(&self.namespace.to_ne_bytes());
        frame[24..32].copy_from_slice(&address.to_ne_bytes());
        frame[36..40].copy_from_slice(&len_bytes.to_ne_bytes());
        for (field, dword) in frame[40..64].chunks_exact_mut(4).zip(self.dwords) {
            field.copy_from_slice(&dword.to_ne_bytes());
        }
        frame
    }
}

impl From<&NvmeCommand> for Command {
    fn from(command: &NvmeCommand) -> Self {
        let mut encoded = Self::at_block(command.opcode, command.namespace, command.start_lba);
        assert!(
            (1..=1 << 16).contains(&command.block_count),
            "a command for {} blocks; it takes 1 to 65536",
            command.block_count
        );
        let flags = if command.force_unit_access { FORCE_UNIT_ACCESS } else { 0 };
        encoded.dwords[2] = (command.block_count - 1) | flags;
        encoded
    }
}

impl NvmeCommand {
    /// A read of `block_count` blocks.
    pub(super) const fn read(fd: i32, namespace: u32, start_lba: u64, block_count: u32) -> Self {
        Self { fd, opcode: opcode::READ, namespace, start_lba, block_count, force_unit_access: false }
    }

    /// An append of `block_count` blocks to the zone that starts at `start_lba`.
    pub(super) const fn append(fd: i32, namespace: u32, start_lba: u64, block_count: u32) -> Self {
        Self { fd, opcode: opcode::ZONE_APPEND, namespace, start_lba, block_count, force_unit_access: false }
    }

    /// A write of what `append` was to append, at a place of the caller's choice.
    pub(super) const fn write_instead(append: Self, start_lba: u64) -> Self {
        Self { opcode: opcode::WRITE, start_lba, ..append }
    }

    /// The command and the memory that goes with it, as io_uring takes them.
    pub(crate) fn for_ring(&self, address: u64, len_bytes: u32) -> [u8; FRAME_BYTES] {
        let frame = Command::from(self).frame(address, len_bytes);
        debug_assert!(frame[URING_COMMAND_BYTES..].iter().all(|&byte| byte == 0));
        frame
    }
}

fn halves(value: u64) -> [u32; 2] {
    let bytes = value.to_le_bytes();
    [0, 4].map(|at| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")))
}

#[cfg(test)]
mod tests {
    use super::{Command, FRAME_BYTES, Identify, ZoneAction};
    use crate::device::NvmeCommand;

    /// A frame of zeros but for the fields that are named, each with its bytes on a little-endian machine.
    fn frame_of(fields: &[(usize, &[u8])]) -> [u8; FRAME_BYTES] {
        let mut frame = [0; FRAME_BYTES];
        for (at, bytes) in fields {
            frame[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        frame
    }

    #[test]
    fn an_append_names_the_zone_start_and_counts_blocks_from_zero() {
        let append = NvmeCommand::append(3, 0x0a0b_0c0d, 0x1122_3344_5566_7788, 32);
        let expected = frame_of(&[
            (0, &[0x7d]),
            (4, &[0x0d, 0x0c, 0x0b, 0x0a]),
            (24, &[0x00, 0x10, 0xfe, 0xca, 0xff, 0x7f, 0, 0]),
            (36, &[0, 0, 2, 0]),
            (40, &[0x88, 0x77, 0x66, 0x55]),
            (44, &[0x44, 0x33, 0x22, 0x11]),
            (48, &[31, 0, 0, 0]),
        ]);
        assert_eq!(append.for_ring(0x7fff_cafe_1000, 131_072), expected);
    }

    #[test]
    fn a_durable_append_differs_by_bit_30_of_dword_12_alone() {
        let append = NvmeCommand::append(3, 1, 0x400, 1);
        let durable = NvmeCommand { force_unit_access: true, ..append };
        let (append, durable) = (append.for_ring(0x1000, 4096), durable.for_ring(0x1000, 4096));
        let differing: Vec<usize> = (0..FRAME_BYTES).filter(|&at| append[at] != durable[at]).collect();
        assert_eq!(differing, [51]);
        assert_eq!(durable[51], 0x40);
    }

    #[test]
    fn a_read_names_its_first_block() {
        let read = NvmeCommand::read(3, 1, 0x401, 65_536);
        let expected = frame_of(&[
            (0, &[2]),
            (4, &[1]),
            (25, &[0x10]),
            (36, &[0, 0, 0, 2]),
            (40, &[1, 4]),
            (48, &[0xff, 0xff, 0, 0]),
        ]);
        assert_eq!(read.for_ring(0x1000, 1 << 25), expected);
    }

    #[test]
    #[should_panic(expected = "a command for 65537 blocks")]
    fn a_count_that_does_not_fit_its_field_is_not_sent() {
        NvmeCommand::read(3, 1, 0, 65_537).for_ring(0x1000, 4096);
    }

    #[test]
    #[should_panic(expected = "a command for 0 blocks")]
    fn a_command_for_no_blocks_is_not_sent() {
        NvmeCommand::append(3, 1, 0, 0).for_ring(0x1000, 0);
    }

    #[test]
    fn identify_names_the_structure_and_the_command_set() {
        let cases = [
            (Identify::Namespace, 0x00, 0, 7),
            (Identify::Controller, 0x01, 0, 0),
            (Identify::ZonedNamespace, 0x05, 2, 7),
            (Identify::ZonedController, 0x06, 2, 0),
        ];
        for (what, structure, command_set, namespace) in cases {
            let expected = frame_of(&[
                (0, &[6]),
                (4, &[namespace]),
                (25, &[0x20]),
                (37, &[0x10]),
                (40, &[structure]),
                (47, &[command_set]),
            ]);
            assert_eq!(Command::identify(7, what).frame(0x2000, 4096), expected, "{what:?}");
        }
    }

    #[test]
    fn a_report_asks_for_whole_dwords_and_counts_only_what_it_gives() {
        let expected = frame_of(&[
            (0, &[0x7a]),
            (4, &[1]),
            (25, &[0x10]),
            (37, &[0x20]),
            (41, &[8]),
            (48, &[0xff, 7]),
            (52, &[0, 0, 1, 0]),
        ]);
        assert_eq!(Command::report_zones(1, 0x800, 8192).frame(0x1000, 8192), expected);
    }

    #[test]
    fn each_zone_action_has_its_number_and_touches_one_zone() {
        let cases =
            [(ZoneAction::Close, 1), (ZoneAction::Finish, 2), (ZoneAction::Open, 3), (ZoneAction::Reset, 4)];
        for (action, number) in cases {
            let expected =
                frame_of(&[(0, &[0x79]), (4, &[1]), (41, &[4]), (44, &[1]), (52, &[number, 0, 0, 0])]);
            assert_eq!(Command::manage_zone(1, 0x1_0000_0400, action).frame(0, 0), expected, "{action:?}");
        }
    }

    #[test]
    fn a_flush_names_its_namespace_and_nothing_else() {
        assert_eq!(Command::flush(5).frame(0, 0), frame_of(&[(4, &[5])]));
    }
}
