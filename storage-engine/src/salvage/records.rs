//! The records of one unit, also behind ones that are not whole. Pure.

use crate::format::DecodeError;
use crate::format::record::{DecodedRecord, RawHeader, Record};
use crate::format::unit::{StreamKind, UNIT_HEADER_BYTES, UnitHeader};
use crate::index::MAX_UNIT_BYTES;
use crate::units::SeqNo;

/// A record and where it lies.
pub(super) struct Encoded<'b> {
    pub(super) decoded: DecodedRecord<'b>,
    pub(super) offset: u64,
    pub(super) head_crc: u32,
    pub(super) value_crc: u32,
}

impl<'b> Encoded<'b> {
    pub(super) fn decode(from: &'b [u8], offset: u64) -> Result<Self, DecodeError> {
        let decoded = Record::decode(from)?;
        let raw = RawHeader::read(from).expect("what was decoded has a header");
        Ok(Self { decoded, offset, head_crc: raw.head_crc, value_crc: raw.value_crc })
    }

    fn seqno(&self) -> SeqNo {
        self.decoded.record.seqno
    }
}

/// What can be told of a record before its checksum is computed.
pub(super) fn looks_like_a_record(bytes: &[u8]) -> bool {
    RawHeader::read(bytes).is_some_and(|raw| raw.is_plausible() && raw.value_bytes <= MAX_UNIT_BYTES)
}

/// The records of a unit.
pub(super) struct UnitBody<'b> {
    pub(super) header: &'b UnitHeader,
    pub(super) at: u64,
    /// The unit up to the end of its records, header included.
    pub(super) bytes: &'b [u8],
}

/// A place where records are missing.
pub(super) struct Missing {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Number in the unit of the first missing record, and of the next one that is there.
    pub(super) index: u64,
    pub(super) next_index: u64,
    pub(super) error: DecodeError,
}

impl<'b> UnitBody<'b> {
    pub(super) fn records(&self) -> (Vec<Encoded<'b>>, Vec<Missing>) {
        let (mut records, mut holes) = (Vec::new(), Vec::new());
        let (mut position, mut index) = (UNIT_HEADER_BYTES, 0);
        let count = u64::from(self.header.record_count);
        while index < count && position < self.bytes.len() {
            match self.record_at(position, Some(index)) {
                Ok(record) => {
                    position += record.decoded.encoded_bytes;
                    records.push(record);
                    index += 1;
                }
                Err(error) => {
                    let (to, next_index) = self.next_record(position, index);
                    holes.push(Missing { from: position, to, index, next_index, error });
                    (position, index) = (to, next_index);
                }
            }
        }
        if index < count && holes.is_empty() {
            let error = DecodeError::Field { structure: "unit", field: "record count", found: count };
            holes.push(Missing { from: position, to: self.bytes.len(), index, next_index: count, error });
        }
        (records, holes)
    }

    /// The record at a place, if it can be this unit's; `index` is its number where that is known.
    fn record_at(&self, position: usize, index: Option<u64>) -> Result<Encoded<'b>, DecodeError> {
        let record = Encoded::decode(&self.bytes[position..], self.at + position as u64)?;
        let foreign = DecodeError::Field { structure: "record", field: "seqno", found: record.seqno().get() };
        let first = self.header.first_seqno;
        let fits = match (self.header.stream, index) {
            (StreamKind::Relocation, _) => true,
            (StreamKind::User, Some(index)) => record.seqno() == first.forward(index),
            (StreamKind::User, None) => record.seqno() >= first && record.seqno() <= self.header.last_seqno(),
        };
        if fits { Ok(record) } else { Err(foreign) }
    }

    /// Where the next record after a damaged one begins, and its number in the unit.
    ///
    /// One from which record follows upon record to the end of the unit is preferred: values may hold what looks like
    /// records.
    fn next_record(&self, damaged: usize, index: u64) -> (usize, u64) {
        let end = (self.bytes.len(), u64::from(self.header.record_count));
        let mut some = None;
        for position in damaged + 1..self.bytes.len() {
            if !looks_like_a_record(&self.bytes[position..]) {
                continue;
            }
            let Ok(record) = self.record_at(position, None) else { continue };
            let number = match self.header.stream {
                StreamKind::User => record.seqno().get() - self.header.first_seqno.get(),
                StreamKind::Relocation => index + 1,
            };
            if number <= index || number >= end.1 {
                continue;
            }
            if self.leads_to_the_end(position) {
                return (position, number);
            }
            some.get_or_insert((position, number));
        }
        some.unwrap_or(end)
    }

    fn leads_to_the_end(&self, mut position: usize) -> bool {
        while position < self.bytes.len() {
            match self.record_at(position, None) {
                Ok(record) => position += record.decoded.encoded_bytes,
                Err(_) => return false,
            }
        }
        true
    }
}
