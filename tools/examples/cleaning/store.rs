//! A store without I/O: zones of equal records, an index, and a judge that says what goes where.
//!
//! Sizes are in records: one record is one "byte" to the policy, which only knows ratios. Every zone counts, those in
//! reserve and those that are being filled included.

use zonal_engine::gc::policy::lifetime::HistorySum;
use zonal_engine::gc::policy::{Candidate, Clock, Lifetime, Placement, StreamId, ZoneHistory};
use zonal_engine::gc::wear::{Turns, Wear};
use zonal_engine::units::ZoneId;
use zonal_engine::zones::place_for_copies;

use crate::judge::Judge;

/// A place that holds nothing: a record that was never written, or padding.
const NOTHING: u32 = u32::MAX;

/// What a store is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Zones of the device.
    pub(crate) zone_count: usize,
    /// Records that fit into a zone.
    pub(crate) zone_records: usize,
    /// Zones that only copies may take.
    pub(crate) reserve: usize,
    /// Records' worth of padding that goes with each write.
    pub(crate) padding: f64,
    /// Whether a record itself tells what was expected of it, beside when it was written.
    pub(crate) remembers: bool,
    /// Whether zones that lag behind in resets are emptied, and copies go to worn ones.
    pub(crate) spreads_resets: bool,
}

#[derive(Clone, Debug, Default)]
struct Zone {
    filled: usize,
    live: u64,
    sealed_at: Option<Clock>,
    sum: HistorySum,
    history: Option<ZoneHistory>,
    reset_count: u32,
}

/// What a key's record carries on the device.
#[derive(Clone, Copy, Debug)]
struct Tag {
    written_at: Clock,
    expected: Lifetime,
}

/// What happened so far, in records and zones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Writes of users.
    pub(crate) writes: u64,
    /// Records copied.
    pub(crate) copies: u64,
    /// Padding appended.
    pub(crate) padding: u64,
    /// Zones emptied.
    pub(crate) victims: u64,
}

/// How often zones were reset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resets {
    pub(crate) least: u32,
    pub(crate) mean: f64,
    pub(crate) most: u32,
}

/// No zone is worth emptying and none is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the data do not fit: no zone is free and none would give anything back")]
pub(crate) struct Full;

/// A simulated store.
#[derive(Debug)]
pub(crate) struct Store<'a> {
    shape: Shape,
    judge: &'a dyn Judge,
    zones: Vec<Zone>,
    /// By zone and place in it: the key written there.
    keys: Vec<u32>,
    /// By key: where its record lies.
    places: Vec<u32>,
    tags: Vec<Tag>,
    free: Vec<usize>,
    open: Vec<Option<usize>>,
    /// By key: its share of the writes; empty when nobody wants to know.
    rates: &'a [f64],
    death_rates: Vec<f64>,
    candidates: Vec<Candidate>,
    padding_due: f64,
    counts: Counts,
    turns: Turns,
}

impl<'a> Store<'a> {
    /// An empty store.
    pub(crate) fn new(shape: Shape, key_count: usize, judge: &'a dyn Judge, rates: &'a [f64]) -> Self {
        let tag = Tag { written_at: Clock::default(), expected: Lifetime::LONGEST };
        Self {
            shape,
            judge,
            zones: vec![Zone::default(); shape.zone_count],
            keys: vec![NOTHING; shape.zone_count * shape.zone_records],
            places: vec![NOTHING; key_count],
            tags: vec![tag; key_count],
            free: (0..shape.zone_count).rev().collect(),
            open: vec![None; usize::from(judge.streams().count())],
            rates,
            death_rates: vec![0.0; shape.zone_count],
            candidates: Vec::with_capacity(shape.zone_count),
            padding_due: 0.0,
            counts: Counts::default(),
            turns: Turns::default(),
        }
    }

    /// How often zones were reset so far.
    pub(crate) fn resets(&self) -> Resets {
        let of_zones = || self.zones.iter().map(|zone| zone.reset_count);
        let sum: u64 = of_zones().map(u64::from).sum();
        let mean = sum as f64 / self.zones.len() as f64;
        Resets { least: of_zones().min().unwrap_or(0), mean, most: of_zones().max().unwrap_or(0) }
    }

    /// What happened so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// A user writes a key.
    pub(crate) fn write(&mut self, key: usize) -> Result<(), Full> {
        self.counts.writes += 1;
        let overwritten = self.bury(key);
        let placement = self.judge.place_write(self.now(), key, overwritten);
        self.make_room(placement.stream)?;
        self.append(key, placement)?;
        self.padding_due += self.shape.padding;
        while self.padding_due >= 1.0 {
            self.padding_due -= 1.0;
            self.counts.padding += 1;
            self.make_room(placement.stream)?;
            self.append_padding(placement.stream)?;
        }
        Ok(())
    }

    fn now(&self) -> Clock {
        Clock::new(self.counts.writes)
    }

    fn rate(&self, key: usize) -> f64 {
        self.rates.get(key).copied().unwrap_or(0.0)
    }

    /// Counts a key's record as dead and tells what its zone is known for.
    fn bury(&mut self, key: usize) -> Option<ZoneHistory> {
        let place = self.places[key];
        if place == NOTHING {
            return None;
        }
        let id = place as usize / self.shape.zone_records;
        self.death_rates[id] -= self.rate(key);
        let zone = &mut self.zones[id];
        zone.live -= 1;
        let history = zone.history.or_else(|| zone.sum.history())?;
        Some(self.with_memory(key, history))
    }

    fn with_memory(&self, key: usize, history: ZoneHistory) -> ZoneHistory {
        if self.shape.remembers {
            ZoneHistory { expected: self.tags[key].expected, ..history }
        } else {
            history
        }
    }

    /// Cleans until a stream of writes can go on without touching the reserve.
    fn make_room(&mut self, stream: StreamId) -> Result<(), Full> {
        while self.open[stream.index()].is_none() && self.free.len() <= self.shape.reserve {
            self.clean()?;
        }
        Ok(())
    }

    /// A zone with room for the stream; that of another stream when no zone is free.
    fn zone_for(&mut self, stream: StreamId) -> Result<usize, Full> {
        if let Some(zone) = self.open[stream.index()] {
            return Ok(zone);
        }
        let Some(zone) = self.take_free(stream) else {
            return self.open.iter().flatten().next_back().copied().ok_or(Full);
        };
        self.open[stream.index()] = Some(zone);
        Ok(zone)
    }

    /// The zone freed last; with wear in mind, another one for copies.
    fn take_free(&mut self, stream: StreamId) -> Option<usize> {
        if !self.shape.spreads_resets || self.judge.streams().writes().contains(&stream.get()) {
            return self.free.pop();
        }
        let freed_last_first = self.free.iter().rev().map(|&zone| self.zones[zone].reset_count);
        let place = place_for_copies(freed_last_first)?;
        Some(self.free.remove(self.free.len() - 1 - place))
    }

    fn append(&mut self, key: usize, placement: Placement) -> Result<(), Full> {
        let id = self.zone_for(placement.stream)?;
        let place = id * self.shape.zone_records + self.zones[id].filled;
        self.keys[place] = key as u32;
        self.places[key] = place as u32;
        self.tags[key] = Tag { written_at: placement.written_at, expected: placement.expected };
        self.death_rates[id] += self.rate(key);
        self.zones[id].live += 1;
        self.zones[id].sum.add(placement, 1);
        self.fill(id);
        Ok(())
    }

    fn append_padding(&mut self, stream: StreamId) -> Result<(), Full> {
        let id = self.zone_for(stream)?;
        self.keys[id * self.shape.zone_records + self.zones[id].filled] = NOTHING;
        self.fill(id);
        Ok(())
    }

    /// One place more is taken; the zone is sealed with the last.
    fn fill(&mut self, id: usize) {
        let now = self.now();
        let zone = &mut self.zones[id];
        zone.filled += 1;
        if zone.filled == self.shape.zone_records {
            zone.sealed_at = Some(now);
            zone.history = zone.sum.history();
            let stream =
                self.open.iter().position(|&open| open == Some(id)).expect("only open zones are filled");
            self.open[stream] = None;
        }
    }

    fn clean(&mut self) -> Result<(), Full> {
        self.list_candidates();
        let chosen = self.straggler().or_else(|| self.judge.choose(&self.candidates, &self.death_rates));
        let victim = chosen.ok_or(Full)?.index();
        self.counts.victims += 1;
        // A zone of nothing but padding has no history.
        if let Some(history) = self.zones[victim].history {
            self.judge.note_victim(self.now(), history);
            self.empty(victim, history)?;
        }
        let reset_count = self.zones[victim].reset_count + 1;
        self.zones[victim] = Zone { reset_count, ..Zone::default() };
        self.death_rates[victim] = 0.0;
        self.free.push(victim);
        Ok(())
    }

    /// The zone whose turn it is because it lags behind in resets.
    fn straggler(&self) -> Option<ZoneId> {
        if !self.shape.spreads_resets || !self.turns.is_time_to_look() {
            return None;
        }
        let wear = |zone: ZoneId| Wear { zone, reset_count: self.zones[zone.index()].reset_count };
        self.turns.take(self.candidates.iter().map(|candidate| wear(candidate.zone)), self.resets().most)
    }

    fn list_candidates(&mut self) {
        let (now, capacity_bytes) = (self.now(), self.shape.zone_records as u64);
        self.candidates.clear();
        let sealed = (0..).map(ZoneId::new).zip(&self.zones).filter_map(|(zone, state)| {
            let age = now.since(state.sealed_at?);
            Some(Candidate { zone, capacity_bytes, live_bytes: state.live, age })
        });
        self.candidates.extend(sealed);
    }

    fn empty(&mut self, victim: usize, history: ZoneHistory) -> Result<(), Full> {
        for place in victim * self.shape.zone_records..(victim + 1) * self.shape.zone_records {
            let key = self.keys[place] as usize;
            if self.keys[place] == NOTHING || self.places[key] as usize != place {
                continue;
            }
            let record =
                ZoneHistory { written_at: self.tags[key].written_at, ..self.with_memory(key, history) };
            let placement = self.judge.place_copy(self.now(), key, record);
            self.counts.copies += 1;
            self.append(key, placement)?;
        }
        Ok(())
    }
}
