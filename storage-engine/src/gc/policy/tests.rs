//! What every policy keeps to, and what is special to each.

use proptest::prelude::*;

use super::lifetime::HistorySum;
use super::strata::Strata;
use super::victim::LEAST_GAIN_SHARE;
use super::{
    Candidate, Clock, Forecast, Lifetime, Placement, Plain, Policy, PolicyKind, SepBit, StreamId, Streams,
    TooFewActiveZones, VictimRule, ZoneHistory, streams,
};
use crate::units::ZoneId;

const RULES: [VictimRule; 3] = [VictimRule::Greedy, VictimRule::CostBenefit, VictimRule::AgeForCopies];

fn candidate(zone: u32, live_bytes: u64, age: u64) -> Candidate {
    Candidate { zone: ZoneId::new(zone), capacity_bytes: 1000, live_bytes, age }
}

fn history(stream: u8, written_at: u64, expected: Lifetime) -> ZoneHistory {
    ZoneHistory { stream: StreamId::new(stream), written_at: Clock::new(written_at), expected }
}

fn choice(rule: VictimRule, candidates: &[Candidate]) -> Option<ZoneId> {
    rule.choose(candidates.iter().copied())
}

/// Numbers with their extremes and whatever lies between.
fn extreme() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(u64::MAX), Just(u64::MAX - 1), 0..4096u64, any::<u64>()]
}

fn any_kind() -> impl Strategy<Value = PolicyKind> {
    proptest::sample::select(&PolicyKind::ALL[..])
}

fn any_history() -> impl Strategy<Value = ZoneHistory> {
    let expected = any::<u16>().prop_map(Lifetime::of_steps);
    (0..Streams::MOST, extreme(), expected).prop_map(|(stream, at, expected)| history(stream, at, expected))
}

fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (extreme(), extreme(), extreme());
    proptest::collection::vec(one, 0..20).prop_map(|sizes| {
        let numbered = (0..).map(ZoneId::new).zip(sizes);
        numbered
            .map(|(zone, (capacity_bytes, live_bytes, age))| Candidate {
                zone,
                capacity_bytes,
                live_bytes,
                age,
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn no_policy_chooses_a_zone_that_gives_nothing_back(kind in any_kind(), candidates in any_candidates()) {
        let policy = kind.within(None, 1024).unwrap();
        let chosen = policy.choose(&candidates);
        let gain = |candidate: &Candidate| candidate.capacity_bytes.saturating_sub(candidate.live_bytes);
        let enough = |candidate: &Candidate| {
            gain(candidate) > 0 && gain(candidate) >= candidate.capacity_bytes / LEAST_GAIN_SHARE
        };
        match chosen {
            Some(zone) => prop_assert!(enough(&candidates[zone.index()])),
            None => prop_assert!(!candidates.iter().any(enough)),
        }
    }

    #[test]
    fn scores_are_numbers_whatever_sizes_and_ages_are(candidates in any_candidates()) {
        for (rule, candidate) in RULES.iter().flat_map(|rule| candidates.iter().map(move |one| (rule, one))) {
            let score = rule.score(candidate);
            prop_assert!(score >= 0.0, "{rule:?} gives {score} to {candidate:?}");
        }
    }

    #[test]
    fn every_placement_names_a_stream_that_there_is(
        kind in any_kind(),
        limit in 3..40u32,
        zone_count in 0..5000u32,
        steps in proptest::collection::vec((extreme(), proptest::option::of(any_history())), 1..50),
    ) {
        let policy = kind.within(Some(limit), zone_count).unwrap();
        let streams = policy.streams();
        prop_assert!(u32::from(streams.count()) < limit, "one zone is for metadata");
        for (now, known) in steps {
            let now = Clock::new(now);
            let write = policy.place_write(now, known);
            prop_assert!(streams.writes().contains(&write.stream.get()));
            let Some(known) = known else { continue };
            policy.note_victim(now, known);
            let copy = policy.place_copy(now, known);
            prop_assert!(streams.copies().contains(&copy.stream.get()));
        }
    }

    #[test]
    fn a_zone_is_as_old_and_lives_as_long_as_its_records_on_average(
        records in proptest::collection::vec((extreme(), any::<u16>(), 1..=u64::from(u32::MAX)), 1..50),
    ) {
        let mut sum = HistorySum::default();
        for &(written_at, steps, bytes) in &records {
            let (written_at, expected) = (Clock::new(written_at), Lifetime::of_steps(steps));
            sum.add(Placement { stream: StreamId::new(3), written_at, expected }, bytes);
        }
        let found = sum.history().unwrap();
        let times = records.iter().map(|record| record.0);
        prop_assert!(times.clone().min().unwrap() <= found.written_at.get());
        prop_assert!(found.written_at.get() <= times.max().unwrap());
        let lives = records.iter().map(|record| Lifetime::of_steps(record.1));
        prop_assert!(lives.clone().min().unwrap() <= found.expected && found.expected <= lives.max().unwrap());
        prop_assert_eq!(found.stream, StreamId::new(3));
    }

    #[test]
    fn longer_lives_are_never_in_a_class_of_shorter_ones(
        seen in proptest::collection::vec(any::<u16>(), 1..6),
        mut asked in proptest::collection::vec(any::<u16>(), 2..20),
        class_count in 1..10u8,
    ) {
        let strata = Strata::new(class_count);
        for steps in seen.iter().cycle().take(20_000) {
            strata.add(Lifetime::of_steps(*steps));
        }
        asked.sort_unstable();
        let classes: Vec<u8> = asked.iter().map(|&steps| strata.class(Lifetime::of_steps(steps))).collect();
        prop_assert!(classes.is_sorted(), "{classes:?}");
        prop_assert!(classes.iter().all(|&class| class < class_count));
    }
}

#[test]
fn an_empty_zone_comes_first_however_young() {
    for rule in RULES {
        let chosen = choice(rule, &[candidate(1, 100, u64::MAX), candidate(2, 0, 0)]);
        assert_eq!(chosen, Some(ZoneId::new(2)), "{rule:?}");
    }
}

#[test]
fn at_equal_age_every_rule_takes_the_emptier_zone() {
    for rule in RULES {
        let chosen = choice(rule, &[candidate(2, 400, 10), candidate(1, 500, 10)]);
        assert_eq!(chosen, Some(ZoneId::new(2)), "{rule:?}");
    }
}

#[test]
fn greedy_does_not_ask_for_the_age_and_the_others_do() {
    let candidates = [candidate(1, 800, 10_000), candidate(2, 500, 100)];
    assert_eq!(choice(VictimRule::Greedy, &candidates), Some(ZoneId::new(2)));
    assert_eq!(choice(VictimRule::CostBenefit, &candidates), Some(ZoneId::new(1)));
    assert_eq!(choice(VictimRule::AgeForCopies, &candidates), Some(ZoneId::new(1)));
}

#[test]
fn where_only_copies_cost_a_nearly_empty_zone_is_worth_more() {
    let candidates = [candidate(1, 100, 100), candidate(2, 600, 400)];
    assert_eq!(choice(VictimRule::CostBenefit, &candidates), Some(ZoneId::new(2)));
    assert_eq!(choice(VictimRule::AgeForCopies, &candidates), Some(ZoneId::new(1)));
}

#[test]
fn of_zones_without_live_records_the_oldest_comes_first() {
    let candidates = [candidate(1, 0, 200), candidate(2, 0, 300), candidate(3, 0, 100)];
    for rule in RULES {
        assert_eq!(choice(rule, &candidates), Some(ZoneId::new(2)), "{rule:?}");
    }
}

#[test]
fn a_zone_that_gives_back_next_to_nothing_is_left_alone() {
    for rule in RULES {
        assert_eq!(choice(rule, &[candidate(1, 990, 10_000)]), None, "{rule:?}");
        assert_eq!(choice(rule, &[]), None, "{rule:?}");
    }
}

#[test]
fn plain_policies_keep_copies_apart_only_when_told() {
    let mixed = Plain::new(Streams::shared(1), VictimRule::Greedy);
    let apart = Plain::new(Streams::apart(1, 1), VictimRule::CostBenefit);
    let known = history(0, 5, Lifetime::LONGEST);
    for (policy, stream) in [(mixed, 0), (apart, 1)] {
        assert_eq!(policy.place_write(Clock::new(9), Some(known)).stream, StreamId::new(0));
        let copy = policy.place_copy(Clock::new(9), known);
        assert_eq!((copy.stream, copy.written_at), (StreamId::new(stream), Clock::new(5)));
    }
}

/// SepBIT that has learnt that short-lived zones are collected at an age of 100.
fn experienced_sepbit() -> SepBit {
    let policy = SepBit::new(SepBit::streams_within(Streams::MOST));
    for _ in 0..16 {
        policy.note_victim(Clock::new(100), history(0, 0, Lifetime::LONGEST));
    }
    policy
}

#[test]
fn sepbit_takes_a_write_for_short_lived_when_it_ends_a_life_below_the_average() {
    let policy = experienced_sepbit();
    let stream = |written_at| {
        policy.place_write(Clock::new(1000), Some(history(1, written_at, Lifetime::LONGEST))).stream.get()
    };
    assert_eq!(stream(901), 0);
    assert_eq!(stream(900), 1);
    assert_eq!(
        policy.place_write(Clock::new(1000), None).stream.get(),
        1,
        "a new key is not known to be hot"
    );
}

#[test]
fn sepbit_sorts_copies_by_origin_and_by_4_and_16_times_the_average() {
    let policy = experienced_sepbit();
    let stream = |from, age: u64| {
        policy.place_copy(Clock::new(10_000), history(from, 10_000 - age, Lifetime::LONGEST)).stream.get()
    };
    assert_eq!(stream(0, 5000), 2, "survivors of short-lived writes");
    assert_eq!([stream(1, 399), stream(1, 400), stream(1, 1599), stream(1, 1600)], [3, 4, 4, 5]);
}

#[test]
fn sepbit_makes_do_with_fewer_streams() {
    let ranges = |room| {
        let streams = SepBit::streams_within(room);
        (streams.writes(), streams.copies())
    };
    assert_eq!(ranges(2), (0..1, 1..2));
    assert_eq!(ranges(3), (0..2, 2..3));
    assert_eq!(ranges(5), (0..2, 2..5));
    assert_eq!(ranges(12), (0..2, 2..6));
}

/// Forecast that has seen as many lives of 2^4 writes as of 2^12 and of 2^20.
fn experienced_forecast(streams: Streams) -> Forecast {
    let policy = Forecast::new(streams);
    for life in [1u64 << 4, 1 << 12, 1 << 20].iter().cycle().take(40_000) {
        let known = history(0, 0, Lifetime::of_writes(*life));
        policy.place_write(Clock::new(*life), Some(known));
        policy.place_copy(Clock::new(*life), known);
    }
    policy
}

#[test]
#[cfg_attr(miri, ignore = "so many numbers take it minutes, and there is no unsafe code to look at")]
fn forecast_uses_one_stream_of_each_kind_until_it_has_seen_that_lifetimes_differ() {
    let policy = Forecast::new(Streams::apart(3, 2));
    for life in (0..100_000u64).map(|number| 1000 + number % 100) {
        let known = history(0, 0, Lifetime::of_writes(life));
        assert_eq!(policy.place_write(Clock::new(life), Some(known)).stream.get(), 2);
        assert_eq!(policy.place_copy(Clock::new(life), known).stream.get(), 4);
    }
}

#[test]
#[cfg_attr(miri, ignore = "so many numbers take it minutes, and there is no unsafe code to look at")]
fn forecast_keeps_kinds_of_lifetimes_apart() {
    let policy = experienced_forecast(Streams::shared(3));
    let stream = |life: u64| {
        let known = history(0, 0, Lifetime::of_writes(life));
        policy.place_write(Clock::new(life), Some(known)).stream.get()
    };
    assert_eq!([stream(1 << 4), stream(1 << 12), stream(1 << 20)], [0, 1, 2]);
}

#[test]
#[cfg_attr(miri, ignore = "so many numbers take it minutes, and there is no unsafe code to look at")]
fn forecast_does_not_take_a_cold_key_for_hot_after_one_short_life() {
    let policy = experienced_forecast(Streams::shared(3));
    let cold = history(2, 1 << 21, Lifetime::of_writes(1 << 20));
    let again = policy.place_write(Clock::new((1 << 21) + (1 << 4)), Some(cold));
    assert_eq!(again.stream.get(), 2);
    assert!(again.expected < cold.expected, "yet it has been noted");
}

#[test]
#[cfg_attr(miri, ignore = "so many numbers take it minutes, and there is no unsafe code to look at")]
fn forecast_puts_what_outlives_its_class_into_a_longer_one() {
    let policy = experienced_forecast(Streams::shared(3));
    let hot = history(0, 0, Lifetime::of_writes(1 << 4));
    assert_eq!(policy.place_copy(Clock::new(1 << 4), hot).stream.get(), 0);
    assert_eq!(policy.place_copy(Clock::new(1 << 12), hot).stream.get(), 1);
    assert_eq!(policy.place_copy(Clock::new(1 << 20), hot).stream.get(), 2);
}

#[test]
#[cfg_attr(miri, ignore = "so many numbers take it minutes, and there is no unsafe code to look at")]
fn forecast_can_keep_copies_in_streams_of_their_own() {
    let policy = experienced_forecast(Streams::apart(3, 2));
    let hot = history(0, 0, Lifetime::of_writes(1 << 4));
    assert_eq!(policy.place_copy(Clock::new(1 << 4), hot).stream.get(), 3);
    assert_eq!(policy.place_copy(Clock::new(1 << 20), hot).stream.get(), 4);
}

#[test]
fn three_active_zones_are_enough_for_every_policy_and_two_for_none() {
    for kind in PolicyKind::ALL {
        let policy = kind.within(Some(3), 1024).unwrap();
        assert!(policy.streams().count() <= 2, "{kind:?}");
        let refused = kind.within(Some(2), 1024).unwrap_err();
        assert_eq!(refused, TooFewActiveZones { limit: 2 });
    }
    let message = TooFewActiveZones { limit: 2 }.to_string();
    assert!(message.contains("lets 2 zones be active") && message.contains("needs 3"), "{message}");
}

#[test]
fn streams_follow_the_limit_and_the_number_of_zones() {
    assert_eq!(streams::room(Some(14), 1024), Ok(Streams::MOST));
    assert_eq!(streams::room(Some(7), 1024), Ok(6));
    assert_eq!(streams::room(None, 64), Ok(3), "a small device cannot afford many half-filled zones");
    assert_eq!(streams::room(None, 0), Ok(2));
}

#[test]
fn a_policy_is_known_by_its_name() {
    for kind in PolicyKind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
    }
    let unknown = "lru".parse::<PolicyKind>().unwrap_err();
    assert!(PolicyKind::ALL.iter().all(|kind| unknown.to_string().contains(kind.name())));
}
