//! Memory that direct I/O accepts: aligned for every block size we know.

use aligned_vec::{AVec, ConstAlign};

/// Alignment in bytes of every buffer that goes to a device: the largest block size.
pub const BUFFER_ALIGNMENT: usize = 4096;

/// A byte buffer of fixed length, aligned for direct I/O.
pub struct AlignedBuffer {
    bytes: AVec<u8, ConstAlign<BUFFER_ALIGNMENT>>,
}

impl AlignedBuffer {
    /// A buffer of `len_bytes` zeros.
    #[must_use]
    pub fn zeroed(len_bytes: usize) -> Self {
        Self { bytes: AVec::from_iter(BUFFER_ALIGNMENT, std::iter::repeat_n(0, len_bytes)) }
    }

    /// Shortens the buffer; memory stays as it is.
    ///
    /// # Panics
    /// When `len_bytes` is more than the length.
    pub fn truncate(&mut self, len_bytes: usize) {
        assert!(len_bytes <= self.bytes.len(), "{len_bytes} exceeds {}", self.bytes.len());
        self.bytes.truncate(len_bytes);
    }
}

impl std::ops::Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::ops::DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl std::fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuffer({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::{AlignedBuffer, BUFFER_ALIGNMENT};

    #[test]
    fn a_buffer_is_aligned_zeroed_and_as_long_as_asked() {
        let buffer = AlignedBuffer::zeroed(12_288);
        assert_eq!(buffer.as_ptr().addr() % BUFFER_ALIGNMENT, 0);
        assert_eq!(buffer.len(), 12_288);
        assert!(buffer.iter().all(|&byte| byte == 0));
    }
}
