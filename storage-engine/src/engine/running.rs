//! How an engine runs: with threads of its own over the kernel's queues, or stepped by a simulation, which has no threads
//! and no time.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::latches::Latches;
use super::placing::policy_within;
#[cfg(any(test, feature = "testing"))]
use crate::device::simulated::SimulatedDevice;
use crate::device::{Geometry, ZonedDevice};
use crate::error::EngineResult;
use crate::gc::policy::{Policy, PolicyKind};
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

    /// Who decides where records go. A simulation's store is small, and has several streams all the same; in half of the
    /// lives they are filled by turns, since a policy would not learn enough to use them.
    pub(super) fn policy(&self, kind: PolicyKind, geometry: &Geometry) -> EngineResult<Box<dyn Policy>> {
        match self {
            Self::Threads => policy_within(kind, geometry, geometry.zone_count),
            #[cfg(any(test, feature = "testing"))]
            Self::Stepped(_) => {
                use crate::gc::policy::scattered::Scattered;
                let policy = policy_within(kind, geometry, 6 * geometry.zone_count)?;
                let scatters = geometry.zone_count.is_multiple_of(2);
                Ok(if scatters { Box::new(Scattered::new(policy.streams())) } else { policy })
            }
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
