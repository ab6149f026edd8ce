//! Whether a device is still there.
//!
//! The kernel takes a device out of sysfs when the device is removed or its driver unbound, and gives its number to no other
//! for as long as somebody has it open. A block device has its size set to zero before that. What I/O to a removed device
//! ends with tells less: `ENODEV`, `EIO`, or, beyond its end by then, `ENOSPC` for a write and no bytes for a read.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{DeviceError, DeviceResult};

/// Knows where the kernel keeps a device while it is there.
#[derive(Debug)]
pub(super) struct Presence {
    path: PathBuf,
    /// `None` for what cannot be removed: a regular file.
    directory: Option<PathBuf>,
}

impl Presence {
    /// Of the open device at `path`.
    pub(super) fn of(path: &Path, metadata: &Metadata) -> Self {
        let number = format!("{}:{}", rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        let kind = match metadata.file_type() {
            kind if kind.is_block_device() => Some("block"),
            kind if kind.is_char_device() => Some("char"),
            _ => None,
        };
        let directory = kind.map(|kind| Path::new("/sys/dev").join(kind).join(number));
        Self { path: path.to_owned(), directory }
    }

    /// # Errors
    /// [`DeviceError::Gone`].
    pub(super) fn check(&self) -> DeviceResult<()> {
        let gone = self.directory.as_deref().is_some_and(|it| is_missing(it) || has_no_size(it));
        if gone { Err(DeviceError::Gone { path: self.path.clone() }) } else { Ok(()) }
    }

    /// Puts [`DeviceError::Gone`] in the place of an error that the device's absence explains.
    pub(super) fn explain(&self, error: DeviceError) -> DeviceError {
        match error {
            DeviceError::Io { .. }
            | DeviceError::Nvme { .. }
            | DeviceError::ShortAppend { .. }
            | DeviceError::ShortRead { .. }
            | DeviceError::HostFull { .. } => self.check().err().unwrap_or(error),
            other => other,
        }
    }
}

/// Where nobody can tell, it is there.
fn is_missing(directory: &Path) -> bool {
    directory.try_exists().is_ok_and(|exists| !exists)
}

fn has_no_size(directory: &Path) -> bool {
    fs::read_to_string(directory.join("size")).is_ok_and(|size| size.trim_end() == "0")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::{Path, PathBuf};

    use super::Presence;
    use crate::device::DeviceError;
    use crate::units::{ZoneId, ZoneOffset};

    fn failed() -> DeviceError {
        DeviceError::Io { action: "reading".to_owned(), source: io::Error::from_raw_os_error(5) }
    }

    fn short() -> DeviceError {
        DeviceError::ShortRead {
            zone: ZoneId::new(1),
            offset: ZoneOffset::START,
            len_bytes: 512,
            read_bytes: 0,
        }
    }

    fn presence(directory: Option<&Path>) -> Presence {
        Presence { path: PathBuf::from("/dev/sdx"), directory: directory.map(Path::to_owned) }
    }

    #[test]
    fn what_fails_on_a_device_that_is_gone_says_that_it_is_gone() {
        let directory = tempfile::tempdir().expect("a directory");
        let gone = presence(Some(&directory.path().join("8:0")));
        for error in [failed(), short()] {
            assert!(matches!(gone.explain(error), DeviceError::Gone { .. }));
        }
        let refused = DeviceError::ZoneFull { zone: ZoneId::new(1) };
        assert!(matches!(gone.explain(refused), DeviceError::ZoneFull { .. }), "this needs no other reason");
    }

    #[test]
    fn a_block_device_on_its_way_out_is_gone_when_its_size_is_zero() {
        let directory = tempfile::tempdir().expect("a directory");
        let size = |sectors: &str| std::fs::write(directory.path().join("size"), sectors).expect("write");
        size("0\n");
        assert!(matches!(presence(Some(directory.path())).explain(failed()), DeviceError::Gone { .. }));
        size("2048\n");
        assert!(matches!(presence(Some(directory.path())).explain(failed()), DeviceError::Io { .. }));
    }

    #[test]
    fn what_fails_on_a_device_that_is_there_and_on_a_file_stays_what_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        for there in [presence(Some(directory.path())), presence(None)] {
            assert!(matches!(there.explain(failed()), DeviceError::Io { .. }));
            assert!(matches!(there.explain(short()), DeviceError::ShortRead { .. }));
        }
    }

    #[test]
    fn only_devices_are_looked_for() {
        let look = |path: &str| {
            let metadata = std::fs::metadata(path).expect(path);
            Presence::of(Path::new(path), &metadata).directory
        };
        assert_eq!(look("/dev/null"), Some(PathBuf::from("/sys/dev/char/1:3")));
        assert_eq!(look("/proc/self/exe"), None);
    }
}
