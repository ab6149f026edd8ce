//! Bytes that tell where they belong: no two blocks of any two appends are alike. Pure.

use crate::buffer::AlignedBuffer;

/// `len_bytes` that follow from a seed.
pub(super) fn content(seed: u64, len_bytes: usize) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::zeroed(len_bytes);
    for (word, number) in buffer.chunks_mut(8).zip(0..) {
        let bytes = scrambled(seed, number).to_le_bytes();
        let len = word.len();
        word.copy_from_slice(&bytes[..len]);
    }
    buffer
}

/// Where the bytes found differ from those of a seed, if they do.
pub(super) fn first_difference(seed: u64, found: &[u8]) -> Option<usize> {
    content(seed, found.len()).iter().zip(found).position(|(expected, found)| expected != found)
}

/// A finalizer in the manner of SplitMix64.
fn scrambled(seed: u64, number: u64) -> u64 {
    let mut word =
        (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xd1b5_4a32_d192_ed03);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::{content, first_difference};

    #[test]
    fn content_is_known_again_and_told_from_any_other() {
        let bytes = content(7, 8192);
        assert_eq!(first_difference(7, &bytes), None);
        assert!(first_difference(8, &bytes).is_some_and(|at| at < 8));
        assert!(
            first_difference(7, &bytes[4096..]).is_some_and(|at| at < 8),
            "another block of the same append"
        );
        assert_eq!(first_difference(0, &[0; 512]), Some(0), "zeros are nobody's content");
        let mut torn = content(7, 8192);
        torn[8000] ^= 1;
        assert_eq!(first_difference(7, &torn), Some(8000));
    }
}
