//! A queue in front of another one, for devices that take one append to a zone at a time.
//!
//! An append to a zone that has one in flight is kept here and submitted when that one has ended. Many zones are written in
//! parallel; reads pass through.
//!
//! Invariants:
//! - Of each zone the inner queue has at most one append. A zone's *lane* says whether it has one, and what is kept behind
//!   it; a lane is there while its append is in flight and only then, so nothing is kept that nobody would submit.
//! - Kept appends of a zone are submitted in the order in which they came.
//! - The inner queue sees the zone's number as the user data of an append; the lane has the caller's.
//! - `in_flight_count` counts every operation from before it is handed on until its completion has been given to a caller.
//!
//! Who makes progress: whoever is given the completion of an append by the inner queue submits what was kept behind it,
//! before his own call ends. So there must be somebody who reaps; a completion that nobody asks for keeps its zone waiting.
//!
//! No thread waits for ever, and none sleeps here: all sleeping is done in the inner queue, which ends it when one of its
//! operations completes, whoever is given that completion, or when none is in flight. An operation that is in flight and
//! not in the inner queue is either kept behind one that is there, or in the hands of a thread that is in `submit` or
//! `reap` and does not wait for any other. To such a thread others give way (`reap` comes back empty-handed, as it may).
//!
//! Locks: a lane's lock is held while the inner queue takes an append of that lane, which may wait for room. Room comes from
//! the kernel, and from threads that reap, which take no lane's lock before they have made the room.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::{Mutex, MutexGuard};

use super::{Completion, IoQueue, Outcome, Refused, Request, Wait};
use crate::buffer::AlignedBuffer;
use crate::device::ZonedDevice;
use crate::units::ZoneId;

/// Lanes are spread over so many locks.
const STRIPE_COUNT: usize = 16;

/// A queue that has at most one append to each zone in flight in the queue behind it.
#[derive(Debug)]
pub struct OneAtATimeQueue {
    device: Arc<dyn ZonedDevice>,
    inner: Arc<dyn IoQueue>,
    stripes: [Mutex<Lanes>; STRIPE_COUNT],
    in_flight_count: AtomicUsize,
}

type Lanes = HashMap<ZoneId, Lane>;

/// A zone with an append in flight.
#[derive(Debug)]
struct Lane {
    /// Of that append.
    user_data: u64,
    kept: VecDeque<Request>,
}

impl OneAtATimeQueue {
    /// A queue before `inner`, which must be a queue on `device` that nobody else appends through.
    #[must_use]
    pub fn new(device: Arc<dyn ZonedDevice>, inner: Arc<dyn IoQueue>) -> Self {
        let stripes = std::array::from_fn(|_| Mutex::default());
        Self { device, inner, stripes, in_flight_count: AtomicUsize::new(0) }
    }

    fn lanes(&self, zone: ZoneId) -> MutexGuard<'_, Lanes> {
        self.stripes[zone.index() % STRIPE_COUNT].lock()
    }

    /// The zone that a request appends to. Where it names none, the device is going to refuse it.
    fn zone_of(&self, request: &Request) -> Option<ZoneId> {
        match request {
            Request::Append { zone_start, .. } => self.device.geometry().zone_starting_at(*zone_start),
            Request::Read { .. } => None,
        }
    }

    fn submit_append(&self, zone: ZoneId, request: Request) -> Result<(), Refused> {
        let mut lanes = self.lanes(zone);
        match lanes.get_mut(&zone) {
            Some(lane) => {
                lane.kept.push_back(request);
                Ok(())
            }
            None => {
                let user_data = self.hand_on(zone, request)?;
                lanes.insert(zone, Lane { user_data, kept: VecDeque::new() });
                Ok(())
            }
        }
    }

    /// Submits an append to the inner queue and gives the caller's user data. Call it under the zone's lock.
    fn hand_on(&self, zone: ZoneId, request: Request) -> Result<u64, Refused> {
        let (request, user_data) = with_user_data(request, zone.get().into());
        match self.inner.submit(request) {
            Ok(()) => Ok(user_data),
            Err(Refused { error, request }) => {
                let request = Box::new(with_user_data(*request, user_data).0);
                Err(Refused { error, request })
            }
        }
    }

    /// Turns a completion of the inner queue into the caller's, and submits what was kept behind it.
    fn passed_on(&self, completion: Completion, into: &mut Vec<Completion>) {
        let Completion { user_data: token, outcome } = completion;
        if matches!(outcome, Outcome::Read { .. }) {
            into.push(Completion { user_data: token, outcome });
            return;
        }
        let zone = ZoneId::new(u32::try_from(token).expect("appends carry the number of their zone"));
        let mut lanes = self.lanes(zone);
        let Some(Lane { user_data, kept }) = lanes.remove(&zone) else {
            panic!("an append to {zone} has ended that was not in flight")
        };
        into.push(Completion { user_data, outcome });
        if let Some(lane) = self.next_of(zone, kept, into) {
            lanes.insert(zone, lane);
        }
    }

    /// Submits the first of the kept appends that the device admits; the others end with its refusal.
    fn next_of(&self, zone: ZoneId, mut kept: VecDeque<Request>, into: &mut Vec<Completion>) -> Option<Lane> {
        while let Some(request) = kept.pop_front() {
            match self.hand_on(zone, request) {
                Ok(user_data) => return Some(Lane { user_data, kept }),
                Err(Refused { error, request }) => {
                    let (_, user_data) = with_user_data(*request, 0);
                    into.push(Completion { user_data, outcome: Outcome::Append(Err(error)) });
                }
            }
        }
        None
    }
}

/// The request with other user data, and what it had.
fn with_user_data(request: Request, other: u64) -> (Request, u64) {
    match request {
        Request::Append { zone_start, payload, persistence, user_data } => {
            (Request::Append { zone_start, payload, persistence, user_data: other }, user_data)
        }
        Request::Read { zone, offset, into, user_data } => {
            (Request::Read { zone, offset, into, user_data: other }, user_data)
        }
    }
}

impl IoQueue for OneAtATimeQueue {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn submit(&self, request: Request) -> Result<(), Refused> {
        // Counted first: the completion may be handed out before the inner call returns.
        self.in_flight_count.fetch_add(1, Ordering::AcqRel);
        let submitted = match self.zone_of(&request) {
            Some(zone) => self.submit_append(zone, request),
            None => self.inner.submit(request),
        };
        submitted.inspect_err(|_| {
            self.in_flight_count.fetch_sub(1, Ordering::AcqRel);
        })
    }

    fn submit_all(&self, requests: &mut Vec<Request>) -> Vec<Refused> {
        if requests.iter().any(|request| matches!(request, Request::Append { .. })) {
            return requests.drain(..).filter_map(|request| self.submit(request).err()).collect();
        }
        // Counted first, as in `submit`.
        self.in_flight_count.fetch_add(requests.len(), Ordering::AcqRel);
        let refused = self.inner.submit_all(requests);
        self.in_flight_count.fetch_sub(refused.len(), Ordering::AcqRel);
        refused
    }

    fn reap(&self, wait: Wait, into: &mut Vec<Completion>) -> io::Result<usize> {
        let mut ended = Vec::new();
        let reaped = self.inner.reap(wait, &mut ended);
        let before = into.len();
        for completion in ended {
            self.passed_on(completion, into);
        }
        let count = into.len() - before;
        self.in_flight_count.fetch_sub(count, Ordering::AcqRel);
        if count == 0 && wait != Wait::Never && self.in_flight_count() > 0 {
            // What is in flight is in the hands of another thread.
            thread::yield_now();
        }
        reaped.map(|_| count)
    }

    fn register(&self, buffer: &mut AlignedBuffer) -> io::Result<()> {
        self.inner.register(buffer)
    }

    fn in_flight_count(&self) -> usize {
        self.in_flight_count.load(Ordering::Acquire)
    }
}

impl Drop for OneAtATimeQueue {
    /// Waits for everything in flight, what is kept included: it was taken on.
    fn drop(&mut self) {
        let mut completions = Vec::new();
        while self.in_flight_count() > 0 {
            if self.reap(Wait::ForOne, &mut completions).is_err() {
                // Sleeping is impossible; what the inner queue has may complete all the same.
                thread::yield_now();
            }
            completions.clear();
        }
    }
}
