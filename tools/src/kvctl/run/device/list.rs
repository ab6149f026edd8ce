//! `device list`.

use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use zonal_engine::device::emulated::{Access, DirectIo};
use zonal_engine::device::{DeviceError, open_device};

use crate::kvctl::failure::Failure;
use crate::kvctl::output::{Output, trimmed_lines};
use crate::kvctl::sysfs::{Asked, ZonedDisk, zoned_disks};
use crate::size::human_bytes;

const NONE: &str = "\
no zoned devices on this machine
  A store needs none: `kvctl create data.zonal` makes one in a file, with zones of its own.
  To try a zoned device that is made of memory (as root):
    modprobe null_blk nr_devices=1 zoned=1 zone_size=4 zone_max_open=8 zone_max_active=12 memory_backed=1 gb=1
";

/// Lists the zoned devices that there are.
pub(super) fn list(root: &Path, output: &mut Output) -> Result<(), Failure> {
    let disks = zoned_disks(root, ask)?;
    match () {
        () if output.is_json() => output.json(&disks),
        () if disks.is_empty() => output.text(NONE),
        () => output.text(&table(&disks)),
    }
}

/// Asks a namespace what it is.
fn ask(path: &Path) -> Asked {
    match open_device(path, Access::ReadOnly, DirectIo::Preferred) {
        Ok(device) => Asked::Zoned(*device.geometry()),
        Err(DeviceError::NotOurs { .. } | DeviceError::NotFound { .. }) => Asked::NotZoned,
        Err(_) => Asked::Silent,
    }
}

fn table(disks: &[ZonedDisk]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "device",
        "model",
        "kind",
        "zones",
        "zone size",
        "block",
        "open",
        "active",
        "append",
        "held by",
    ]);
    for disk in disks {
        table.add_row(row(disk));
    }
    for column in table.column_iter_mut().filter(|column| (3..=8).contains(&column.index)) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    trimmed_lines(&table.to_string())
}

fn row(disk: &ZonedDisk) -> [String; 10] {
    let limit = |limit: u64| if limit == 0 { "no limit".to_owned() } else { limit.to_string() };
    let append =
        if disk.append_limit_bytes == 0 { "-".to_owned() } else { human_bytes(disk.append_limit_bytes) };
    let held_by: Vec<String> = disk.held_by.iter().map(ToString::to_string).collect();
    [
        disk.path.clone(),
        disk.model.clone(),
        disk.kind.clone(),
        disk.zone_count.to_string(),
        human_bytes(disk.zone_size_bytes),
        disk.block_bytes.to_string(),
        limit(disk.max_open_zones),
        limit(disk.max_active_zones),
        append,
        if held_by.is_empty() { "nobody".to_owned() } else { held_by.join(", ") },
    ]
}
