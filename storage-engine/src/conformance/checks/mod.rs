//! Every check, by the line of the contract that it has its claim from.

mod company;
mod completions;
mod limits;
mod loss;
mod naming;
mod paths;
mod refusals;
mod zones;

use super::bench::Bench;
use super::outcome::Outcome;
use super::{Line, ZoneRules};

/// One check.
pub(super) struct Check {
    pub(super) line: Line,
    pub(super) name: &'static str,
    pub(super) claim: &'static str,
    pub(super) run: fn(&Bench) -> Outcome,
}

const fn contract(line: u8, name: &'static str, claim: &'static str, run: fn(&Bench) -> Outcome) -> Check {
    Check { line: Line::Contract(line), name, claim, run }
}

const fn rule(name: &'static str, claim: &'static str, run: fn(&Bench) -> Outcome) -> Check {
    Check { line: Line::Zones(ZoneRules::Zones), name, claim, run }
}

/// All of them, in the order in which they run.
pub(super) const ALL: &[Check] = &[
    contract(
        1,
        "zone-start",
        "an append that names anything but a zone's start is refused",
        naming::zone_start,
    ),
    contract(1, "zone-exists", "an append to a zone beyond the last one is refused", naming::zone_exists),
    contract(
        1,
        "no-position",
        "reads and appends elsewhere do not move where an append lands",
        naming::no_position,
    ),
    contract(2, "user-data", "each completion carries its submitter's 64 bits, once", completions::user_data),
    contract(
        2,
        "place-unit",
        "a completion says where, in 512-byte sectors from the zone's start",
        completions::place_unit,
    ),
    contract(2, "not-split", "the largest append lands in one piece, in one command", completions::not_split),
    contract(2, "short-append", "a short append is an error", completions::short_append),
    contract(2, "failed-append", "a failed command is an error, never a place", completions::failed_append),
    contract(
        2,
        "durable-append",
        "an append that is to be durable lands like any other",
        completions::durable_append,
    ),
    contract(3, "synchronous-path", "an append on the synchronous path is unsupported", paths::synchronous),
    contract(3, "foreign-file", "a regular file that is no device of ours is refused", paths::foreign_file),
    contract(
        3,
        "conventional-zone",
        "an append to a conventional zone is unsupported",
        paths::conventional_zone,
    ),
    contract(
        4,
        "fixed-buffers",
        "registered buffers work on io_uring and are refused elsewhere",
        paths::fixed_buffers,
    ),
    contract(
        5,
        "one-by-one",
        "one append at a time fills a zone without gap or overlap",
        company::one_by_one,
    ),
    contract(5, "many-in-flight", "64 appends in flight to one zone never overlap", company::many_in_flight),
    contract(
        5,
        "many-threads",
        "appends of 4 threads to one zone on one queue never overlap",
        company::many_threads,
    ),
    contract(
        5,
        "many-queues",
        "appends of 4 threads to one zone on a queue each never overlap",
        company::many_queues,
    ),
    contract(5, "zones-one-by-one", "one append at a time to zones at random", company::zones_one_by_one),
    contract(5, "zones-in-flight", "64 appends in flight to zones at random", company::zones_in_flight),
    contract(6, "too-large", "an append larger than the limit is refused", refusals::too_large),
    contract(6, "whole-blocks", "an append that is not whole blocks is refused", refusals::whole_blocks),
    contract(
        6,
        "unaligned-memory",
        "an append from memory the device cannot reach is refused",
        refusals::unaligned_memory,
    ),
    contract(
        6,
        "beyond-room",
        "an append beyond what a zone has left is refused, and what fits still fits",
        refusals::beyond_room,
    ),
    contract(6, "full-zone", "an append to a full zone is refused", refusals::full_zone),
    contract(
        6,
        "read-only-zone",
        "an append to a read-only zone is refused, reads go on",
        refusals::read_only_zone,
    ),
    contract(
        6,
        "offline-zone",
        "an append to an offline zone and reads of it are refused",
        refusals::offline_zone,
    ),
    contract(
        6,
        "active-limit",
        "an append that makes one active zone too many is refused, and says so",
        limits::active,
    ),
    contract(6, "place-fits", "every place in a zone fits the field that reports it", refusals::place_fits),
    contract(
        7,
        "lost-completion",
        "after an append with lost completion nothing overlaps it",
        loss::after_the_device,
    ),
    contract(
        7,
        "lost-command",
        "after an append that never reached the device the zone goes on",
        loss::before_the_device,
    ),
    rule("reports", "each zone is reported, and none beyond the last", zones::reports),
    rule("transitions", "commands and appends take zones through their states", zones::transitions),
    rule("open-limit", "opening one zone too many is refused, and says so", limits::open),
    rule(
        "implicit-opens",
        "appends go to more zones than may be open, the device closes others",
        limits::implicit_opens,
    ),
    rule("finish", "a finished zone is full and keeps what it holds", zones::finish),
    rule("capacity", "a zone is full at its capacity, and the next begins at its size", zones::capacity),
    rule(
        "beyond-pointer",
        "a queued read beyond the write pointer is refused, a plain one gives zeros",
        zones::beyond_pointer,
    ),
    rule("reset", "a reset zone is empty and reads as zeros", zones::reset),
    rule("rewrite", "a zone that is filled, reset and filled again holds the newest", zones::rewrite),
];
