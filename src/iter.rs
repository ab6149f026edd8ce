//! Walking a range of keys, from either end.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Bound;

use zonal_engine::engine::Direction;

use crate::db::{Db, EngineItem};
use crate::{Result, Value};

/// Items fetched first.
const FIRST_PAGE: usize = 16;
/// Items fetched at once at most.
const LAST_PAGE: usize = 256;
/// Where nothing is waited for, a page is so small a part of what was fetched before: who stops early has not paid for much.
const SHARE_IN_MEMORY: usize = 4;

/// The keys and values of a range, in order; from [`Db::range`], [`Db::prefix`] and [`Db::iter`].
///
/// Not a snapshot: each key is given at most once and in order, with a value that it had at some time during the walk.
/// A key that was there all the time is never missed. Values are fetched by the page, with their reads in flight together;
/// pages grow while the device is waited for.
///
/// A key whose value cannot be read gives an error that names the key ([`Error::key`](crate::Error::key)), in its place in
/// the order; the iterator goes on behind it. Collecting into a `Result` stops at the first such error; going through with
/// a loop leaves the choice. An error that is not about one key, such as that of a closed store, ends the iterator.
pub struct Range {
    db: Db,
    low: Bound<Box<[u8]>>,
    high: Bound<Box<[u8]>>,
    front: End,
    back: End,
}

/// What has been fetched at one end and not yet been given.
#[derive(Debug)]
struct End {
    fetched: VecDeque<EngineItem>,
    fetched_count: usize,
    page: usize,
}

impl End {
    fn new() -> Self {
        Self { fetched: VecDeque::new(), fetched_count: 0, page: FIRST_PAGE }
    }

    fn take(&mut self, items: Vec<EngineItem>, was_in_memory: bool) {
        debug_assert!(self.fetched.is_empty(), "nothing is fetched before it is needed");
        self.fetched_count += items.len();
        self.fetched = items.into();
        let next = if was_in_memory { self.fetched_count / SHARE_IN_MEMORY } else { self.page * 2 };
        self.page = next.clamp(FIRST_PAGE, LAST_PAGE);
    }
}

impl Range {
    pub(crate) fn new(db: Db, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Self {
        let own = |bound: Bound<&[u8]>| bound.map(Box::from);
        Self { db, low: own(low), high: own(high), front: End::new(), back: End::new() }
    }

    /// Whether nothing is left between the two ends.
    fn is_drained(&self) -> bool {
        match (&self.low, &self.high) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(low), Bound::Included(high)) => low > high,
            (Bound::Included(low) | Bound::Excluded(low), Bound::Excluded(high) | Bound::Included(high)) => {
                low >= high
            }
        }
    }

    fn drain(&mut self) {
        self.low = Bound::Excluded(Box::default());
        self.high = Bound::Excluded(Box::default());
    }

    /// Fetches the next items at one end; leaves none when the range is exhausted.
    fn fetch(&mut self, direction: Direction) -> Result<()> {
        while !self.is_drained() {
            let limit = self.ends(direction).0.page;
            let (low, high) = (self.low.as_ref().map(|key| &**key), self.high.as_ref().map(|key| &**key));
            let page = self.db.page(low, high, direction, limit)?;
            let (end, _) = self.ends(direction);
            end.take(page.items, page.was_in_memory);
            let found = !end.fetched.is_empty();
            match (page.last_key, direction) {
                (None, _) => self.drain(),
                (Some(last), Direction::Forward) => self.low = Bound::Excluded(last),
                (Some(last), Direction::Backward) => self.high = Bound::Excluded(last),
            }
            if found {
                return Ok(());
            }
        }
        Ok(())
    }

    fn step(&mut self, direction: Direction) -> Option<Result<(Vec<u8>, Value)>> {
        if self.ends(direction).0.fetched.is_empty()
            && let Err(error) = self.fetch(direction)
        {
            self.drain();
            self.front.fetched.clear();
            self.back.fetched.clear();
            return Some(Err(error));
        }
        let (near, far) = self.ends(direction);
        // When nothing is left between the ends, what the other end has fetched comes next, its last item first.
        let item = near.fetched.pop_front().or_else(|| far.fetched.pop_back());
        item.map(|item| self.db.own_item(item))
    }

    /// The end that is walked from, and the other one.
    fn ends(&mut self, direction: Direction) -> (&mut End, &mut End) {
        match direction {
            Direction::Forward => (&mut self.front, &mut self.back),
            Direction::Backward => (&mut self.back, &mut self.front),
        }
    }
}

impl Iterator for Range {
    type Item = Result<(Vec<u8>, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(Direction::Forward)
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(Direction::Backward)
    }
}

impl std::iter::FusedIterator for Range {}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Range").field("low", &self.low).field("high", &self.high).finish_non_exhaustive()
    }
}
