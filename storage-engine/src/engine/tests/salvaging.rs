//! Salvage from a device that fails to read some of its blocks.
//!
//! Such blocks used to be collected and never told of: what was missing looked like zeros that somebody had written.

use std::sync::Arc;

use super::media::Media;
use super::{create, open};
use crate::device::emulated::Access;
use crate::engine::Durability;
use crate::log::writer::LogWrite;
use crate::salvage::{Salvage, SalvageOptions, UnreadableRun};
use crate::units::{ZoneId, ZoneOffset};

const DATA_ZONE: ZoneId = ZoneId::new(2);

#[test]
fn blocks_that_cannot_be_read_are_told_of_and_cost_what_was_in_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    create(&path);
    let media = Media::open(&path, Access::ReadWrite, 1).unwrap();
    let engine = open(&media).unwrap();
    for number in 0..9 {
        let (key, value) = (format!("key {number}"), vec![number; 3000]);
        engine.write(&[LogWrite { key: key.as_bytes(), value: Some(&value) }], Durability::Written).unwrap();
    }
    engine.close().unwrap();
    drop((engine, Arc::into_inner(media)));
    let media = Media::open(&path, Access::ReadOnly, 1).unwrap();
    let salvage = Salvage::of_device(Arc::clone(&media) as Arc<_>, &SalvageOptions::default()).unwrap();
    assert!(salvage.findings().is_complete() && salvage.findings().unreadable.is_empty());

    // One unit of a block each: the third and the fourth.
    media.fail_reads_of(DATA_ZONE, 2 * 4096..4 * 4096);
    let salvage = Salvage::of_device(media, &SalvageOptions::default()).unwrap();
    let run = UnreadableRun { zone: DATA_ZONE, offset: ZoneOffset::new(2 * 4096), len_bytes: 2 * 4096 };
    assert_eq!(salvage.findings().unreadable, [run]);
    assert_eq!(salvage.findings().key_count, 7);
    let lost: Vec<_> = salvage.findings().lost_writes.iter().map(|lost| (lost.zone, lost.offset)).collect();
    assert_eq!(lost, [(DATA_ZONE, run.offset)]);
}
