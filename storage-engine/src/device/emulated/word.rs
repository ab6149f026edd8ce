//! State and write pointer of a zone in one 64-bit word, so that an append takes its place with one compare-and-swap.
//!
//! Pure. The four low bits are the state's code, the others the write pointer in blocks. In a finished zone the write
//! pointer stays where writing stopped, because the bytes after it must read as zeros; a zone report gives the capacity.

use super::layout::{state_code, state_of};
use crate::device::transition::{Contents, Reach, ZoneCommand, transition};
use crate::device::{DeviceError, DeviceResult, Geometry, ZoneState};
use crate::units::{ZoneId, ZoneOffset, ZoneSector};

const STATE_BITS: u32 = 4;
const STATE_MASK: u64 = (1 << STATE_BITS) - 1;

/// State and write pointer of a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ZoneWord {
    /// The state.
    pub(super) state: ZoneState,
    /// How far the zone is written.
    pub(super) write_pointer: ZoneOffset,
}

impl ZoneWord {
    /// A zone with nothing in it.
    pub(super) const EMPTY: Self = Self { state: ZoneState::Empty, write_pointer: ZoneOffset::START };

    pub(super) const fn pack(self, block_bytes: u32) -> u64 {
        let blocks = self.write_pointer.get() / block_bytes as u64;
        (blocks << STATE_BITS) | state_code(self.state) as u64
    }

    /// # Panics
    /// When the word is not one that [`ZoneWord::pack`] made.
    pub(super) fn unpack(raw: u64, block_bytes: u32) -> Self {
        let code = (raw & STATE_MASK) as u8;
        let Some(state) = state_of(code) else { panic!("no state has code {code}") };
        let write_pointer = ZoneOffset::new((raw >> STATE_BITS) * u64::from(block_bytes));
        Self { state, write_pointer }
    }

    /// The command that closes this zone.
    pub(super) fn close_command(self) -> ZoneCommand {
        let untouched = self.write_pointer == ZoneOffset::START;
        ZoneCommand::Close(if untouched { Contents::Nothing } else { Contents::Something })
    }

    /// What the zone is after a command that takes no place in it.
    ///
    /// # Errors
    /// The state's refusal.
    pub(super) fn after(self, zone: ZoneId, command: ZoneCommand) -> DeviceResult<Self> {
        let state =
            transition(self.state, command).map_err(|refusal| refusal.of(zone, self.state, command))?;
        let write_pointer = if state == ZoneState::Empty { ZoneOffset::START } else { self.write_pointer };
        Ok(Self { state, write_pointer })
    }

    /// What the zone is after an append of `len_bytes`, whose place is the present write pointer.
    ///
    /// # Errors
    /// [`DeviceError::ZoneFull`], [`DeviceError::ZoneReadOnly`], [`DeviceError::ZoneOffline`],
    /// [`DeviceError::ZoneBoundary`], [`DeviceError::PlaceOverflow`].
    pub(super) fn after_append(
        self,
        zone: ZoneId,
        len_bytes: u64,
        geometry: &Geometry,
    ) -> DeviceResult<Self> {
        let place = self.write_pointer;
        let room_bytes = geometry.zone_capacity_bytes.saturating_sub(place.get());
        let reach = if len_bytes == room_bytes { Reach::Capacity } else { Reach::Inside };
        let command = ZoneCommand::Append(reach);
        let state =
            transition(self.state, command).map_err(|refusal| refusal.of(zone, self.state, command))?;
        if len_bytes > room_bytes {
            return Err(DeviceError::ZoneBoundary { zone, len_bytes, room_bytes });
        }
        if ZoneSector::at(place).is_none() {
            return Err(DeviceError::PlaceOverflow { zone, offset: place });
        }
        Ok(Self { state, write_pointer: place.forward(len_bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::ZoneWord;
    use crate::device::{DeviceError, Geometry, ZoneState};
    use crate::units::{ZoneId, ZoneOffset};

    const STATES: [ZoneState; 7] = [
        ZoneState::Empty,
        ZoneState::ImplicitlyOpen,
        ZoneState::ExplicitlyOpen,
        ZoneState::Closed,
        ZoneState::Full,
        ZoneState::ReadOnly,
        ZoneState::Offline,
    ];

    #[test]
    fn a_word_keeps_every_state_and_the_largest_write_pointer() {
        let largest = u64::from(u32::MAX) * 512;
        for block_bytes in [512, 4096] {
            for (state, pointer) in STATES.into_iter().flat_map(|state| [(state, 0), (state, largest)]) {
                let pointer = ZoneOffset::new(pointer - pointer % u64::from(block_bytes));
                let word = ZoneWord { state, write_pointer: pointer };
                assert_eq!(ZoneWord::unpack(word.pack(block_bytes), block_bytes), word);
            }
        }
    }

    #[test]
    fn a_place_that_no_completion_could_report_is_refused() {
        let size = 1 << 42;
        let geometry = Geometry {
            block_bytes: 4096,
            zone_size_bytes: size,
            zone_capacity_bytes: size,
            zone_count: 1,
            max_open_zones: 1,
            max_active_zones: 1,
            append_limit_bytes: 4096,
            volatile_cache: true,
        };
        let offset = ZoneOffset::new(1 << 41);
        let far = ZoneWord { state: ZoneState::ImplicitlyOpen, write_pointer: offset };
        let refused = far.after_append(ZoneId::new(0), 4096, &geometry);
        assert!(matches!(refused, Err(DeviceError::PlaceOverflow { offset: at, .. }) if at == offset));
    }
}
