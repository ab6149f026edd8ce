//! The engine on media that fail: power cuts, failing appends and flushes, zones that wear out.
//!
//! `media` is the device that these tests run on, `history` what has been written to a store and what of it must be
//! there. Every random choice comes from a seed, which a failing test names.

mod checkpoints;
mod collecting;
mod failures;
mod hashed;
mod history;
mod leftovers;
mod manifest;
mod media;
mod passthrough;
mod power;
mod replaying;
mod run_heads;
mod salvaging;
mod side_by_side;
mod space;
mod substitutes;
mod vain;
mod wearing;
mod worn;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::running::Running;
use super::{CreateOptions, Engine, OpenOptions};
use crate::device::Geometry;
use crate::error::EngineResult;
use crate::format::manifest::SpaceUse;
use crate::index::IndexKind;
use crate::queue::QueueKind;
use media::Media;

/// Small zones of which part cannot be written, so that collection sets in soon and sums of zone sizes show.
const GEOMETRY: Geometry = Geometry {
    block_bytes: 4096,
    zone_size_bytes: 512 << 10,
    zone_capacity_bytes: 384 << 10,
    zone_count: 16,
    max_open_zones: 8,
    max_active_zones: 8,
    append_limit_bytes: 128 << 10,
    volatile_cache: true,
};

/// Twice as many zones: room for checkpoints, and for several streams.
const ROOMY: Geometry = Geometry { zone_count: 30, max_open_zones: 10, max_active_zones: 10, ..GEOMETRY };

fn open_options() -> OpenOptions {
    OpenOptions {
        index: IndexKind::Ordered,
        queue: QueueKind::Automatic,
        read_only: false,
        direct_io: false,
        cache_bytes: 256 << 10,
        buffered_delay: Duration::from_millis(1),
        unit_bytes: 128 << 10,
        expects_durable: false,
        in_spite_of_damage: false,
        checkpoint_interval_bytes: 0,
        space_target_percent: 130,
        cleaning_policy: crate::gc::policy::PolicyKind::default(),
        listener: None,
    }
}

fn create(path: &Path) {
    create_with(path, GEOMETRY);
}

fn create_with(path: &Path, geometry: Geometry) {
    let options = CreateOptions { geometry, space_use: SpaceUse::Whole };
    Engine::create(path, &options).expect("make a store");
}

/// Opens the store on media for writing.
fn open(media: &Arc<Media>) -> EngineResult<Engine> {
    Engine::over(Arc::clone(media) as Arc<_>, &open_options(), Running::Threads)
}

/// Opens the store on media for reading, whatever is wrong with it.
fn open_to_look(media: &Arc<Media>) -> EngineResult<Engine> {
    let options = OpenOptions { read_only: true, in_spite_of_damage: true, ..open_options() };
    Engine::over(Arc::clone(media) as Arc<_>, &options, Running::Threads)
}
