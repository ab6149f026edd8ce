//! The simulation: a store on a simulated device, used at random, crashed at every I/O, and looked at after each recovery.
//!
//! One seed is one *life* of a store: some openings, each used by several clients, with faults, ending in order or by a
//! crash. At every I/O of a life the device is cloned, the clone crashes, and a second store recovers on it. Everything
//! happens on one thread, nothing depends on time: the same seed gives the same life, I/O by I/O.
//!
//! Files: `plan` what a seed decides beforehand, `session` the use of an open store, `model` what it may hold, `check`
//! what is looked at after a crash, `life` the whole, `explore` many lives on all processors.

mod check;
mod explore;
mod life;
mod model;
mod plan;
mod session;
#[cfg(test)]
mod tests;

use std::fmt;

pub use explore::{Exploration, explore};
pub use life::live;

/// What a life came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Crashes that were recovered from and looked at.
    pub recovery_count: u64,
    /// How many of them were inside a recovery.
    pub interrupted_count: u64,
    /// How many of them began with a checkpoint of the index.
    pub checkpoint_count: u64,
    /// I/Os of the life itself, not of what crashed on the way.
    pub io_count: u64,
    /// A number that depends on every I/O of the life and its result.
    pub trace: u64,
}

/// Something that a store must not do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    what: String,
    context: Vec<String>,
}

impl Problem {
    pub(crate) fn new(what: String) -> Self {
        Self { what, context: Vec::new() }
    }

    fn during(mut self, context: String) -> Self {
        self.context.push(context);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for context in self.context.iter().rev() {
            write!(f, "{context}: ")?;
        }
        f.write_str(&self.what)
    }
}
