//! Line 7: a lost completion means *unknown*, and the zone is looked at again before it is appended to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::conformance::bench::{Append, Bench, Landed};
use crate::conformance::interposed::{Interposed, Interposer};
use crate::conformance::outcome::{Outcome, ensure};
use crate::device::{AppendTicket, DeviceResult, Persistence, RawResult, ZonedDevice};
use crate::units::{ZoneOffset, ZoneSector};

/// A device whose appends are performed, and whose results get lost on the way back while it is told to.
#[derive(Debug)]
struct Forgetful {
    device: Arc<dyn ZonedDevice>,
    forgets: AtomicBool,
}

impl Interposer for Forgetful {
    fn inner(&self) -> &dyn ZonedDevice {
        &*self.device
    }

    fn end_append(&self, ticket: AppendTicket, result: RawResult) -> DeviceResult<ZoneSector> {
        let forgets = self.forgets.load(Ordering::SeqCst);
        self.device.end_append(ticket, if forgets { RawResult::of(-libc::EIO) } else { result })
    }
}

pub(super) fn after_the_device(bench: &Bench) -> Outcome {
    let zone = bench.zone(0)?;
    let forgetful = Forgetful { device: bench.shared_device(), forgets: AtomicBool::new(false) };
    let device = Arc::new(Interposed(forgetful));
    let queue = bench.queue_over(Arc::clone(&device) as _, 8)?;
    let append = |seed| Append { zone, len_bytes: bench.block_bytes(), seed };
    let first = bench.append(&*queue, append(1))?;

    device.0.forgets.store(true, Ordering::SeqCst);
    let answer = bench.try_append(&*queue, append(2))?;
    ensure!(answer.is_err(), "the completion was lost, and the append was told to lie at {answer:?}");
    device.0.forgets.store(false, Ordering::SeqCst);

    let next = bench.append(&*queue, append(3))?;
    expect_to_go_on(bench, &[first, next])?;
    bench.expect_content(&*queue, &[first, next])?;
    // It is unknown whether the lost one is there. If it is, it lies between the two, whole.
    let between = next.offset.get() - first.end_bytes();
    ensure!(between <= bench.block_bytes(), "{between} bytes lie where one block was lost");
    Ok(())
}

pub(super) fn before_the_device(bench: &Bench) -> Outcome {
    let (zone, queue) = (bench.zone(0)?, bench.queue(8)?);
    let append = |seed| Append { zone, len_bytes: bench.block_bytes(), seed };
    let first = bench.append(&*queue, append(1))?;
    let zone_start = bench.geometry().zone_start(zone);
    let ticket = bench.device().begin_append(zone_start, bench.block_bytes(), Persistence::Volatile)?;
    let answer = bench.device().end_append(ticket, RawResult::of(-libc::EIO));
    ensure!(answer.is_err(), "the command was never performed, and was told to lie at {answer:?}");
    let next = bench.append(&*queue, append(2))?;
    expect_to_go_on(bench, &[first, next])?;
    bench.expect_content(&*queue, &[first, next])
}

/// The first append keeps its place, the next lies behind it and ends at the write pointer.
fn expect_to_go_on(bench: &Bench, [first, next]: &[Landed; 2]) -> Outcome {
    let zone = next.append.zone;
    ensure!(
        next.offset >= ZoneOffset::new(first.end_bytes()),
        "the append after the lost one overlaps the one before it, at {} of {zone}",
        next.offset
    );
    let write_pointer = bench.report(zone)?.write_pointer;
    ensure!(
        write_pointer.get() == next.end_bytes(),
        "the append after the lost one ends at byte {} of {zone}, the write pointer is at {write_pointer}",
        next.end_bytes()
    );
    Ok(())
}
