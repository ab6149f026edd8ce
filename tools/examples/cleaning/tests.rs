//! The simulation on a small store: bounds that hold for any seed, and that the same seed gives the same figures.

use zonal_engine::gc::policy::PolicyKind;

use crate::run::{Decider, Refusal, Scenario};
use crate::store::Full;
use crate::workload::{Distribution, Workload};

fn scenario(decider: Decider, workload: Distribution) -> Scenario {
    Scenario {
        decider,
        workload,
        utilisation: 0.8,
        zone_count: 256,
        zone_records: 32,
        reserve: 3,
        overwrites: 12,
        active_limit: None,
        write_streams: None,
        copy_streams: None,
        victims: None,
        padding: 0.0,
        remembers: false,
        spreads_resets: false,
        seed: 7,
    }
}

fn amplification(scenario: Scenario) -> f64 {
    scenario.run().unwrap().write_amplification
}

fn of_policy(kind: PolicyKind, workload: Distribution) -> f64 {
    amplification(scenario(Decider::Policy(kind), workload))
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    for kind in PolicyKind::ALL {
        let [first, second] = [(); 2].map(|()| of_policy(kind, Distribution::Zipf));
        assert_eq!(first.to_bits(), second.to_bits(), "{kind:?}");
    }
}

#[test]
fn on_skewed_writes_each_policy_is_better_than_the_one_before_and_none_than_the_oracle() {
    let figures = [
        of_policy(PolicyKind::Greedy, Distribution::Zipf),
        of_policy(PolicyKind::SeparateCopies, Distribution::Zipf),
        of_policy(PolicyKind::SepBit, Distribution::Zipf),
        of_policy(PolicyKind::Forecast, Distribution::Zipf),
        amplification(scenario(Decider::Oracle, Distribution::Zipf)),
    ];
    assert!(figures.is_sorted_by(|worse, better| worse > better), "{figures:?}");
    assert!(figures[3] < 2.0, "{figures:?}");
}

#[test]
fn where_all_keys_are_alike_no_policy_loses_much_against_greedy() {
    let greedy = of_policy(PolicyKind::Greedy, Distribution::Uniform);
    assert!((2.3..3.2).contains(&greedy), "theory says 2.7 for large stores: {greedy}");
    for kind in PolicyKind::ALL {
        let figure = of_policy(kind, Distribution::Uniform);
        assert!(figure < greedy * 1.15, "{kind:?}: {figure} against {greedy}");
    }
}

#[test]
fn every_policy_works_with_three_active_zones() {
    for kind in PolicyKind::ALL {
        let narrow =
            Scenario { active_limit: Some(3), ..scenario(Decider::Policy(kind), Distribution::NinetyTen) };
        let outcome = narrow.run().unwrap();
        assert!(outcome.streams.count() <= 2 && outcome.write_amplification < 4.0, "{kind:?}: {outcome:?}");
        let refused = Scenario { active_limit: Some(2), ..narrow }.run();
        assert!(matches!(refused, Err(Refusal::Active(_))), "{kind:?}");
    }
}

#[test]
fn where_popular_keys_change_forecast_is_no_worse_than_cost_benefit() {
    let forecast = of_policy(PolicyKind::Forecast, Distribution::Latest);
    let plain = of_policy(PolicyKind::SeparateCopies, Distribution::Latest);
    assert!(forecast < plain, "{forecast} against {plain}");
}

#[test]
fn padding_is_cleaned_like_any_dead_record() {
    let plain = scenario(Decider::Policy(PolicyKind::Forecast), Distribution::Zipf);
    let padded = Scenario { padding: 0.5, ..plain }.run().unwrap();
    assert!(padded.with_padding - padded.write_amplification > 0.499, "{padded:?}");
    assert!(padded.write_amplification > amplification(plain), "padding takes room from dead records");
}

#[test]
fn data_that_do_not_fit_are_refused_and_not_simulated_for_ever() {
    let full = Scenario {
        utilisation: 0.99,
        ..scenario(Decider::Policy(PolicyKind::Greedy), Distribution::Uniform)
    };
    assert!(matches!(full.run(), Err(Refusal::Full(Full))));
}

#[test]
fn popularity_moves_where_the_newest_keys_are_the_most_popular() {
    let mut workload = Workload::new(Distribution::Latest, 1000, 1);
    let mut share_near = |middle: usize| {
        let near = (0..1000).filter(|_| (workload.draw() + 1000 - middle) % 1000 < 100);
        near.count()
    };
    assert!(share_near(950) > 300);
    for _ in 0..4 {
        share_near(0);
    }
    assert!(share_near(200) > 300);
}

#[test]
fn hot_keys_get_their_share_of_the_writes() {
    let mut workload = Workload::new(Distribution::EightyTwenty, 1000, 1);
    let rates = workload.rates().unwrap().to_vec();
    let hot_writes = (0..10_000).filter(|_| rates[workload.draw()] > 0.001).count();
    assert!((7700..8300).contains(&hot_writes), "{hot_writes}");
}
