//! Memory that direct I/O accepts: aligned for every block size we know.

use aligned_vec::{AVec, ConstAlign};

/// Alignment in bytes of every buffer that goes to a device: the largest block size.
pub const BUFFER_ALIGNMENT: usize = 4096;

/// A ring's claim on the memory of a buffer: the kernel has its pages at hand under a number.
pub(crate) struct Registration {
    /// Tells the ring from all others.
    ring: u64,
    slot: u16,
    /// Ends the claim when it is dropped.
    _claim: Box<dyn Send + Sync>,
}

impl Registration {
    /// The claim of `ring`, which knows the buffer as number `slot`.
    pub(crate) fn new(ring: u64, slot: u16, claim: impl Send + Sync + 'static) -> Self {
        Self { ring, slot, _claim: Box::new(claim) }
    }
}

/// A byte buffer of fixed capacity, aligned for direct I/O. Its memory does not move when the buffer does.
pub struct AlignedBuffer {
    /// Before the memory, so that the claim ends first.
    registration: Option<Registration>,
    memory: AVec<u8, ConstAlign<BUFFER_ALIGNMENT>>,
    len_bytes: usize,
}

impl AlignedBuffer {
    /// A buffer of `len_bytes` zeros.
    #[must_use]
    pub fn zeroed(len_bytes: usize) -> Self {
        let mut memory = AVec::with_capacity(BUFFER_ALIGNMENT, len_bytes);
        memory.resize(len_bytes, 0);
        Self { registration: None, memory, len_bytes }
    }

    /// Sets the length; bytes beyond the former one are whatever was there before.
    ///
    /// # Panics
    /// When `len_bytes` is more than the capacity.
    pub fn set_len(&mut self, len_bytes: usize) {
        assert!(len_bytes <= self.memory.len(), "{len_bytes} exceeds {}", self.memory.len());
        self.len_bytes = len_bytes;
    }

    /// The number under which a ring knows the buffer, if it does.
    pub(crate) fn slot_on(&self, ring: u64) -> Option<u16> {
        self.registration.as_ref().filter(|registration| registration.ring == ring).map(|found| found.slot)
    }

    /// Takes over a ring's claim on the whole memory, in the place of any former one.
    pub(crate) fn register(&mut self, registration: Registration) {
        self.registration = Some(registration);
    }

    /// All of it, whatever the length is.
    pub(crate) fn whole_memory(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// The greatest length the buffer can have.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.memory.len()
    }
}

impl std::ops::Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.len_bytes]
    }
}

impl std::ops::DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len_bytes]
    }
}

impl std::fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuffer({} bytes)", self.len_bytes)
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

    #[test]
    fn a_shortened_buffer_gets_its_length_back() {
        let mut buffer = AlignedBuffer::zeroed(8192);
        buffer.set_len(100);
        assert_eq!(buffer.len(), 100);
        buffer.set_len(buffer.capacity_bytes());
        assert_eq!(buffer.len(), 8192);
    }
}
