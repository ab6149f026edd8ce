//! Keys: `user` and twenty digits, the same that YCSB makes with `zeropadding=20`.
//!
//! Records are numbered from 0. A key's *number* is what its digits say: the record number itself when keys are
//! inserted in order, its FNV hash when they are spread over the key space.

/// Bytes in every key.
pub const KEY_BYTES: usize = PREFIX.len() + DIGITS;

const PREFIX: &[u8; 4] = b"user";
const DIGITS: usize = 20;

/// How record numbers become keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KeyOrder {
    /// Neighbouring records land far apart: the key's number is a hash of the record's.
    #[default]
    Hashed,
    /// Keys sort as their records were inserted.
    Ordered,
}

/// One key, ready for a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    bytes: [u8; KEY_BYTES],
    number: u64,
}

impl Key {
    /// The key of a record.
    #[must_use]
    pub fn of_record(record: u64, order: KeyOrder) -> Self {
        let number = match order {
            KeyOrder::Hashed => fnv_hash(record),
            KeyOrder::Ordered => record,
        };
        Self { bytes: encode(number), number }
    }

    /// The number in the key's digits.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The key as a store sees it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The number of a key that a store gave back, or `None` when it is not one of ours.
#[must_use]
pub fn number_of_key(key: &[u8]) -> Option<u64> {
    let digits = key.strip_prefix(PREFIX)?;
    if digits.len() != DIGITS {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

fn encode(mut number: u64) -> [u8; KEY_BYTES] {
    let mut bytes = [b'0'; KEY_BYTES];
    bytes[..PREFIX.len()].copy_from_slice(PREFIX);
    for pair in bytes[PREFIX.len()..].rchunks_exact_mut(2) {
        let two_digits = (number % 100) as u8;
        number /= 100;
        pair[0] = b'0' + two_digits / 10;
        pair[1] = b'0' + two_digits % 10;
    }
    bytes
}

/// FNV-1a over the eight bytes of a number, lowest first, without its sign: the hash that YCSB's keys are made with.
#[must_use]
pub fn fnv_hash(number: u64) -> u64 {
    const OFFSET_BASIS: u64 = 0xCBF2_9CE4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01B3;
    let hash = number
        .to_le_bytes()
        .iter()
        .fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    hash.cast_signed().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{KEY_BYTES, Key, KeyOrder, fnv_hash, number_of_key};

    #[test]
    fn an_ordered_key_shows_its_record_number() {
        let key = Key::of_record(1_234_567, KeyOrder::Ordered);
        assert_eq!(key.bytes(), b"user00000000000001234567");
        assert_eq!(key.bytes().len(), KEY_BYTES);
        assert_eq!(Key::of_record(u64::MAX, KeyOrder::Ordered).bytes(), b"user18446744073709551615");
    }

    #[test]
    fn ordered_keys_sort_by_record_and_hashed_keys_do_not() {
        let keys =
            |order| (0..100).map(|record| Key::of_record(record, order).bytes().to_vec()).collect::<Vec<_>>();
        assert!(keys(KeyOrder::Ordered).is_sorted());
        assert!(!keys(KeyOrder::Hashed).is_sorted());
    }

    #[test]
    fn the_hash_is_the_one_ycsb_uses() {
        // By definition: 0xA8C7F832281A39C5 is FNV-1a of eight zero bytes; its absolute value as a signed number.
        assert_eq!(fnv_hash(0), 0xA8C7_F832_281A_39C5_u64.cast_signed().unsigned_abs());
        assert_eq!(Key::of_record(0, KeyOrder::Hashed).bytes(), b"user06284781860667377211");
    }

    #[test]
    fn hashed_keys_of_many_records_differ() {
        let hashes: HashSet<u64> = (0..100_000).map(fnv_hash).collect();
        assert_eq!(hashes.len(), 100_000);
    }

    #[test]
    fn a_keys_number_can_be_read_back() {
        for order in [KeyOrder::Hashed, KeyOrder::Ordered] {
            let key = Key::of_record(77, order);
            assert_eq!(number_of_key(key.bytes()), Some(key.number()));
        }
        for strange in [
            &b"user1"[..],
            b"usex00000000000001234567",
            b"user0000000000000123456x",
            b"user99999999999999999999",
        ] {
            assert_eq!(number_of_key(strange), None);
        }
    }
}
