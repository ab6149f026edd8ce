use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{Action, Call, Content, check};

fn call(began: u64, ended: u64, action: Action) -> Call {
    Call { began, ended, action }
}

#[test]
fn nothing_done_is_linearizable() {
    assert!(check(None, &[]).is_ok());
}

#[test]
fn a_read_of_what_was_overwritten_before_it_began_is_rejected() {
    let stale = [
        call(0, 1, Action::Wrote(Some(1))),
        call(2, 3, Action::Wrote(Some(2))),
        call(4, 5, Action::Read(Some(1))),
    ];
    let failure = check(None, &stale).expect_err("stale");
    assert!(failure.to_string().contains("Read(Some(1))"), "{failure}");
    let overlapping = [stale[0], call(2, 5, Action::Wrote(Some(2))), call(3, 4, Action::Read(Some(1)))];
    assert!(check(None, &overlapping).is_ok());
}

#[test]
fn what_one_reader_has_seen_a_later_one_must_see() {
    let write = call(0, 9, Action::Wrote(Some(1)));
    let new_then_old = [write, call(1, 2, Action::Read(Some(1))), call(3, 4, Action::Read(None))];
    assert!(check(None, &new_then_old).is_err());
    let old_then_new = [write, call(1, 2, Action::Read(None)), call(3, 4, Action::Read(Some(1)))];
    assert!(check(None, &old_then_new).is_ok());
}

#[test]
fn of_two_swaps_of_one_value_only_one_can_win() {
    let swap = |new| Action::Swapped { expected: None, new: Some(new) };
    assert!(check(None, &[call(0, 3, swap(1)), call(1, 2, swap(2))]).is_err());
    let refused = Action::Refused { expected: None, found: Some(1) };
    assert!(check(None, &[call(0, 3, swap(1)), call(1, 2, refused)]).is_ok());
    assert!(
        check(None, &[call(0, 1, refused), call(2, 3, swap(1))]).is_err(),
        "refused for what was not there"
    );
}

fn any_content() -> impl Strategy<Value = Content> {
    prop_oneof![Just(None), (1..4u64).prop_map(Some)]
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        any_content().prop_map(Action::Wrote),
        any_content().prop_map(Action::Read),
        (any_content(), any_content()).prop_map(|(expected, new)| Action::Swapped { expected, new }),
        (any_content(), any_content()).prop_map(|(expected, found)| Action::Refused { expected, found }),
    ]
}

/// Tries every order.
fn is_explained_by_some_order(before: Content, left: &[Call]) -> bool {
    left.is_empty()
        || (0..left.len()).any(|which| {
            let mut rest = left.to_vec();
            let next = rest.remove(which);
            let in_time = rest.iter().all(|other| other.ended >= next.began);
            let after = next.action.after(before).filter(|_| in_time);
            after.is_some_and(|after| is_explained_by_some_order(after, &rest))
        })
}

proptest! {
    #[test]
    fn the_search_finds_what_trying_every_order_finds(
        calls in proptest::collection::vec((0..12u64, 0..6u64, any_action()), 0..7),
    ) {
        // Times differ, as those of a clock do.
        let calls: Vec<Call> = (0..).zip(calls)
            .map(|(number, (began, length, action))| call(began * 64 + number, (began + length) * 64 + 32 + number, action))
            .collect();
        prop_assert_eq!(check(None, &calls).is_ok(), is_explained_by_some_order(None, &calls));
    }

    #[test]
    fn what_happened_one_after_another_is_linearizable(actions in proptest::collection::vec((any_action(), any::<u8>()), 0..200)) {
        let (mut content, mut calls) = (None, Vec::new());
        for (at, (action, slack)) in (0..).zip(actions) {
            if let Some(after) = action.after(content) {
                content = after;
                // Each call overlaps with up to four around it.
                let (before, behind) = (u64::from(slack) % 4 * 10, u64::from(slack) / 4 % 4 * 10);
                calls.push(call(1000 + at * 10 - before, 1005 + at * 10 + behind, action));
            }
        }
        prop_assert!(check(None, &calls).is_ok());
    }
}

#[test]
fn long_histories_are_decided_quickly_either_way() {
    let pairs = (0..50_000u64).flat_map(|at| {
        [
            call(at * 10, at * 10 + 12, Action::Wrote(Some(at))),
            call(at * 10 + 1, at * 10 + 13, Action::Read(Some(at))),
        ]
    });
    let mut calls: Vec<Call> = pairs.collect();
    assert!(check(None, &calls).is_ok());
    calls.push(call(600_000, 600_001, Action::Read(Some(7))));
    assert!(check(None, &calls).is_err());
}
