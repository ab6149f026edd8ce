//! The whole engine on a real namespace by NVMe passthrough. See `queue::tests::passthrough` for how to run it.

use std::path::PathBuf;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::history::{History, assert_sound, state_of};
use super::open_options;
use crate::engine::{Contents, Engine, GeometryWishes, NewStore};

fn path() -> PathBuf {
    std::env::var_os("ZONAL_TEST_NVME").expect("ZONAL_TEST_NVME names a zoned NVMe namespace").into()
}

/// Puts an empty store on the namespace, whatever is on it.
fn make_store() {
    let (unit_bytes, contents) = (open_options().unit_bytes, Contents::Overwrite);
    let new = NewStore { wishes: GeometryWishes::default(), unit_bytes, direct_io: true, contents };
    Engine::create_at(&path(), &new).expect("make a store");
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
