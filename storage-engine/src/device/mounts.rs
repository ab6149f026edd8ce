//! Who has a block device mounted.

/// Where the device with a number is mounted according to the text of `/proc/self/mountinfo`.
pub(super) fn mounted_at<'text>(mounts: &'text str, number: &str) -> Option<&'text str> {
    mounts.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.nth(2)? == number).then(|| words.nth(1)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::mounted_at;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /proc rw - proc proc rw
41 22 259:3 /sub /srv/data rw - xfs /dev/nvme0n1 rw
";

    #[test]
    fn a_mount_is_found_by_the_number_of_its_device() {
        assert_eq!(mounted_at(MOUNTS, "259:3"), Some("/srv/data"));
        assert_eq!(mounted_at(MOUNTS, "8:1"), Some("/"));
        assert_eq!(mounted_at(MOUNTS, "8:2"), None);
        assert_eq!(mounted_at(MOUNTS, "259:30"), None);
        assert_eq!(mounted_at("", "8:1"), None);
    }
}
