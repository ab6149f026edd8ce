//! The zoned devices of a machine, from what the kernel tells under `/sys` and `/proc`.
//!
//! Of an NVMe namespace that the kernel makes no block device for, because it cannot use it itself, sysfs tells no more
//! than the name. Such a one must be asked, and whoever calls does that; no other device is opened.
//!
//! Everything is looked up under a root directory, so that tests can lay out a machine of their own.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use zonal_engine::device::Geometry;

use super::failure::Failure;

/// Bytes in the sector that sysfs counts in.
const SECTOR_BYTES: u64 = 512;

/// A zoned device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct ZonedDisk {
    /// What to name to kvctl: the passthrough device where there is one, because it takes true appends.
    pub(crate) path: String,
    /// The block device; empty where the kernel has made none.
    pub(crate) block_path: String,
    /// What the device calls itself; may be empty.
    pub(crate) model: String,
    /// `host-managed` or `host-aware`; `unknown` of a namespace that did not answer.
    pub(crate) kind: String,
    /// How many zones there are.
    pub(crate) zone_count: u64,
    /// From one zone start to the next.
    pub(crate) zone_size_bytes: u64,
    /// The size of a logical block.
    pub(crate) block_bytes: u64,
    /// How many zones may be open at once; 0 is no limit.
    pub(crate) max_open_zones: u64,
    /// How many zones may be active at once; 0 is no limit.
    pub(crate) max_active_zones: u64,
    /// The largest append; 0 where the kernel offers none.
    pub(crate) append_limit_bytes: u64,
    /// Who has the device, as far as this user may know.
    pub(crate) held_by: Vec<Holder>,
}

/// Who has a device.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Holder {
    /// Another block device lies on it: a device mapper, a RAID.
    Device(String),
    /// A file system is mounted there.
    Mount(String),
    /// A process has it open.
    Process {
        /// Its number.
        id: u32,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(name) => write!(f, "device {name}"),
            Self::Mount(place) => write!(f, "mounted at {place}"),
            Self::Process { id, name } => write!(f, "process {id} ({name})"),
        }
    }
}

/// What a namespace without a block device says when it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// It is zoned, with these sizes.
    Zoned(Geometry),
    /// It is not.
    NotZoned,
    /// Nothing: somebody has it, or this user may not ask.
    Silent,
}

/// All zoned devices, by name; behind them the namespaces that have no block device.
pub(crate) fn zoned_disks(root: &Path, ask: impl Fn(&Path) -> Asked) -> Result<Vec<ZonedDisk>, Failure> {
    let block_devices = names_if_any(&root.join("sys/block"))?;
    let generic = names_if_any(&root.join("sys/class/nvme-generic"))?;
    let beside = generic.iter().filter_map(|name| lone_namespace(root, name, &ask));
    Ok(block_devices.iter().filter_map(|name| zoned_disk(root, name)).chain(beside).collect())
}

/// The names in a directory, which need not be there.
fn names_if_any(directory: &Path) -> Result<BTreeSet<String>, Failure> {
    match names_in(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        other => other.map_err(|source| Failure::File {
            action: "list",
            name: directory.display().to_string(),
            source,
        }),
    }
}

/// A zoned namespace that the kernel has made no block device for, or one that it hides.
fn lone_namespace(root: &Path, name: &str, ask: impl Fn(&Path) -> Asked) -> Option<ZonedDisk> {
    let block_device = root.join("sys/block").join(name.replacen("ng", "nvme", 1));
    if block_device.exists() && text(&block_device.join("hidden")).as_deref() != Some("1") {
        return None;
    }
    let path = format!("/dev/{name}");
    let (kind, geometry) = match ask(&root.join("dev").join(name)) {
        Asked::Zoned(geometry) => ("host-managed", Some(geometry)),
        Asked::Silent => ("unknown", None),
        Asked::NotZoned => return None,
    };
    let number = |of: fn(&Geometry) -> u64| geometry.as_ref().map_or(0, of);
    Some(ZonedDisk {
        block_path: String::new(),
        model: text(&root.join("sys/class/nvme-generic").join(name).join("device/model")).unwrap_or_default(),
        kind: kind.to_owned(),
        zone_count: number(|it| it.zone_count.into()),
        zone_size_bytes: number(|it| it.zone_size_bytes),
        block_bytes: number(|it| it.block_bytes.into()),
        max_open_zones: number(|it| it.max_open_zones.into()),
        max_active_zones: number(|it| it.max_active_zones.into()),
        append_limit_bytes: number(|it| it.append_limit_bytes.into()),
        held_by: processes(root, [Some(path.as_str()), None]),
        path,
    })
}

/// A device that is there and zoned. One that goes away meanwhile is none.
fn zoned_disk(root: &Path, name: &str) -> Option<ZonedDisk> {
    let disk = root.join("sys/block").join(name);
    if text(&disk.join("hidden")).as_deref() == Some("1") {
        return None;
    }
    let kind = text(&disk.join("queue/zoned"))?;
    if kind == "none" {
        return None;
    }
    let number = |file: &str| text(&disk.join(file)).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let block_path = format!("/dev/{name}");
    let generic_path = generic_name(root, name).map(|name| format!("/dev/{name}"));
    let held_by = holders(root, &disk, [Some(block_path.as_str()), generic_path.as_deref()]);
    Some(ZonedDisk {
        path: generic_path.unwrap_or_else(|| block_path.clone()),
        block_path,
        model: text(&disk.join("device/model")).unwrap_or_default(),
        kind,
        zone_count: number("queue/nr_zones"),
        zone_size_bytes: number("queue/chunk_sectors") * SECTOR_BYTES,
        block_bytes: number("queue/logical_block_size"),
        max_open_zones: number("queue/max_open_zones"),
        max_active_zones: number("queue/max_active_zones"),
        append_limit_bytes: number("queue/zone_append_max_bytes"),
        held_by,
    })
}

/// The character device that takes passthrough commands, where there is one: `ng0n1` beside `nvme0n1`.
fn generic_name(root: &Path, name: &str) -> Option<String> {
    let generic = format!("ng{}", name.strip_prefix("nvme")?);
    root.join("sys/class/nvme-generic").join(&generic).exists().then_some(generic)
}

fn holders(root: &Path, disk: &Path, paths: [Option<&str>; 2]) -> Vec<Holder> {
    let mut holders = BTreeSet::new();
    let stacked = names_in(&disk.join("holders")).unwrap_or_default();
    holders.extend(stacked.into_iter().map(Holder::Device));
    let device_number = text(&disk.join("dev")).unwrap_or_default();
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    holders.extend(mounts.lines().filter_map(|line| mounted_at(line, &device_number)).map(Holder::Mount));
    holders.extend(processes(root, paths));
    holders.into_iter().collect()
}

/// From a line of mountinfo: the third field is the device, the fifth the place.
fn mounted_at(line: &str, device_number: &str) -> Option<String> {
    let mut fields = line.split(' ');
    (fields.nth(2)? == device_number).then(|| fields.nth(1).map(str::to_owned)).flatten()
}

/// Processes that have one of the paths open. Those of other users show to root only.
fn processes(root: &Path, paths: [Option<&str>; 2]) -> Vec<Holder> {
    let names = names_in(&root.join("proc")).unwrap_or_default();
    let ids = names.iter().filter_map(|name| name.parse::<u32>().ok());
    let holder = |id: u32| {
        let process = root.join("proc").join(id.to_string());
        let files = names_in(&process.join("fd")).unwrap_or_default();
        let is_open = files.iter().any(|file| {
            let target = fs::read_link(process.join("fd").join(file)).unwrap_or_default();
            paths.into_iter().flatten().any(|path| target == Path::new(path))
        });
        let name = || text(&process.join("comm")).unwrap_or_default();
        is_open.then(|| Holder::Process { id, name: name() })
    };
    ids.filter_map(holder).collect()
}

fn names_in(directory: &Path) -> io::Result<BTreeSet<String>> {
    let name =
        |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    fs::read_dir(directory)?.map(name).collect()
}

fn text(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use zonal_engine::device::Geometry;

    use super::{Asked, mounted_at, zoned_disks};

    #[test]
    fn a_line_of_mountinfo_says_what_is_mounted_where() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(mounted_at(line, "98:0").as_deref(), Some("/mnt2"));
        assert_eq!(mounted_at(line, "98:1"), None);
        assert_eq!(mounted_at("", "98:0"), None);
    }

    const GEOMETRY: Geometry = Geometry {
        block_bytes: 4096,
        zone_size_bytes: 3 << 20,
        zone_capacity_bytes: 3 << 20,
        zone_count: 32,
        max_open_zones: 8,
        max_active_zones: 12,
        append_limit_bytes: 131_072,
        volatile_cache: true,
    };

    /// A machine with namespaces of these names, and block devices that are hidden (true) or not.
    fn machine(namespaces: &[&str], block_devices: &[(&str, bool)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for name in namespaces {
            let device = root.path().join("sys/class/nvme-generic").join(name).join("device");
            fs::create_dir_all(&device).unwrap();
            fs::write(device.join("model"), "a drive  \n").unwrap();
        }
        for (name, hidden) in block_devices {
            let disk = root.path().join("sys/block").join(name);
            fs::create_dir_all(disk.join("queue")).unwrap();
            fs::write(disk.join("queue/zoned"), "none\n").unwrap();
            fs::write(disk.join("hidden"), if *hidden { "1\n" } else { "0\n" }).unwrap();
        }
        root
    }

    #[test]
    fn a_namespace_that_the_kernel_has_no_block_device_for_is_asked_and_listed() {
        let root = machine(&["ng0n1", "ng1n1"], &[("nvme1n1", true)]);
        let listed = zoned_disks(root.path(), |_| Asked::Zoned(GEOMETRY)).unwrap();
        let paths: Vec<_> =
            listed.iter().map(|disk| (disk.path.as_str(), disk.block_path.as_str())).collect();
        assert_eq!(paths, [("/dev/ng0n1", ""), ("/dev/ng1n1", "")]);
        let disk = &listed[0];
        assert_eq!((disk.model.as_str(), disk.kind.as_str()), ("a drive", "host-managed"));
        assert_eq!((disk.zone_count, disk.zone_size_bytes, disk.append_limit_bytes), (32, 3 << 20, 131_072));
    }

    #[test]
    fn a_namespace_that_does_not_answer_is_listed_as_unknown_and_one_without_zones_is_not() {
        let root = machine(&["ng0n1"], &[]);
        let listed = zoned_disks(root.path(), |_| Asked::Silent).unwrap();
        assert_eq!((listed.len(), listed[0].kind.as_str(), listed[0].zone_count), (1, "unknown", 0));
        assert_eq!(zoned_disks(root.path(), |_| Asked::NotZoned).unwrap(), []);
    }

    #[test]
    fn a_namespace_with_a_block_device_is_not_asked() {
        let root = machine(&["ng0n1"], &[("nvme0n1", false)]);
        let asked = |path: &std::path::Path| -> Asked { panic!("{} was opened", path.display()) };
        assert_eq!(zoned_disks(root.path(), asked).unwrap(), []);
    }
}
