//! Reads of a zone that are in flight while its reader is busy with what it has.
//!
//! The collector spends most of its time on records, and would let the device idle meanwhile, and then wait for it. And a file
//! system may hold a lock of the file for as long as a thread reads directly from it, which keeps writes of others waiting; ext4
//! does. A read on a queue holds it only while it is begun.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::buffer::AlignedBuffer;
use crate::device::{DeviceResult, ZonedDevice};
use crate::queue::{Completion, IoQueue, Outcome, Request, Wait};
use crate::units::{ZoneId, ZoneOffset};

/// Bytes of one read: drives take commands of so many bytes, most of them.
const PIECE_BYTES: u64 = 256 << 10;
/// Reads in flight at once, behind what the reader has: somewhat more than half of a window together, which is what its reader asks
/// for when it comes.
pub const DEPTH: usize = 6;

/// A queue to read ahead on, and the reads that are in flight on it. One reader at a time.
#[derive(Debug)]
pub struct ReadAhead {
    queue: Arc<dyn IoQueue>,
    /// In the order in which they lie, without gaps between them.
    pieces: VecDeque<Piece>,
    spare: Vec<AlignedBuffer>,
    begun_count: u64,
    ended: Vec<Completion>,
}

/// A stretch of a zone that is read at once, and of which the reader has not had all.
#[derive(Debug)]
struct Piece {
    user_data: u64,
    zone: ZoneId,
    /// Where it began.
    first_bytes: u64,
    /// Where what the reader has not had begins.
    start_bytes: u64,
    end_bytes: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    InFlight,
    Read(AlignedBuffer),
    Failed,
}

/// A zone, up to where it is to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) zone: ZoneId,
    pub(crate) end_bytes: u64,
}

impl ReadAhead {
    /// Reads go through this queue, which nobody else uses. It is to take [`DEPTH`] of them at a time.
    #[must_use]
    pub fn new(queue: Arc<dyn IoQueue>) -> Self {
        let (pieces, spare, ended) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { queue, pieces, spare, begun_count: 0, ended }
    }

    /// Fills `into` with what lies from `start_bytes` on, inside the stretch, and begins to read what follows there.
    ///
    /// # Errors
    /// The device's.
    pub(crate) fn read(
        &mut self,
        device: &dyn ZonedDevice,
        stretch: Stretch,
        start_bytes: u64,
        into: &mut [u8],
    ) -> DeviceResult<()> {
        let goes_on = |piece: &Piece| (piece.zone, piece.start_bytes) == (stretch.zone, start_bytes);
        if !self.pieces.front().is_some_and(goes_on) {
            // The reader has gone elsewhere. What is in flight is not looked at when it ends.
            self.pieces.clear();
        }
        let mut done = 0;
        while done < into.len() {
            self.ask(stretch, start_bytes + done as u64);
            self.wait_for_first();
            let taken = self.take(device, &mut into[done..]);
            // What was read behind a place that failed may be outdated when somebody comes back to it.
            done += taken.inspect_err(|_| self.pieces.clear())?;
        }
        self.ask(stretch, start_bytes + done as u64);
        Ok(())
    }

    /// Begins reads until enough are in flight, from behind the last one on.
    fn ask(&mut self, Stretch { zone, end_bytes }: Stretch, position_bytes: u64) {
        while self.pieces.len() < DEPTH {
            let start_bytes = self.pieces.back().map_or(position_bytes, |last| last.end_bytes);
            let len_bytes = PIECE_BYTES.min(end_bytes - start_bytes);
            if len_bytes == 0 {
                break;
            }
            let mut into = self.spare.pop().unwrap_or_else(|| AlignedBuffer::zeroed(index(PIECE_BYTES)));
            into.set_len(index(len_bytes));
            let user_data = self.begun_count;
            self.begun_count += 1;
            let request = Request::Read { zone, offset: ZoneOffset::new(start_bytes), into, user_data };
            let is_begun = self.has_room() && self.queue.submit(request).is_ok();
            let state = if is_begun { State::InFlight } else { State::Failed };
            let end_bytes = start_bytes + len_bytes;
            self.pieces.push_back(Piece {
                user_data,
                zone,
                first_bytes: start_bytes,
                start_bytes,
                end_bytes,
                state,
            });
        }
    }

    fn wait_for_first(&mut self) {
        while self.pieces.front().is_some_and(|first| matches!(first.state, State::InFlight)) {
            self.reap();
        }
    }

    /// Whether the queue takes one more, after those that nobody waits for any more have ended.
    fn has_room(&mut self) -> bool {
        while self.queue.in_flight_count() >= DEPTH {
            if !self.reap() {
                return false;
            }
        }
        true
    }

    /// Waits for a read to end. Where that cannot be, all are given up, and it says so.
    fn reap(&mut self) -> bool {
        let reaped = self.queue.reap(Wait::ForOne, &mut self.ended);
        for Completion { user_data, outcome } in self.ended.drain(..) {
            let Outcome::Read { result, into } = outcome else { continue };
            match self.pieces.iter_mut().find(|piece| piece.user_data == user_data) {
                Some(piece) if result.is_ok() => piece.state = State::Read(into),
                Some(piece) => piece.state = State::Failed,
                None => self.spare.push(into),
            }
        }
        let is_good = reaped.is_ok_and(|count| count > 0);
        if !is_good {
            // The queue keeps their buffers for as long as the kernel may write to them.
            self.pieces.iter_mut().for_each(Piece::give_up);
        }
        is_good
    }

    /// Moves bytes of the first piece, which has ended, into `into`, and says how many. What a queue could not read is read by this
    /// thread: that takes large reads apart, goes on after short ones, and has the last word on errors.
    fn take(&mut self, device: &dyn ZonedDevice, into: &mut [u8]) -> DeviceResult<usize> {
        let first = self.pieces.front_mut().expect("the caller stays inside the stretch");
        let len = index(first.end_bytes - first.start_bytes).min(into.len());
        match &first.state {
            State::Read(bytes) => {
                let from = index(first.start_bytes - first.first_bytes);
                into[..len].copy_from_slice(&bytes[from..from + len]);
            }
            State::InFlight | State::Failed => {
                device.read(first.zone, ZoneOffset::new(first.start_bytes), &mut into[..len])?;
            }
        }
        first.start_bytes += len as u64;
        if first.start_bytes == first.end_bytes
            && let Some(Piece { state: State::Read(buffer), .. }) = self.pieces.pop_front()
        {
            self.spare.push(buffer);
        }
        Ok(len)
    }
}

impl Piece {
    fn give_up(&mut self) {
        if matches!(self.state, State::InFlight) {
            self.state = State::Failed;
        }
    }
}

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("less than a window")
}
