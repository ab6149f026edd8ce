//! Recognises what lies on a device by its well-known marks. Pure.
//!
//! The marks of Linux's file systems and containers lie in the first 128 KiB or in the last ones; where none is found but
//! bytes are, that is told as well. It is for asking before something is destroyed, so to know less is no danger.

/// How much of the start, and of the end, of a device is looked at.
pub(super) const LOOKED_AT_BYTES: usize = 1 << 20;

struct Mark {
    at_bytes: usize,
    bytes: &'static [u8],
    name: &'static str,
}

const fn mark(at_bytes: usize, bytes: &'static [u8], name: &'static str) -> Mark {
    Mark { at_bytes, bytes, name }
}

/// What is more particular comes first: a boot sector's mark is found in many of the others.
const MARKS: [Mark; 24] = [
    mark(0, b"ZONALDEV", "an emulated zoned device of zonal"),
    mark(4096, b"ZONALDEV", "an emulated zoned device of zonal"),
    mark(1080, b"\x53\xef", "an ext2, ext3 or ext4 file system"),
    mark(0, b"XFSB", "an XFS file system"),
    mark(65_600, b"_BHRfS_M", "a btrfs file system"),
    mark(1024, b"\x10\x20\xf5\xf2", "an F2FS file system"),
    mark(0, b"SFOZ", "a zonefs file system"),
    mark(0, b"LUKS\xba\xbe", "a LUKS volume"),
    mark(512, b"LABELONE", "an LVM physical volume"),
    mark(4086, b"SWAPSPACE2", "swap space"),
    mark(4096, b"\xfc\x4e\x2b\xa9", "a member of an MD array"),
    mark(0, b"\xfc\x4e\x2b\xa9", "a member of an MD array"),
    mark(4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "a bcache device"),
    mark(1024, b"\xe2\xe1\xf5\xe0", "an EROFS file system"),
    mark(0, b"hsqs", "a squashfs file system"),
    mark(32_769, b"CD001", "an ISO 9660 file system"),
    mark(3, b"NTFS    ", "an NTFS file system"),
    mark(3, b"EXFAT   ", "an exFAT file system"),
    mark(82, b"FAT32", "a FAT file system"),
    mark(54, b"FAT1", "a FAT file system"),
    mark(512, b"EFI PART", "a partition table (GPT)"),
    mark(4096, b"EFI PART", "a partition table (GPT)"),
    mark(0, b"DmZ", "a dm-zoned device"),
    mark(510, b"\x55\xaa", "a partition table (MBR) or boot sector"),
];

/// What the first bytes of a device and its last ones say is on it; `None` when they are all zeros.
pub(super) fn identify(first: &[u8], last: &[u8]) -> Option<String> {
    let is_there = |mark: &&Mark| first.get(mark.at_bytes..).is_some_and(|from| from.starts_with(mark.bytes));
    if let Some(mark) = MARKS.iter().find(is_there) {
        return Some(mark.name.to_owned());
    }
    if last.len() >= 512 && last[last.len() - 512..].starts_with(b"EFI PART") {
        return Some("the spare copy of a partition table (GPT)".to_owned());
    }
    let unknown = |place: &str| Some(format!("something unknown: its {place} bytes are not zeros"));
    if first.iter().any(|&byte| byte != 0) {
        return unknown("first");
    }
    if last.iter().any(|&byte| byte != 0) { unknown("last") } else { None }
}

#[cfg(test)]
mod tests {
    use super::{LOOKED_AT_BYTES, MARKS, identify};

    #[test]
    fn every_mark_is_found_at_its_place() {
        for mark in &MARKS {
            let mut first = vec![0; LOOKED_AT_BYTES];
            first[mark.at_bytes..mark.at_bytes + mark.bytes.len()].copy_from_slice(mark.bytes);
            assert_eq!(identify(&first, &[]).as_deref(), Some(mark.name));
        }
    }

    #[test]
    fn a_boot_sector_s_mark_does_not_hide_what_it_belongs_to() {
        let mut first = vec![0; LOOKED_AT_BYTES];
        first[510..512].copy_from_slice(&[0x55, 0xaa]);
        first[512..520].copy_from_slice(b"EFI PART");
        assert_eq!(identify(&first, &[]).as_deref(), Some("a partition table (GPT)"));
    }

    #[test]
    fn zeros_are_nothing_and_other_bytes_are_something() {
        let zeros = vec![0; LOOKED_AT_BYTES];
        assert_eq!(identify(&zeros, &zeros), None);
        let mut last = zeros.clone();
        last[7] = 1;
        assert!(identify(&last, &zeros).is_some_and(|what| what.contains("first bytes")));
        assert!(identify(&zeros, &last).is_some_and(|what| what.contains("last bytes")));
        last[LOOKED_AT_BYTES - 512..][..8].copy_from_slice(b"EFI PART");
        assert!(identify(&zeros, &last).is_some_and(|what| what.contains("spare copy")));
    }
}
