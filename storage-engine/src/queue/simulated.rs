//! The queue of a simulated device: the device's seed chooses which append lands next, and which operation ends next.
//!
//! Everything happens on the threads of callers: an append lands when it is submitted or at any time until somebody reaps
//! it, so that appends to one zone, and to several, land in any order. What is in flight when the queue is dropped stays
//! so, as on a device whose host has gone; what has not landed by then never does.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Completion, IoQueue, Outcome, Refused, Request, Wait};
use crate::buffer::AlignedBuffer;
use crate::device::simulated::{SimulatedAppend, SimulatedDevice};
use crate::device::{DeviceResult, Persistence, ZonedDevice};
use crate::units::DevicePosition;

/// A queue on a simulated device.
#[derive(Debug)]
pub struct SimulatedQueue {
    device: Arc<SimulatedDevice>,
    pending: Mutex<Vec<Pending>>,
}

#[derive(Debug)]
enum Pending {
    /// On its way to the device.
    Sent {
        append: Sent,
        user_data: u64,
    },
    /// It has its place.
    Landed {
        append: SimulatedAppend,
        user_data: u64,
    },
    Ended(Completion),
}

#[derive(Debug)]
struct Sent {
    zone_start: DevicePosition,
    payload: Arc<AlignedBuffer>,
    persistence: Persistence,
}

impl Sent {
    fn land(&self, device: &SimulatedDevice) -> DeviceResult<SimulatedAppend> {
        device.submit_append(self.zone_start, &self.payload, self.persistence)
    }
}

impl SimulatedQueue {
    /// A queue that nothing is in flight on.
    #[must_use]
    pub fn new(device: Arc<SimulatedDevice>) -> Self {
        Self { device, pending: Mutex::default() }
    }

    fn end_one(&self, pending: &mut Vec<Pending>, into: &mut Vec<Completion>) {
        let ended = match self.landed(pending.swap_remove(self.device.choose(pending.len()))) {
            Pending::Landed { append, user_data } => {
                let outcome = Outcome::Append(self.device.complete_append(append));
                Completion { user_data, outcome }
            }
            Pending::Ended(completion) => completion,
            Pending::Sent { .. } => unreachable!("it has landed, or was refused"),
        };
        into.push(ended);
    }

    fn landed(&self, pending: Pending) -> Pending {
        let Pending::Sent { append, user_data } = pending else { return pending };
        match append.land(&self.device) {
            Ok(append) => Pending::Landed { append, user_data },
            Err(error) => Pending::Ended(Completion { user_data, outcome: Outcome::Append(Err(error)) }),
        }
    }
}

impl IoQueue for SimulatedQueue {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    fn submit(&self, request: Request) -> Result<(), Refused> {
        let pending = match request {
            Request::Append { zone_start, payload, persistence, user_data } => {
                let append = Sent { zone_start, payload, persistence };
                let sent = Pending::Sent { append, user_data };
                if self.device.choose(3) == 0 { sent } else { self.landed(sent) }
            }
            Request::Read { zone, offset, mut into, user_data } => {
                let result = self.device.read(zone, offset, &mut into);
                Pending::Ended(Completion { user_data, outcome: Outcome::Read { result, into } })
            }
        };
        self.pending.lock().push(pending);
        Ok(())
    }

    /// Ends some, at least one if the caller waits for one.
    fn reap(&self, wait: Wait, into: &mut Vec<Completion>) -> io::Result<usize> {
        let before = into.len();
        let mut pending = self.pending.lock();
        if wait != Wait::Never && !pending.is_empty() {
            self.end_one(&mut pending, into);
        }
        while !pending.is_empty() && self.device.choose(4) == 0 {
            self.end_one(&mut pending, into);
        }
        Ok(into.len() - before)
    }

    fn in_flight_count(&self) -> usize {
        self.pending.lock().len()
    }
}
