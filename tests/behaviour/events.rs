//! What a store tells of its cleaning, and what listeners may do.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex, OnceLock};

use zonal::{Collection, Db, Durability, Event, Options, StreamKind};

use crate::support::{KIB, Place, at, small, stamped};

/// Three of four writes go to a few keys; the others live long enough to be copied.
fn churn(db: &Db, writes: u64) {
    for number in 0..writes {
        let key = if number % 4 == 0 { number / 4 % 300 } else { 300 + number % 20 };
        db.put_with(key.to_le_bytes(), stamped(number, 20 * KIB), at(Durability::Buffered)).unwrap();
    }
}

/// A listener that passes collections on. What it sends to ends when it is dropped.
fn passing_on() -> (impl Fn(&Event) + Send + Sync, Receiver<Collection>) {
    let (sender, receiver): (Sender<Collection>, _) = channel();
    let pass_on = move |event: &Event| {
        if let Event::Collection(collection) = event {
            sender.send(*collection).expect("the test listens");
        }
    };
    (pass_on, receiver)
}

#[test]
fn every_collection_is_told_and_adds_up_to_what_the_statistics_say() {
    let (listener, collections) = passing_on();
    let place = Place::with(small(16).event_listener(listener));
    let db = place.open();
    drop(place.options());
    churn(&db, 5000);
    let (stats, cleaning) = (db.stats(), db.cleaning_stats());
    db.close().unwrap();
    drop(place);
    // The listener is dropped after the last event.
    let told: Vec<Collection> = collections.into_iter().collect();
    assert!(told.len() as u64 >= stats.zone_resets && stats.zone_resets > 50, "{}", told.len());
    let counted = &told[..usize::try_from(stats.zone_resets).unwrap()];
    let moved: u64 = counted.iter().map(|collection| collection.moved_bytes).sum();
    assert!(moved <= stats.relocated_bytes, "{moved} of {}", stats.relocated_bytes);
    assert!(counted.iter().all(|it| it.freed && it.moved_bytes <= it.live_bytes && it.live_share < 1.0));
    assert!(
        counted.iter().any(|it| it.kind == StreamKind::User && it.moved_records > 0),
        "nothing was copied"
    );
    let remembered = &cleaning.collections;
    assert!(told.windows(8).any(|window| window == remembered), "{remembered:#?}");
    let live: u64 = cleaning.streams.iter().map(|stream| stream.live_bytes).sum();
    assert!(live > 0 && cleaning.lost_events == 0);
}

#[test]
fn a_listener_may_use_the_store_and_close_it() {
    let (closed, waits) = channel();
    let (closed, store) = (Mutex::new(closed), Arc::new(OnceLock::<Db>::new()));
    let own = Arc::clone(&store);
    let place = Place::with(small(16).event_listener(move |_: &Event| {
        let db = own.get().expect("set before anything is written");
        if db.put("from the listener", "v").is_ok() {
            assert_eq!(db.get("from the listener").unwrap().as_deref(), Some(&b"v"[..]));
            db.clone().close().unwrap();
            closed.lock().unwrap().send(()).unwrap();
        }
    }));
    let db = place.open();
    store.set(db.clone()).unwrap();
    let mut number = 0;
    while db
        .put_with((number % 300_u64).to_le_bytes(), stamped(number, 20 * KIB), at(Durability::Buffered))
        .is_ok()
    {
        number += 1;
    }
    waits.recv().expect("the store was closed by its listener");
}

#[test]
fn a_listener_that_never_returns_keeps_nobody_from_writing_and_closing() {
    let barrier = Arc::new(Barrier::new(2));
    let stuck = Arc::clone(&barrier);
    let place = Place::with(small(16).event_listener(move |_: &Event| {
        stuck.wait();
    }));
    let db = place.open();
    churn(&db, 3000);
    assert!(db.stats().zone_resets > 10);
    db.close().unwrap();
    // Another opening finds nobody in the way.
    drop(Db::open(place.path(), Options::default()).unwrap());
    barrier.wait();
}
