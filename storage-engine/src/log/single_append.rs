//! One append at a time, waited for: for metadata, on a queue that nobody else uses.

use std::sync::Arc;

use crate::buffer::AlignedBuffer;
use crate::device::Persistence;
use crate::error::{EngineError, EngineResult};
use crate::queue::{IoQueue, Outcome, Request, Wait};
use crate::units::{DevicePosition, ZoneSector};

/// Appends whole blocks and gives the place. Blocks until the append has completed.
///
/// # Errors
/// The device's.
pub(crate) fn append(
    queue: &dyn IoQueue,
    zone_start: DevicePosition,
    bytes: &[u8],
    block_bytes: u32,
) -> EngineResult<ZoneSector> {
    let mut payload = AlignedBuffer::zeroed(bytes.len().next_multiple_of(block_bytes as usize));
    payload[..bytes.len()].copy_from_slice(bytes);
    let request = Request::Append {
        zone_start,
        payload: Arc::new(payload),
        persistence: Persistence::Volatile,
        user_data: 0,
    };
    queue.submit(request).map_err(|refused| refused.error)?;
    let mut completions = Vec::new();
    while completions.is_empty() {
        let reaped = queue.reap(Wait::ForOne, &mut completions);
        reaped.map_err(|error| EngineError::io("waiting for an append of metadata", error))?;
    }
    match completions.remove(0).outcome {
        Outcome::Append(result) => Ok(result?),
        Outcome::Read { .. } => unreachable!("this queue is given appends only"),
    }
}
