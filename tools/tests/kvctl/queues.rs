//! Stores on machines that have not every queue: system calls are really taken away from kvctl.

use std::process::Output;

use libc::{ENOSYS, EPERM, SYS_io_setup, SYS_io_uring_setup, c_long};

use crate::sandbox::{Sandbox, message, text};
use crate::seccomp::without;

const SETUP_CALLS: [c_long; 2] = [SYS_io_uring_setup, SYS_io_setup];

/// Runs kvctl with what a filter leaves it: the filter is the starting thread's, and goes on to what it starts.
fn run_without(sandbox: &Sandbox, calls: &[c_long], errno: i32, words: &[&str]) -> Output {
    without(calls, errno, || sandbox.run(words))
}

fn queue_in(info: &Output) -> String {
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    info["queue"].as_str().unwrap().to_owned()
}

#[test]
fn a_store_works_on_the_best_queue_that_is_left() {
    for (calls, queue) in [(&[][..], "io_uring"), (&SETUP_CALLS[..1], "aio"), (&SETUP_CALLS[..], "threads")] {
        for errno in [EPERM, ENOSYS] {
            let sandbox = Sandbox::new();
            let done = |words: &[&str]| {
                let output = run_without(&sandbox, calls, errno, words);
                assert_eq!(output.status.code(), Some(0), "{words:?} on {queue}: {}", text(&output.stderr));
                output
            };
            done(&["create", "d.zonal", "--capacity", "16MiB", "--zone-size", "1MiB"]);
            done(&["put", "d.zonal", "k", &"a value".repeat(10_000)]);
            done(&["put", "d.zonal", "other", "v", "--durability", "written"]);
            assert_eq!(text(&done(&["get", "d.zonal", "k"]).stdout), "a value".repeat(10_000));
            done(&["check", "--deep", "d.zonal"]);
            assert_eq!(queue_in(&done(&["info", "d.zonal", "--format", "json"])), queue);
        }
    }
}

#[test]
fn a_queue_that_is_asked_for_is_used() {
    let sandbox = Sandbox::with_store();
    for queue in ["io_uring", "aio", "threads"] {
        sandbox.done(&["put", "d.zonal", queue, "v", "--queue", queue]);
        assert_eq!(sandbox.done(&["--queue", queue, "get", "d.zonal", queue]), "v");
        assert_eq!(sandbox.json(&["info", "d.zonal", "--queue", queue])["queue"], queue);
    }
}

#[test]
fn a_queue_that_is_asked_for_and_not_to_be_had_is_a_failure_that_says_what_to_do() {
    let sandbox = Sandbox::with_store();
    for (queue, says) in [("io_uring", "io_uring is switched off"), ("aio", "aio is switched off")] {
        for words in [["info", "d.zonal", "--queue", queue], ["check", "d.zonal", "--queue", queue]] {
            let output = run_without(&sandbox, &SETUP_CALLS, EPERM, &words);
            let message = message(&words, &output, 3);
            assert!(
                message.contains(says) && message.contains("what to do: use what the message names"),
                "{message}"
            );
        }
    }
}
