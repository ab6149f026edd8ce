//! What a drive says when it does not do as told.
//!
//! Pure. A status is eleven bits: three of type, eight of code (NVM Express Base Specification, status field). Linux passes on more
//! bits above them, which say whether to retry and where to find more.

use super::command::ZoneAction;
use crate::device::{DeviceError, Geometry, ZoneState};
use crate::units::{ZoneId, ZoneOffset};

const STATUS_BITS: u16 = 0x7ff;

/// Type and code of a status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Status(u16);

impl Status {
    pub(super) const INVALID_FIELD: Self = Self(0x002);
    pub(super) const INVALID_NAMESPACE: Self = Self(0x00b);
    pub(super) const INVALID_COMMAND_SET: Self = Self(0x12b);
    const ZONE_BOUNDARY: Self = Self(0x1b8);
    const ZONE_FULL: Self = Self(0x1b9);
    const ZONE_READ_ONLY: Self = Self(0x1ba);
    const ZONE_OFFLINE: Self = Self(0x1bb);
    const TOO_MANY_ACTIVE: Self = Self(0x1bd);
    const TOO_MANY_OPEN: Self = Self(0x1be);
    const BAD_TRANSITION: Self = Self(0x1bf);

    /// The status in a result of Linux; `None` when there is none in it.
    pub(super) fn of(result: i32) -> Option<Self> {
        let low = u16::try_from(result & i32::from(STATUS_BITS)).ok()?;
        (result > 0).then_some(Self(low))
    }

    /// The name that the specifications give it.
    pub(super) fn meaning(self) -> &'static str {
        let found = MEANINGS.binary_search_by_key(&self.0, |&(code, _)| code);
        found.map_or_else(|_| self.meaning_of_type(), |at| MEANINGS[at].1)
    }

    const fn meaning_of_type(self) -> &'static str {
        match self.0 >> 8 {
            0 => "a generic status that this program does not know",
            1 => "a command-specific status that this program does not know",
            2 => "a media or data integrity error that this program does not know",
            3 => "a path-related status that this program does not know",
            7 => "a vendor-specific status",
            _ => "a reserved status",
        }
    }

    /// The error for a command without one of its own.
    pub(super) fn plain_error(self, command: &'static str, zone: Option<ZoneId>) -> DeviceError {
        DeviceError::Nvme { zone, command, status: self.0, meaning: self.meaning() }
    }

    /// The error of an append of `len_bytes` to a zone that was written up to `written` when last heard of.
    pub(super) fn append_error(
        self,
        zone: ZoneId,
        len_bytes: u64,
        written: ZoneOffset,
        geometry: &Geometry,
    ) -> DeviceError {
        match self {
            Self::ZONE_BOUNDARY => {
                let room_bytes = geometry.zone_capacity_bytes.saturating_sub(written.get());
                DeviceError::ZoneBoundary { zone, len_bytes, room_bytes }
            }
            _ => self.zone_error("Zone Append", zone, geometry),
        }
    }

    /// The error of a zone management command to a zone in `state`.
    pub(super) fn management_error(
        self,
        action: ZoneAction,
        zone: ZoneId,
        state: Option<ZoneState>,
        geometry: &Geometry,
    ) -> DeviceError {
        // A zone that is worn out may be refused with the name of its state; for the caller that is a bad transition, too.
        let refused_for_state =
            [Self::BAD_TRANSITION, Self::ZONE_FULL, Self::ZONE_READ_ONLY, Self::ZONE_OFFLINE];
        match state {
            Some(state) if refused_for_state.contains(&self) => {
                DeviceError::BadTransition { zone, state, action: action.participle() }
            }
            _ => self.zone_error(action.command(), zone, geometry),
        }
    }

    fn zone_error(self, command: &'static str, zone: ZoneId, geometry: &Geometry) -> DeviceError {
        match self {
            Self::ZONE_FULL => DeviceError::ZoneFull { zone },
            Self::ZONE_READ_ONLY => DeviceError::ZoneReadOnly { zone },
            Self::ZONE_OFFLINE => DeviceError::ZoneOffline { zone },
            Self::TOO_MANY_ACTIVE => DeviceError::TooManyActive { zone, limit: geometry.max_active_zones },
            Self::TOO_MANY_OPEN => DeviceError::TooManyOpen { zone, limit: geometry.max_open_zones },
            _ => self.plain_error(command, Some(zone)),
        }
    }

    /// The error of a read in a zone.
    pub(super) fn read_error(self, zone: ZoneId) -> DeviceError {
        match self {
            Self::ZONE_OFFLINE => DeviceError::ZoneOffline { zone },
            _ => self.plain_error("Read", Some(zone)),
        }
    }
}

/// Ordered by code.
const MEANINGS: &[(u16, &str)] = &[
    (0x001, "invalid command opcode"),
    (0x002, "invalid field in command"),
    (0x004, "data transfer error"),
    (0x005, "commands aborted due to power loss notification"),
    (0x006, "internal error"),
    (0x007, "command abort requested"),
    (0x008, "command aborted due to submission queue deletion"),
    (0x00b, "invalid namespace or format"),
    (0x00c, "command sequence error"),
    (0x013, "PRP offset invalid"),
    (0x016, "operation denied"),
    (0x01c, "sanitize failed"),
    (0x01d, "sanitize in progress"),
    (0x020, "namespace is write protected"),
    (0x021, "command interrupted"),
    (0x022, "transient transport error"),
    (0x080, "LBA out of range"),
    (0x081, "capacity exceeded"),
    (0x082, "namespace not ready"),
    (0x083, "reservation conflict"),
    (0x084, "format in progress"),
    (0x12b, "I/O command set not supported"),
    (0x182, "attempted write to read only range"),
    (0x1b8, "zone boundary error"),
    (0x1b9, "zone is full"),
    (0x1ba, "zone is read only"),
    (0x1bb, "zone is offline"),
    (0x1bc, "zone invalid write"),
    (0x1bd, "too many active zones"),
    (0x1be, "too many open zones"),
    (0x1bf, "invalid zone state transition"),
    (0x280, "write fault"),
    (0x281, "unrecovered read error"),
    (0x282, "end-to-end guard check error"),
    (0x283, "end-to-end application tag check error"),
    (0x284, "end-to-end reference tag check error"),
    (0x285, "compare failure"),
    (0x286, "access denied"),
    (0x287, "deallocated or unwritten logical block"),
    (0x300, "internal path error"),
    (0x301, "asymmetric access persistent loss"),
    (0x302, "asymmetric access inaccessible"),
    (0x303, "asymmetric access transition"),
    (0x360, "controller pathing error"),
    (0x370, "host pathing error"),
    (0x371, "command aborted by host"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{MEANINGS, Status, ZoneAction};
    use crate::device::{DeviceError, Geometry, ZoneState};
    use crate::units::{ZoneId, ZoneOffset};

    const GEOMETRY: Geometry = Geometry {
        block_bytes: 4096,
        zone_size_bytes: 4 << 20,
        zone_capacity_bytes: 3 << 20,
        zone_count: 64,
        max_open_zones: 8,
        max_active_zones: 12,
        append_limit_bytes: 131_072,
        volatile_cache: true,
    };
    const ZONE: ZoneId = ZoneId::new(7);

    fn append_error(result: i32) -> DeviceError {
        let written = ZoneOffset::new((3 << 20) - 4096);
        Status::of(result).expect("a status").append_error(ZONE, 8192, written, &GEOMETRY)
    }

    #[test]
    fn success_and_errnos_carry_no_status() {
        for result in [0, -1, -5, i32::MIN] {
            assert_eq!(Status::of(result), None, "{result}");
        }
    }

    /// Linux passes a retry delay (0x1800), "more" (0x2000) and "do not retry" (0x4000) on.
    #[test]
    fn what_linux_adds_above_the_status_does_not_count() {
        for above in [0, 0x800, 0x1000, 0x2000, 0x4000, 0x7800] {
            assert!(matches!(append_error(0x1b9 | above), DeviceError::ZoneFull { zone: ZONE }));
        }
    }

    #[test]
    fn each_refusal_of_an_append_is_an_error_of_its_own() {
        assert!(matches!(
            append_error(0x1b8),
            DeviceError::ZoneBoundary { zone: ZONE, len_bytes: 8192, room_bytes: 4096 }
        ));
        assert!(matches!(append_error(0x1b9), DeviceError::ZoneFull { zone: ZONE }));
        assert!(matches!(append_error(0x1ba), DeviceError::ZoneReadOnly { zone: ZONE }));
        assert!(matches!(append_error(0x1bb), DeviceError::ZoneOffline { zone: ZONE }));
        assert!(matches!(append_error(0x1bd), DeviceError::TooManyActive { zone: ZONE, limit: 12 }));
        assert!(matches!(append_error(0x1be), DeviceError::TooManyOpen { zone: ZONE, limit: 8 }));
    }

    #[test]
    fn any_other_status_keeps_its_code_and_says_what_it_means() {
        let text = append_error(0x4280).to_string();
        for part in ["Zone Append", "zone 7", "0x280", "write fault"] {
            assert!(text.contains(part), "{part} is missing from: {text}");
        }
        assert_eq!(
            Status(0x281).plain_error("Flush", None).to_string(),
            "Flush ended with NVMe status 0x281: unrecovered read error"
        );
    }

    #[test]
    fn a_management_command_that_the_state_forbids_names_the_state() {
        for code in [0x1b9, 0x1ba, 0x1bb, 0x1bf] {
            let error =
                Status(code).management_error(ZoneAction::Open, ZONE, Some(ZoneState::Full), &GEOMETRY);
            assert_eq!(error.to_string(), "zone 7 is Full: it cannot be opened");
        }
        let unknown = Status(0x1bf).management_error(ZoneAction::Open, ZONE, None, &GEOMETRY);
        assert!(matches!(unknown, DeviceError::Nvme { command: "Open Zone", status: 0x1bf, .. }));
        let active =
            Status(0x1bd).management_error(ZoneAction::Open, ZONE, Some(ZoneState::Empty), &GEOMETRY);
        assert!(matches!(active, DeviceError::TooManyActive { limit: 12, .. }));
    }

    #[test]
    fn the_table_of_meanings_can_be_searched() {
        assert!(MEANINGS.is_sorted_by(|one, next| one.0 < next.0));
        for &(code, meaning) in MEANINGS {
            assert_eq!(Status(code).meaning(), meaning);
        }
    }

    proptest! {
        #[test]
        fn every_result_above_zero_has_a_meaning(result in 1..=i32::MAX) {
            let status = Status::of(result).expect("above zero");
            assert!(!status.meaning().is_empty());
            assert!(status.0 <= 0x7ff);
        }

        #[test]
        fn no_result_makes_an_append_error_panic(result in 1..=i32::MAX, written in any::<u64>()) {
            let status = Status::of(result).expect("above zero");
            status.append_error(ZONE, 4096, ZoneOffset::new(written), &GEOMETRY);
        }
    }
}
