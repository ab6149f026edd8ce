//! Writers whose every call can be told from its number, and the check that a store holds a prefix of their calls.
//!
//! Each thread has keys of its own and makes calls 1, 2, 3 ... one after another. Call n writes the record
//! `thread/n mod KEYS` and, in the same batch, the number n under `thread`. Some calls are acknowledged when they are on
//! stable media, others earlier; only the former are reported as acknowledged.

use std::path::Path;
use std::sync::Mutex;

use zonal::{Db, Depth, Durability, Error, ErrorKind, Options, WriteBatch, WriteOptions};

/// How many threads write to a store.
pub(crate) const THREADS: usize = 3;
/// Records of each thread.
pub(crate) const KEYS: u64 = 100;

/// A number for each thread: of the last call that was acknowledged, or that is there.
pub(crate) type Numbers = [u64; THREADS];

/// How a store on a drive is opened that exists already.
pub(crate) fn existing() -> Options {
    Options::default().create_if_missing(false).cache_bytes(8 << 20)
}

fn value(thread: usize, number: u64) -> Vec<u8> {
    // From some bytes to more than one block, with now and then one that does not fit into one append.
    let bytes = match number % 50 {
        7 => 300_000,
        remainder => 200 + usize::try_from(remainder).expect("small") * 250,
    };
    let mark = format!("thread {thread} call {number}; ");
    mark.bytes().cycle().take(bytes).collect()
}

fn key(thread: usize, number: u64) -> String {
    format!("{thread}/{:03}", number % KEYS)
}

fn durability(number: u64) -> Durability {
    match number % 8 {
        1 | 2 => Durability::Written,
        3 => Durability::Buffered,
        _ => Durability::Sync,
    }
}

/// Makes calls from all threads, each from the one after `done`, until one fails or `goes_on` says no.
///
/// `acknowledged` is told each call that is on stable media, and all before it of that thread are. Gives the first error.
pub(crate) fn write(
    db: &Db,
    done: &Numbers,
    goes_on: &(dyn Fn() -> bool + Sync),
    acknowledged: &(dyn Fn(usize, u64) + Sync),
) -> Result<(), Error> {
    let first_error = Mutex::new(Ok(()));
    std::thread::scope(|scope| {
        for (thread, &done) in done.iter().enumerate() {
            let first_error = &first_error;
            scope.spawn(move || {
                for number in (done + 1..).take_while(|_| goes_on()) {
                    match call(db, thread, number) {
                        Ok(Durability::Sync) => acknowledged(thread, number),
                        Ok(_) => {}
                        Err(error) => {
                            let mut first = first_error.lock().expect("nobody panics with it");
                            if first.is_ok() {
                                *first = Err(error);
                            }
                            return;
                        }
                    }
                }
            });
        }
    });
    first_error.into_inner().expect("nobody panics with it")
}

fn call(db: &Db, thread: usize, number: u64) -> Result<Durability, Error> {
    let mut batch = WriteBatch::new();
    batch.put(key(thread, number), value(thread, number));
    batch.put(thread.to_string(), number.to_le_bytes());
    let durability = durability(number);
    db.write_with(batch, WriteOptions::default().durability(durability)).map(|()| durability)
}

/// Checks that each thread's records are what its calls 1 to n have made them, with n at least what was acknowledged.
/// Gives n for each thread.
pub(crate) fn assert_prefix(db: &Db, acknowledged: &Numbers, context: &str) -> Numbers {
    std::array::from_fn(|thread| {
        let mark = db.get(thread.to_string()).unwrap_or_else(|error| panic!("{context}: {error}"));
        let last = mark.map_or(0, |it| u64::from_le_bytes(*it.first_chunk().expect("eight bytes")));
        assert!(
            last >= acknowledged[thread],
            "{context}: call {} of thread {thread} was acknowledged, {last} is the last there",
            acknowledged[thread],
        );
        for number in (last.saturating_sub(KEYS) + 1)..=last {
            let found = db.get(key(thread, number)).unwrap_or_else(|error| panic!("{context}: {error}"));
            let begins =
                found.as_deref().map(|it| String::from_utf8_lossy(&it[..it.len().min(40)]).into_owned());
            assert!(
                found.as_deref() == Some(&value(thread, number)[..]),
                "{context}: of thread {thread}, whose last call there is {last}, {number} is not: {begins:?}"
            );
        }
        last
    })
}

/// Checks that what can be read is what some call has written, whichever: all that is left to ask for after a loss.
pub(crate) fn assert_known(db: &Db, context: &str) {
    for thread in 0..THREADS {
        for slot in 0..KEYS {
            match db.get(key(thread, slot)) {
                Ok(Some(found)) => {
                    assert!(
                        is_known(thread, &found),
                        "{context}: {thread}/{slot} has a value that nobody wrote"
                    );
                }
                Ok(None) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corruption, "{context}: {error}"),
            }
        }
    }
}

fn is_known(thread: usize, found: &[u8]) -> bool {
    let text = String::from_utf8_lossy(found);
    let number = text.split(' ').nth(3).and_then(|word| word.split(';').next()?.parse().ok());
    number.is_some_and(|number| found == value(thread, number))
}

/// Checks a store that nobody has open.
pub(crate) fn assert_sound(path: &Path, depth: Depth, context: &str) {
    let report = Db::check(path, &existing(), depth, &|_| {});
    let report = report.unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(report.is_sound(), "{context}: {report:?}");
}
