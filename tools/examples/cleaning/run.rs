//! One simulation: from what it is about to what came out.

use zonal_engine::gc::policy::{
    Forecast, Policy, PolicyKind, SepBit, Streams, TooFewActiveZones, VictimRule, streams,
};

use crate::judge::{Judge, Oracle};
use crate::store::{Counts, Full, Resets, Shape, Store};
use crate::workload::{Distribution, Workload};

/// Who decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decider {
    /// A policy of the engine.
    Policy(PolicyKind),
    /// What knows each key's rate.
    Oracle,
}

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) decider: Decider,
    pub(crate) workload: Distribution,
    pub(crate) utilisation: f64,
    pub(crate) zone_count: usize,
    pub(crate) zone_records: usize,
    pub(crate) reserve: usize,
    pub(crate) overwrites: usize,
    pub(crate) active_limit: Option<u32>,
    pub(crate) write_streams: Option<u8>,
    pub(crate) copy_streams: Option<u8>,
    pub(crate) victims: Option<VictimRule>,
    pub(crate) padding: f64,
    pub(crate) remembers: bool,
    pub(crate) spreads_resets: bool,
    pub(crate) seed: u64,
}

/// What came out, over the second half of the overwrites.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Copies and writes over writes.
    pub(crate) write_amplification: f64,
    /// The same with padding among what was written.
    pub(crate) with_padding: f64,
    /// The live share of victims on average.
    pub(crate) victim_live_share: f64,
    pub(crate) streams: Streams,
    /// How often zones were reset, from the first write on.
    pub(crate) resets: Resets,
}

/// Why a scenario cannot be simulated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Active(#[from] TooFewActiveZones),
    #[error(transparent)]
    Full(#[from] Full),
    #[error("an oracle needs rates that are known and do not change")]
    RatesChange,
}

/// The oracle is to be a bound, so it may have more streams than a store would.
const ORACLE_STREAMS: u8 = 12;

impl Scenario {
    /// Runs it to the end.
    pub(crate) fn run(&self) -> Result<Outcome, Refusal> {
        let key_count = (self.utilisation * (self.zone_count * self.zone_records) as f64) as usize;
        let mut workload = Workload::new(self.workload, key_count, self.seed);
        let rates = match self.decider {
            Decider::Oracle => workload.rates().ok_or(Refusal::RatesChange)?.to_vec(),
            Decider::Policy(_) => Vec::new(),
        };
        let judge = self.judge(&rates)?;
        let mut store = Store::new(self.shape(), key_count, &*judge, &rates);
        (0..key_count).try_for_each(|key| store.write(key))?;
        let mut overwrite = |times: usize| -> Result<Counts, Full> {
            (0..times * key_count).try_for_each(|_| store.write(workload.draw()))?;
            Ok(store.counts())
        };
        let middle = overwrite(self.overwrites / 2)?;
        let end = overwrite(self.overwrites - self.overwrites / 2)?;
        Ok(self.outcome(middle, end, judge.streams(), store.resets()))
    }

    fn shape(&self) -> Shape {
        Shape {
            zone_count: self.zone_count,
            zone_records: self.zone_records,
            reserve: self.reserve,
            padding: self.padding,
            remembers: self.remembers,
            spreads_resets: self.spreads_resets,
        }
    }

    fn judge(&self, rates: &[f64]) -> Result<Box<dyn Judge>, TooFewActiveZones> {
        let Decider::Policy(kind) = self.decider else {
            return Ok(Box::new(Oracle::new(rates, self.write_streams.unwrap_or(ORACLE_STREAMS))));
        };
        let standard = kind.within(self.active_limit, self.zone_count as u32)?;
        Ok(Box::new(self.varied(kind)?.unwrap_or(standard)))
    }

    /// The policy with other streams or another rule, where the scenario names some and the policy lets one choose.
    fn varied(&self, kind: PolicyKind) -> Result<Option<Box<dyn Policy>>, TooFewActiveZones> {
        if (self.write_streams, self.copy_streams, self.victims) == (None, None, None) {
            return Ok(None);
        }
        let standard = kind.within(self.active_limit, self.zone_count as u32)?;
        let streams = self.streams(standard.streams());
        let rule = self.victims.unwrap_or(standard.victim_rule());
        streams::room(self.active_limit, self.zone_count as u32)?;
        Ok(match kind {
            PolicyKind::SepBit => Some(Box::new(SepBit::new(streams).with_rule(rule))),
            PolicyKind::Forecast | PolicyKind::ForecastShared => {
                Some(Box::new(Forecast::new(streams).with_rule(rule)))
            }
            PolicyKind::Greedy | PolicyKind::CostBenefit | PolicyKind::SeparateCopies => None,
        })
    }

    fn streams(&self, standard: Streams) -> Streams {
        let length = |range: std::ops::Range<u8>| range.end - range.start;
        let writes = self.write_streams.unwrap_or(length(standard.writes()));
        if standard.are_shared() {
            return Streams::shared(writes);
        }
        Streams::apart(writes, self.copy_streams.unwrap_or(length(standard.copies())))
    }

    fn outcome(&self, middle: Counts, end: Counts, streams: Streams, resets: Resets) -> Outcome {
        let over = |of: fn(&Counts) -> u64| (of(&end) - of(&middle)) as f64;
        let (writes, copies) = (over(|counts| counts.writes), over(|counts| counts.copies));
        let victims = over(|counts| counts.victims);
        Outcome {
            write_amplification: 1.0 + copies / writes,
            with_padding: 1.0 + (copies + over(|counts| counts.padding)) / writes,
            victim_live_share: copies / (victims * self.zone_records as f64).max(1.0),
            streams,
            resets,
        }
    }
}
