//! Linearizability of histories of single keys.
//!
//! A history says which calls were made on a key, when each began and ended, and what it gave. It is linearizable when the
//! calls can be put in an order in which each gives what it gave, and in which none comes after one that began when it had
//! ended. Keys do not depend on each other, and linearizability of each is that of all (Herlihy and Wing, 1990): so a
//! history of a store is decided key by key, which keeps it quick.
//!
//! The search is that of Wing and Gong (1993) with Lowe's memory of what has been tried (2017): a set of calls that are
//! done, together with the value that they left, is looked into once.

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A value, by a number that no two writes of a test share; `None` where the key has none.
pub type Content = Option<u64>;

/// What was called, and what it gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// The key was given this value, or lost the one that it had.
    Wrote(Content),
    /// The key was read, and this was there.
    Read(Content),
    /// The key's value was to be exchanged if it was what was expected, and it was.
    Swapped {
        /// What was expected.
        expected: Content,
        /// What was put in its place.
        new: Content,
    },
    /// It was not: this was there.
    Refused {
        /// What was expected.
        expected: Content,
        /// What was there.
        found: Content,
    },
}

impl Action {
    /// What is there after the action if this was there before; `None` where it could not have given what it gave.
    fn after(self, before: Content) -> Option<Content> {
        let (possible, after) = match self {
            Self::Wrote(new) => (true, new),
            Self::Read(found) => (found == before, before),
            Self::Swapped { expected, new } => (expected == before, new),
            Self::Refused { expected, found } => (found == before && expected != before, before),
        };
        possible.then_some(after)
    }
}

/// One call of a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    /// Before it was made.
    pub began: u64,
    /// After it had returned.
    pub ended: u64,
    /// What it was.
    pub action: Action,
}

/// No order of the calls explains them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotLinearizable {
    /// The calls around the first return that cannot be explained, by the time when they began.
    pub around: Vec<Call>,
}

impl fmt::Display for NotLinearizable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no order of the calls explains what they gave; the last ones that were tried:")?;
        self.around
            .iter()
            .try_for_each(|call| writeln!(f, "  {:>6} to {:>6}: {:?}", call.began, call.ended, call.action))
    }
}

impl std::error::Error for NotLinearizable {}

/// Records what many threads do to one key.
#[derive(Debug, Default)]
pub struct History {
    calls: Mutex<Vec<Call>>,
}

/// Tells times: which of two came first, whichever thread asked.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    /// The next time.
    pub fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

impl History {
    /// Adds a call.
    ///
    /// # Panics
    /// When a thread panicked while it added one.
    pub fn add(&self, call: Call) {
        self.calls.lock().expect("adding a call does not panic").push(call);
    }

    /// Decides the history of a key that had this content before the first call.
    ///
    /// # Errors
    /// [`NotLinearizable`].
    ///
    /// # Panics
    /// When a thread panicked while it added a call.
    pub fn check(&self, before: Content) -> Result<(), NotLinearizable> {
        check(before, &self.calls.lock().expect("adding a call does not panic"))
    }

    /// How many calls there are.
    ///
    /// # Panics
    /// When a thread panicked while it added one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.lock().expect("adding a call does not panic").len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Decides a history of a key that had the content `before` when it began.
///
/// # Errors
/// [`NotLinearizable`].
pub fn check(before: Content, calls: &[Call]) -> Result<(), NotLinearizable> {
    Search::new(before, calls).run()
}

/// Beginnings and ends of calls in the order of time, those of calls that are done left out.
struct Search {
    /// By the times when they began.
    calls: Vec<Call>,
    events: Vec<Event>,
    content: Content,
    done: Done,
    /// Calls that are done, in order, with what was there before each.
    order: Vec<(usize, Content)>,
    tried: HashSet<(usize, Vec<u64>, Content)>,
    /// The most calls that any order has explained, and the end that was met then.
    furthest: (usize, usize),
}

#[derive(Clone, Copy)]
struct Event {
    call: usize,
    is_end: bool,
    previous: usize,
    next: usize,
    /// Of a beginning: where its end is.
    end: usize,
}

/// The place of the list's head: the events are behind it.
const HEAD: usize = 0;

impl Search {
    fn new(before: Content, calls: &[Call]) -> Self {
        let mut calls = calls.to_vec();
        calls.sort_unstable_by_key(|call| call.began);
        let mut times: Vec<(u64, bool, usize)> = (0..calls.len())
            .flat_map(|call| [(calls[call].began, false, call), (calls[call].ended, true, call)])
            .collect();
        // At one time a beginning comes first: calls that touch may be in either order.
        times.sort_unstable();
        let last = times.len();
        let head = Event { call: usize::MAX, is_end: false, previous: last, next: 1.min(last), end: HEAD };
        let mut events = vec![head];
        for (place, &(_, is_end, call)) in (1..).zip(&times) {
            events.push(Event {
                call,
                is_end,
                previous: place - 1,
                next: (place + 1) % (last + 1),
                end: HEAD,
            });
        }
        let mut ends = vec![HEAD; calls.len()];
        events
            .iter()
            .enumerate()
            .filter(|(_, event)| event.is_end)
            .for_each(|(place, event)| ends[event.call] = place);
        events.iter_mut().skip(1).for_each(|event| event.end = ends[event.call]);
        Self {
            events,
            content: before,
            done: Done::none_of(calls.len()),
            calls,
            order: Vec::new(),
            tried: HashSet::new(),
            furthest: (0, HEAD),
        }
    }

    fn run(mut self) -> Result<(), NotLinearizable> {
        let mut place = self.events[HEAD].next;
        while self.events[HEAD].next != HEAD {
            let event = self.events[place];
            place = if event.is_end {
                self.note_end(place);
                // A call that has ended before all that are left begin cannot come after any of them.
                match self.take_back() {
                    Some(beginning) => self.events[beginning].next,
                    None => return Err(self.failure()),
                }
            } else if self.put_next(place) {
                self.events[HEAD].next
            } else {
                event.next
            };
        }
        Ok(())
    }

    /// Takes a call for the next one of the order, unless that cannot be or has been tried.
    fn put_next(&mut self, place: usize) -> bool {
        let call = self.events[place].call;
        let Some(after) = self.calls[call].action.after(self.content) else { return false };
        self.done.add(call);
        let (from, some_done) = self.done.since_all_are();
        if !self.tried.insert((from, some_done, after)) {
            self.done.remove(call);
            return false;
        }
        self.order.push((place, self.content));
        self.content = after;
        self.leave_out(place);
        self.leave_out(self.events[place].end);
        true
    }

    /// Takes the last call of the order back, and gives where it begins.
    fn take_back(&mut self) -> Option<usize> {
        let (place, before) = self.order.pop()?;
        self.content = before;
        self.done.remove(self.events[place].call);
        self.put_back(self.events[place].end);
        self.put_back(place);
        Some(place)
    }

    fn leave_out(&mut self, place: usize) {
        let Event { previous, next, .. } = self.events[place];
        self.events[previous].next = next;
        self.events[next].previous = previous;
    }

    fn put_back(&mut self, place: usize) {
        let Event { previous, next, .. } = self.events[place];
        self.events[previous].next = place;
        self.events[next].previous = place;
    }

    fn note_end(&mut self, place: usize) {
        if self.order.len() >= self.furthest.0 {
            self.furthest = (self.order.len(), place);
        }
    }

    fn failure(&self) -> NotLinearizable {
        const SHOWN: u64 = 24;
        let until = self.calls[self.events[self.furthest.1].call].ended;
        let mut around: Vec<Call> = self.calls.iter().filter(|call| call.began <= until).copied().collect();
        around.sort_unstable_by_key(|call| call.began);
        let left_out = around.len().saturating_sub(usize::try_from(SHOWN).expect("small"));
        NotLinearizable { around: around.split_off(left_out) }
    }
}

/// Which calls are done, in words of 64. Long ago all are, and lately none: what lies between is short.
struct Done {
    words: Vec<u64>,
    /// The first word in which not all are done, and the one behind the last in which any is.
    from: usize,
    to: usize,
}

impl Done {
    fn none_of(calls: usize) -> Self {
        Self { words: vec![0; calls / 64 + 1], from: 0, to: 0 }
    }

    fn add(&mut self, call: usize) {
        self.words[call / 64] |= 1 << (call % 64);
        self.to = self.to.max(call / 64 + 1);
        while self.words[self.from] == u64::MAX {
            self.from += 1;
        }
    }

    fn remove(&mut self, call: usize) {
        self.words[call / 64] &= !(1 << (call % 64));
        self.from = self.from.min(call / 64);
        while self.to > 0 && self.words[self.to - 1] == 0 {
            self.to -= 1;
        }
    }

    /// What is done, as far as it is not everything or nothing.
    fn since_all_are(&self) -> (usize, Vec<u64>) {
        (self.from, self.words[self.from..self.to.max(self.from)].to_vec())
    }
}

#[cfg(test)]
mod tests;
