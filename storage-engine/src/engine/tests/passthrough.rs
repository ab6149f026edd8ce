//! The whole engine on a real namespace by NVMe passthrough. See `queue::tests::passthrough` for how to run it.

use std::path::PathBuf;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::history::{History, assert_sound, state_of};
use super::open_options;
use crate::device::emulated::Access;
use crate::device::nvme::NvmeDevice;
use crate::device::{ZoneState, ZonedDevice};
use crate::engine::Engine;
use crate::format::manifest::{Counters, Manifest, SpaceUse};
use crate::log::manifest_log::ManifestLog;
use crate::queue::{QueueKind, open_queue};
use crate::units::{Generation, SeqNo};

fn path() -> PathBuf {
    std::env::var_os("ZONAL_TEST_NVME").expect("ZONAL_TEST_NVME names a zoned NVMe namespace").into()
}

/// Empties the namespace and puts an empty store on it.
fn make_store() {
    let device = NvmeDevice::open(path(), Access::ReadWrite).expect("open the namespace");
    for zone in device.geometry().zones() {
        if device.report(zone).expect("report").state != ZoneState::Empty {
            device.reset(zone).expect("reset");
        }
    }
    let device: Arc<dyn ZonedDevice> = Arc::new(device);
    let manifest = Manifest {
        version: 1,
        store: rand::random(),
        incarnation: 1,
        cuts: Vec::new(),
        watermark: SeqNo::ZERO,
        generation: Generation::default(),
        oldest_generation: Generation::default().next(),
        tails: Vec::new(),
        clean: true,
        space_use: SpaceUse::Whole,
        counters: Counters::default(),
    };
    let queue = open_queue(Arc::clone(&device), 8, QueueKind::Automatic).expect("set up a queue");
    ManifestLog::new(Arc::clone(&device), queue, None).append(&manifest).expect("append the manifest");
    device.flush().expect("flush");
}

/// Small histories over a few openings: everything that was written is there, and what verification looks at agrees.
#[test]
#[ignore = "needs a zoned NVMe namespace in ZONAL_TEST_NVME"]
fn a_store_on_true_append_keeps_what_was_written_over_openings() {
    make_store();
    let (mut random, mut history) = (StdRng::seed_from_u64(7), History::default());
    let mut before = None;
    for opening in 0..4 {
        let engine = Engine::open(&path(), &open_options()).expect("open the store");
        let found = state_of(&engine);
        if let Some(before) = before.take() {
            assert!(found == before, "opening {opening} finds something else");
        }
        (0..400).for_each(|_| history.call(&engine, &mut random));
        assert_sound(&engine, "while open");
        before = Some(state_of(&engine));
        engine.close().expect("close");
    }
}
