//! From a path to a device: which kind lies there, and opening it.

use std::path::Path;
use std::sync::Arc;

use super::emulated::{Access, DirectIo, EmulatedDevice};
use super::{DeviceResult, ZonedDevice};

/// Opens the device at a path, whatever its kind.
///
/// # Errors
/// Those of the kind that is found there. Nothing is changed.
pub fn open_device(path: &Path, access: Access, direct_io: DirectIo) -> DeviceResult<Arc<dyn ZonedDevice>> {
    Ok(Arc::new(EmulatedDevice::open(path, access, direct_io)?))
}
