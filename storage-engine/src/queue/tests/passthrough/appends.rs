//! Appends and reads: places, many in flight, registered memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

use super::{Bed, ZONE, append_to, place, refusal, tagged};
use crate::device::{DeviceError, Persistence, ZonedDevice};
use crate::queue::{AlignedBuffer, IoQueue, Large, Outcome, Request, UringQueue, Wait};
use crate::units::{ZoneOffset, ZoneSector};

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn an_append_lands_where_its_completion_says() {
    let bed = Bed::new();
    let block = bed.block();
    for (first, blocks) in [(0, 1), (1, 1), (2, 3)] {
        let sector = bed.append(ZONE, tagged(blocks * block, 9)).expect("append");
        assert_eq!(sector.offset().get(), first * block as u64);
        assert_eq!(bed.read(ZONE, sector.offset().get(), blocks * block), tagged(blocks * block, 9)[..]);
    }
    assert_eq!(bed.report(ZONE).write_pointer.get(), 5 * block as u64);
    assert_eq!(bed.device.activity().appended_bytes, 5 * block as u64);
}

/// Appends `count` payloads with up to `depth` in flight and gives tag by place.
fn append_many(
    bed: &Bed,
    queue: &dyn IoQueue,
    first_tag: u64,
    count: u64,
    depth: usize,
) -> Vec<(ZoneSector, u64)> {
    let (mut landed, mut completions) = (Vec::new(), Vec::new());
    let zone_start = bed.geometry().zone_start(ZONE);
    for tag in first_tag..first_tag + count {
        while queue.in_flight_count() >= depth {
            queue.reap(Wait::ForOne, &mut completions).expect("reap");
        }
        queue.submit(append_to(zone_start, tagged(bed.block(), tag), tag)).expect("submit");
    }
    while queue.in_flight_count() > 0 {
        queue.reap(Wait::ForOne, &mut completions).expect("reap");
    }
    for completion in completions {
        let tag = completion.user_data;
        landed.push((place(completion).expect("append"), tag));
    }
    landed
}

fn assert_unique_contiguous_and_readable(bed: &Bed, landed: Vec<(ZoneSector, u64)>) {
    let (count, block) = (landed.len(), bed.block());
    let by_place: BTreeMap<u64, u64> =
        landed.into_iter().map(|(sector, tag)| (sector.offset().get(), tag)).collect();
    assert_eq!(by_place.len(), count, "two appends share a place");
    for (number, (&offset_bytes, &tag)) in by_place.iter().enumerate() {
        assert_eq!(offset_bytes, (number * block) as u64, "there is a gap");
        assert!(
            bed.read(ZONE, offset_bytes, block) == tagged(block, tag)[..],
            "another append's bytes lie there"
        );
    }
    assert_eq!(bed.report(ZONE).write_pointer.get(), (count * block) as u64);
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn two_threads_with_queues_of_their_own_keep_32_appends_each_in_flight_to_one_zone() {
    let bed = Bed::new();
    let landed = thread::scope(|scope| {
        let threads = [1u64 << 16, 2 << 16].map(|first_tag| {
            let bed = &bed;
            scope.spawn(move || {
                let queue = UringQueue::<Large>::new(Arc::clone(&bed.device) as _, 32).expect("a queue");
                append_many(bed, &queue, first_tag, 256, 32)
            })
        });
        threads.map(|thread| thread.join().expect("no panic")).concat()
    });
    assert_eq!(landed.len(), 512);
    assert_unique_contiguous_and_readable(&bed, landed);
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn threads_that_share_a_queue_are_each_told_their_own_places() {
    let bed = Bed::new();
    let completions = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for first_tag in [1u64 << 16, 2 << 16, 3 << 16] {
            let (bed, completions) = (&bed, &completions);
            scope.spawn(move || {
                for tag in first_tag..first_tag + 100 {
                    bed.submit_append(ZONE, tagged(bed.block(), tag), tag);
                    let mut mine = Vec::new();
                    bed.queue.reap(Wait::Never, &mut mine).expect("reap");
                    completions.lock().extend(mine);
                }
            });
        }
    });
    let mut completions = completions.into_inner();
    completions.extend(bed.reap_all());
    let landed: Vec<_> = completions
        .into_iter()
        .map(|completion| {
            let tag = completion.user_data;
            (place(completion).expect("append"), tag)
        })
        .collect();
    assert_eq!(landed.len(), 300);
    assert_unique_contiguous_and_readable(&bed, landed);
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn durable_appends_and_flushes_are_taken_and_counted() {
    let bed = Bed::new();
    let before = bed.device.activity().flush_count;
    let request = Request::Append {
        zone_start: bed.geometry().zone_start(ZONE),
        payload: Arc::new(tagged(bed.block(), 1)),
        persistence: Persistence::Durable,
        user_data: 0,
    };
    bed.queue.submit(request).expect("submit");
    assert_eq!(place(bed.reap_all().remove(0)).expect("append"), ZoneSector::new(0));
    bed.device.flush().expect("flush");
    let durable_appends = u64::from(bed.geometry().volatile_cache);
    assert_eq!(bed.device.activity().flush_count, before + 1 + durable_appends);
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn what_lies_at_and_after_the_write_pointer_reads_as_zeros_and_a_queue_refuses_it() {
    let bed = Bed::new();
    let block = bed.block();
    bed.append(ZONE, tagged(block, 5)).expect("append");
    let mut both = tagged(block, 5).to_vec();
    both.resize(2 * block, 0);
    assert_eq!(bed.read(ZONE, 0, 2 * block), both);
    let read = |offset_bytes: u64, len_bytes: usize| Request::Read {
        zone: ZONE,
        offset: ZoneOffset::new(offset_bytes),
        into: AlignedBuffer::zeroed(len_bytes),
        user_data: 1,
    };
    let beyond = refusal(bed.queue.submit(read(0, 2 * block))).error;
    assert!(matches!(beyond, DeviceError::BeyondWritePointer { .. }), "{beyond}");
    let size_bytes = bed.geometry().zone_size_bytes;
    let mut into = vec![0; 2 * block];
    let past_end = bed.device.read(ZONE, ZoneOffset::new(size_bytes - block as u64), &mut into);
    assert!(matches!(past_end, Err(DeviceError::BeyondWritePointer { .. })));
    bed.queue.submit(read(0, block)).expect("submit");
    let Outcome::Read { result, into } = bed.reap_all().remove(0).outcome else { panic!("it was a read") };
    result.expect("read");
    assert_eq!(into[..], tagged(block, 5)[..]);
}

/// Also at an address that is no multiple of anything.
#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn a_read_larger_than_one_command_comes_in_pieces() {
    let bed = Bed::new();
    let limit = bed.geometry().append_limit_bytes as usize;
    let whole = tagged(limit, 7);
    let count = bed.capacity() / limit;
    for _ in 0..count {
        bed.append(ZONE, tagged(limit, 7)).expect("append");
    }
    let mut into = vec![0xee; count * limit + 1];
    bed.device.read(ZONE, ZoneOffset::START, &mut into[1..]).expect("read");
    assert!(into[1..].chunks(limit).all(|piece| piece == &whole[..]));
    let into = AlignedBuffer::zeroed(count * limit);
    let request = Request::Read { zone: ZONE, offset: ZoneOffset::START, into, user_data: 0 };
    let refused = refusal(bed.queue.submit(request)).error;
    assert!(matches!(refused, DeviceError::ReadTooLarge { .. }), "{refused}");
}

#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn registered_buffers_are_appended_and_read_into_many_in_flight() {
    let bed = Bed::new();
    let block = bed.block();
    for tag in 0..32 {
        let mut payload = tagged(block, tag);
        bed.queue.register(&mut payload).expect("register");
        bed.submit_append(ZONE, payload, tag);
    }
    let landed: Vec<_> = bed.reap_all().into_iter().map(|end| (end.user_data, place(end))).collect();
    for (tag, sector) in landed {
        let mut into = AlignedBuffer::zeroed(block);
        bed.queue.register(&mut into).expect("register");
        let offset = sector.expect("append").offset();
        bed.queue.submit(Request::Read { zone: ZONE, offset, into, user_data: tag }).expect("submit");
        let Outcome::Read { result, into } = bed.reap_all().remove(0).outcome else {
            panic!("it was a read")
        };
        result.expect("read");
        assert_eq!(into[..], tagged(block, tag)[..]);
    }
}
