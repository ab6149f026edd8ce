//! From a path to a device: which kind lies there, and opening it.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use super::emulated::{Access, DirectIo, EmulatedDevice};
use super::nvme::NvmeDevice;
use super::{DeviceResult, ZonedDevice};

/// Opens the device at a path, whatever its kind.
///
/// # Errors
/// Those of the kind that is found there. Nothing is changed.
pub fn open_device(path: &Path, access: Access, direct_io: DirectIo) -> DeviceResult<Arc<dyn ZonedDevice>> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_char_device()) {
        return Ok(Arc::new(NvmeDevice::open(path, access)?));
    }
    Ok(Arc::new(EmulatedDevice::open(path, access, direct_io)?))
}
