//! Makes the seeds of the corpus anew from a real store: `cargo test -p zonal-fuzz-targets --test seeds -- --ignored`.

use std::path::Path;

use zonal::{Db, Options, WriteBatch};

const BLOCK_BYTES: usize = 4096;

fn put(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target);
    std::fs::create_dir_all(&folder).expect("make the folder");
    std::fs::write(folder.join(name), bytes).expect("write the seed");
}

/// The file of a store that has seen a bit of everything.
fn store() -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store.zonal");
    let options = Options::default().capacity_bytes(24 << 19).zone_size_bytes(1 << 19).unit_bytes(96 << 10);
    let db = Db::open(&path, options).expect("make a store");
    db.put("key", "value").expect("put");
    db.delete("key").expect("delete");
    let mut batch = WriteBatch::new();
    batch.put("a", "1");
    batch.delete("key");
    db.write(batch).expect("write");
    db.put("large", vec![7; 30_000]).expect("put");
    // A checkpoint stands for zones that are full.
    for number in 0..60u8 {
        db.put([number % 9], vec![number; 10_000]).expect("put");
    }
    db.put("larger", vec![8; 200_000]).expect("put");
    db.put("a last one", vec![9; 90_000]).expect("put");
    assert!(db.checkpoint().expect("write a checkpoint").is_some());
    db.close().expect("close");
    std::fs::read(path).expect("read the store")
}

fn without_padding(block: &[u8]) -> &[u8] {
    let end = block.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &block[..end]
}

#[test]
#[ignore = "it writes to the source tree"]
fn make_seeds() {
    let file = store();
    put("device_header", "new", &file[..128]);
    put("session_block", "closed", &file[8192..8256]);
    put("zone_table", "used", &file[12_288..12_288 + 64 * 6]);
    let blocks = file.chunks(BLOCK_BYTES).enumerate();
    let (mut units, mut manifests, mut checkpoints) = (0, 0, 0);
    for (at, block) in blocks {
        if block.starts_with(b"ZUNT") && units < 4 {
            units += 1;
            put("unit_header", &format!("unit-{units}"), &block[..100]);
            put("unit", &format!("unit-{units}"), without_padding(block));
            put("record", &format!("record-{units}"), without_padding(&block[100..]));
        }
        if block.starts_with(b"ZCKP") {
            checkpoints += 1;
            let items_bytes = u32::from_le_bytes(block[40..44].try_into().expect("4 bytes"));
            let len_bytes = 56 + usize::try_from(items_bytes).expect("a block is short");
            put("checkpoint", &format!("block-{checkpoints}"), &file[at * BLOCK_BYTES..][..len_bytes]);
        }
        if block.starts_with(b"ZMAN") {
            manifests += 1;
            // The last one names a checkpoint.
            let name = if manifests < 5 { format!("manifest-{manifests}") } else { "newest".to_owned() };
            put("manifest", &name, without_padding(&file[at * BLOCK_BYTES..][..BLOCK_BYTES]));
        }
    }
    make_seeds_of_drives();
    put("dump_line", "text", br#"{"key":"user:1","value":"Ada"}"#);
    put("dump_line", "base64", br#"{"key_base64":"/w==","value_base64":"AP4="}"#);
    for (name, size) in [("plain", "4096"), ("binary", "16MiB"), ("decimal", "1_000 GB")] {
        put("size", name, size.as_bytes());
    }
    // Put, churn, crash, batch, close, swap and so on, as the bytes fall.
    for seed in 0..6u8 {
        let bytes: Vec<u8> = (0..96u32)
            .map(|at| u8::try_from(at * (u32::from(seed) * 2 + 29) / 2 % 256).expect("below 256"))
            .collect();
        put("operations", &format!("mixed-{seed}"), &bytes);
    }
}

fn make_seeds_of_drives() {
    let mut report = vec![0u8; 64 * 3];
    report[0] = 2;
    for (zone, state) in [(1usize, 0x10u8), (2, 0x20)] {
        report[zone * 64] = 2;
        report[zone * 64 + 1] = state;
        report[zone * 64 + 9] = 8;
        report[zone * 64 + 17] = u8::try_from(zone).expect("small") * 16;
        report[zone * 64 + 25] = u8::try_from(zone).expect("small") * 16;
    }
    put("nvme_zone_report", "two-zones", &report);
    let mut identify = vec![0u8; 544];
    identify[4..44].copy_from_slice(b"serial number       QEMU NVMe Ctrl      ");
    (identify[77], identify[525], identify[130]) = (7, 1, 12);
    put("nvme_identify", "qemu", &identify);
    let mut zone = vec![0u8; 34];
    (zone[9], zone[24], zone[25], zone[27]) = (8, 2, 1, 6);
    put("block_zone_report", "empty", &zone);
    let mut twice = zone.clone();
    twice.extend(&zone);
    (twice[34 + 16], twice[34 + 25]) = (8, 2);
    put("block_zone_report", "written", &twice);
}
