//! Values that say which key they belong to, and whose every byte can be checked when they are read.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | the key's number, little-endian |
//! | 8..16 | the version: which write made this value, little-endian |
//! | 16..24 | the check word: a mix of number, version and the value's length |
//! | 24.. | filling, in blocks of 64 KiB, each a slice of a pool at a place that the check word names |
//!
//! Values shorter than the header are cut from a mix of the key's number and the length; they carry no version.
//!
//! The pool is pseudo-random, incompressible by itself and the same in every run, so that any run can check what any
//! other has written. Making or checking a value is one copy or one comparison from memory that stays in the cache.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const HEADER_BYTES: usize = 24;
const BLOCK_BYTES: usize = 64 << 10;
/// Places in the pool where a block may begin, 8 bytes apart: 256 KiB, which a core's own cache holds.
const PLACES: usize = 1 << 15;
const PLACE_BYTES: usize = 8;
const POOL_SEED: u64 = 0x7A6F_6E61_6C20_7631;

/// Makes and checks values.
#[derive(Debug)]
pub struct ValuePool {
    bytes: Box<[u8]>,
}

/// How a value read differs from any that was written for its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WrongValue {
    /// The value belongs to another key.
    #[error("it is the value of the key number {0}")]
    OtherKey(u64),
    /// The head of the value, or its length, is not as it was written.
    #[error("its header or its length ({0} bytes) is damaged")]
    Header(usize),
    /// The value's filling differs.
    #[error("its bytes differ from what was written, in the block that begins at byte {0}")]
    Filling(usize),
}

impl Default for ValuePool {
    fn default() -> Self {
        Self::new()
    }
}

impl ValuePool {
    /// Makes the pool, which takes about a tenth of a millisecond.
    #[must_use]
    pub fn new() -> Self {
        let mut bytes = vec![0; PLACES * PLACE_BYTES + BLOCK_BYTES].into_boxed_slice();
        SmallRng::seed_from_u64(POOL_SEED).fill_bytes(&mut bytes);
        Self { bytes }
    }

    /// Replaces what `value` holds by the value of `length_bytes` that `version` gives the key.
    pub fn fill(&self, value: &mut Vec<u8>, length_bytes: usize, key_number: u64, version: u64) {
        value.clear();
        if length_bytes < HEADER_BYTES {
            value.extend_from_slice(&short_value(key_number, length_bytes)[..length_bytes]);
            return;
        }
        let check = check_word(key_number, version, length_bytes);
        value.reserve(length_bytes);
        value.extend_from_slice(&key_number.to_le_bytes());
        value.extend_from_slice(&version.to_le_bytes());
        value.extend_from_slice(&check.to_le_bytes());
        let mut left_bytes = length_bytes - HEADER_BYTES;
        for block in 0_u64.. {
            let block_bytes = left_bytes.min(BLOCK_BYTES);
            value.extend_from_slice(self.block(check, block, block_bytes));
            left_bytes -= block_bytes;
            if left_bytes == 0 {
                break;
            }
        }
    }

    /// Checks that `value` was written for the key, every byte of it.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn verify(&self, key_number: u64, value: &[u8]) -> Result<(), WrongValue> {
        let Some((header, filling)) = value.split_at_checked(HEADER_BYTES) else {
            return verify_short(key_number, value);
        };
        let (found_number, version, check) = (word(header, 0), word(header, 1), word(header, 2));
        if check != check_word(found_number, version, value.len()) {
            return Err(WrongValue::Header(value.len()));
        }
        if found_number != key_number {
            return Err(WrongValue::OtherKey(found_number));
        }
        for (block, found) in filling.chunks(BLOCK_BYTES).enumerate() {
            if found != self.block(check, block as u64, found.len()) {
                return Err(WrongValue::Filling(HEADER_BYTES + block * BLOCK_BYTES));
            }
        }
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "the place is below PLACES, whatever a usize holds")]
    fn block(&self, check: u64, block: u64, block_bytes: usize) -> &[u8] {
        let place = mix(check.wrapping_add(block)) % PLACES as u64;
        let start = place as usize * PLACE_BYTES;
        &self.bytes[start..start + block_bytes]
    }
}

/// An empty value is always wrong: it could stand for any key, and no workload writes one.
fn verify_short(key_number: u64, value: &[u8]) -> Result<(), WrongValue> {
    let same = value == &short_value(key_number, value.len())[..value.len()];
    if same && !value.is_empty() { Ok(()) } else { Err(WrongValue::Header(value.len())) }
}

fn word(header: &[u8], index: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&header[index * 8..index * 8 + 8]);
    u64::from_le_bytes(bytes)
}

fn check_word(key_number: u64, version: u64, length_bytes: usize) -> u64 {
    mix(mix(mix(key_number) ^ version) ^ length_bytes as u64)
}

fn short_value(key_number: u64, length_bytes: usize) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let mut state = mix(key_number) ^ length_bytes as u64;
    for chunk in bytes.chunks_exact_mut(8) {
        state = mix(state);
        chunk.copy_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// A bijection of 64 bits in which every bit of the input reaches every bit of the output: the finalizer of
/// `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014).
#[must_use]
pub fn mix(number: u64) -> u64 {
    let mut state = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_BYTES, HEADER_BYTES, ValuePool, WrongValue};

    const LENGTHS: [usize; 9] = [
        1,
        HEADER_BYTES - 1,
        HEADER_BYTES,
        HEADER_BYTES + 1,
        100,
        1000,
        BLOCK_BYTES + HEADER_BYTES,
        BLOCK_BYTES + HEADER_BYTES + 1,
        3 * BLOCK_BYTES,
    ];

    fn value(pool: &ValuePool, length_bytes: usize, key_number: u64, version: u64) -> Vec<u8> {
        let mut value = Vec::new();
        pool.fill(&mut value, length_bytes, key_number, version);
        value
    }

    #[test]
    fn a_value_of_any_length_verifies_for_its_key() {
        let pool = ValuePool::new();
        for length_bytes in LENGTHS {
            let value = value(&pool, length_bytes, 42, 7);
            assert_eq!(value.len(), length_bytes);
            assert_eq!(pool.verify(42, &value), Ok(()), "{length_bytes} bytes");
        }
    }

    #[test]
    fn values_written_by_one_run_verify_in_another() {
        let value = value(&ValuePool::new(), 1000, 42, 7);
        assert_eq!(ValuePool::new().verify(42, &value), Ok(()));
    }

    #[test]
    fn another_keys_value_is_told_by_its_number() {
        let pool = ValuePool::new();
        assert_eq!(pool.verify(43, &value(&pool, 1000, 42, 7)), Err(WrongValue::OtherKey(42)));
        assert!(pool.verify(43, &value(&pool, 8, 42, 7)).is_err());
    }

    #[test]
    fn any_flipped_bit_is_detected() {
        let pool = ValuePool::new();
        for length_bytes in [4, HEADER_BYTES, 40, 300] {
            let whole = value(&pool, length_bytes, 42, 7);
            for bit in 0..length_bytes * 8 {
                let mut damaged = whole.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(pool.verify(42, &damaged).is_err(), "bit {bit} of {length_bytes} bytes");
            }
        }
    }

    #[test]
    fn damage_in_the_filling_names_its_block() {
        let pool = ValuePool::new();
        let mut damaged = value(&pool, 2 * BLOCK_BYTES, 42, 7);
        damaged[HEADER_BYTES + BLOCK_BYTES + 5] ^= 1;
        assert_eq!(pool.verify(42, &damaged), Err(WrongValue::Filling(HEADER_BYTES + BLOCK_BYTES)));
    }

    #[test]
    fn a_value_cut_short_or_lengthened_is_detected() {
        let pool = ValuePool::new();
        let whole = value(&pool, 1000, 42, 7);
        assert_eq!(pool.verify(42, &whole[..999]), Err(WrongValue::Header(999)));
        assert_eq!(pool.verify(42, &[&whole[..], b"x"].concat()), Err(WrongValue::Header(1001)));
        assert_eq!(pool.verify(42, &[]), Err(WrongValue::Header(0)));
    }

    #[test]
    fn versions_of_one_key_differ_in_their_filling() {
        let pool = ValuePool::new();
        let (first, second) = (value(&pool, 1000, 42, 7), value(&pool, 1000, 42, 8));
        assert_ne!(first[HEADER_BYTES..], second[HEADER_BYTES..]);
    }
}
