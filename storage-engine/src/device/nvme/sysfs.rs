//! What the kernel says of a namespace in sysfs: whether a character device is one, and which block device is the other route
//! to it.
//!
//! Names are not to be relied on: the numbers in `ng0n2` and `nvme0n2` count what the kernel has found, in an order of its own.
//! So the block device is looked for beside the character device by the namespace's identifier. (With native multipath both lie
//! under the subsystem, without it under the controller.)

use std::fs;
use std::path::{Path, PathBuf};

/// The root of sysfs, but in tests.
pub(super) const SYSFS: &str = "/sys";

/// The block device of a namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct BlockSide {
    /// The name in /dev.
    pub(super) name: String,
    /// Major and minor number.
    pub(super) number: (u32, u32),
    /// What holds it: names of stacked devices.
    pub(super) holders: Vec<String>,
    /// The most that the kernel lets one command move.
    pub(super) transfer_limit_bytes: Option<u64>,
}

/// Memory of one command need not be contiguous: in the worst case each page is a segment.
const LEAST_PAGE_BYTES: u64 = 4096;

/// The directory of a character device, with the name of its subsystem: `nvme-generic` for a namespace.
pub(super) fn character_device(sysfs: &Path, (major, minor): (u32, u32)) -> Option<(PathBuf, String)> {
    let directory = fs::canonicalize(sysfs.join(format!("dev/char/{major}:{minor}"))).ok()?;
    let subsystem = fs::read_link(directory.join("subsystem")).ok()?;
    Some((directory, subsystem.file_name()?.to_str()?.to_owned()))
}

/// The block device beside the character device of a namespace; `None` where the kernel has made none.
pub(super) fn block_side(character_device: &Path, namespace: u32) -> Option<BlockSide> {
    let beside = fs::read_dir(character_device.parent()?).ok()?;
    let mut found: Vec<BlockSide> =
        beside.flatten().filter_map(|entry| block_device(&entry.path(), namespace)).collect();
    // Namespaces that are private to their controllers may share an identifier in one subsystem; their names differ.
    let twin = character_device.file_name()?.to_str()?.replacen("ng", "nvme", 1);
    let at = found.iter().position(|block| block.name == twin).or((found.len() == 1).then_some(0))?;
    Some(found.swap_remove(at))
}

fn block_device(directory: &Path, namespace: u32) -> Option<BlockSide> {
    let is_hidden = number(&directory.join("hidden")) == Some(1);
    if is_hidden || number(&directory.join("nsid")) != Some(u64::from(namespace)) {
        return None;
    }
    let text = fs::read_to_string(directory.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some(BlockSide {
        name: directory.file_name()?.to_str()?.to_owned(),
        number: (major.parse().ok()?, minor.parse().ok()?),
        holders: names_in(&directory.join("holders")),
        transfer_limit_bytes: transfer_limit_bytes(&directory.join("queue")),
    })
}

fn transfer_limit_bytes(queue: &Path) -> Option<u64> {
    let whole = number(&queue.join("max_hw_sectors_kb")).map(|kib| kib.saturating_mul(1024));
    // Memory that does not begin at a page takes a segment more.
    let in_pages = number(&queue.join("max_segments"))
        .map(|segments| segments.saturating_sub(1).max(1).saturating_mul(LEAST_PAGE_BYTES));
    [whole, in_pages].into_iter().flatten().min()
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use tempfile::TempDir;

    use super::{BlockSide, block_side, character_device};

    const CONTROLLER: &str = "devices/nvme0";

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a file lies in a directory")).expect("make directories");
        fs::write(path, text).expect("write a file");
    }

    /// A sysfs with a character device `ng0n2` of number 240:1.
    fn sysfs() -> TempDir {
        let sysfs = tempfile::tempdir().expect("make a directory");
        let device = sysfs.path().join(CONTROLLER).join("ng0n2");
        fs::create_dir_all(&device).expect("make directories");
        fs::create_dir_all(sysfs.path().join("dev/char")).expect("make directories");
        symlink(&device, sysfs.path().join("dev/char/240:1")).expect("make a link");
        symlink("../../../class/nvme-generic", device.join("subsystem")).expect("make a link");
        sysfs
    }

    fn add_block_device(sysfs: &TempDir, name: &str, namespace: u32) {
        let directory = sysfs.path().join(CONTROLLER).join(name);
        write(&directory.join("nsid"), &format!("{namespace}\n"));
        write(&directory.join("dev"), "259:3\n");
        write(&directory.join("queue/max_hw_sectors_kb"), "512\n");
        write(&directory.join("queue/max_segments"), "127\n");
    }

    fn found(sysfs: &TempDir, namespace: u32) -> Option<BlockSide> {
        let (directory, _) = character_device(sysfs.path(), (240, 1)).expect("it is there");
        block_side(&directory, namespace)
    }

    #[test]
    fn a_character_device_is_told_by_its_number_and_its_subsystem() {
        let sysfs = sysfs();
        let (directory, subsystem) = character_device(sysfs.path(), (240, 1)).expect("it is there");
        assert_eq!(directory.file_name().expect("a name"), "ng0n2");
        assert_eq!(subsystem, "nvme-generic");
        assert_eq!(character_device(sysfs.path(), (1, 3)), None);
    }

    #[test]
    fn the_other_route_is_found_by_the_namespace_and_not_by_the_name() {
        let sysfs = sysfs();
        add_block_device(&sysfs, "nvme0n1", 7);
        add_block_device(&sysfs, "nvme0n3", 1);
        let block = found(&sysfs, 7).expect("it is beside");
        let pages_bytes = 126 * 4096;
        let expected = BlockSide {
            name: "nvme0n1".to_owned(),
            number: (259, 3),
            holders: Vec::new(),
            transfer_limit_bytes: Some(pages_bytes),
        };
        assert_eq!(block, expected);
        assert_eq!(found(&sysfs, 8), None);
    }

    #[test]
    fn of_several_with_one_identifier_the_name_decides() {
        let sysfs = sysfs();
        add_block_device(&sysfs, "nvme0n1", 1);
        add_block_device(&sysfs, "nvme0n2", 1);
        assert_eq!(found(&sysfs, 1).expect("it is beside").name, "nvme0n2");
    }

    #[test]
    fn a_path_of_a_multipath_device_is_no_route_of_its_own() {
        let sysfs = sysfs();
        add_block_device(&sysfs, "nvme0c0n2", 1);
        write(&sysfs.path().join(CONTROLLER).join("nvme0c0n2/hidden"), "1\n");
        assert_eq!(found(&sysfs, 1), None);
    }

    #[test]
    fn what_holds_the_other_route_is_named() {
        let sysfs = sysfs();
        add_block_device(&sysfs, "nvme0n2", 1);
        fs::create_dir_all(sysfs.path().join(CONTROLLER).join("nvme0n2/holders/dm-0")).expect("make it");
        assert_eq!(found(&sysfs, 1).expect("it is beside").holders, ["dm-0"]);
    }
}
