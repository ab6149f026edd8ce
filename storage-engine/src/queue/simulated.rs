//! The queue of a simulated device: the device's seed chooses which operation ends next.
//!
//! Everything happens on the threads of callers: an append takes its place when it is submitted, and ends when somebody
//! reaps. What is in flight when the queue is dropped stays so, as on a device whose host has gone.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Completion, IoQueue, Outcome, Refused, Request, Wait};
use crate::device::ZonedDevice;
use crate::device::simulated::{SimulatedAppend, SimulatedDevice};

/// A queue on a simulated device.
#[derive(Debug)]
pub struct SimulatedQueue {
    device: Arc<SimulatedDevice>,
    pending: Mutex<Vec<Pending>>,
}

#[derive(Debug)]
enum Pending {
    Append { append: SimulatedAppend, user_data: u64 },
    Read(Completion),
}

impl SimulatedQueue {
    /// A queue that nothing is in flight on.
    #[must_use]
    pub fn new(device: Arc<SimulatedDevice>) -> Self {
        Self { device, pending: Mutex::default() }
    }

    fn end_one(&self, pending: &mut Vec<Pending>, into: &mut Vec<Completion>) {
        match pending.swap_remove(self.device.choose(pending.len())) {
            Pending::Append { append, user_data } => {
                let outcome = Outcome::Append(self.device.complete_append(append));
                into.push(Completion { user_data, outcome });
            }
            Pending::Read(completion) => into.push(completion),
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
                match self.device.submit_append(zone_start, &payload, persistence) {
                    Ok(append) => Pending::Append { append, user_data },
                    Err(error) => {
                        let request =
                            Box::new(Request::Append { zone_start, payload, persistence, user_data });
                        return Err(Refused { error, request });
                    }
                }
            }
            Request::Read { zone, offset, mut into, user_data } => {
                let result = self.device.read(zone, offset, &mut into);
                Pending::Read(Completion { user_data, outcome: Outcome::Read { result, into } })
            }
        };
        self.pending.lock().push(pending);
        Ok(())
    }

    /// Ends some, at least one if the caller waits for one.
    fn reap(&self, wait: Wait, into: &mut Vec<Completion>) -> io::Result<usize> {
        let before = into.len();
        let mut pending = self.pending.lock();
        if wait == Wait::ForOne && !pending.is_empty() {
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
