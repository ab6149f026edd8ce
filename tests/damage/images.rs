//! Stores of every format that was ever released, committed as files in `tests/images`, can be read and written.
//!
//! An image is a text: what is not zero of a store's file, in rows of 32 bytes, and beside it what the store holds. After a
//! change of the format `just image VERSION` writes new ones; those of released formats stay, and stay readable.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use zonal::{Db, Depth, Durability, Options, Salvage, SalvageOptions, WriteBatch, WriteOptions};
use zonal_engine::format::checkpoint::{BlockHeader, BlockKind};
use zonal_engine::format::record::{Record, RecordKind, value_crc};
use zonal_engine::format::unit::{StreamKind, UNIT_HEADER_BYTES, UnitHeader};

use crate::specimen::{Contents, copied, readable, to_read};

const ROW_BYTES: usize = 32;
/// No image takes more room than this in the tree.
const MAX_IMAGE_BYTES: usize = 50 << 10;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images")
}

/// Rows that are not zero, each with its place; a row that is the same as the one before is counted.
fn encode(bytes: &[u8]) -> String {
    let mut text = format!("length {}\n", bytes.len());
    let mut rows =
        bytes.chunks(ROW_BYTES).enumerate().filter(|(_, row)| row.iter().any(|&byte| byte != 0)).peekable();
    while let Some((number, row)) = rows.next() {
        let mut repeated = 0;
        while rows.next_if(|(next, same)| *next == number + repeated + 1 && *same == row).is_some() {
            repeated += 1;
        }
        let hex: String = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let hex = hex.trim_end_matches("00");
        let hex = if hex.len().is_multiple_of(2) { hex.to_owned() } else { format!("{hex}0") };
        let times = if repeated > 0 { format!(" x{}", repeated + 1) } else { String::new() };
        writeln!(text, "{:x} {hex}{times}", number * ROW_BYTES).unwrap();
    }
    text
}

fn decode(text: &str) -> Vec<u8> {
    let mut lines = text.lines();
    let length = lines.next().and_then(|line| line.strip_prefix("length ")).unwrap();
    let mut bytes = vec![0; length.parse().unwrap()];
    for line in lines {
        let mut words = line.split(' ');
        let at = usize::from_str_radix(words.next().unwrap(), 16).unwrap();
        let hex = words.next().unwrap();
        let times: usize = words.next().map_or(1, |times| times[1..].parse().unwrap());
        let row: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|digit| u8::from_str_radix(&hex[digit..digit + 2], 16).unwrap())
            .collect();
        for repetition in 0..times {
            let start = at + repetition * ROW_BYTES;
            bytes[start..start + row.len()].copy_from_slice(&row);
        }
    }
    bytes
}

/// A line a key: the key, the value's length and its checksum.
fn describe(contents: &Contents) -> String {
    let line = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        format!("{} {} {:08x}\n", key.escape_ascii(), value.len(), value_crc(value))
    };
    contents.iter().map(line).collect()
}

/// Name, file and contents of every image.
fn images() -> Vec<(String, Vec<u8>, String)> {
    let mut names: Vec<PathBuf> =
        fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "image"));
    names.sort();
    let image = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.len() <= MAX_IMAGE_BYTES, "{} takes {} bytes", path.display(), text.len());
        let contents = fs::read_to_string(path.with_extension("contents")).unwrap();
        (path.file_name().unwrap().to_string_lossy().into_owned(), decode(&text), contents)
    };
    names.into_iter().map(image).collect()
}

#[test]
fn stores_of_every_released_format_can_be_read_and_are_sound() {
    let directory = tempfile::tempdir().unwrap();
    let images = images();
    assert!(images.len() >= 6);
    for (name, bytes, expected) in images {
        let path = directory.path().join(&name);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(describe(&readable(&path)), expected, "{name}");
        let report = Db::check(&path, &to_read(), Depth::Deep, &|_| {}).unwrap();
        assert!(report.is_sound(), "{name}: {report:?}");
        assert!(fs::read(&path).unwrap() == bytes, "{name}: reading changed it");
    }
}

#[test]
fn stores_of_every_released_format_can_be_written_on() {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes, expected) in images() {
        let path = directory.path().join(&name);
        fs::write(&path, &bytes).unwrap();
        let db = Db::open(&path, Options::default().direct_io(false)).unwrap();
        db.put("written since", "a value").unwrap();
        db.delete("key 1").unwrap();
        db.close().unwrap();
        let mut contents = readable(&path);
        assert_eq!(contents.remove(&b"written since"[..]), Some(b"a value".to_vec()), "{name}");
        let expected: String = expected
            .lines()
            .filter(|line| !line.starts_with("key 1 "))
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_eq!(describe(&contents), expected, "{name}");
        assert!(Db::check(&path, &to_read(), Depth::Deep, &|_| {}).unwrap().is_sound(), "{name}");
    }
}

#[test]
fn stores_of_every_released_format_can_be_salvaged() {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes, expected) in images() {
        let (path, into) = (directory.path().join(&name), directory.path().join(format!("saved {name}")));
        fs::write(&path, &bytes).unwrap();
        let salvage = Salvage::open(&path, &SalvageOptions::default(), &|_, _| {}).unwrap();
        assert!(salvage.report().is_complete(), "{name}: {:?}", salvage.report());
        assert_eq!(describe(&copied(&salvage, &into)), expected, "{name}");
    }
}

/// What kinds of units and records a file holds.
fn kinds(bytes: &[u8]) -> BTreeSet<&'static str> {
    let mut kinds = BTreeSet::new();
    for at in (1 << 20..bytes.len()).step_by(512) {
        if let Ok((block, _)) = BlockHeader::decode(&bytes[at..]) {
            kinds.insert(match block.kind {
                BlockKind::Zones => "zones of a checkpoint",
                BlockKind::Parts => "parts of a checkpoint",
                BlockKind::Entries => "entries of a checkpoint",
            });
        }
        let Ok(header) = UnitHeader::decode(&bytes[at..]) else { continue };
        kinds.insert(match (header.record_count, header.stream) {
            (0, _) => "filler",
            (_, StreamKind::User) => "unit of new writes",
            (_, StreamKind::Relocation) => "unit of copies",
        });
        let mut position = at + UNIT_HEADER_BYTES;
        for _ in 0..header.record_count {
            let Ok(decoded) = Record::decode(&bytes[position..]) else { break };
            let record = decoded.record;
            kinds.insert(match (record.kind, record.group) {
                (RecordKind::Put, None) => "put",
                (RecordKind::Put, Some(_)) => "put in a batch",
                (RecordKind::Delete, None) if record.barrier().is_some() => "delete that was copied",
                (RecordKind::Delete, None) => "delete",
                (RecordKind::Delete, Some(_)) => "delete in a batch",
                (RecordKind::Part, _) => "part of a large value",
            });
            position += decoded.encoded_bytes;
        }
    }
    kinds
}

#[test]
fn a_store_with_a_checkpoint_is_opened_from_it_and_without_it_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let with_checkpoint: Vec<_> =
        images().into_iter().filter(|(name, ..)| name.contains("checkpointed")).collect();
    assert!(!with_checkpoint.is_empty());
    for (name, mut bytes, expected) in with_checkpoint {
        let path = directory.path().join(&name);
        let opening = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            Db::open(&path, to_read()).unwrap().info().opening
        };
        let found = opening(&bytes);
        assert!(found.checkpoint > 0 && found.checkpoint_zones > 0, "{name}: {found:?}");
        assert_eq!(found.unusable_checkpoints, 0, "{name}");
        for at in (1 << 20..bytes.len()).step_by(512) {
            if bytes[at..].starts_with(b"ZCKP") {
                bytes[at] = 0;
            }
        }
        assert_eq!(opening(&bytes).checkpoint, 0, "{name}");
        assert_eq!(describe(&readable(&path)), expected, "{name}");
    }
}

#[test]
fn the_images_hold_every_kind_of_record() {
    let mut found = BTreeSet::new();
    for (_, bytes, _) in images() {
        found.extend(kinds(&bytes));
    }
    let every = [
        "put",
        "put in a batch",
        "delete",
        "delete in a batch",
        "delete that was copied",
        "part of a large value",
        "unit of new writes",
        "unit of copies",
        "filler",
        "zones of a checkpoint",
        "parts of a checkpoint",
        "entries of a checkpoint",
    ];
    let missing: Vec<_> = every.into_iter().filter(|kind| !found.contains(kind)).collect();
    assert!(missing.is_empty(), "no image has a {missing:?}");
}

#[test]
fn an_image_gives_back_the_bytes_that_it_was_made_of() {
    let mut bytes = vec![0; 1000];
    bytes[40..45].copy_from_slice(b"\0a\x10b\0");
    bytes[100..900].fill(7);
    bytes[999] = 0x30;
    assert!(decode(&encode(&bytes)) == bytes);
}

/// Makes a store at a path, and gives its file.
type Maker = fn(&Path) -> Vec<u8>;

/// Makes new images. `ZONAL_IMAGE_VERSION` is the version of zonal whose format they have.
#[test]
#[ignore = "writes into the tree: just image"]
fn write_images() {
    let version =
        std::env::var("ZONAL_IMAGE_VERSION").unwrap_or_else(|_| env!("CARGO_PKG_VERSION").to_owned());
    let temporary = tempfile::tempdir().unwrap();
    let makers: [(&str, Maker); 6] = [
        ("closed-4096", |path| closed(path, 4096)),
        ("closed-512", |path| closed(path, 512)),
        ("killed-4096", |path| killed(path, 4096)),
        ("cut-512", |path| cut(path, 512)),
        ("collected-4096", |path| collected(path, 4096)),
        ("checkpointed-4096", |path| checkpointed(path, 4096)),
    ];
    for (name, make) in makers {
        let path = temporary.path().join(name);
        let bytes = make(&path);
        fs::write(&path, &bytes).unwrap();
        let contents = readable(&path);
        let text = encode(&bytes);
        println!("{name}: {} bytes, {} keys, {:?}", text.len(), contents.len(), kinds(&bytes));
        let target = directory().join(format!("{version}-{name}"));
        let file = |extension: &str| PathBuf::from(format!("{}.{extension}", target.display()));
        fs::write(file("image"), text).unwrap();
        fs::write(file("contents"), describe(&contents)).unwrap();
    }
}

fn options(block_bytes: u32, zone_count: u64) -> Options {
    Options::default()
        .block_bytes(block_bytes)
        .zone_size_bytes(128 << 10)
        .zone_capacity_bytes(112 << 10)
        .capacity_bytes(zone_count * (112 << 10))
        .max_active_zones(8)
        .append_limit_bytes(96 << 10)
        .unit_bytes(96 << 10)
        .direct_io(false)
}

/// A value that takes few rows of an image, whatever its length.
fn value(number: u64, len: usize) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}

fn write_some(db: &Db) {
    let written = WriteOptions::default().durability(Durability::Written);
    for number in 0..20_u8 {
        db.put_with(format!("key {number}"), value(number.into(), 50 + 10 * usize::from(number)), written)
            .unwrap();
    }
    db.put_with("empty", "", written).unwrap();
    db.put_with(b"\x00\xff bytes", value(99, 33), written).unwrap();
    db.delete_with("key 3", written).unwrap();
    db.put_with("large", value(77, 70_000), written).unwrap();
    let mut batch = WriteBatch::new();
    batch.put("key 4", value(104, 60));
    batch.put("batch", value(105, 61));
    batch.delete("key 5");
    db.write_with(batch, written).unwrap();
    let mut batch = WriteBatch::new();
    batch.put("large in a batch", value(78, 40_000));
    batch.put("small in a batch", value(79, 40));
    db.write_with(batch, written).unwrap();
}

/// Closed in order.
fn closed(path: &Path, block_bytes: u32) -> Vec<u8> {
    let db = Db::open(path, options(block_bytes, 10)).unwrap();
    write_some(&db);
    db.close().unwrap();
    fs::read(path).unwrap()
}

/// As a killed process leaves it.
fn killed(path: &Path, block_bytes: u32) -> Vec<u8> {
    let db = Db::open(path, options(block_bytes, 10)).unwrap();
    write_some(&db);
    let bytes = fs::read(path).unwrap();
    drop(db);
    bytes
}

/// A crash had taken an append; the next run cut the log there, and wrote on.
fn cut(path: &Path, block_bytes: u32) -> Vec<u8> {
    // No journal keeps these, and none of their units tells that one before it is durable.
    let buffered = WriteOptions::default().durability(Durability::Buffered);
    let db = Db::open(path, options(block_bytes, 20)).unwrap();
    db.put("key 1", "before").unwrap();
    for number in 0..9 {
        db.put_with(format!("tail {number}"), value(number, 60_000), buffered).unwrap();
    }
    db.flush().unwrap();
    let mut bytes = fs::read(path).unwrap();
    drop(db);
    let taken = bytes.windows(6).rposition(|window| window == b"tail 5").unwrap();
    let start = bytes[..taken].windows(4).rposition(|window| window == b"ZUNT").unwrap();
    let block = block_bytes as usize;
    bytes[start..start + block].fill(0);
    fs::write(path, &bytes).unwrap();
    let db = Db::open(path, Options::default().direct_io(false)).unwrap();
    assert_eq!(db.get("tail 6").unwrap(), None, "what came after the lost append is cut off");
    db.put("after the cut", "a value").unwrap();
    db.close().unwrap();
    assert!(Db::check(path, &to_read(), Depth::Deep, &|_| {}).unwrap().void_records > 0);
    fs::read(path).unwrap()
}

/// Zones were collected: copies of puts, of parts and of deletes, and zones filled to their capacity.
fn collected(path: &Path, block_bytes: u32) -> Vec<u8> {
    let written = WriteOptions::default().durability(Durability::Written);
    let db = Db::open(path, options(block_bytes, 10)).unwrap();
    write_some(&db);
    for round in 0..8 {
        for number in 0..6 {
            db.put_with(format!("hot {number}"), value(1000 + round * 10 + number, 20_000), written).unwrap();
        }
        db.delete_with(format!("key {}", 6 + round), written).unwrap();
    }
    assert!(db.stats().relocated_bytes > 0 && db.stats().zone_resets > 3);
    db.close().unwrap();
    fs::read(path).unwrap()
}

/// Two checkpoints that stand for full zones, and writes after each.
fn checkpointed(path: &Path, block_bytes: u32) -> Vec<u8> {
    let written = WriteOptions::default().durability(Durability::Written);
    // One active zone more than a store needs: a checkpoint takes one.
    let db = Db::open(path, options(block_bytes, 24).max_active_zones(9)).unwrap();
    write_some(&db);
    for round in 0..3 {
        for number in 0..6 {
            db.put_with(format!("hot {number}"), value(1000 + round * 10 + number, 20_000), written).unwrap();
        }
        db.delete_with(format!("key {}", 6 + round), written).unwrap();
        if round > 0 {
            assert!(db.checkpoint().unwrap().is_some(), "there is room for a checkpoint");
        }
    }
    db.put("after the checkpoints", "a value").unwrap();
    db.close().unwrap();
    fs::read(path).unwrap()
}
