//! Where the manifest is kept: versions appended to both manifest zones, the newest readable one counts.
//!
//! Order of writes: the first zone, a flush, then the second zone. A zone that is full is reset after a flush, when the
//! other one holds the newest version on stable media.

use std::sync::Arc;

use crate::buffer::AlignedBuffer;
use crate::device::{Persistence, ZonedDevice};
use crate::error::{EngineError, EngineResult};
use crate::format::manifest::Manifest;
use crate::queue::{IoQueue, Outcome, Request, Wait};
use crate::units::{ZoneId, ZoneOffset};

/// The zones that hold the manifest.
pub const MANIFEST_ZONES: [ZoneId; 2] = [ZoneId::new(0), ZoneId::new(1)];

/// Bytes looked at when the newest version is not in the last block.
const WINDOW_BYTES: u64 = 256 << 10;

/// Reads and appends versions of the manifest.
#[derive(Debug)]
pub struct ManifestLog {
    device: Arc<dyn ZonedDevice>,
    queue: Arc<dyn IoQueue>,
}

impl ManifestLog {
    /// A manifest log with a queue that nobody else uses.
    #[must_use]
    pub fn new(device: Arc<dyn ZonedDevice>, queue: Arc<dyn IoQueue>) -> Self {
        Self { device, queue }
    }

    /// The newest version that can be read; `None` when there is none at all.
    ///
    /// # Errors
    /// The device's; [`EngineError::ManifestDamaged`] when there is something and none of it can be read.
    pub fn read(device: &dyn ZonedDevice) -> EngineResult<Option<Manifest>> {
        let mut newest: Option<Manifest> = None;
        let mut written = false;
        for zone in MANIFEST_ZONES {
            let end = device.report(zone)?.write_pointer.get();
            written |= end > 0;
            let found = newest_in_zone(device, zone, end)?;
            if found.as_ref().map(|manifest| manifest.version)
                > newest.as_ref().map(|manifest| manifest.version)
            {
                newest = found;
            }
        }
        if newest.is_none() && written {
            let what = "neither manifest zone has a version that passes its checksum".to_owned();
            return Err(EngineError::ManifestDamaged(what));
        }
        Ok(newest)
    }

    /// Appends a version. It is on stable media when this returns.
    ///
    /// # Errors
    /// The device's.
    pub fn append(&self, manifest: &Manifest) -> EngineResult<()> {
        let encoded = manifest.encode(self.device.geometry().block_bytes as usize);
        let [first, second] = MANIFEST_ZONES;
        self.append_to(first, &encoded)?;
        self.device.flush()?;
        self.append_to(second, &encoded)
    }

    fn append_to(&self, zone: ZoneId, encoded: &[u8]) -> EngineResult<()> {
        let geometry = *self.device.geometry();
        if self.device.report(zone)?.write_pointer.get() + encoded.len() as u64 > geometry.zone_capacity_bytes
        {
            self.device.flush()?;
            self.device.reset(zone)?;
        }
        let mut payload = AlignedBuffer::zeroed(encoded.len());
        payload.copy_from_slice(encoded);
        let request = Request::Append {
            zone_start: geometry.zone_start(zone),
            payload: Arc::new(payload),
            persistence: Persistence::Volatile,
            user_data: 0,
        };
        self.queue.submit(request).map_err(|refused| refused.error)?;
        let mut completions = Vec::new();
        while completions.is_empty() {
            let reaped = self.queue.reap(Wait::ForOne, &mut completions);
            reaped.map_err(|error| EngineError::io("waiting for the manifest's append", error))?;
        }
        match completions.remove(0).outcome {
            Outcome::Append(result) => Ok(result.map(drop)?),
            Outcome::Read { .. } => unreachable!("this queue is given appends only"),
        }
    }
}

/// Looks for the last readable version, backwards from the write pointer.
fn newest_in_zone(device: &dyn ZonedDevice, zone: ZoneId, end_bytes: u64) -> EngineResult<Option<Manifest>> {
    let block_bytes = u64::from(device.geometry().block_bytes);
    let mut window_end = end_bytes;
    while window_end > 0 {
        let start = device.geometry().round_down_to_block(window_end.saturating_sub(WINDOW_BYTES));
        // A version that begins in this window may end in the one looked at before.
        let read_end = (window_end + WINDOW_BYTES).min(end_bytes);
        let mut window = AlignedBuffer::zeroed(usize::try_from(read_end - start).expect("512 KiB at most"));
        device.read(zone, ZoneOffset::new(start), &mut window)?;
        let mut block = window_end;
        while block > start {
            block -= block_bytes;
            let from = usize::try_from(block - start).expect("inside the window");
            if let Ok((manifest, _)) = Manifest::decode(&window[from..]) {
                return Ok(Some(manifest));
            }
        }
        window_end = start;
    }
    Ok(None)
}
