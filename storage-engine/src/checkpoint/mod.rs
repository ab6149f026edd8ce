//! Checkpoints of the index: written to zones of their own, loaded by recovery.
//!
//! A checkpoint is fuzzy: it is written while others write. What makes it right all the same is said in
//! `docs/adr/0023-checkpoints.md`; in short, it *stands for* zones that were complete and durable when it began, holds
//! what the index pointed at in those, and leaves everything else to be read from the log.
//!
//! - [`coverage`]: which zones a checkpoint stands for.
//! - [`writer`]: appends blocks.
//! - [`loader`]: reads them back, on several threads.
//!
//! Nothing here decides when: that is the engine's business.

pub mod coverage;
pub mod loader;
pub mod writer;
