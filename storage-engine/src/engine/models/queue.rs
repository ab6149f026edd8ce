//! The queue of the models: completions come in any order, and as late as the schedule likes.

use std::io;
use std::sync::{Arc, Mutex};

use shuttle::rand::{Rng, thread_rng};

use super::device::ModelDevice;
use crate::buffer::AlignedBuffer;
use crate::device::{AppendTicket, Persistence, RawResult, ZonedDevice};
use crate::queue::{Completion, IoQueue, Outcome, Refused, Request, Wait};
use crate::sync::thread;
use crate::units::{ZoneId, ZoneOffset};

#[derive(Debug)]
pub(super) struct ModelQueue {
    device: Arc<ModelDevice>,
    in_flight: Mutex<Vec<(u64, Operation)>>,
}

#[derive(Debug)]
enum Operation {
    Append(AppendTicket, Arc<AlignedBuffer>, Persistence),
    Read(ZoneId, ZoneOffset, AlignedBuffer),
}

impl ModelQueue {
    pub(super) fn new(device: Arc<ModelDevice>) -> Self {
        Self { device, in_flight: Mutex::default() }
    }

    fn perform(&self, user_data: u64, operation: Operation) -> Completion {
        let outcome = match operation {
            Operation::Append(ticket, payload, persistence) => {
                self.device.write(&ticket, &payload, persistence);
                Outcome::Append(self.device.end_append(ticket, RawResult::of(0)))
            }
            Operation::Read(zone, offset, mut into) => {
                Outcome::Read { result: self.device.read(zone, offset, &mut into), into }
            }
        };
        Completion { user_data, outcome }
    }

    fn take_any(&self) -> Option<(u64, Operation)> {
        let mut in_flight = self.in_flight.lock().expect("a panic ends the run");
        (!in_flight.is_empty()).then(|| {
            let which = thread_rng().gen_range(0..in_flight.len());
            in_flight.swap_remove(which)
        })
    }
}

impl IoQueue for ModelQueue {
    fn kind(&self) -> &'static str {
        "model"
    }

    fn submit(&self, request: Request) -> Result<(), Refused> {
        thread::yield_now();
        let (user_data, operation) = match request {
            Request::Append { zone_start, payload, persistence, user_data } => {
                let begun = self.device.begin_append(zone_start, payload.len() as u64, persistence);
                let ticket = begun.expect("the device of the models refuses nothing");
                self.device.mind(&ticket, &payload);
                (user_data, Operation::Append(ticket, payload, persistence))
            }
            Request::Read { zone, offset, into, user_data } => {
                (user_data, Operation::Read(zone, offset, into))
            }
        };
        self.in_flight.lock().expect("a panic ends the run").push((user_data, operation));
        Ok(())
    }

    fn reap(&self, wait: Wait, into: &mut Vec<Completion>) -> io::Result<usize> {
        thread::yield_now();
        let before = into.len();
        let mut wanted = wait != Wait::Never || thread_rng().r#gen();
        while let Some((user_data, operation)) = wanted.then(|| self.take_any()).flatten() {
            into.push(self.perform(user_data, operation));
            wanted = thread_rng().r#gen();
        }
        Ok(into.len() - before)
    }

    fn in_flight_count(&self) -> usize {
        self.in_flight.lock().expect("a panic ends the run").len()
    }
}
