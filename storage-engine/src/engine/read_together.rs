//! Reads of one call that are in flight together.
//!
//! Callers hand in an iterator of what is to be read. It is gone through, and what has come in is looked at, while the device works:
//! as soon as reads have ended, others that were found before take their places. Reads are handed to the queue several at a time,
//! and waited for several at a time.
//!
//! A queue belongs to one call as long as that lasts, with the buffers that it reads into; both are kept for the next one.

use std::sync::Arc;

use super::Inner;
use super::read::Extent;
use super::running::Running;
use crate::buffer::AlignedBuffer;
use crate::device::ZonedDevice;
use crate::error::{EngineError, EngineResult};
use crate::queue::{Completion, IoQueue, Outcome, QueueKind, Refused, Request, Wait};
use crate::sync::Mutex;

/// Reads in flight at once for one call.
const READ_DEPTH: usize = 64;
/// Reads handed over together, and waited for together.
const BATCH_COUNT: usize = 16;
/// Buffers have at least so many bytes: most records lie in one block or in two.
const LEAST_BUFFER_BYTES: usize = 8 << 10;
/// Larger buffers are not kept.
const MOST_KEPT_BUFFER_BYTES: usize = 64 << 10;

/// Queues for calls that read many records: each call has one to itself.
#[derive(Debug)]
pub(super) struct ReadQueues {
    device: Arc<dyn ZonedDevice>,
    running: Running,
    kind: QueueKind,
    idle: Mutex<Vec<ReadQueue>>,
}

/// A queue, and what goes with it.
#[derive(Debug)]
struct ReadQueue {
    queue: Arc<dyn IoQueue>,
    spare: Vec<AlignedBuffer>,
    requests: Vec<Request>,
    /// What has ended and has not been seen.
    ended: Vec<Completion>,
}

/// What one call reads.
struct Call<T, E> {
    extents: E,
    /// All that was taken from there.
    found: Vec<(T, Extent)>,
    /// How many of them have been handed over.
    begun_count: usize,
}

impl ReadQueues {
    /// For a device; none is set up yet.
    pub(super) fn new(device: Arc<dyn ZonedDevice>, running: Running, kind: QueueKind) -> Self {
        Self { device, running, kind, idle: Mutex::default() }
    }

    /// The kind of queue that they are, by name. Sets up the first one, if there is none.
    pub(super) fn kind(&self) -> EngineResult<&'static str> {
        let queue = self.take()?;
        let kind = queue.queue.kind();
        self.give_back(queue);
        Ok(kind)
    }

    fn take(&self) -> EngineResult<ReadQueue> {
        if let Some(queue) = self.idle.lock().pop() {
            return Ok(queue);
        }
        self.set_up(READ_DEPTH).map(ReadQueue::new)
    }

    /// A queue for somebody else's own, with so many reads in flight at once.
    pub(super) fn set_up(&self, depth: usize) -> EngineResult<Arc<dyn IoQueue>> {
        let entries = u32::try_from(depth).expect("a small number");
        let queue = self.running.queue(&self.device, entries, self.kind);
        queue.map_err(|error| EngineError::io("setting up a queue for reads", error))
    }

    fn give_back(&self, mut queue: ReadQueue) {
        queue.spare.retain(|buffer| buffer.capacity_bytes() <= MOST_KEPT_BUFFER_BYTES);
        queue.spare.truncate(READ_DEPTH);
        self.idle.lock().push(queue);
    }
}

impl ReadQueue {
    fn new(queue: Arc<dyn IoQueue>) -> Self {
        Self { queue, spare: Vec::new(), requests: Vec::new(), ended: Vec::new() }
    }

    /// Hands reads over as long as there is room; what was refused comes back. Those that are to be read are found as they are
    /// needed, unless they were before.
    fn ask<T>(&mut self, call: &mut Call<T, impl Iterator<Item = (T, Extent)>>) -> Vec<Refused> {
        let mut refused = Vec::new();
        loop {
            let room = READ_DEPTH - self.queue.in_flight_count();
            for (user_data, extent) in call.next_ones(room.min(BATCH_COUNT)) {
                let into = self.buffer(extent.len_bytes);
                self.requests.push(Request::Read {
                    zone: extent.zone,
                    offset: extent.start,
                    into,
                    user_data,
                });
            }
            if self.requests.is_empty() {
                return refused;
            }
            refused.append(&mut self.queue.submit_all(&mut self.requests));
        }
    }

    /// A buffer of that length: a spare one, if it is large enough.
    fn buffer(&mut self, len_bytes: usize) -> AlignedBuffer {
        let spare = self.spare.pop().filter(|spare| spare.capacity_bytes() >= len_bytes);
        let mut buffer = spare.unwrap_or_else(|| AlignedBuffer::zeroed(len_bytes.max(LEAST_BUFFER_BYTES)));
        buffer.set_len(len_bytes);
        buffer
    }

    /// Shows some of what has ended.
    fn see_some<T: Copy, E>(&mut self, call: &Call<T, E>, see: &mut impl FnMut(T, Option<&[u8]>)) {
        let rest = self.ended.len().saturating_sub(BATCH_COUNT);
        for Completion { user_data, outcome } in self.ended.drain(rest..) {
            let (what, extent) = call.found(user_data);
            if let Outcome::Read { result, into } = outcome {
                see(what, result.is_ok().then(|| extent.record_in(&into)));
                self.spare.push(into);
            }
        }
    }

    /// Takes what has ended, and waits for some unless there is some. Says whether there is any.
    fn take_ended(&mut self) -> EngineResult<bool> {
        let wait = if self.ended.is_empty() { Wait::ForSeveral(BATCH_COUNT) } else { Wait::Never };
        let reaped = self.queue.reap(wait, &mut self.ended);
        reaped.map_err(|error| EngineError::io("waiting for reads", error))?;
        Ok(!self.ended.is_empty())
    }
}

impl<T: Copy, E> Call<T, E> {
    /// What was handed over with such user data.
    fn found(&self, user_data: u64) -> (T, Extent) {
        self.found[usize::try_from(user_data).expect("an index")]
    }
}

impl<T, E: Iterator<Item = (T, Extent)>> Call<T, E> {
    /// Finds out what is to be read next, up to so many that are not handed over yet.
    fn find(&mut self, count: usize) {
        let missing = (self.begun_count + count).saturating_sub(self.found.len());
        self.found.extend(self.extents.by_ref().take(missing));
    }

    /// Whether all that was found has been handed over.
    fn is_begun(&self) -> bool {
        self.begun_count == self.found.len()
    }

    /// Up to so many that are to be handed over now, with their user data.
    fn next_ones(&mut self, count: usize) -> impl Iterator<Item = (u64, Extent)> {
        self.find(count);
        let end = self.found.len().min(self.begun_count + count);
        let places = self.begun_count..end;
        self.begun_count = end;
        places.map(|place| (place as u64, self.found[place].1))
    }
}

impl Inner {
    /// Reads extents, up to [`READ_DEPTH`] of them in flight together. `see` is given what each one holds from its record on, in no
    /// order, or nothing when it cannot be read.
    pub(super) fn read_together<T: Copy>(
        &self,
        extents: impl Iterator<Item = (T, Extent)>,
        mut see: impl FnMut(T, Option<&[u8]>),
    ) -> EngineResult<()> {
        let mut queue = self.read_queues.take()?;
        let mut call = Call { extents, found: Vec::new(), begun_count: 0 };
        loop {
            // The device first: it works while this thread looks at what has come in, and for what comes next.
            for refused in queue.ask(&mut call) {
                if let Request::Read { user_data, .. } = *refused.request {
                    see(call.found(user_data).0, None);
                }
            }
            queue.see_some(&call, &mut see);
            call.find(READ_DEPTH);
            if !queue.take_ended()? && call.is_begun() {
                break;
            }
        }
        self.read_queues.give_back(queue);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, READ_DEPTH};
    use crate::engine::read::Extent;
    use crate::units::{ZoneId, ZoneOffset};

    fn extents(count: u32) -> impl Iterator<Item = (u32, Extent)> {
        let start = ZoneOffset::START;
        (0..count).map(move |number| (number, Extent::of_blocks(ZoneId::new(number), start, 4096)))
    }

    #[test]
    fn each_read_is_handed_over_once_however_far_ahead_it_was_found() {
        let mut call = Call { extents: extents(200), found: Vec::new(), begun_count: 0 };
        let mut begun = Vec::new();
        for count in [1, 16, 0, 100, 5, 100, 100] {
            begun.extend(call.next_ones(count).map(|(user_data, extent)| (user_data, extent.zone)));
            call.find(READ_DEPTH);
        }
        assert!(call.is_begun());
        let all: Vec<_> = (0..200).map(|number| (u64::from(number), ZoneId::new(number))).collect();
        assert_eq!(begun, all);
    }

    #[test]
    fn what_was_found_and_not_handed_over_is_not_forgotten() {
        let mut call = Call { extents: extents(3), found: Vec::new(), begun_count: 0 };
        call.find(READ_DEPTH);
        assert_eq!((call.found.len(), call.is_begun()), (3, false));
        assert_eq!(call.next_ones(2).count(), 2);
        assert!(!call.is_begun());
    }
}
