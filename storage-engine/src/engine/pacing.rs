//! How fast writers go while zones are emptied for them.
//!
//! Left alone, a writer goes at full speed until no zone is left, and then stands still until the collector has emptied the next
//! one. So writers are held to a rate from the time on when free zones run low: what the collector gains while it works
//! (space freed less space that copies take, by time, averaged over the last second or so), times a factor that falls with
//! the space in hand and is 1 where there is as much of it as there should be. Whatever the estimate is worth, the two meet
//! where space stays as it is.
//!
//! *Space in hand* is measured in zones and moves evenly, not zone by zone: free zones beyond the reserve, zones made ready, what
//! is left of those that are being filled, and how far the collector is with the one that it is emptying.
//!
//! The collector in turn rests half of the time where there is more in hand than need be.
//!
//! Threading: the housekeeper sets the rate; each put looks at one number, and adds to another one where there is a rate. No
//! lock is held while a writer sleeps. A sleep is short: a rate that it would not keep is made up for by the next ones, and when
//! no zone is left at all writers wait for one as they would without pacing.

use std::time::Duration;

use super::Inner;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Instant, Mutex, thread};
use crate::zones::Purpose;

/// A writer that is ahead of the rate by less goes on at once: a sleep takes about as much longer than it should.
const UNNOTICED: Duration = Duration::from_micros(50);
/// What sleeps took longer than they should is made up for, as far as this: it is more than they commonly do.
const MADE_UP_FOR: Duration = Duration::from_millis(1);
/// No sleep is longer.
const LONGEST: Duration = Duration::from_millis(10);
/// Time over which the collector's gain is averaged.
const MEMORY: Duration = Duration::from_secs(1);
/// Zones in hand at which writers go as fast as zones are emptied, beside a quarter for each stream of new writes.
const WANTED_ZONES: f64 = 2.0;
/// With so many zones more, there is no need for a rate.
const PLENTY_ZONES: f64 = 2.0;
/// With so much more than wanted, the collector takes its time.
const EASY_ZONES: f64 = 0.5;
/// The least part of the collector's gain that writers are held to.
const LEAST_FACTOR: f64 = 0.02;

/// The rate that writers are held to.
#[derive(Debug)]
pub(super) struct Pace {
    origin: Instant,
    /// For a MiB; 0 where there is no rate.
    nanos_per_mib: AtomicU64,
    /// When, in nanoseconds since the origin, what has been let through is paid for.
    paid_at_nanos: AtomicU64,
    gain: Mutex<Gain>,
}

/// What the collector has gained of late.
#[derive(Debug, Default)]
struct Gain {
    /// Bytes freed less bytes copied, and the time that took, older ones counting for less.
    bytes: f64,
    seconds: f64,
    /// When the collector was last heard of, while it is at work.
    at: Option<Instant>,
    /// The share of the victim's zone that had been looked through by then, and bytes copied so far.
    done: f64,
    copied_bytes: u64,
}

impl Gain {
    /// The collector begins, after a rest or with another zone.
    fn begin(&mut self, copied_bytes: u64) {
        (self.done, self.copied_bytes) = (0.0, copied_bytes);
        self.at.get_or_insert_with(Instant::now);
    }

    /// So much of the zone has been looked through, and so much copied in all.
    fn advance(&mut self, done: f64, copied_bytes: u64, capacity_bytes: f64) -> Duration {
        let now = Instant::now();
        let taken = self.at.map_or(Duration::ZERO, |at| now - at);
        let kept = (-taken.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        let freed_bytes = (done - self.done) * capacity_bytes;
        let spent_bytes = (copied_bytes - self.copied_bytes) as f64;
        self.bytes = self.bytes * kept + freed_bytes - spent_bytes;
        self.seconds = self.seconds * kept + taken.as_secs_f64();
        (self.at, self.done, self.copied_bytes) = (Some(now), done, copied_bytes);
        taken
    }

    /// Bytes a second, where that is known.
    fn rate(&self) -> Option<f64> {
        (self.seconds > 0.0 && self.bytes > 0.0).then(|| self.bytes / self.seconds)
    }
}

/// What writers get of what the collector gains, by how much is in hand and wanted; `None` where there is plenty.
fn factor(in_hand: f64, wanted: f64) -> Option<f64> {
    let share = (in_hand / wanted).max(0.0);
    if in_hand >= wanted + PLENTY_ZONES {
        None
    } else if share < 1.0 {
        Some((share * share).max(LEAST_FACTOR))
    } else {
        Some(1.0 + (in_hand - wanted))
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            nanos_per_mib: AtomicU64::new(0),
            paid_at_nanos: AtomicU64::new(0),
            gain: Mutex::default(),
        }
    }
}

impl Pace {
    /// Whether writers are held to a rate.
    pub(super) fn is_set(&self) -> bool {
        self.nanos_per_mib.load(Ordering::Relaxed) > 0
    }

    /// Sleeps as long as the rate calls for before so many bytes are written.
    pub(super) fn wait(&self, bytes: u64) {
        let ahead = self.pay(bytes, self.origin.elapsed());
        if ahead > UNNOTICED {
            thread::sleep(ahead.min(LONGEST));
        }
    }

    /// Takes down that so many bytes are written now, and says how far ahead of the rate that is.
    fn pay(&self, bytes: u64, now: Duration) -> Duration {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let cost = bytes.saturating_mul(self.nanos_per_mib.load(Ordering::Relaxed)) >> 20;
        let now = nanos(now);
        let earliest = now.saturating_sub(nanos(MADE_UP_FOR));
        let paid = |before: u64| (before.max(earliest) + cost).min(now + nanos(LONGEST));
        let before = self
            .paid_at_nanos
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| Some(paid(before)));
        let at = paid(before.unwrap_or_else(|before| before));
        Duration::from_nanos(at.saturating_sub(now))
    }

    fn set(&self, bytes_a_second: Option<f64>) {
        let nanos = bytes_a_second.map_or(0.0, |rate| (1u64 << 20) as f64 / rate * 1e9);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive; it saturates"
        )]
        self.nanos_per_mib.store(nanos as u64, Ordering::Relaxed);
    }
}

impl Inner {
    /// Zones in hand, counted evenly: see the module's documentation. `done` is the share of the victim that has been looked
    /// through.
    fn zones_in_hand_for_writers(&self, done: f64) -> f64 {
        let Some(log) = &self.log else { return f64::INFINITY };
        let free = self.allocator.available_count(Purpose::Put) as u64;
        let allowed =
            self.zone_allowance.load(Ordering::Relaxed).saturating_sub(self.allocator.taken_count());
        let capacity_bytes = self.device.geometry().zone_capacity_bytes as f64;
        let being_filled = log.being_filled();
        // Half of a zone that is being filled is left on average: that is not in hand.
        let left = being_filled.left_bytes as f64 / capacity_bytes - 0.5 * f64::from(being_filled.zone_count);
        free.min(allowed) as f64 + f64::from(being_filled.ready_count) + left + done
    }

    /// Sets the rate by what is in hand. Says by how much that is more than wanted.
    fn set_pace(&self, done: f64) -> f64 {
        let streams = self.log.as_ref().map_or(1, |log| log.user_stream_count());
        let (in_hand, wanted) = (self.zones_in_hand_for_writers(done), WANTED_ZONES + 0.25 * streams as f64);
        let rate = self.pace.gain.lock().rate();
        self.pace.set(rate.and_then(|rate| factor(in_hand, wanted).map(|factor| rate * factor)));
        in_hand - wanted
    }

    /// The collector begins to empty a zone.
    pub(super) fn begin_pacing(&self) {
        let copied_bytes = self.copied_bytes();
        self.pace.gain.lock().begin(copied_bytes);
    }

    /// The collector has looked through this share of the zone that it is emptying.
    pub(super) fn pace_collector(&self, done: f64) {
        if self.running.is_stepped() {
            return;
        }
        let (copied_bytes, capacity_bytes) =
            (self.copied_bytes(), self.device.geometry().zone_capacity_bytes);
        let taken = self.pace.gain.lock().advance(done, copied_bytes, capacity_bytes as f64);
        let is_easy = self.set_pace(done) > EASY_ZONES;
        if is_easy && !self.cleaning_requests.is_open() && self.waiting_count.load(Ordering::Relaxed) == 0 {
            thread::sleep(taken.min(LONGEST));
            // Rest is not work.
            self.pace.gain.lock().at = Some(Instant::now());
        }
    }

    /// The housekeeper is about to sleep.
    pub(super) fn rest_pacing(&self) {
        self.pace.gain.lock().at = None;
        let _ = self.set_pace(0.0);
    }

    fn copied_bytes(&self) -> u64 {
        self.collector.as_ref().map_or(0, |it| it.relocated_bytes.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LEAST_FACTOR, LONGEST, MADE_UP_FOR, Pace, factor};

    #[test]
    fn writers_get_all_that_is_gained_where_as_much_is_in_hand_as_wanted_and_less_with_less() {
        assert_eq!(factor(3.0, 3.0), Some(1.0));
        let factors: Vec<f64> = (0..=9).map(|half| factor(f64::from(half) / 2.0, 3.0).unwrap()).collect();
        assert!(factors.is_sorted() && factors[0] == LEAST_FACTOR && factors[9] > 2.0, "{factors:?}");
        assert_eq!(factor(-1.0, 3.0), Some(LEAST_FACTOR));
        assert_eq!(factor(5.0, 3.0), None, "there is plenty");
    }

    #[test]
    fn what_is_written_faster_than_the_rate_is_ahead_of_it_and_never_far() {
        let pace = Pace::default();
        let at = Duration::from_secs(1);
        assert_eq!(pace.pay(1 << 30, at), Duration::ZERO, "there is no rate");
        pace.set(Some(f64::from(1 << 20)));
        let bytes = 4 << 10;
        let one = Duration::from_secs(1) / 256;
        let expect = |ahead: Duration, expected: Duration| {
            assert!(ahead.abs_diff(expected) < Duration::from_micros(1), "{ahead:?} is not {expected:?}");
        };
        for times in 1..3 {
            expect(pace.pay(bytes, at), one * times - MADE_UP_FOR);
        }
        assert_eq!(pace.pay(1 << 30, at * 2), LONGEST);
        // A sleep that took longer than it should.
        let late = Duration::from_micros(700);
        expect(pace.pay(bytes, at * 2 + LONGEST + late), one - late);
        // Of what was not used no more than that is saved up.
        expect(pace.pay(bytes, at * 3), one - MADE_UP_FOR);
        pace.set(None);
        assert_eq!(pace.pay(1 << 30, at * 4), Duration::ZERO);
    }
}
