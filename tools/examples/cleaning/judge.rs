//! Who decides in the simulation: a policy of the engine, or an oracle that knows what no policy can know.

use std::fmt::Debug;

use zonal_engine::gc::policy::strata::Strata;
use zonal_engine::gc::policy::{
    Candidate, Clock, Lifetime, Placement, Policy, StreamId, Streams, ZoneHistory,
};
use zonal_engine::units::ZoneId;

/// Decides where records go and which zone is emptied.
pub(crate) trait Judge: Debug {
    /// The streams it places into.
    fn streams(&self) -> Streams;
    /// Where a write of this key goes.
    fn place_write(&self, now: Clock, key: usize, overwritten: Option<ZoneHistory>) -> Placement;
    /// Where the copy of this key's record goes.
    fn place_copy(&self, now: Clock, key: usize, record: ZoneHistory) -> Placement;
    /// A zone is about to be emptied.
    fn note_victim(&self, now: Clock, victim: ZoneHistory);
    /// The zone to empty. `death_rates`: by zone, how many of its records die with one write, as is the truth.
    fn choose(&self, candidates: &[Candidate], death_rates: &[f64]) -> Option<ZoneId>;
}

impl Judge for Box<dyn Policy> {
    fn streams(&self) -> Streams {
        (**self).streams()
    }

    fn place_write(&self, now: Clock, _key: usize, overwritten: Option<ZoneHistory>) -> Placement {
        (**self).place_write(now, overwritten)
    }

    fn place_copy(&self, now: Clock, _key: usize, record: ZoneHistory) -> Placement {
        (**self).place_copy(now, record)
    }

    fn note_victim(&self, now: Clock, victim: ZoneHistory) {
        (**self).note_victim(now, victim);
    }

    fn choose(&self, candidates: &[Candidate], _death_rates: &[f64]) -> Option<ZoneId> {
        (**self).choose(candidates)
    }
}

/// Knows each key's rate of updates: streams by rate, and victims by what is best at constant rates.
#[derive(Debug)]
pub(crate) struct Oracle {
    streams: Streams,
    lifetimes: Vec<Lifetime>,
    strata: Strata,
}

impl Oracle {
    /// With each key's share of the writes.
    pub(crate) fn new(rates: &[f64], stream_count: u8) -> Self {
        let streams = Streams::shared(stream_count);
        let lifetimes = rates.iter().map(|rate| Lifetime::of_writes((1.0 / rate) as u64)).collect();
        Self { streams, lifetimes, strata: Strata::new(streams.count()) }
    }

    fn place(&self, written_at: Clock, key: usize) -> Placement {
        let expected = self.lifetimes[key];
        self.strata.add(expected);
        Placement { stream: StreamId::new(self.strata.class(expected)), written_at, expected }
    }
}

impl Judge for Oracle {
    fn streams(&self) -> Streams {
        self.streams
    }

    fn place_write(&self, now: Clock, key: usize, _overwritten: Option<ZoneHistory>) -> Placement {
        self.place(now, key)
    }

    fn place_copy(&self, _now: Clock, key: usize, record: ZoneHistory) -> Placement {
        self.place(record.written_at, key)
    }

    fn note_victim(&self, _now: Clock, _victim: ZoneHistory) {}

    fn choose(&self, candidates: &[Candidate], death_rates: &[f64]) -> Option<ZoneId> {
        let worthwhile = candidates.iter().filter(|candidate| candidate.is_worthwhile());
        let scored = worthwhile.map(|one| (renewal_score(one, death_rates[one.zone.index()]), one.zone));
        scored.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, zone)| zone)
    }
}

/// `((1 - u) / u + ln u) / lambda`: see docs/adr/0029.
fn renewal_score(candidate: &Candidate, deaths_a_write: f64) -> f64 {
    if candidate.live_bytes == 0 {
        return f64::INFINITY;
    }
    let live_share = candidate.live_bytes as f64 / candidate.capacity_bytes as f64;
    let rate = deaths_a_write / candidate.live_bytes as f64;
    ((1.0 - live_share) / live_share + live_share.ln()) / rate.max(f64::MIN_POSITIVE)
}
