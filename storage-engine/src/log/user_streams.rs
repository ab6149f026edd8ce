//! The streams of new writes, each behind a lock of its own, and what they share.
//!
//! Invariants:
//! - A seqno is taken by who holds the stream that its record goes to, and the record is in that stream's open unit before the
//!   stream is let go. So whoever holds all streams sees every seqno that has been given out in a unit, open or sealed.
//! - What is journaled, and what is deferred until it is durable, takes its seqno under the lock of [`Shared`] as well: both
//!   are in the order of seqnos.
//!
//! Threading: the lock of what is shared is taken before those of streams, and nobody who holds a stream alone waits for
//! another lock. On cache lines of their own, all of them: threads that write to different streams have only
//! the next seqno to pass to and fro.

use crossbeam::utils::CachePadded;
use smallvec::SmallVec;

use super::commit::Deferred;
use super::journal::Journal;
use super::stream::Stream;
use super::writer::Ready;
use crate::format::unit::MOST_CLASSES;
use crate::patience::LockSoon;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::units::SeqNo;

/// The streams of new writes, by class.
#[derive(Debug)]
pub(super) struct UserStreams {
    next_seqno: CachePadded<AtomicU64>,
    pub(super) shared: CachePadded<Mutex<Shared>>,
    pub(super) streams: Box<[CachePadded<Mutex<Stream>>]>,
}

/// What the streams of new writes share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The last seqno of the writes that were logged last as a group, or are being logged: visible only as a whole.
    pub(super) group_last: SeqNo,
    pub(super) deferred: Vec<Deferred>,
    pub(super) ready: Ready,
    pub(super) journal: Option<Journal>,
}

/// All streams of new writes, held: nothing is written to any but by the holder.
#[derive(Debug)]
pub(super) struct UserLog<'a> {
    all: &'a UserStreams,
    pub(super) shared: MutexGuard<'a, Shared>,
    pub(super) streams: SmallVec<[MutexGuard<'a, Stream>; MOST_CLASSES as usize]>,
}

impl UserStreams {
    /// The streams of a log whose last write so far is `last_seqno`; at least one.
    pub(super) fn new(streams: Vec<Stream>, last_seqno: SeqNo) -> Self {
        assert!(!streams.is_empty(), "there is at least one stream of new writes");
        let shared =
            Shared { group_last: last_seqno, deferred: Vec::new(), ready: Ready::new(), journal: None };
        Self {
            next_seqno: CachePadded::new(AtomicU64::new(last_seqno.next().get())),
            shared: CachePadded::new(Mutex::new(shared)),
            streams: streams.into_iter().map(|stream| CachePadded::new(Mutex::new(stream))).collect(),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.streams.len()
    }

    /// The seqno after the last one given out.
    pub(super) fn next_seqno(&self) -> SeqNo {
        SeqNo::new(self.next_seqno.load(Ordering::Acquire))
    }

    /// Takes the next seqno if it will do. The caller holds the stream that it is for.
    pub(super) fn take_seqno(&self, will_do: impl Fn(SeqNo) -> bool) -> Option<SeqNo> {
        let next = |seqno| will_do(SeqNo::new(seqno)).then_some(seqno + 1);
        self.next_seqno.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok().map(SeqNo::new)
    }

    /// Waits for all streams and holds them.
    pub(super) fn hold(&self) -> UserLog<'_> {
        UserLog {
            all: self,
            shared: self.shared.lock_soon(),
            streams: self.streams.iter().map(|stream| stream.lock_soon()).collect(),
        }
    }

    /// What `find` gives for the first stream for which it gives anything; holds one at a time.
    pub(super) fn find_map<T>(&self, find: impl Fn(&Stream) -> Option<T>) -> Option<T> {
        self.streams.iter().find_map(|stream| find(&stream.lock()))
    }
}

impl UserLog<'_> {
    /// The seqno after the last one given out.
    pub(super) fn next_seqno(&self) -> SeqNo {
        self.all.next_seqno()
    }

    /// Gives out the next seqno.
    pub(super) fn step_seqno(&mut self) {
        self.all.next_seqno.fetch_add(1, Ordering::AcqRel);
    }

    /// Everything up to here is in units that have been sealed.
    pub(super) fn sealed(&self) -> SeqNo {
        let open = self.streams.iter().filter_map(|stream| stream.open_first_seqno()).min();
        open.unwrap_or_else(|| self.next_seqno()).back(1)
    }
}
