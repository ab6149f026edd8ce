//! What can go wrong, and what to do about it.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use zonal_engine::device::DeviceError;
use zonal_engine::error::EngineError;

/// Result of an operation of a store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of error it is: what to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is out of range; the message names the limit. Pass another one.
    InvalidArgument,
    /// There is nothing at the path. Create the store, or correct the path.
    NotFound,
    /// There is something at the path already. Choose another path, or open what is there.
    AlreadyExists,
    /// Something is on the device that making a store would destroy; the message says what. Choose another device, or allow
    /// it with [`Options::overwrite_device`](crate::Options::overwrite_device).
    NotBlank,
    /// What is at the path is not a zonal store. Nothing was changed; correct the path.
    NotAStore,
    /// The store was written by another version, or its device is not what it was: the message says which. Use that
    /// version, or the device as it was.
    Incompatible,
    /// Somebody else has the store open; the message says who. Wait, or end that process.
    Locked,
    /// Stored bytes are damaged; the message says where. Run `kvctl check`, restore from a backup.
    Corruption,
    /// The store is full of live data, or the file system that holds it has no room left: the message says which. Delete
    /// something, make room, or copy the store to a larger one. The store goes on; it need not be opened anew.
    NoSpace,
    /// What was asked for does not exist here; the message says what to use instead.
    Unsupported,
    /// The store was opened for reading only.
    ReadOnly,
    /// This handle, or another one of the same store, has been closed.
    Closed,
    /// An earlier write or flush failed. Reads go on; open the store anew to recover.
    WritesRefused,
    /// The device was removed, or its driver unbound. What was durable still is: attach the device again, and open the store
    /// anew, by the name that the device has then.
    DeviceGone,
    /// The device has worn out where the store keeps its description of itself: it can be opened for reading, and written no
    /// more. Copy the store to another device.
    WornOut,
    /// The operating system does not let this process write to what is there, or not even read it: its mode or owner, or the
    /// mount, is in the way. Change that, or open for reading only.
    PermissionDenied,
    /// The operating system or the device reported an error, which is the source of this one.
    Io,
}

/// An error of a store: its kind, the path, and what was seen.
#[derive(Clone, Debug)]
pub struct Error {
    path: PathBuf,
    engine: EngineError,
    key: Option<Box<[u8]>>,
}

impl Error {
    pub(crate) fn new(path: &Path, engine: EngineError) -> Self {
        Self { path: path.to_owned(), engine, key: None }
    }

    /// An error of the device at a path, for tools that work below a store.
    #[doc(hidden)]
    #[must_use]
    pub fn of_device(path: &Path, device: DeviceError) -> Self {
        Self::new(path, device.into())
    }

    /// The same error, about the value of one key where it is of the kind that can be.
    pub(crate) fn about(self, key: &[u8]) -> Self {
        let of_one_value = matches!(self.engine, EngineError::Corruption { .. } | EngineError::Device(_));
        Self { key: of_one_value.then(|| key.into()), ..self }
    }

    /// The key whose value cannot be read; `None` where the error is not about one key.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        kind(&self.engine)
    }
}

fn kind(error: &EngineError) -> ErrorKind {
    match error {
        EngineError::InvalidArgument(_) => ErrorKind::InvalidArgument,
        EngineError::NoStore => ErrorKind::NotAStore,
        EngineError::NoSpace { .. } => ErrorKind::NoSpace,
        EngineError::Corruption { .. } | EngineError::ManifestDamaged(_) => ErrorKind::Corruption,
        EngineError::DeviceChanged { .. } => ErrorKind::Incompatible,
        EngineError::ReadOnly => ErrorKind::ReadOnly,
        EngineError::WornOut { .. } => ErrorKind::WornOut,
        EngineError::Closed => ErrorKind::Closed,
        EngineError::WritesRefused(_) => ErrorKind::WritesRefused,
        EngineError::Device(device) => device_kind(device),
        // What a queue that is not to be had says.
        EngineError::Io { source, .. } if source.kind() == io::ErrorKind::Unsupported => {
            ErrorKind::Unsupported
        }
        _ => ErrorKind::Io,
    }
}

fn device_kind(error: &DeviceError) -> ErrorKind {
    match error {
        DeviceError::Unsupported { .. } => ErrorKind::Unsupported,
        DeviceError::InvalidGeometry { .. } => ErrorKind::InvalidArgument,
        DeviceError::AlreadyExists { .. } => ErrorKind::AlreadyExists,
        DeviceError::NotBlank { .. } => ErrorKind::NotBlank,
        DeviceError::NotFound { .. } => ErrorKind::NotFound,
        DeviceError::NotOurs { .. } => ErrorKind::NotAStore,
        DeviceError::UnknownVersion { .. } => ErrorKind::Incompatible,
        DeviceError::Damaged { .. } | DeviceError::CutShort { .. } => ErrorKind::Corruption,
        DeviceError::Locked { .. } => ErrorKind::Locked,
        DeviceError::ReadOnly { .. } => ErrorKind::ReadOnly,
        DeviceError::HostFull { .. } => ErrorKind::NoSpace,
        DeviceError::Gone { .. } => ErrorKind::DeviceGone,
        DeviceError::Io { source, .. } => io_kind(source),
        _ => ErrorKind::Io,
    }
}

fn io_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        _ => ErrorKind::Io,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !names_its_path(&self.engine) {
            write!(f, "{}: ", self.path.display())?;
        }
        write!(f, "{}", self.engine)
    }
}

/// Whether an error says by itself where the store is.
fn names_its_path(error: &EngineError) -> bool {
    let EngineError::Device(device) = error else { return false };
    matches!(
        **device,
        DeviceError::AlreadyExists { .. }
            | DeviceError::NotFound { .. }
            | DeviceError::NotOurs { .. }
            | DeviceError::UnknownVersion { .. }
            | DeviceError::Damaged { .. }
            | DeviceError::CutShort { .. }
            | DeviceError::Locked { .. }
            | DeviceError::NotBlank { .. }
            | DeviceError::HostFull { .. }
            | DeviceError::Gone { .. }
            | DeviceError::ReadOnly { .. }
    )
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.engine)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use zonal_engine::device::DeviceError;
    use zonal_engine::error::EngineError;

    use super::Error;

    #[test]
    fn an_error_names_the_path_once() {
        let path = Path::new("d.zonal");
        let missing = EngineError::from(DeviceError::NotFound { path: path.to_owned() });
        assert_eq!(Error::new(path, missing).to_string(), "d.zonal does not exist");
        assert_eq!(Error::new(path, EngineError::Closed).to_string(), "d.zonal: the store is closed");
    }
}
