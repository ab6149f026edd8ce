//! What the kernel tells of a block device under `/sys`: limits, the zoned model, who holds it. Changes nothing.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::device::mounts::mounted_at;
use crate::device::{DeviceError, DeviceResult};

/// How a block device is to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::device) enum ZonedModel {
    /// Anywhere.
    Conventional,
    /// Anywhere, though it prefers sequential writes.
    HostAware,
    /// Sequentially in each zone.
    HostManaged,
}

/// A block device as the kernel knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::device) struct BlockNode {
    path: PathBuf,
    number: String,
    directory: PathBuf,
}

impl BlockNode {
    /// The device that the node at `path`, with this metadata, stands for.
    pub(in crate::device) fn new(path: &Path, metadata: &Metadata) -> Self {
        let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        let number = format!("{major}:{minor}");
        let directory = Path::new("/sys/dev/block").join(&number);
        Self { path: path.to_owned(), number, directory }
    }

    /// Whether it is a part of another device.
    pub(in crate::device) fn is_partition(&self) -> bool {
        self.directory.join("partition").exists()
    }

    /// How it is to be written.
    ///
    /// # Errors
    /// [`DeviceError::Io`], [`DeviceError::NotOurs`] for a model unknown here.
    pub(in crate::device) fn zoned_model(&self) -> DeviceResult<ZonedModel> {
        match self.text("zoned")?.as_str() {
            "none" => Ok(ZonedModel::Conventional),
            "host-aware" => Ok(ZonedModel::HostAware),
            "host-managed" => Ok(ZonedModel::HostManaged),
            other => Err(DeviceError::NotOurs {
                path: self.path.clone(),
                why: format!("it is a block device of the zoned model {other:?}, which is not known here"),
            }),
        }
    }

    /// Whether it may hold completed writes in memory until a flush.
    ///
    /// # Errors
    /// [`DeviceError::Io`].
    pub(super) fn has_volatile_cache(&self) -> DeviceResult<bool> {
        Ok(self.text("write_cache")? != "write through")
    }

    /// A number that every kernel tells.
    ///
    /// # Errors
    /// [`DeviceError::Io`].
    pub(super) fn number<T: FromStr>(&self, attribute: &str) -> DeviceResult<T> {
        let text = self.text(attribute)?;
        text.parse().map_err(|_| {
            self.unreadable(attribute, io::Error::other(format!("{text:?} is not the number expected")))
        })
    }

    /// A number that older kernels do not tell: then `None`.
    ///
    /// # Errors
    /// [`DeviceError::Io`].
    pub(super) fn number_if_known<T: FromStr>(&self, attribute: &str) -> DeviceResult<Option<T>> {
        if self.queue_file(attribute).exists() { self.number(attribute).map(Some) } else { Ok(None) }
    }

    /// Who holds the device, as far as the kernel tells.
    pub(in crate::device) fn holder(&self) -> String {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        if let Some(place) = mounted_at(&mounts, &self.number) {
            return format!("a file system mounted at {place}");
        }
        let holders = fs::read_dir(self.directory.join("holders")).into_iter().flatten().flatten();
        let names: Vec<String> =
            holders.map(|holder| holder.file_name().to_string_lossy().into_owned()).collect();
        if names.is_empty() { "another program, or the kernel".to_owned() } else { names.join(", ") }
    }

    /// A partition has the queue of the device that it is a part of.
    fn queue_file(&self, attribute: &str) -> PathBuf {
        let queue = if self.is_partition() { "../queue" } else { "queue" };
        self.directory.join(queue).join(attribute)
    }

    fn text(&self, attribute: &str) -> DeviceResult<String> {
        match fs::read_to_string(self.queue_file(attribute)) {
            Ok(text) => Ok(text.trim_end().to_owned()),
            Err(source) => Err(self.unreadable(attribute, source)),
        }
    }

    fn unreadable(&self, attribute: &str, source: io::Error) -> DeviceError {
        let action = format!("reading {} of {}", self.queue_file(attribute).display(), self.path.display());
        DeviceError::Io { action, source }
    }
}
