//! Asynchronous appends and reads: what a queue is, and the buffers that the kernel may own.
//!
//! The append contract is that of the Linux patch set "zone append" of 2020 (RWF_ZONE_APPEND, never merged): an append
//! names a zone by its start, its completion carries the submitter's 64-bit user data and the place where the data
//! went, as a zone-relative offset in 512-byte sectors. Nothing is split; a short append is an error.
//!
//! Ownership rule: a buffer that the kernel may touch is moved into the queue's in-flight table when it is submitted and
//! comes back with the completion. Dropping a queue waits for what is in flight.

mod aio;
mod driven;
mod in_flight;
mod one_at_a_time;
mod operation;
mod passthrough_ioctl;
mod registered;
mod ring_setup;
mod ring_shape;
#[cfg(any(test, feature = "testing"))]
mod simulated;
mod threads;
mod transfer;
mod uring;

#[cfg(test)]
mod tests;

use std::io;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use one_at_a_time::OneAtATimeQueue;
pub use ring_shape::{Common, Large};
#[cfg(any(test, feature = "testing"))]
pub use simulated::SimulatedQueue;
pub use uring::UringQueue;

use crate::buffer::AlignedBuffer;
use crate::device::{AppendOrder, CommandSet, DeviceError, Persistence, ZonedDevice};
use crate::units::{DevicePosition, ZoneId, ZoneOffset, ZoneSector};
use std::sync::Arc;

/// One operation for a queue to perform.
#[derive(Debug)]
pub enum Request {
    /// Appends the whole of `payload` (whole blocks) to the zone that starts at `zone_start`.
    Append {
        /// The start of the zone; anything else is refused.
        zone_start: DevicePosition,
        /// What to append. Shared with readers, hence immutable until the completion and after it.
        payload: Arc<AlignedBuffer>,
        /// Whether the completion is to mean "on stable media".
        persistence: Persistence,
        /// Handed back with the completion.
        user_data: u64,
    },
    /// Fills the whole of `into` (whole blocks) from `offset` in `zone`.
    Read {
        /// The zone to read in.
        zone: ZoneId,
        /// From where: a whole block.
        offset: ZoneOffset,
        /// Where the bytes go. Owned by the queue until the completion.
        into: AlignedBuffer,
        /// Handed back with the completion.
        user_data: u64,
    },
}

/// The end of one operation.
#[derive(Debug)]
pub struct Completion {
    /// What the submitter gave.
    pub user_data: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an operation.
#[derive(Debug)]
pub enum Outcome {
    /// Of an append: where it landed.
    Append(Result<ZoneSector, DeviceError>),
    /// Of a read: the buffer, filled when the result is good.
    Read {
        /// Whether every byte was read.
        result: Result<(), DeviceError>,
        /// The buffer that was submitted.
        into: AlignedBuffer,
    },
}

/// A request that a queue did not take: nothing was written, the request comes back whole.
#[derive(Debug, Error)]
#[error("the queue did not take the request")]
pub struct Refused {
    /// Why.
    #[source]
    pub error: DeviceError,
    /// What was to be done.
    pub request: Box<Request>,
}

/// Which queue operations go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
pub enum QueueKind {
    /// The best that the device and the machine have.
    #[default]
    Automatic,
    /// Linux io_uring.
    IoUring,
    /// Linux aio, for where io_uring is switched off. It cannot carry NVMe passthrough.
    Aio,
    /// Positioned reads and writes on a few threads of the process: works everywhere.
    Threads,
}

impl QueueKind {
    /// Those that can be had, the best first.
    pub const ALL: [Self; 3] = [Self::IoUring, Self::Aio, Self::Threads];
}

/// A queue on `device` that keeps about `entries` operations in flight at once.
///
/// # Errors
/// Of kind [`io::ErrorKind::Unsupported`] where the device or the machine does not have what is asked for, with what to do
/// about it; otherwise the kernel's.
pub fn open_queue(
    device: Arc<dyn ZonedDevice>,
    entries: u32,
    kind: QueueKind,
) -> io::Result<Arc<dyn IoQueue>> {
    #[cfg(all(test, feature = "models"))]
    if let Some(queue) = Arc::clone(&device).queue_of_its_own() {
        return Ok(queue);
    }
    let queue = open_kind(Arc::clone(&device), entries, kind)?;
    Ok(match device.append_order() {
        AppendOrder::Concurrent => queue,
        AppendOrder::OneAtATime => Arc::new(OneAtATimeQueue::new(device, queue)),
    })
}

/// A queue that leaves it to others how many appends a zone takes at a time.
fn open_kind(device: Arc<dyn ZonedDevice>, entries: u32, kind: QueueKind) -> io::Result<Arc<dyn IoQueue>> {
    match kind {
        QueueKind::Automatic => open_best_queue(&device, entries),
        QueueKind::IoUring => match device.command_set() {
            CommandSet::Positioned => Ok(Arc::new(UringQueue::<Common>::new(device, entries)?)),
            CommandSet::Nvme { .. } => Ok(Arc::new(UringQueue::<Large>::new(device, entries)?)),
        },
        QueueKind::Aio => aio::aio_queue(device, entries),
        QueueKind::Threads => threads::threads_queue(device, entries),
    }
}

fn open_best_queue(device: &Arc<dyn ZonedDevice>, entries: u32) -> io::Result<Arc<dyn IoQueue>> {
    let mut opened = Err(io::ErrorKind::Unsupported.into());
    for kind in QueueKind::ALL {
        opened = open_kind(Arc::clone(device), entries, kind);
        // Only what is not to be had at all is passed over; any other error is one to hear of.
        if !matches!(&opened, Err(error) if error.kind() == io::ErrorKind::Unsupported) {
            break;
        }
    }
    opened
}

/// How long [`IoQueue::reap`] waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Takes what has completed; does not block.
    Never,
    /// Blocks until at least one operation has completed, or nothing is in flight.
    ForOne,
    /// Blocks like [`Wait::ForOne`], and where the queue can, until so many have completed or all that are in flight: to be woken
    /// once for several. For queues that one thread has to itself, since others would be kept waiting.
    ForSeveral(usize),
}

impl Wait {
    /// How many completions are waited for, at most.
    pub(crate) const fn count(self) -> usize {
        match self {
            Self::Never => 0,
            Self::ForOne | Self::ForSeveral(0) => 1,
            Self::ForSeveral(count) => count,
        }
    }
}

/// A queue of asynchronous operations on one device. Any number of threads may submit and reap at once.
pub trait IoQueue: Send + Sync + std::fmt::Debug {
    /// The queue's name for `kvctl info`: `"io_uring"`, `"aio"`, `"threads"`.
    fn kind(&self) -> &'static str;

    /// Starts an operation. Blocks only while as many are in flight as the queue has entries for.
    ///
    /// # Errors
    /// [`Refused`] with the device's reason; nothing was submitted and nothing written.
    fn submit(&self, request: Request) -> Result<(), Refused>;

    /// Starts operations in the order given and leaves `requests` empty; those that were refused come back. Where the queue
    /// can, all that it has room for are handed to the kernel together. Blocks only while as many are in flight as the queue has
    /// entries for.
    fn submit_all(&self, requests: &mut Vec<Request>) -> Vec<Refused> {
        requests.drain(..).filter_map(|request| self.submit(request).err()).collect()
    }

    /// Moves completions into `into` and says how many.
    ///
    /// # Errors
    /// The kernel's, when waiting itself fails. Operations stay in flight.
    fn reap(&self, wait: Wait, into: &mut Vec<Completion>) -> io::Result<usize>;

    /// Has the kernel keep the memory of a buffer at hand for operations on this queue, which cost less then: a registered, or
    /// fixed, buffer. It stays so for as long as both live; on other queues it is a buffer like any other. Its pages stay in memory
    /// and count against the process's limit of locked memory.
    ///
    /// # Errors
    /// Of kind [`io::ErrorKind::Unsupported`] on queues that have no such thing, and on kernels before 5.19; of kind
    /// [`io::ErrorKind::QuotaExceeded`] when the queue has as many as it takes; otherwise the kernel's. The buffer is usable
    /// as before.
    fn register(&self, buffer: &mut AlignedBuffer) -> io::Result<()> {
        let _ = buffer;
        let text = format!("{} has no registered buffers; io_uring has", self.kind());
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }

    /// How many operations have been submitted and not yet reaped.
    fn in_flight_count(&self) -> usize;
}
