//! What is found of damage, what is lost by it, and what can be saved.
//!
//! - [`flips`]: flipped, garbled and missing bytes anywhere in a closed store.
//! - [`matrix`]: every kind of damage at every structure, named in [`structures`].
//! - [`checkpoints`]: opening falls back to an older checkpoint or to the log, and salvage needs none.
//! - [`salvage`]: what is saved of a damaged store, and what is said of the rest.
//! - [`reading`]: iterators go on behind damaged values.
//! - [`images`]: stores of released formats, committed as files.

mod checkpoints;
mod flips;
mod images;
mod matrix;
mod reading;
mod salvage;
mod specimen;
#[path = "../rules/stores.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod stores;
mod structures;
