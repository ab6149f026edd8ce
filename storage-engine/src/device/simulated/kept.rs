//! Memory of a simulated device that outlives the process, as a mapped range of a file does.
//!
//! Each change that its holder makes is an I/O: a crash there finds the change begun. A process that is killed leaves what
//! it has stored. A power cut leaves of each page what it was at the last flush, what it was last, or of each sector one of
//! the two; pages may have been written out at any time in between.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Crash, State};
use crate::device::{DeviceResult, KeptMemory};
use crate::seeded::Seeded;
use crate::units::{SECTOR_BYTES, ZoneId};

const PAGE_BYTES: usize = 4096;
#[expect(clippy::cast_possible_truncation, reason = "512")]
const SECTOR: usize = SECTOR_BYTES as usize;

/// What is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    /// How much of it the device has; 0 for none.
    pub(super) len_bytes: usize,
    /// As the next process finds it; empty where nobody holds any.
    pub(super) bytes: Arc<Vec<u8>>,
    /// As it is on the media.
    stable: Arc<Vec<u8>>,
    /// What is being stored, and where.
    begun: Option<(usize, Arc<[u8]>)>,
}

impl Kept {
    pub(super) fn of(len_bytes: usize) -> Self {
        Self { len_bytes, ..Self::default() }
    }

    /// As somebody gets it to hold.
    pub(super) fn held(&mut self) -> Vec<u8> {
        if self.bytes.is_empty() {
            self.bytes = Arc::new(vec![0; self.len_bytes]);
        }
        self.bytes.to_vec()
    }

    pub(super) fn flush(&mut self) {
        self.stable = Arc::clone(&self.bytes);
    }

    pub(super) fn crash(&mut self, crash: Crash, random: &mut Seeded) {
        if let Some((at, bytes)) = self.begun.take() {
            // Bytes are copied in their order, more or less.
            let len = random.index(bytes.len() + 1);
            Arc::make_mut(&mut self.bytes)[at..at + len].copy_from_slice(&bytes[..len]);
        }
        if self.len_bytes > 0 && crash == Crash::PowerCut {
            self.bytes = Arc::new(self.on_media(random));
            self.stable = Arc::clone(&self.bytes);
        }
    }

    /// What a power cut leaves.
    fn on_media(&self, random: &mut Seeded) -> Vec<u8> {
        // Where it has come or gone since the last flush, it may be there or not.
        let is_there = if random.chance(1, 2) { !self.stable.is_empty() } else { !self.bytes.is_empty() };
        if !is_there {
            return Vec::new();
        }
        let nothing = vec![0; self.len_bytes];
        let [old, new] = [&self.stable, &self.bytes].map(|of| if of.is_empty() { &nothing } else { &**of });
        let mut left = old.clone();
        for at in (0..self.len_bytes).step_by(PAGE_BYTES) {
            let page = at..self.len_bytes.min(at + PAGE_BYTES);
            match random.below(4) {
                0 | 1 => left[page.clone()].copy_from_slice(&new[page]),
                2 => {}
                _ => page.step_by(SECTOR).filter(|_| random.chance(1, 2)).for_each(|at| {
                    let sector = at..self.len_bytes.min(at + SECTOR);
                    left[sector.clone()].copy_from_slice(&new[sector]);
                }),
            }
        }
        left
    }

    /// Ends what was begun. Now and then a page is written out.
    fn end(&mut self, random: &mut Seeded) {
        let Some((at, bytes)) = self.begun.take() else { return };
        Arc::make_mut(&mut self.bytes)[at..at + bytes.len()].copy_from_slice(&bytes);
        if random.chance(1, 8) && self.stable.len() == self.bytes.len() {
            let start = at / PAGE_BYTES * PAGE_BYTES;
            let page = start..self.len_bytes.min(start + PAGE_BYTES);
            Arc::make_mut(&mut self.stable)[page.clone()].copy_from_slice(&self.bytes[page]);
        }
    }
}

/// Who holds the memory.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) bytes: Vec<u8>,
}

impl Holder {
    /// The range in which the bytes are not what the device knows.
    fn changed(&self, known: &[u8]) -> Option<std::ops::Range<usize>> {
        let differs = |(mine, theirs): (&u8, &u8)| mine != theirs;
        let first = self.bytes.iter().zip(known).position(differs)?;
        let last = self.bytes.iter().zip(known).rposition(differs)?;
        Some(first..last + 1)
    }
}

impl KeptMemory for Holder {
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn stored(&mut self) {
        let mut state = self.state.lock();
        let Some(range) = self.changed(&state.image.kept.bytes) else { return };
        let detail = u64::from(crc32fast::hash(&self.bytes[range.clone()]));
        state.image.kept.begun = Some((range.start, self.bytes[range].into()));
        // Storing to memory does not fail. Should it go on for ever, appends and flushes do.
        let _ = state.begin_io(b'k', ZoneId::default(), detail);
        let State { image, random, .. } = &mut *state;
        image.kept.end(random);
    }

    fn give_back(self: Box<Self>) -> DeviceResult<()> {
        let mut state = self.state.lock();
        state.begin_io(b'g', ZoneId::default(), 0)?;
        state.image.kept.bytes = Arc::default();
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.state.lock().is_kept_memory_held = false;
    }
}
