//! For how long the page cache keeps what a process has written: until the machine restarts, or the disk is taken out.
//!
//! A disk that is removed takes with it what was not written back, and comes back in the same boot of the machine. Linux
//! numbers the stays of disks (`diskseq`, since 5.15): a disk that comes back has another number.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::file::Medium;

/// The boot that the machine runs under, and the stay of the disk that a file lies on, or is, as one number.
///
/// File systems that do not lie on one disk (tmpfs, btrfs, NFS) tell none: there the boot must do. A disk that tells none
/// is given a number that nobody has seen.
pub(super) fn with_stay(boot_id: [u8; 16], file: &Metadata) -> [u8; 16] {
    mixed(boot_id, Medium::of(file), stay(&directory_of(file)))
}

fn mixed(boot_id: [u8; 16], medium: Medium, stay: Option<u64>) -> [u8; 16] {
    match stay {
        Some(stay) => (u128::from_be_bytes(boot_id) ^ u128::from(stay)).to_be_bytes(),
        None if medium == Medium::Regular => boot_id,
        None => rand::random(),
    }
}

/// Where the kernel keeps the disk of a file.
fn directory_of(file: &Metadata) -> PathBuf {
    let device = if file.file_type().is_block_device() { file.rdev() } else { file.dev() };
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    Path::new("/sys/dev/block").join(number)
}

/// A partition stays as long as the disk that it is a part of.
fn stay(directory: &Path) -> Option<u64> {
    let read = |file: &str| -> io::Result<String> { fs::read_to_string(directory.join(file)) };
    read("diskseq").or_else(|_| read("../diskseq")).ok()?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Medium, mixed, stay};

    const BOOT: [u8; 16] = [7; 16];

    #[test]
    fn a_disk_that_was_away_meanwhile_is_told_from_one_that_stayed() {
        for medium in [Medium::Regular, Medium::BlockDevice] {
            assert_eq!(mixed(BOOT, medium, Some(3)), mixed(BOOT, medium, Some(3)));
            assert_ne!(mixed(BOOT, medium, Some(3)), mixed(BOOT, medium, Some(4)));
            assert_ne!(mixed(BOOT, medium, Some(3)), mixed([8; 16], medium, Some(3)));
        }
    }

    #[test]
    fn where_nobody_tells_files_rely_on_the_boot_and_disks_on_nothing() {
        assert_eq!(mixed(BOOT, Medium::Regular, None), BOOT);
        assert_ne!(mixed(BOOT, Medium::BlockDevice, None), mixed(BOOT, Medium::BlockDevice, None));
    }

    #[test]
    fn a_partition_has_the_number_of_its_disk() {
        let disk = tempfile::tempdir().expect("a directory");
        let partition = disk.path().join("sda1");
        fs::create_dir(&partition).expect("a directory");
        assert_eq!(stay(&partition), None);
        fs::write(disk.path().join("diskseq"), "12\n").expect("write");
        assert_eq!((stay(disk.path()), stay(&partition)), (Some(12), Some(12)));
    }
}
