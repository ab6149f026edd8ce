//! From what was typed to a checked plan. Touches no file.

use std::ops::Bound;
use std::path::{Path, PathBuf};

use zonal::{Depth, Options, QueueKind, SalvageOptions};

use super::command_line::{self as typed, Command, CommandLine, Format, KeyEncoding};
use super::device_line::{self, DeviceCommand};
use super::failure::Failure;
use super::plan::{
    Bench, Consent, DeviceTarget, DeviceTask, KeyRange, Load, Plan, SalvageInto, Scan, StoreAt, Task,
    ValueSource,
};
use super::record::{check_key, decode_base64};

/// Makes a plan of a command line, or says what is wrong with it.
pub(crate) fn resolve(line: CommandLine) -> Result<Plan, Failure> {
    let (format, queue) = (line.format, line.queue.into());
    Ok(Plan { format, task: task(line.command, format, queue)? })
}

fn task(command: Command, format: Format, queue: QueueKind) -> Result<Task, Failure> {
    let at = |store: typed::Store| StoreAt { path: store.path, queue };
    Ok(match command {
        Command::Create(create) => {
            Task::Create { options: creation_options(&create)?.queue(queue), store: create.store.path }
        }
        Command::Put(put) => Task::Put {
            key: whole_key(&put.key)?,
            value: value_source(put.value, put.literal)?,
            store: at(put.store),
            durability: put.promise.durability.into(),
        },
        Command::Get(get) => Task::Get { key: whole_key(&get.key)?, store: at(get.store) },
        Command::Delete(delete) => Task::Delete {
            key: whole_key(&delete.key)?,
            store: at(delete.store),
            durability: delete.promise.durability.into(),
        },
        Command::Scan(scan) => Task::Scan(scan_plan(scan, at)?),
        Command::Info(store) => Task::Info { store: at(store) },
        Command::Stats(store) => Task::Stats { store: at(store) },
        Command::Zones(zones) => zones_task(zones, format, at)?,
        Command::Check(check) => Task::Check {
            store: at(check.store),
            depth: if check.deep { Depth::Deep } else { Depth::Shallow },
        },
        Command::Checkpoint(store) => Task::Checkpoint { store: at(store) },
        Command::Gc(store) => Task::Gc { store: at(store) },
        Command::Salvage(salvage) => Task::Salvage(salvage_plan(salvage, at)?),
        Command::Dump(dump) => Task::Dump { store: at(dump.store), destination: dump.output },
        Command::Load(load) => Task::Load(load_plan(load, at)),
        Command::Device(device) => Task::Device(device_task(device, queue)),
        Command::Completions { shell } => Task::Completions(shell),
    })
}

fn creation_options(create: &typed::Create) -> Result<Options, Failure> {
    let mut options = Options::default().create_new(true).overwrite_device(create.yes);
    if let Some(bytes) = create.capacity {
        options = options.capacity_bytes(bytes);
    }
    if let Some(bytes) = create.zone_size {
        options = options.zone_size_bytes(bytes);
    }
    if let Some(bytes) = create.zone_capacity {
        options = options.zone_capacity_bytes(bytes);
    }
    if let Some(bytes) = create.block_size {
        options = options.block_bytes(block_bytes(bytes)?);
    }
    if let Some(count) = create.max_open {
        options = options.max_open_zones(count);
    }
    if let Some(count) = create.max_active {
        options = options.max_active_zones(count);
    }
    Ok(options)
}

fn block_bytes(bytes: u64) -> Result<u32, Failure> {
    u32::try_from(bytes).map_err(|_| {
        Failure::Usage(format!("--block-size: a block of {bytes} bytes; a block has 512 or 4096"))
    })
}

fn salvage_plan(
    salvage: typed::Salvage,
    at: impl Fn(typed::Store) -> StoreAt,
) -> Result<SalvageInto, Failure> {
    let mut options =
        SalvageOptions::default().older_versions(salvage.older_versions).only_certain(salvage.only_certain);
    if let Some(bytes) = salvage.zone_size {
        options = options.zone_size_bytes(bytes);
    }
    if let Some(bytes) = salvage.zone_capacity {
        options = options.zone_capacity_bytes(bytes);
    }
    if let Some(bytes) = salvage.block_size {
        options = options.block_bytes(block_bytes(bytes)?);
    }
    if let Some(count) = salvage.zone_count {
        options = options.zone_count(count);
    }
    Ok(SalvageInto {
        store: at(salvage.store),
        into: salvage.into,
        options,
        capacity_bytes: salvage.capacity,
        overwrite_device: salvage.yes,
    })
}

fn value_source(value: String, literal: bool) -> Result<ValueSource, Failure> {
    if literal {
        return Ok(ValueSource::Given(value.into_bytes()));
    }
    match value.strip_prefix('@') {
        Some("") => Err(Failure::Usage("VALUE: '@' names no file; --literal takes it as it is".to_owned())),
        Some(path) => Ok(ValueSource::File(PathBuf::from(path))),
        None if value == "-" => Ok(ValueSource::Stdin),
        None => Ok(ValueSource::Given(value.into_bytes())),
    }
}

fn whole_key(key: &typed::Key) -> Result<Vec<u8>, Failure> {
    let bytes = key_bytes("KEY", &key.key, key.spelling.key_encoding)?;
    check_key(&bytes).map_err(|reason| Failure::Usage(format!("KEY: {reason}")))?;
    Ok(bytes)
}

fn key_bytes(argument: &str, text: &str, encoding: KeyEncoding) -> Result<Vec<u8>, Failure> {
    let bytes = match encoding {
        KeyEncoding::Text => Ok(text.as_bytes().to_vec()),
        KeyEncoding::Hex => decode_hex(text),
        KeyEncoding::Base64 => decode_base64(text),
    };
    bytes.map_err(|reason| Failure::Usage(format!("{argument}: {reason}")))
}

fn decode_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok())).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2));
    let digits = digits.ok_or_else(|| format!("'{text}' is not made of pairs of hexadecimal digits"))?;
    let (pairs, _) = digits.as_chunks::<2>();
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn scan_plan(scan: typed::Scan, at: impl Fn(typed::Store) -> StoreAt) -> Result<Scan, Failure> {
    let encoding = scan.spelling.key_encoding;
    let bound =
        |argument, text: Option<String>| text.map(|text| key_bytes(argument, &text, encoding)).transpose();
    let (prefix, from, to) =
        (bound("--prefix", scan.prefix)?, bound("--from", scan.from)?, bound("--to", scan.to)?);
    if let (Some(from), Some(to)) = (&from, &to)
        && from > to
    {
        return Err(Failure::Usage("--from is after --to: no key is between them".to_owned()));
    }
    let keys = prefix.map_or_else(
        || {
            let low = from.map_or(Bound::Unbounded, Bound::Included);
            KeyRange::Between(low, to.map_or(Bound::Unbounded, Bound::Excluded))
        },
        KeyRange::Prefix,
    );
    let limit = scan.limit.unwrap_or(u64::MAX);
    Ok(Scan { store: at(scan.store), keys, limit, reverse: scan.reverse, keys_only: scan.keys_only })
}

fn zones_task(
    zones: typed::Zones,
    format: Format,
    at: impl Fn(typed::Store) -> StoreAt,
) -> Result<Task, Failure> {
    let store = at(zones.store);
    match (zones.map, format) {
        (false, _) => Ok(Task::Zones { store }),
        (true, Format::Table) => Ok(Task::ZoneMap { store, width: zones.width.map(Into::into) }),
        (true, Format::Json) => {
            let message =
                "--map draws for people; without it, --format json tells everything that the map shows";
            Err(Failure::Usage(message.to_owned()))
        }
    }
}

fn device_task(command: DeviceCommand, queue: QueueKind) -> DeviceTask {
    let target = |target: device_line::Target| DeviceTarget {
        at: StoreAt { path: target.device.path, queue },
        consent: if target.yes { Consent::Given } else { Consent::Ask },
    };
    match command {
        DeviceCommand::List { root } => DeviceTask::List { root },
        DeviceCommand::Report(device) => DeviceTask::Report { path: device.path },
        DeviceCommand::Check { target: typed } => DeviceTask::Check(target(typed)),
        DeviceCommand::Reset(reset) => DeviceTask::Reset { target: target(reset.target), zones: reset.zones },
        DeviceCommand::Bench(bench) => DeviceTask::Bench(Bench {
            target: target(bench.target),
            append_bytes: bench.append_bytes,
            append_count: bench.appends.get(),
            round_count: bench.rounds.get(),
        }),
    }
}

fn load_plan(load: typed::Load, at: impl Fn(typed::Store) -> StoreAt) -> Load {
    Load {
        store: at(load.store),
        source: Some(load.source).filter(|source| source != Path::new("-")),
        batch: load.batch,
        durability: load.promise.durability.into(),
        acknowledge: load.acknowledge,
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;
    use std::path::PathBuf;

    use clap::Parser;

    use super::{KeyRange, Plan, Task, ValueSource, resolve};
    use crate::kvctl::command_line::CommandLine;
    use crate::kvctl::failure::Failure;

    fn plan(words: &[&str]) -> Result<Plan, Failure> {
        resolve(CommandLine::try_parse_from([&["kvctl"], words].concat()).unwrap())
    }

    fn value(words: &[&str]) -> ValueSource {
        let Ok(Plan { task: Task::Put { value, .. }, .. }) = plan(&[&["put", "s", "k"], words].concat())
        else {
            panic!("{words:?}")
        };
        value
    }

    fn keys(words: &[&str]) -> KeyRange {
        let Ok(Plan { task: Task::Scan(scan), .. }) = plan(&[&["scan", "s"], words].concat()) else {
            panic!("{words:?}")
        };
        scan.keys
    }

    fn refusal(words: &[&str]) -> String {
        plan(words).unwrap_err().to_string()
    }

    #[test]
    fn a_value_comes_from_the_command_line_stdin_or_a_file() {
        assert_eq!(value(&["v"]), ValueSource::Given(b"v".to_vec()));
        assert_eq!(value(&[""]), ValueSource::Given(Vec::new()));
        assert_eq!(value(&["-"]), ValueSource::Stdin);
        assert_eq!(value(&["@a/b"]), ValueSource::File(PathBuf::from("a/b")));
        assert_eq!(value(&["--", "-x"]), ValueSource::Given(b"-x".to_vec()));
        assert!(refusal(&["put", "s", "k", "@"]).contains("names no file"));
    }

    #[test]
    fn a_literal_value_means_nothing_else() {
        assert_eq!(value(&["--literal", "-"]), ValueSource::Given(b"-".to_vec()));
        assert_eq!(value(&["--literal", "@a"]), ValueSource::Given(b"@a".to_vec()));
    }

    #[test]
    fn keys_are_read_in_every_encoding() {
        for (encoding, text) in [("text", "Zo"), ("hex", "5a6F"), ("base64", "Wm8="), ("base64", "Wm8")] {
            let Ok(Plan { task: Task::Get { key, .. }, .. }) =
                plan(&["get", "s", "--key-encoding", encoding, text])
            else {
                panic!("{encoding}")
            };
            assert_eq!(key, b"Zo", "{encoding}");
        }
        for (encoding, text) in [("hex", "5"), ("hex", "5g"), ("hex", "ß"), ("base64", "*"), ("text", "")] {
            assert!(refusal(&["get", "s", "--key-encoding", encoding, text]).starts_with("KEY: "));
        }
        assert!(refusal(&["get", "s", &"k".repeat(65_536)]).contains("1 to 65535 bytes"));
    }

    #[test]
    fn a_scan_is_over_a_prefix_or_between_bounds() {
        let bytes = |text: &str| text.as_bytes().to_vec();
        assert_eq!(keys(&[]), KeyRange::Between(Bound::Unbounded, Bound::Unbounded));
        assert_eq!(keys(&["--prefix", "a"]), KeyRange::Prefix(bytes("a")));
        assert_eq!(
            keys(&["--from", "a", "--to", "b"]),
            KeyRange::Between(Bound::Included(bytes("a")), Bound::Excluded(bytes("b")))
        );
        assert!(refusal(&["scan", "s", "--from", "b", "--to", "a"]).contains("--from is after --to"));
    }

    #[test]
    fn a_map_is_not_for_programs() {
        assert!(refusal(&["zones", "s", "--map", "--format", "json"]).contains("--map draws for people"));
        assert!(matches!(plan(&["zones", "s", "--map"]).unwrap().task, Task::ZoneMap { width: None, .. }));
    }

    #[test]
    fn a_load_reads_stdin_where_no_file_is_named() {
        for words in [&["load", "s"][..], &["load", "s", "-"]] {
            let Task::Load(load) = plan(words).unwrap().task else { panic!("{words:?}") };
            assert_eq!(load.source, None);
            assert_eq!(load.batch.get(), 1000);
        }
    }
}
