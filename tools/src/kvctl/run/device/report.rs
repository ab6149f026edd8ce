//! `device report`: a device and all of its zones.

use std::collections::BTreeMap;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use zonal::ZoneState;
use zonal_engine::device::emulated::Access;
use zonal_engine::device::{DeviceResult, Geometry, ZonedDevice};

use super::{failure, open};
use crate::kvctl::failure::Failure;
use crate::kvctl::output::{Output, trimmed_lines};
use crate::kvctl::run::zones::{name, percent};
use crate::size::{grouped, human_bytes};

/// A device, with the names that JSON has.
#[derive(Debug, Serialize)]
struct Report {
    device: String,
    access: String,
    #[serde(flatten)]
    geometry: Geometry,
    zones: Vec<Zone>,
}

#[derive(Debug, Serialize)]
struct Zone {
    zone: u32,
    start: u64,
    state: ZoneState,
    write_pointer: u64,
    reset_count: u32,
}

/// Shows how the zones stand.
pub(super) fn report(path: &Path, output: &mut Output) -> Result<(), Failure> {
    let device = open(path, Access::ReadOnly)?;
    let report = look(&*device).map_err(failure(path))?;
    output.result(&report, || text(path, &report))
}

fn look(device: &dyn ZonedDevice) -> DeviceResult<Report> {
    let geometry = *device.geometry();
    let zone = |id| {
        let found = device.report(id)?;
        Ok(Zone {
            zone: id.get(),
            start: geometry.zone_start(id).get(),
            state: found.state.into(),
            write_pointer: found.write_pointer.get(),
            reset_count: found.reset_count,
        })
    };
    let zones = geometry.zones().map(zone).collect::<DeviceResult<_>>()?;
    Ok(Report { device: device.kind().to_owned(), access: device.detail(), geometry, zones })
}

fn text(path: &Path, report: &Report) -> String {
    let Report { device, access, geometry, zones } = report;
    let mut states = BTreeMap::<String, u64>::new();
    zones.iter().for_each(|zone| *states.entry(name(&zone.state)).or_default() += 1);
    let states: Vec<_> = states.iter().map(|(state, count)| format!("{} {state}", grouped(*count))).collect();
    let access = if access.is_empty() { String::new() } else { format!(", {access}") };
    let cache = if geometry.volatile_cache { "volatile cache" } else { "no volatile cache" };
    format!(
        "{}: {device}{access}\n  {} zones of {}, each holds {}; blocks of {} bytes; {cache}\n  \
         at most {} zones open, {} active; appends of at most {}\n  {}\n\n{}",
        path.display(),
        grouped(geometry.zone_count.into()),
        human_bytes(geometry.zone_size_bytes),
        human_bytes(geometry.zone_capacity_bytes),
        geometry.block_bytes,
        geometry.max_open_zones,
        geometry.max_active_zones,
        human_bytes(geometry.append_limit_bytes.into()),
        states.join(", "),
        table(zones, geometry.zone_capacity_bytes)
    )
}

fn table(zones: &[Zone], capacity_bytes: u64) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["zone", "state", "start", "written", "", "resets"]);
    for zone in zones {
        table.add_row([
            zone.zone.to_string(),
            name(&zone.state),
            zone.start.to_string(),
            zone.write_pointer.to_string(),
            percent(zone.write_pointer, capacity_bytes),
            zone.reset_count.to_string(),
        ]);
    }
    for column in table.column_iter_mut().filter(|column| column.index != 1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    trimmed_lines(&table.to_string())
}
