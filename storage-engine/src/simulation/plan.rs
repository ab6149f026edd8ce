//! What a seed decides beforehand: the device, the store, how it is used, what fails.

use std::time::Duration;

use crate::device::Geometry;
use crate::device::simulated::Faults;
use crate::engine::OpenOptions;
use crate::format::journal::RING_AT_BYTES;
use crate::format::manifest::SpaceUse;
use crate::gc::policy::PolicyKind;
use crate::index::{HashShape, IndexKind};
use crate::queue::QueueKind;
use crate::seeded::{Seeded, mixed};

const BLOCK_BYTES: u32 = 512;

/// What a life is like on the whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Temper {
    /// As chance has it.
    Even,
    /// Opened again and again, and never for long; what crashes took turns up when it can.
    Restless,
    /// Much is deleted, and zones are emptied whether that is called for or not: copies of copies of deletes.
    Churning,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) temper: Temper,
    pub(super) geometry: Geometry,
    /// How much memory the device has that outlives the process.
    pub(super) kept_memory_bytes: usize,
    pub(super) space_use: SpaceUse,
    pub(super) options: OpenOptions,
    /// Whether every other opening chooses the ordered index.
    pub(super) changes_index: bool,
    pub(super) key_count: usize,
    pub(super) client_count: usize,
    /// Values are mostly this long.
    pub(super) common_value_bytes: u64,
    pub(super) faults: Faults,
    /// In percent, of the calls that write.
    pub(super) sync_share: u64,
    pub(super) delete_share: u64,
    /// Steps of background work, in percent of all that is done.
    pub(super) step_share: u64,
    /// Requests for a checkpoint, in percent of all that is done; 0 where there is no room for any.
    pub(super) checkpoint_share: u64,
    pub(super) runs: u64,
    pub(super) actions: u64,
    /// Of so many I/Os of an opening one is crashed at.
    pub(super) ios_a_crash: u64,
}

impl Plan {
    pub(super) fn new(random: &mut Seeded) -> Self {
        let (temper, kept_memory_bytes) = temper_and_kept_memory(random.clone());
        let mut index_random = random.clone();
        let (is_long, has_checkpoints) = (random.chance(1, 6), random.chance(1, 2));
        let capacity_blocks = 8 + random.below(if has_checkpoints { 9 } else { 17 });
        let size_blocks = capacity_blocks + if random.chance(1, 2) { random.below(9) } else { 0 };
        let few = 3 + u32::try_from(capacity_blocks % 6).expect("small") + 2 * u32::from(has_checkpoints);
        let max_active_zones = if random.chance(1, 3) { 11 } else { few };
        let unit_bytes = [2048, 3072, 4096][random.index(3)].min(capacity_blocks * u64::from(BLOCK_BYTES));
        let unit_bytes = u32::try_from(unit_bytes).expect("small");
        let geometry = Geometry {
            block_bytes: BLOCK_BYTES,
            zone_size_bytes: size_blocks * u64::from(BLOCK_BYTES),
            zone_capacity_bytes: capacity_blocks * u64::from(BLOCK_BYTES),
            zone_count: zone_count(has_checkpoints, random),
            max_open_zones: if random.chance(1, 2) { max_active_zones } else { 3 },
            max_active_zones,
            append_limit_bytes: unit_bytes,
            volatile_cache: true,
        };
        let policy_number = usize::try_from(size_blocks).expect("small") + unit_bytes as usize / 1024;
        let options = OpenOptions {
            read_only: false,
            direct_io: false,
            index: IndexKind::Ordered,
            queue: QueueKind::Automatic,
            cache_bytes: [0, 16 << 10][random.index(2)],
            buffered_delay: Duration::from_millis(5),
            unit_bytes: unit_bytes as usize,
            expects_durable: random.chance(1, 2),
            in_spite_of_damage: false,
            checkpoint_interval_bytes: 0,
            space_target_percent: 130,
            cleaning_policy: PolicyKind::ALL[policy_number % PolicyKind::ALL.len()],
            listener: None,
        };
        let faults = faults(random);
        let index = index_kind(&mut index_random, &faults);
        let options = OpenOptions { index, ..options };
        let common_value_bytes = match [0, 20, 100, 400, 700, 3000][random.index(6)] {
            // Parts of values pass for each other more easily than whole ones.
            _ if faults.misdirected > 0 && random.chance(1, 2) => 3000,
            bytes => bytes,
        };
        let plan = Self {
            temper,
            geometry,
            kept_memory_bytes,
            space_use: if random.chance(3, 4) { SpaceUse::Whole } else { SpaceUse::Proportional },
            options,
            changes_index: index_random.chance(1, 3),
            key_count: 3 + random.index(22),
            client_count: 1 + random.index(4),
            common_value_bytes,
            faults,
            sync_share: [5, 25, 60][random.index(3)],
            delete_share: [5, 20, 45][random.index(3)],
            step_share: [2, 10, 30][random.index(3)],
            checkpoint_share: if has_checkpoints { [3, 8, 20][random.index(3)] } else { 0 },
            runs: 2 + random.below(4),
            actions: if is_long { 200 + random.below(300) } else { 20 + random.below(60) },
            ios_a_crash: if is_long { 24 } else { 1 },
        };
        plan.tempered(random).crowded(&mut index_random)
    }

    /// Keys of one tag are in each other's way only until both have been written: in half of the lives with a hash index many
    /// keys are written for the first time while others are pending.
    fn crowded(self, random: &mut Seeded) -> Self {
        if self.options.index == IndexKind::Ordered || random.chance(1, 2) {
            return self;
        }
        let common_value_bytes = self.common_value_bytes.min(100);
        let shares = Self { sync_share: 80, delete_share: 5, step_share: 2, ..self };
        Self { key_count: 60, client_count: 8, common_value_bytes, ..shares }
    }

    fn tempered(self, random: &mut Seeded) -> Self {
        match self.temper {
            Temper::Even => self,
            Temper::Restless => {
                let (runs, actions) = (8 + random.below(12), 3 + random.below(8));
                Self { runs, actions, ios_a_crash: 4, ..self }
            }
            Temper::Churning => Self {
                step_share: 40,
                delete_share: 45,
                common_value_bytes: self.common_value_bytes.min(400),
                actions: 150 + random.below(250),
                ios_a_crash: 24,
                ..self
            },
        }
    }

    /// How an opening is made.
    pub(super) fn options_of(&self, opening: usize) -> OpenOptions {
        let is_changed = self.changes_index && opening.is_multiple_of(2);
        let index = if is_changed { IndexKind::Ordered } else { self.options.index };
        OpenOptions { index, ..self.options.clone() }
    }

    pub(super) fn key(number: usize) -> Vec<u8> {
        let mut key = format!("key {number:03}").into_bytes();
        // Some keys are long, one is very long: its records are as long as those of other keys' values.
        key.resize(7 + [0, 0, 13, 60, 0][number % 5] + if number == 3 { 300 } else { 0 }, b'.');
        key
    }

    /// The number of a key.
    pub(super) fn key_number(key: &[u8]) -> Option<usize> {
        let number = std::str::from_utf8(key.get(4..7)?).ok()?.parse().ok()?;
        (Self::key(number) == key).then_some(number)
    }
}

/// Checkpoints take only what data can spare.
fn zone_count(has_checkpoints: bool, random: &mut Seeded) -> u32 {
    let count = if has_checkpoints { 15 + random.below(8) } else { 8 + random.below(7) };
    u32::try_from(count).expect("small")
}

/// Half of all devices have no memory that outlives the process. A stream of its own decides: what other numbers decide stays
/// as it was.
fn temper_and_kept_memory(mut random: Seeded) -> (Temper, usize) {
    let mut random = Seeded::new(mixed(random.number()));
    let temper = match random.below(8) {
        0 => Temper::Restless,
        1 => Temper::Churning,
        _ => Temper::Even,
    };
    let ring_bytes = [1 << 10, 4 << 10, 16 << 10][random.index(3)];
    (temper, if random.chance(1, 2) { RING_AT_BYTES + ring_bytes } else { 0 })
}

/// Half of all lives have a hash index, mostly one with so few bits that many keys have one tag. What is read in a wrong place
/// tells itself from what was wanted by its tag: then there are enough bits. A stream of its own decides here, too.
fn index_kind(random: &mut Seeded, faults: &Faults) -> IndexKind {
    *random = Seeded::new(mixed(mixed(random.number())));
    let tag_bits = match random.below(10) {
        0..5 => return IndexKind::Ordered,
        _ if faults.misdirected > 0 => 30,
        5 => 1,
        6 => 2,
        7 => 4,
        8 => 8,
        _ => 30,
    };
    IndexKind::Hash(HashShape::crowded(tag_bits, random.number()))
}

/// Half of all lives are without faults: their crashes are enough.
fn faults(random: &mut Seeded) -> Faults {
    let rate = 1 << (8 + random.below(4));
    match random.below(13) {
        0 => Faults { append: rate, ..Faults::NONE },
        1 => Faults { flush: rate, ..Faults::NONE },
        2 => Faults { read: rate, ..Faults::NONE },
        3 => Faults { misdirected: rate, ..Faults::NONE },
        4 => Faults { prepare: rate, ..Faults::NONE },
        // Bytes that pass for others are few among all that a read may give.
        5 => Faults { misdirected: rate << 3, ..Faults::NONE },
        6 => Faults { append: rate, flush: rate, read: rate, misdirected: rate, prepare: rate },
        _ => Faults::NONE,
    }
}
