//! What must hold of the decoders of a drive's answers, whatever the bytes: for fuzzing.

#![expect(clippy::missing_panics_doc, reason = "a panic is how they say that something is wrong")]

use super::command::IDENTIFY_BYTES;
use super::identify::{BlockFormat, Controller, IdentifyData, ZonedNamespace, append_limit_bytes};
use super::zone_report::{parse, zones_in};

/// A zone report.
pub fn nvme_zone_report(bytes: &[u8]) {
    if let Ok(zones) = parse(bytes) {
        assert!(zones.len() <= zones_in(bytes.len()), "more zones than fit");
    }
}

/// The structures of Identify, each from the same bytes, the rest of them zeros.
pub fn nvme_identify(bytes: &[u8]) {
    let mut data: IdentifyData = [0; IDENTIFY_BYTES];
    let len = bytes.len().min(data.len());
    data[..len].copy_from_slice(&bytes[..len]);
    let controller = Controller::parse(&data);
    let is_shown = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    assert!(
        is_shown(&controller.model) && is_shown(&controller.serial),
        "what a terminal would take for more"
    );
    assert_ne!(controller.transfer_limit_bytes, Some(0));
    assert_ne!(append_limit_bytes(&data), Some(0));
    let format = BlockFormat::parse(&data);
    let _ = ZonedNamespace::parse(&data, &format);
}
