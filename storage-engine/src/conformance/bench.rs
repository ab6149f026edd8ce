//! What checks work with: zones that they may write, queues, appends with content that is known again.

use std::path::Path;
use std::sync::Arc;

use super::content::{content, first_difference};
use super::outcome::{Ending, Outcome, ensure, not_applicable};
use crate::buffer::AlignedBuffer;
use crate::device::emulated::{Access, DirectIo};
use crate::device::{
    DeviceError, DeviceResult, Geometry, Persistence, ZoneDescriptor, ZoneState, ZonedDevice, open_device,
};
use crate::queue::{Completion, IoQueue, Outcome as QueueOutcome, QueueKind, Request, Wait, open_queue};
use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};

/// The most zones that the suite uses. Larger limits of open or active zones are not tried.
const ZONE_LIMIT: usize = 300;

/// What a zone must hold for checks to have something to see.
const LEAST_BLOCKS: u64 = 8;

/// See the module's documentation.
pub(super) struct Bench {
    device: Arc<dyn ZonedDevice>,
    kind: QueueKind,
    /// Zones that can be reset and appended to, in order; the last usable one of the device among them.
    zones: Vec<ZoneId>,
    /// The first zones in states that no command leads to, if there are any.
    special: Vec<ZoneDescriptor>,
    opener: Opener,
}

/// What opens a device by its path.
pub(super) type Opener = fn(&Path) -> DeviceResult<Arc<dyn ZonedDevice>>;

/// One append to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Append {
    pub(super) zone: ZoneId,
    pub(super) len_bytes: u64,
    /// What it holds.
    pub(super) seed: u64,
}

/// One append that was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Landed {
    pub(super) append: Append,
    pub(super) offset: ZoneOffset,
}

impl Landed {
    pub(super) fn end_bytes(&self) -> u64 {
        self.offset.get() + self.append.len_bytes
    }
}

impl Bench {
    /// Looks at all zones, and empties those that count against the device's limits.
    pub(super) fn new(device: Arc<dyn ZonedDevice>, kind: QueueKind) -> DeviceResult<Self> {
        let mut usable = Vec::new();
        let mut special: Vec<ZoneDescriptor> = Vec::new();
        for zone in device.geometry().zones() {
            let descriptor = device.report(zone)?;
            if is_usable(descriptor.state) {
                usable.push(zone);
            } else if special.iter().all(|other| other.state != descriptor.state) {
                special.push(descriptor);
            }
            if descriptor.state.is_active() {
                device.reset(zone)?;
            }
        }
        let last = usable.pop();
        usable.truncate(ZONE_LIMIT - 1);
        usable.extend(last);
        let opener: Opener = |path| open_device(path, Access::ReadOnly, DirectIo::Off);
        Ok(Self { device, kind, zones: usable, special, opener })
    }

    /// The same with another way to open devices.
    #[cfg(test)]
    pub(super) fn opening_by(self, opener: Opener) -> Self {
        Self { opener, ..self }
    }

    /// Opens whatever is at a path, for reading.
    pub(super) fn open_path(&self, path: &Path) -> DeviceResult<Arc<dyn ZonedDevice>> {
        (self.opener)(path)
    }

    /// Empties what checks have written.
    pub(super) fn clear(&self) -> DeviceResult<()> {
        for &zone in &self.zones {
            if self.device.report(zone)?.state != ZoneState::Empty {
                self.device.reset(zone)?;
            }
        }
        Ok(())
    }

    pub(super) fn device(&self) -> &dyn ZonedDevice {
        &*self.device
    }

    pub(super) fn shared_device(&self) -> Arc<dyn ZonedDevice> {
        Arc::clone(&self.device)
    }

    pub(super) fn geometry(&self) -> &Geometry {
        self.device.geometry()
    }

    /// All zones that may be written.
    pub(super) fn zones(&self) -> &[ZoneId] {
        &self.zones
    }

    /// A zone that may be written; the same for the same number.
    pub(super) fn zone(&self, number: usize) -> Outcome<ZoneId> {
        if self.geometry().zone_capacity_bytes < LEAST_BLOCKS * self.block_bytes() {
            return not_applicable(format!("it needs zones that hold {LEAST_BLOCKS} blocks"));
        }
        let found = self.zones.len();
        self.zones.get(number).copied().map_or_else(
            || {
                not_applicable(format!(
                    "it needs {} zones that can be written; the device has {found}",
                    number + 1
                ))
            },
            Ok,
        )
    }

    /// As many zones as can be appended to in any order, `wanted` at most.
    ///
    /// Where fewer zones may be open than active, one below the active limit: at both limits Linux's null_blk (6.1) refuses
    /// appends to closed zones, because it does not close another then.
    pub(super) fn some_zones(&self, wanted: usize) -> Outcome<&[ZoneId]> {
        self.zone(0)?;
        let Geometry { max_open_zones: open, max_active_zones: active, .. } = *self.geometry();
        let limit = usize::try_from(if open < active { active - 1 } else { active }).unwrap_or(usize::MAX);
        Ok(&self.zones[..wanted.min(limit).min(self.zones.len())])
    }

    /// A zone in a state that no command leads to.
    pub(super) fn special_zone(&self, is_it: impl Fn(ZoneState) -> bool) -> Option<ZoneDescriptor> {
        self.special.iter().find(|zone| is_it(zone.state)).copied()
    }

    pub(super) fn queue(&self, entries: u32) -> Outcome<Arc<dyn IoQueue>> {
        self.queue_over(self.shared_device(), entries)
    }

    pub(super) fn queue_over(&self, device: Arc<dyn ZonedDevice>, entries: u32) -> Outcome<Arc<dyn IoQueue>> {
        open_queue(device, entries, self.kind).map_err(|error| Ending::Fail(format!("no queue: {error}")))
    }

    pub(super) fn block_bytes(&self) -> u64 {
        u64::from(self.geometry().block_bytes)
    }

    /// So many blocks, or as many as one append may have.
    pub(super) fn up_to(&self, block_count: u64) -> u64 {
        let limit = u64::from(self.geometry().append_limit_bytes).min(self.geometry().zone_capacity_bytes);
        (block_count * self.block_bytes()).min(limit)
    }

    pub(super) fn report(&self, zone: ZoneId) -> Outcome<ZoneDescriptor> {
        Ok(self.device.report(zone)?)
    }

    /// The state and write pointer that a zone must have.
    pub(super) fn expect_zone(&self, zone: ZoneId, state: ZoneState, written_bytes: u64) -> Outcome {
        let found = self.report(zone)?;
        ensure!(
            (found.state, found.write_pointer.get()) == (state, written_bytes),
            "{zone} is {:?} and written up to {}; it should be {state:?} and written up to byte {written_bytes}",
            found.state,
            found.write_pointer
        );
        Ok(())
    }

    /// Makes one append, and gives the device's answer whenever it comes.
    pub(super) fn try_append(
        &self,
        queue: &dyn IoQueue,
        append: Append,
    ) -> Outcome<DeviceResult<ZoneSector>> {
        self.try_append_at(queue, self.geometry().zone_start(append.zone), append)
    }

    /// As [`Self::try_append`], naming any place.
    pub(super) fn try_append_at(
        &self,
        queue: &dyn IoQueue,
        zone_start: DevicePosition,
        append: Append,
    ) -> Outcome<DeviceResult<ZoneSector>> {
        let mut request = request(self.geometry(), append, 0, Persistence::Volatile);
        if let Request::Append { zone_start: named, .. } = &mut request {
            *named = zone_start;
        }
        if let Err(refused) = queue.submit(request) {
            return Ok(Err(refused.error));
        }
        let completion = reap_one(queue)?;
        append_outcome(completion)
    }

    /// Makes one append that must succeed.
    pub(super) fn append(&self, queue: &dyn IoQueue, append: Append) -> Outcome<Landed> {
        let sector = self.try_append(queue, append)??;
        Ok(Landed { append, offset: sector.offset() })
    }

    /// Makes one append of memory that is given; it must succeed. Gives where it landed.
    pub(super) fn append_payload(
        &self,
        queue: &dyn IoQueue,
        zone: ZoneId,
        payload: AlignedBuffer,
    ) -> Outcome<ZoneOffset> {
        let (zone_start, payload) = (self.geometry().zone_start(zone), Arc::new(payload));
        let persistence = Persistence::Volatile;
        let request = Request::Append { zone_start, payload, persistence, user_data: 0 };
        queue.submit(request).map_err(|refused| refused.error)?;
        Ok(append_outcome(reap_one(queue)?)??.offset())
    }

    /// Makes appends with at most `depth` in flight. All of them must succeed, each with one completion.
    pub(super) fn append_all(
        &self,
        queue: &dyn IoQueue,
        appends: &[Append],
        depth: usize,
    ) -> Outcome<Vec<Landed>> {
        let mut completions = Vec::with_capacity(appends.len());
        for (number, append) in appends.iter().enumerate() {
            while number - completions.len() >= depth {
                reap_some(queue, &mut completions)?;
            }
            let request = request(self.geometry(), *append, number as u64, Persistence::Volatile);
            queue.submit(request).map_err(|refused| refused.error)?;
        }
        while completions.len() < appends.len() {
            reap_some(queue, &mut completions)?;
        }
        match_up(appends, completions)
    }

    /// Reads on the caller's thread, in pieces that every device takes.
    pub(super) fn read(&self, zone: ZoneId, offset: ZoneOffset, len_bytes: u64) -> Outcome<AlignedBuffer> {
        let mut bytes = AlignedBuffer::zeroed(len(len_bytes));
        let piece_bytes = self.up_to(256);
        for (piece, number) in bytes.chunks_mut(len(piece_bytes)).zip(0..) {
            // A piece of its own, because devices may want aligned memory.
            let mut aligned = AlignedBuffer::zeroed(piece.len());
            self.device.read(zone, offset.forward(number * piece_bytes), &mut aligned)?;
            piece.copy_from_slice(&aligned);
        }
        Ok(bytes)
    }

    /// Reads through a queue; gives the device's answer whenever it comes.
    pub(super) fn try_queued_read(
        &self,
        queue: &dyn IoQueue,
        zone: ZoneId,
        offset: ZoneOffset,
        len_bytes: u64,
    ) -> Outcome<DeviceResult<AlignedBuffer>> {
        self.try_queued_read_into(queue, zone, offset, AlignedBuffer::zeroed(len(len_bytes)))
    }

    /// As [`Self::try_queued_read`], into memory that is given.
    pub(super) fn try_queued_read_into(
        &self,
        queue: &dyn IoQueue,
        zone: ZoneId,
        offset: ZoneOffset,
        into: AlignedBuffer,
    ) -> Outcome<DeviceResult<AlignedBuffer>> {
        let request = Request::Read { zone, offset, into, user_data: 0 };
        if let Err(refused) = queue.submit(request) {
            return Ok(Err(refused.error));
        }
        match reap_one(queue)?.outcome {
            QueueOutcome::Read { result, into } => Ok(result.map(|()| into)),
            QueueOutcome::Append(_) => Err(Ending::Fail("a read came back as an append".to_owned())),
        }
    }

    /// Demands that what landed is there, read on the caller's thread and through the queue.
    pub(super) fn expect_content(&self, queue: &dyn IoQueue, landed: &[Landed]) -> Outcome {
        for Landed { append: Append { zone, len_bytes, seed }, offset } in landed.iter().copied() {
            let plain = self.read(zone, offset, len_bytes)?;
            let queued = self.try_queued_read(queue, zone, offset, len_bytes)??;
            for (path, found) in [("synchronously", plain), ("through the queue", queued)] {
                if let Some(at) = first_difference(seed, &found) {
                    let found = &found[at - at % 8..][..8];
                    return Err(Ending::Fail(format!(
                        "what was appended to {zone} at {offset} is not there, read {path}: {len_bytes} bytes, the first \
                         wrong one is number {at}, found {found:02x?}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Demands that extents in one zone never overlap, leave no gap from `from`, and end at the write pointer.
    pub(super) fn expect_extents(&self, zone: ZoneId, from: ZoneOffset, landed: &[Landed]) -> Outcome {
        let mut landed: Vec<_> = landed.iter().filter(|landed| landed.append.zone == zone).collect();
        landed.sort_by_key(|landed| landed.offset);
        let mut end = from;
        for landed in landed {
            ensure!(
                landed.offset >= end,
                "two appends were told places that overlap, at {} of {zone}",
                landed.offset
            );
            ensure!(
                landed.offset == end,
                "nothing was told to lie between {end} and {} of {zone}",
                landed.offset
            );
            end = end.forward(landed.append.len_bytes);
        }
        let write_pointer = self.report(zone)?.write_pointer;
        ensure!(
            write_pointer == end,
            "the places told end at {end} of {zone}, its write pointer is at {write_pointer}"
        );
        Ok(())
    }

    /// Demands that an append is refused with an error that `is_due`, and that its zone stays as it was.
    pub(super) fn expect_refusal(
        &self,
        queue: &dyn IoQueue,
        append: Append,
        due: &str,
        is_due: impl Fn(&DeviceError) -> bool,
    ) -> Outcome<DeviceError> {
        let before = self.report(append.zone)?;
        let answer = self.try_append(queue, append)?;
        let after = self.report(append.zone)?;
        let error = match answer {
            Ok(place) => {
                let len_bytes = append.len_bytes;
                let text = format!("an append of {len_bytes} bytes landed at {place}; {due} was due");
                return Err(Ending::Fail(text));
            }
            Err(error) => error,
        };
        ensure!(is_due(&error), "the error is {error:?}; {due} was due");
        ensure!(before == after, "the append was refused and yet {before:?} became {after:?}");
        Ok(error)
    }
}

/// Whether a zone in this state can be reset and appended to.
fn is_usable(state: ZoneState) -> bool {
    state.is_active() || matches!(state, ZoneState::Empty | ZoneState::Full)
}

pub(super) fn len(len_bytes: u64) -> usize {
    usize::try_from(len_bytes).expect("lengths of single commands fit")
}

pub(super) fn request(
    geometry: &Geometry,
    append: Append,
    user_data: u64,
    persistence: Persistence,
) -> Request {
    let payload = Arc::new(content(append.seed, len(append.len_bytes)));
    Request::Append { zone_start: geometry.zone_start(append.zone), payload, persistence, user_data }
}

/// Waits for completions; that none is to come is a failure.
pub(super) fn reap_some(queue: &dyn IoQueue, into: &mut Vec<Completion>) -> Outcome {
    let reaped =
        queue.reap(Wait::ForOne, into).map_err(|error| Ending::Fail(format!("waiting failed: {error}")))?;
    ensure!(reaped > 0 || queue.in_flight_count() > 0, "an operation was submitted and never completed");
    Ok(())
}

fn reap_one(queue: &dyn IoQueue) -> Outcome<Completion> {
    let mut completions = Vec::new();
    while completions.is_empty() {
        reap_some(queue, &mut completions)?;
    }
    ensure!(completions.len() == 1, "one operation had {} completions", completions.len());
    Ok(completions.remove(0))
}

pub(super) fn append_outcome(completion: Completion) -> Outcome<DeviceResult<ZoneSector>> {
    match completion.outcome {
        QueueOutcome::Append(result) => Ok(result),
        QueueOutcome::Read { .. } => Err(Ending::Fail("an append came back as a read".to_owned())),
    }
}

/// Matches completions with what was submitted under their user data, 0 and up.
pub(super) fn match_up(appends: &[Append], completions: Vec<Completion>) -> Outcome<Vec<Landed>> {
    let mut landed: Vec<Option<Landed>> = vec![None; appends.len()];
    for completion in completions {
        let user_data = completion.user_data;
        let number = usize::try_from(user_data).unwrap_or(usize::MAX);
        ensure!(number < appends.len(), "a completion carries user data {user_data}, which nobody submitted");
        ensure!(landed[number].is_none(), "two completions carry user data {user_data}");
        let offset = append_outcome(completion)??.offset();
        landed[number] = Some(Landed { append: appends[number], offset });
    }
    let missing = landed.iter().position(Option::is_none);
    landed.into_iter().collect::<Option<_>>().ok_or_else(|| {
        Ending::Fail(format!("no completion carries the user data {}", missing.unwrap_or_default()))
    })
}
