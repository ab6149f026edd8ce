//! Whole reads, past the page cache where a descriptor is open for that. Knows nothing of zones.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::OFlags;

use crate::buffer::AlignedBuffer;

/// Largest single read or write that a device makes of its own.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// The open flag that bypasses the page cache.
#[expect(clippy::cast_possible_wrap, reason = "open flags are bits in a C int")]
pub(super) const DIRECT_FLAG: i32 = OFlags::DIRECT.bits() as i32;

/// Reads until `into` is full or the file ends; says how many bytes there were.
pub(super) fn read_until_end(file: &File, at_bytes: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut read_bytes = 0;
    while read_bytes < into.len() {
        match file.read_at(&mut into[read_bytes..], at_bytes + read_bytes as u64) {
            Ok(0) => break,
            Ok(count) => read_bytes += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read_bytes)
}

/// The same for a descriptor that bypasses the page cache and memory that need not be aligned.
pub(super) fn read_by_way_of_aligned_memory(
    file: &File,
    at_bytes: u64,
    into: &mut [u8],
) -> io::Result<usize> {
    let mut bounce = AlignedBuffer::zeroed(into.len().min(CHUNK_BYTES));
    let mut read_bytes = 0;
    for part in into.chunks_mut(CHUNK_BYTES) {
        let wanted = &mut bounce[..part.len()];
        let found_bytes = read_until_end(file, at_bytes + read_bytes as u64, wanted)?;
        part.copy_from_slice(wanted);
        read_bytes += found_bytes;
        if found_bytes < part.len() {
            break;
        }
    }
    Ok(read_bytes)
}
