//! How an engine runs: with threads of its own over the kernel's queues, or stepped by a simulation, which has no threads
//! and no time.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::latches::Latches;
use crate::device::ZonedDevice;
#[cfg(any(test, feature = "testing"))]
use crate::device::simulated::SimulatedDevice;
use crate::log::writer::MIN_UNIT_BYTES;
use crate::queue::{IoQueue, QueueKind, open_queue};
use crate::sync::thread;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) enum Running {
    /// As a store is used.
    Threads,
    /// On a simulated device. Whoever would wait for a thread does its work.
    #[cfg(any(test, feature = "testing"))]
    Stepped(Arc<SimulatedDevice>),
}

impl Running {
    pub(super) fn is_stepped(&self) -> bool {
        !matches!(self, Self::Threads)
    }

    pub(super) fn queue(
        &self,
        device: &Arc<dyn ZonedDevice>,
        entries: u32,
        kind: QueueKind,
    ) -> io::Result<Arc<dyn IoQueue>> {
        match self {
            Self::Threads => open_queue(Arc::clone(device), entries, kind),
            #[cfg(any(test, feature = "testing"))]
            Self::Stepped(device) => Ok(Arc::new(crate::queue::SimulatedQueue::new(Arc::clone(device)))),
        }
    }

    pub(super) fn scan_thread_count(&self) -> usize {
        match self {
            Self::Threads => thread::available_parallelism().map_or(1, NonZeroUsize::get).min(8),
            #[cfg(any(test, feature = "testing"))]
            Self::Stepped(_) => 1,
        }
    }

    /// The smallest unit that a store works with. A simulation knows that its keys are short.
    pub(super) fn least_unit_bytes(&self) -> usize {
        match self {
            Self::Threads => MIN_UNIT_BYTES,
            #[cfg(any(test, feature = "testing"))]
            Self::Stepped(_) => 2048,
        }
    }

    /// In a simulation few, so that keys share them, and the same ones each time.
    pub(super) fn latches(&self) -> Latches {
        match self {
            // In a model every lock that is made costs time, and hashes must not change.
            Self::Threads if cfg!(all(test, feature = "models")) => Latches::new(4, 0),
            Self::Threads => Latches::new(1024, rand::random()),
            #[cfg(any(test, feature = "testing"))]
            Self::Stepped(_) => Latches::new(16, 0),
        }
    }
}
