//! Events: what the store does by itself, told to a listener.
//!
//! Threading: whoever has something to tell puts it into a queue of fixed length and goes on, whether there was room or not:
//! what found none is counted. A thread of its own calls the listener. It holds no lock, and nothing of the engine waits for
//! it, closing included; so a listener may take its time, use the store, close it or panic. The thread ends, and the listener
//! is dropped, when the store is closed and everything in the queue has been told.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::error::{EngineError, EngineResult};
use crate::format::manifest::Collection;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::thread;

/// Events that wait to be told.
const QUEUE_LEN: usize = 1024;

/// Something that the store has done by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The collector has emptied a zone.
    Collection(Collection),
}

/// Who is told of events.
pub trait Listener: Send + Sync + fmt::Debug {
    /// Called for one event after another, on a thread of its own.
    fn note(&self, event: &Event);
}

/// The way to the listener, if there is one.
#[derive(Debug, Default)]
pub(super) struct Events {
    sender: Mutex<Option<SyncSender<Event>>>,
    lost_count: AtomicU64,
}

impl Events {
    /// Starts the thread that tells the listener.
    pub(super) fn tell(&self, listener: &Arc<dyn Listener>) -> EngineResult<()> {
        let (sender, receiver) = sync_channel(QUEUE_LEN);
        let listener = Arc::clone(listener);
        let thread = thread::Builder::new().name("zonal-listener".to_owned());
        // Nobody joins it: a listener may wait for whoever closes the store.
        let _unjoined = thread
            .spawn(move || hand_over(&receiver, &*listener))
            .map_err(|error| EngineError::io("starting a thread", error))?;
        *self.sender.lock() = Some(sender);
        Ok(())
    }

    /// Puts an event into the queue. Never waits for the listener.
    pub(super) fn note(&self, event: Event) {
        let sender = self.sender.lock();
        if sender.as_ref().is_some_and(|sender| sender.try_send(event).is_err()) {
            self.lost_count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// There will be no more events.
    pub(super) fn end(&self) {
        *self.sender.lock() = None;
    }

    /// Events that found no room in the queue, or nobody at its end because the listener has panicked.
    pub(super) fn lost_count(&self) -> u64 {
        self.lost_count.load(Ordering::Relaxed)
    }
}

fn hand_over(events: &Receiver<Event>, listener: &dyn Listener) {
    for event in events {
        listener.note(&event);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};

    use super::{Collection, Event, Events, Listener, QUEUE_LEN};
    use crate::format::unit::StreamName;
    use crate::units::{Generation, ZoneId};

    fn event(number: u64) -> Event {
        Event::Collection(Collection {
            zone: ZoneId::new(0),
            generation: Generation::new(number),
            stream: StreamName::user(0),
            age_bytes: 0,
            live_bytes: 0,
            capacity_bytes: 1,
            moved_records: 0,
            moved_bytes: 0,
            microseconds: 0,
            is_freed: true,
        })
    }

    /// Passes events on, each when it is allowed to.
    #[derive(Debug)]
    struct Slow {
        allowed: Mutex<Receiver<()>>,
        heard: Sender<Event>,
    }

    impl Listener for Slow {
        fn note(&self, event: &Event) {
            self.allowed.lock().unwrap().recv().expect("the test allows it");
            self.heard.send(*event).expect("the test listens");
        }
    }

    fn slow() -> (Arc<dyn Listener>, Sender<()>, Receiver<Event>) {
        let ((allow, allowed), (heard, hears)) = (channel(), channel());
        (Arc::new(Slow { allowed: Mutex::new(allowed), heard }), allow, hears)
    }

    #[test]
    fn a_listener_that_is_stuck_holds_nobody_up_and_what_it_misses_is_counted() {
        let (listener, allow, hears) = slow();
        let events = Events::default();
        events.tell(&listener).unwrap();
        drop(listener);
        let told = QUEUE_LEN as u64 + 100;
        (0..told).for_each(|number| events.note(event(number)));
        let lost = events.lost_count();
        assert!((99..=100).contains(&lost), "{lost}: one may have been taken out of the queue meanwhile");
        events.end();
        // It was stuck all the time, and hears what was in the queue, in order, after the end.
        (0..told).for_each(|_| allow.send(()).unwrap());
        let heard: Vec<Event> = hears.into_iter().collect();
        assert_eq!(heard, (0..told - lost).map(event).collect::<Vec<_>>());
    }

    #[derive(Debug)]
    struct Panics(Mutex<Option<Sender<()>>>);

    impl Listener for Panics {
        fn note(&self, _: &Event) {
            let _told_that_it_is_over = self.0.lock().unwrap().take();
            panic!("a listener's panic, on purpose");
        }
    }

    #[test]
    fn a_listener_that_panics_is_not_called_again_and_what_it_misses_is_counted() {
        let (over, waits) = channel();
        let events = Events::default();
        let listener: Arc<dyn Listener> = Arc::new(Panics(Mutex::new(Some(over))));
        events.tell(&listener).unwrap();
        events.note(event(0));
        waits.recv().expect_err("dropped while it panics");
        let mut told = 0;
        while events.lost_count() == 0 {
            told += 1;
            assert!(told < 1_000_000_000, "nobody counts what is lost");
            events.note(event(told));
            std::thread::yield_now();
        }
    }
}
