//! Any number of threads through one store: nothing lost, nothing foreign, nothing out of order.

mod ends;
mod readers;
mod writers;

use zonal::Durability;

use crate::support::{LEVELS, expect_bytes, stamped};

/// A value that tells who wrote it and which of their writes it is; the rest of it follows from that.
fn value_of(thread: u64, count: u64) -> Vec<u8> {
    let len_bytes = 16 + usize::try_from((thread * 7919 + count * 104_729) % 3000).expect("small");
    let mut value = stamped(thread << 32 | count, len_bytes);
    value[..8].copy_from_slice(&thread.to_le_bytes());
    value[8..16].copy_from_slice(&count.to_le_bytes());
    value
}

/// Who wrote a value, and which of their writes it is. Any byte that is not as written fails here.
fn writer_of(key: &[u8], value: &[u8]) -> (u64, u64) {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
    let (thread, count) = (number(&value[..8]), number(&value[8..16]));
    expect_bytes(key, Some(value), Some(&value_of(thread, count)));
    (thread, count)
}

fn key_of(thread: u64, number: u64) -> Vec<u8> {
    format!("thread {thread:02} key {number:04}").into_bytes()
}

fn level_of(count: u64) -> Durability {
    LEVELS[usize::try_from(count % 3).expect("small")]
}
