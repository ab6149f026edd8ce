//! One writer or many readers: the lock on a device's file or device node, and who holds it.
//!
//! The lock is that of flock(2): it belongs to the open file and goes with it, however the process ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::emulated::Access;
use super::{DeviceError, DeviceResult};

const UNKNOWN_HOLDER: &str = "another process";

/// Takes the lock without waiting, exclusively for a writer and shared for a reader.
///
/// # Errors
/// [`DeviceError::Locked`], [`DeviceError::Io`].
pub(in crate::device) fn take(file: &File, path: &Path, access: Access) -> DeviceResult<()> {
    let taken = match access {
        Access::ReadWrite => file.try_lock(),
        Access::ReadOnly => file.try_lock_shared(),
    };
    match taken {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let process = holder_of(file).ok().flatten();
            let holder = process.map_or_else(|| UNKNOWN_HOLDER.to_owned(), describe);
            // In a PID namespace of its own a process is shown no holder that has ended, though its lock is still there.
            let holder_is_dying = process.is_none_or(is_dying);
            Err(DeviceError::Locked { path: path.to_owned(), holder, holder_is_dying })
        }
        Err(TryLockError::Error(source)) => {
            Err(DeviceError::Io { action: format!("locking {}", path.display()), source })
        }
    }
}

/// Lets others take the lock.
///
/// # Errors
/// [`DeviceError::Io`].
pub(in crate::device) fn give_up(file: &File, path: &Path) -> DeviceResult<()> {
    file.unlock()
        .map_err(|source| DeviceError::Io { action: format!("unlocking {}", path.display()), source })
}

fn holder_of(file: &File) -> io::Result<Option<u32>> {
    let metadata = file.metadata()?;
    let locks = fs::read_to_string("/proc/locks")?;
    let device = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    Ok(holder_in(&locks, device, metadata.ino()))
}

fn describe(process: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{process}/comm"));
    name.map_or_else(
        |_| format!("process {process}"),
        |name| format!("process {process} ({})", name.trim_end()),
    )
}

/// Whether a process has ended but for the I/O that the kernel still does for it; the lock goes when that is done.
fn is_dying(process: u32) -> bool {
    match fs::read_to_string(format!("/proc/{process}/stat")) {
        // The state follows the name, which is in parentheses and may hold any characters itself.
        Ok(stat) => stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// The process that holds a lock on `inode` according to the text of `/proc/locks`.
///
/// Some file systems show another device number there than in stat(2); then an inode that is listed once will do.
fn holder_in(locks: &str, device: (u32, u32), inode: u64) -> Option<u32> {
    let held: Vec<HeldLock> =
        locks.lines().filter_map(HeldLock::parse).filter(|lock| lock.inode == inode).collect();
    let exact = held.iter().find(|lock| lock.device == device);
    let only = if held.len() == 1 { held.first() } else { None };
    exact.or(only).map(|lock| lock.process)
}

struct HeldLock {
    process: u32,
    device: (u32, u32),
    inode: u64,
}

impl HeldLock {
    /// Reads `1: FLOCK  ADVISORY  WRITE 1234 08:02:131077 0 EOF`; a waiter has `->` in the second place.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace().skip(1);
        if words.next()? != "FLOCK" {
            return None;
        }
        let process = words.nth(2)?.parse().ok()?;
        let mut file = words.next()?.split(':');
        let major = u32::from_str_radix(file.next()?, 16).ok()?;
        let minor = u32::from_str_radix(file.next()?, 16).ok()?;
        let inode = file.next()?.parse().ok()?;
        Some(Self { process, device: (major, minor), inode })
    }
}

#[cfg(test)]
mod tests {
    use super::holder_in;

    const LOCKS: &str = "\
1: POSIX  ADVISORY  WRITE 11 fe:00:77 0 EOF
2: FLOCK  ADVISORY  WRITE 22 fe:00:77 0 EOF
2: -> FLOCK  ADVISORY  WRITE 33 fe:00:77 0 EOF
3: FLOCK  ADVISORY  READ  44 08:02:77 0 EOF
4: FLOCK  ADVISORY  WRITE 55 00:1a:88 0 EOF
5: FLOCK  ADVISORY  WRITE -1 00:1a:99 0 EOF
";

    #[test]
    fn the_holder_is_found_by_device_and_inode() {
        assert_eq!(holder_in(LOCKS, (0xfe, 0), 77), Some(22));
        assert_eq!(holder_in(LOCKS, (8, 2), 77), Some(44));
    }

    #[test]
    fn an_inode_listed_once_is_enough_where_device_numbers_differ() {
        assert_eq!(holder_in(LOCKS, (1, 1), 88), Some(55));
        assert_eq!(holder_in(LOCKS, (1, 1), 77), None);
    }

    #[test]
    fn a_holder_that_the_kernel_does_not_name_is_unknown() {
        assert_eq!(holder_in(LOCKS, (0, 0x1a), 99), None);
        assert_eq!(holder_in("", (0, 0), 1), None);
    }
}
