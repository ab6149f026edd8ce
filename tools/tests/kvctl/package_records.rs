//! Real input: the package records of a Debian system, overwritten until the collector has emptied every zone several
//! times, through a SIGKILL, and compared byte for byte.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::sandbox::{Sandbox, Writer, text};

const SYSTEM_STATUS: &str = "/var/lib/dpkg/status";
const SAMPLE_STATUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/dpkg-status-sample");
/// Keys and values of one `kvctl load`, about.
const LOAD_BYTES: usize = 6 << 20;
/// Overwriting this much must have made the collector do its work; what is needed is a third of it.
const MAX_LOADS: usize = 60;

/// Package records: `pkg/<name>`, and the stanza that describes the package.
struct Packages {
    records: Vec<(String, String)>,
}

impl Packages {
    fn of_this_system() -> Self {
        let status = fs::read(SYSTEM_STATUS).map(|bytes| text(&bytes)).unwrap_or_default();
        let packages = Self::parse(&status);
        if packages.records.is_empty() { Self::of_the_sample() } else { packages }
    }

    fn of_the_sample() -> Self {
        Self::parse(&fs::read_to_string(SAMPLE_STATUS).unwrap())
    }

    /// Stanzas are separated by blank lines; of several with one name the last one counts.
    fn parse(status: &str) -> Self {
        let stanzas = status.split("\n\n").map(|stanza| stanza.trim_start_matches('\n'));
        let named = stanzas.filter_map(|stanza| {
            let name = stanza.lines().find_map(|line| line.strip_prefix("Package: "))?;
            Some((format!("pkg/{name}"), stanza.to_owned()))
        });
        let records: BTreeMap<_, _> = named.collect();
        Self { records: records.into_iter().collect() }
    }

    fn rounds_a_load(&self) -> usize {
        let bytes: usize = self.records.iter().map(|(key, stanza)| key.len() + stanza.len()).sum();
        LOAD_BYTES.div_ceil(bytes)
    }

    /// What the records are after so many lines of input that go round and round.
    fn after(&self, lines: usize) -> BTreeMap<String, String> {
        let count = self.records.len();
        let rounds_of = |place: usize| (lines + count - 1 - place) / count;
        let written = self.records.iter().enumerate().filter(|(place, _)| rounds_of(*place) > 0);
        written.map(|(place, (key, stanza))| (key.clone(), value(stanza, rounds_of(place)))).collect()
    }

    /// Lines of input that go round and round, from one on.
    fn lines(&self, from: usize, count: usize) -> String {
        let line = |place: usize| {
            let (key, stanza) = &self.records[place % self.records.len()];
            let round = place / self.records.len() + 1;
            serde_json::json!({ "key": key, "value": value(stanza, round) }).to_string() + "\n"
        };
        (from..from + count).map(line).collect()
    }
}

/// What a round writes for a package.
fn value(stanza: &str, round: usize) -> String {
    format!("{stanza}\nRound: {round}\n")
}

fn dumped(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let record = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| record[name].as_str().unwrap().to_owned();
        (field("key"), field("value"))
    };
    sandbox.done(&["dump", "d.zonal"]).lines().map(record).collect()
}

/// Compares with an explanation that names the first package that differs.
fn assert_holds(found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) {
    assert!(found.keys().eq(expected.keys()), "the keys differ");
    for (key, value) in expected {
        assert!(found[key] == *value, "{key} is\n{}\ninstead of\n{value}", found[key]);
    }
}

/// Overwrites all records, round after round, until every zone has been reset three times on average. Gives the number
/// of lines loaded.
fn overwrite_until_collected(sandbox: &Sandbox, packages: &Packages) -> usize {
    let zone_count = sandbox.json(&["info", "d.zonal"])["zone_count"].as_u64().unwrap();
    let lines_a_load = packages.rounds_a_load() * packages.records.len();
    for load in 0..MAX_LOADS {
        let lines = packages.lines(load * lines_a_load, lines_a_load);
        sandbox.done_with(&["load", "d.zonal", "--durability", "buffered"], lines.as_bytes());
        let stats = sandbox.json(&["stats", "d.zonal"]);
        assert_eq!(stats["keys"], packages.records.len());
        if stats["zone_resets"].as_u64().unwrap() >= 3 * zone_count {
            return (load + 1) * lines_a_load;
        }
    }
    panic!("{}", sandbox.done(&["stats", "d.zonal"]));
}

/// What the store holds must be the input up to some line, and all acknowledged lines.
fn assert_whole_prefix(
    found: &BTreeMap<String, String>,
    packages: &Packages,
    acknowledged: usize,
    sent: usize,
) {
    for (key, least) in packages.after(acknowledged) {
        let (stanza, round) = found[&key].rsplit_once("\nRound: ").unwrap();
        let (_, least_round) = least.rsplit_once("\nRound: ").unwrap();
        let number = |round: &str| round.trim_end().parse::<usize>().unwrap();
        let (round, least_round) = (number(round), number(least_round));
        assert!(round >= least_round, "{key}: round {round} though {least_round} was acknowledged");
        assert!(
            found[&key] == value(stanza, round) && least.starts_with(stanza),
            "{key} is no round's value"
        );
    }
    let is_it = |lines: usize| packages.after(lines) == *found;
    assert!((acknowledged..=sent).any(is_it), "a later line is stored and an earlier one is not");
}

fn survive(packages: &Packages) {
    let sandbox = Sandbox::new();
    sandbox.create("d.zonal", "24MiB");
    let loaded = overwrite_until_collected(&sandbox, packages);
    assert_holds(&dumped(&sandbox), &packages.after(loaded));

    let sent = packages.rounds_a_load() * packages.records.len();
    let lines = packages.lines(loaded, sent);
    let writer = Writer::start(&sandbox, &["--acknowledge", "--batch", "50", "--durability", "written"]);
    let acknowledged = writer.feed_and_kill(lines.as_bytes(), |acknowledged| acknowledged > sent / 3);
    let found = dumped(&sandbox);
    assert_whole_prefix(&found, packages, loaded + acknowledged, loaded + sent);
    assert_eq!(sandbox.json(&["check", "--deep", "d.zonal"])["sound"], true);

    // Opening for writing recovers for good, and changes nothing of what can be read.
    sandbox.refused(&["delete", "d.zonal", "absent"], 1);
    assert_holds(&dumped(&sandbox), &found);
    sandbox.done_with(&["load", "d.zonal"], lines.as_bytes());
    assert_holds(&dumped(&sandbox), &packages.after(loaded + sent));
    let report = sandbox.json(&["check", "--deep", "d.zonal"]);
    assert_eq!((&report["sound"], &report["clean"]), (&Value::Bool(true), &Value::Bool(true)), "{report}");
}

#[test]
fn package_records_survive_collection_and_a_kill() {
    survive(&Packages::of_this_system());
}

#[test]
fn where_there_is_no_debian_system_a_sample_serves() {
    let packages = Packages::of_the_sample();
    assert!(packages.records.len() >= 10);
    assert!(packages.records.iter().all(|(key, stanza)| key.starts_with("pkg/") && stanza.len() > 200));
}
