//! What lies on the device: pure encoding and decoding, no I/O, no clock, no randomness.
//!
//! - [`mod@unit`]: the append unit, a header and then records.
//! - [`record`]: one put, delete or part of a large value.
//! - [`manifest`]: what the store says of itself, in the two manifest zones.
//! - [`checkpoint`]: blocks of a checkpoint of the index, in zones of their own.
//! - [`journal`]: records that are not appended yet, where they outlive the process.
//!
//! All integers are little-endian. Every byte that is read from a device is input: a decoder gives an error for it,
//! never a panic.

pub mod checkpoint;
pub mod journal;
pub mod manifest;
pub mod record;
pub mod unit;

use thiserror::Error;

/// Version of the layout of units and records.
pub const FORMAT_VERSION: u8 = 1;

/// Why bytes are not what they should be.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// Fewer bytes than the structure needs.
    #[error("{structure} is cut short: {found_bytes} of {needed_bytes} bytes")]
    CutShort {
        /// Which structure.
        structure: &'static str,
        /// How many bytes it needs.
        needed_bytes: usize,
        /// How many there are.
        found_bytes: usize,
    },
    /// The magic number is another one.
    #[error("{structure} does not begin with its magic number")]
    Magic {
        /// Which structure.
        structure: &'static str,
    },
    /// The checksum does not match.
    #[error("checksum of {structure} is {found:08x} where {expected:08x} is recorded")]
    Checksum {
        /// Which structure.
        structure: &'static str,
        /// What the bytes give.
        found: u32,
        /// What is recorded.
        expected: u32,
    },
    /// Written by a version that this one does not know.
    #[error("{structure} has version {found}; this program reads version {FORMAT_VERSION}")]
    Version {
        /// Which structure.
        structure: &'static str,
        /// The version found.
        found: u8,
    },
    /// The checksum is good, a field makes no sense.
    #[error("{structure} has an impossible {field}: {found}")]
    Field {
        /// Which structure.
        structure: &'static str,
        /// Which field.
        field: &'static str,
        /// Its value.
        found: u64,
    },
}

/// Reads little-endian fields one after another; the caller has checked the length.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.rest.split_first_chunk::<N>().expect("the caller checked the length");
        self.rest = rest;
        *field
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.bytes::<1>()[0]
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
}

/// Writes little-endian fields one after another; the caller has made room.
pub(crate) struct FieldsMut<'a> {
    rest: &'a mut [u8],
}

impl<'a> FieldsMut<'a> {
    pub(crate) fn new(bytes: &'a mut [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn bytes(&mut self, field: &[u8]) {
        let (head, rest) = std::mem::take(&mut self.rest).split_at_mut(field.len());
        head.copy_from_slice(field);
        self.rest = rest;
    }

    pub(crate) fn u8(&mut self, field: u8) {
        self.bytes(&[field]);
    }

    pub(crate) fn u16(&mut self, field: u16) {
        self.bytes(&field.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, field: u32) {
        self.bytes(&field.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, field: u64) {
        self.bytes(&field.to_le_bytes());
    }
}
