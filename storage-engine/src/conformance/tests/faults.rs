//! Every check can fail: for each there is a fault that it finds.

use std::collections::BTreeSet;

use super::faulty::{Fault, faulty};
use super::{GEOMETRY, NOT_EMULATED};
use crate::conformance::bench::{Append, Bench, Opener, match_up};
use crate::conformance::outcome::Ending;
use crate::conformance::{Finding, Verdict, catalogue, run, run_on, run_some};
use crate::device::Geometry;
use crate::queue::{Completion, Outcome, QueueKind};
use crate::units::{ZoneId, ZoneSector};

/// Each fault, and checks that must find it (others may as well).
const FOUND_BY: [(Fault, &[&str]); 33] = [
    (Fault::TakesAnyPosition, &["zone-start"]),
    (Fault::TakesAnyZone, &["zone-exists"]),
    (Fault::AppendsWhereLastRead, &["no-position"]),
    (Fault::PlaceFromTheDevicesStart, &["place-unit", "zones-one-by-one", "zones-in-flight"]),
    (Fault::PlaceInBlocks, &["place-unit", "one-by-one", "many-in-flight", "many-threads", "many-queues"]),
    (
        Fault::PlaceAlwaysTheStart,
        &["place-unit", "one-by-one", "many-in-flight", "many-threads", "many-queues"],
    ),
    (Fault::PlaceOfTheNext, &["place-unit", "one-by-one"]),
    (Fault::Splits, &["not-split"]),
    (Fault::ShortIsFine, &["short-append"]),
    (Fault::FailureIsFine, &["failed-append", "lost-completion", "lost-command"]),
    (Fault::DurableIsLost, &["durable-append"]),
    (Fault::AppendsSynchronously, &["synchronous-path"]),
    (
        Fault::LosesEveryFifth,
        &["one-by-one", "many-in-flight", "zones-one-by-one", "zones-in-flight", "rewrite", "fixed-buffers"],
    ),
    (Fault::TakesTooLarge, &["too-large"]),
    (Fault::TakesParts, &["whole-blocks"]),
    (Fault::TakesTooMuch, &["beyond-room"]),
    (Fault::TakesFull, &["full-zone"]),
    (Fault::TakesWorn, &["read-only-zone", "offline-zone"]),
    (Fault::MovesOnRefusal, &["too-large", "whole-blocks", "beyond-room"]),
    (Fault::IgnoresActiveLimit, &["active-limit"]),
    (Fault::IgnoresOpenLimit, &["open-limit", "implicit-opens"]),
    (Fault::RefusesActiveWithoutWords, &["active-limit"]),
    (Fault::RefusesImplicitOpens, &["implicit-opens"]),
    (Fault::TakesLostForNeverDone, &["lost-completion", "lost-command"]),
    (Fault::RefusesAfterLoss, &["lost-completion", "lost-command"]),
    (Fault::ReportsBeyondTheLast, &["reports"]),
    (Fault::CloseDoesNothing, &["transitions", "open-limit"]),
    (Fault::FinishLoses, &["finish"]),
    (Fault::FullBeforeCapacity, &["capacity", "beyond-room"]),
    (Fault::ReadsBeyondPointer, &["beyond-pointer"]),
    (Fault::ResetKeeps, &["reset", "rewrite", "beyond-pointer"]),
    (Fault::ResetTakesTheNeighbour, &["reset"]),
    (Fault::PlacesBeyondTheField, &["place-fits"]),
];

fn failed(fault: Fault, names: &[&str]) -> Vec<(&'static str, String)> {
    let (shown, kept) = geometries(fault);
    let (_directory, device) = faulty(fault, &shown, &kept);
    let wanted = |name: &str| names.contains(&name);
    let findings = run_some(&device, QueueKind::Automatic, wanted, &mut |_| {}).expect("run the checks");
    let failed = findings.into_iter().filter_map(|finding| match finding.verdict {
        Verdict::Fail { reason } => Some((finding.name, reason)),
        _ => None,
    });
    failed.collect()
}

/// What the device says of itself, and what it keeps to.
fn geometries(fault: Fault) -> (Geometry, Geometry) {
    let kept = match fault {
        Fault::TakesTooLarge => Geometry { append_limit_bytes: 1 << 20, ..GEOMETRY },
        Fault::IgnoresActiveLimit => Geometry { max_active_zones: 12, ..GEOMETRY },
        Fault::IgnoresOpenLimit => Geometry { max_open_zones: 5, ..GEOMETRY },
        _ => GEOMETRY,
    };
    let shown = match fault {
        // One block more than 2^32 sectors.
        Fault::PlacesBeyondTheField => Geometry { zone_size_bytes: (2 << 40) + 4096, ..GEOMETRY },
        _ => GEOMETRY,
    };
    (shown, kept)
}

#[test]
fn a_device_that_breaks_a_rule_fails_the_checks_of_that_rule() {
    for (fault, names) in FOUND_BY {
        let failed = failed(fault, names);
        for name in names {
            assert!(
                failed.iter().any(|(found, _)| found == name),
                "{name} does not find {fault:?}: {failed:?}"
            );
        }
    }
}

#[test]
fn a_device_without_a_fault_fails_nothing() {
    let (_directory, device) = faulty(Fault::Nothing, &GEOMETRY, &GEOMETRY);
    let findings = run(&device, QueueKind::Automatic, &mut |_| {}).expect("run the suite");
    assert!(findings.iter().all(|finding| !matches!(finding.verdict, Verdict::Fail { .. })), "{findings:?}");
}

/// Those that no device in a file can fail are named here, with why.
#[test]
fn for_every_check_there_is_a_fault_that_it_finds() {
    let found: BTreeSet<&str> = FOUND_BY.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    // Conventional zones, memory: not on these devices. User data are the queue's and foreign files the opener's: see
    // below.
    let elsewhere = ["user-data", "foreign-file"];
    let missing: Vec<_> = catalogue()
        .map(|(_, name, _)| name)
        .filter(|name| !found.contains(name) && !NOT_EMULATED.contains(name) && !elsewhere.contains(name))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn an_opener_that_takes_any_file_is_found_out() {
    let (_directory, device) = faulty(Fault::Nothing, &GEOMETRY, &GEOMETRY);
    let takes_anything: Opener = |_| Ok(faulty(Fault::Nothing, &GEOMETRY, &GEOMETRY).1);
    let bench = Bench::new(device, QueueKind::Automatic).expect("look at the zones");
    let bench = bench.opening_by(takes_anything);
    let findings = run_on(&bench, |name| name == "foreign-file", &mut |_| {}).expect("run the check");
    assert!(matches!(&findings[..], [Finding { verdict: Verdict::Fail { .. }, .. }]), "{findings:?}");
}

#[test]
fn a_queue_that_mixes_up_user_data_is_found_out() {
    let append = Append { zone: ZoneId::new(0), len_bytes: 4096, seed: 0 };
    let completion = |user_data| Completion { user_data, outcome: Outcome::Append(Ok(ZoneSector::new(8))) };
    for (user_data, says) in [
        (vec![0, 0], "two completions carry user data 0"),
        (vec![0, 7], "user data 7, which nobody submitted"),
        (vec![1], "no completion carries the user data 0"),
    ] {
        let completions = user_data.into_iter().map(completion).collect();
        let Err(Ending::Fail(reason)) = match_up(&[append; 2], completions) else { panic!("{says} was due") };
        assert!(reason.contains(says), "{reason}");
    }
    assert_eq!(match_up(&[append; 2], vec![completion(1), completion(0)]).expect("all is well").len(), 2);
}
