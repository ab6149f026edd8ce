//! Fills the buffer of one unit with records; the header comes last, when it is known what it must say.

use crate::buffer::AlignedBuffer;
use crate::format::record::Record;
use crate::format::unit::{ContentsChecksum, UNIT_HEADER_BYTES, UnitHeader};

/// A unit that is being filled. In this order in memory: what each record changes comes first.
#[derive(Debug)]
#[repr(C)]
pub struct UnitBuilder {
    filled_bytes: usize,
    contents: ContentsChecksum,
    record_count: u32,
    buffer: AlignedBuffer,
}

impl UnitBuilder {
    /// Fills `buffer`, whose length is the most that the unit may take.
    ///
    /// # Panics
    /// When the buffer has no room for a header.
    #[must_use]
    pub fn new(buffer: AlignedBuffer) -> Self {
        assert!(buffer.len() > UNIT_HEADER_BYTES, "a unit of {} bytes", buffer.len());
        let contents = ContentsChecksum::default();
        Self { buffer, filled_bytes: UNIT_HEADER_BYTES, record_count: 0, contents }
    }

    /// Bytes of records that still fit.
    #[must_use]
    pub fn room_bytes(&self) -> usize {
        self.buffer.len() - self.filled_bytes
    }

    /// Number of records so far.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Adds a record whose value has this checksum and gives its offset in the unit.
    ///
    /// # Panics
    /// When it does not fit.
    pub fn push(&mut self, record: &Record<'_>, value_crc: u32) -> u32 {
        let offset = self.filled_bytes;
        self.filled_bytes += record.encode_with_value_crc(value_crc, &mut self.buffer[offset..]);
        self.contents.add(&self.buffer[offset..]);
        self.record_count += 1;
        u32::try_from(offset).expect("a unit is at most 1 MiB")
    }

    /// Adds a record that is encoded already and gives its offset in the unit.
    ///
    /// # Panics
    /// When it does not fit.
    pub fn push_encoded(&mut self, record: &[u8]) -> u32 {
        let offset = self.filled_bytes;
        self.buffer[offset..offset + record.len()].copy_from_slice(record);
        self.filled_bytes += record.len();
        self.contents.add(record);
        self.record_count += 1;
        u32::try_from(offset).expect("a unit is at most 1 MiB")
    }

    /// The bytes filled so far, the place of the header included.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.buffer[..self.filled_bytes]
    }

    /// Writes the header, pads with zeros to whole blocks and gives the unit.
    ///
    /// Record count, body length and contents checksum of `header` are filled in here.
    ///
    /// # Panics
    /// When the unit is empty.
    #[must_use]
    pub fn seal(mut self, header: UnitHeader, block_bytes: usize) -> AlignedBuffer {
        assert!(self.record_count > 0, "an empty unit is never appended");
        let body_bytes =
            u32::try_from(self.filled_bytes - UNIT_HEADER_BYTES).expect("a unit is at most 1 MiB");
        let contents_crc = self.contents.finish();
        let header = UnitHeader { body_bytes, record_count: self.record_count, contents_crc, ..header };
        header.encode(&mut self.buffer);
        let len_bytes = self.filled_bytes.next_multiple_of(block_bytes);
        self.buffer[self.filled_bytes..len_bytes].fill(0);
        self.buffer.set_len(len_bytes);
        self.buffer
    }
}
