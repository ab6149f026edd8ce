//! What the engine knows of its zones: the ledger of live bytes, where units lie, which zones are free.
//!
//! Threading: a [`Zone`] is read and counted by everybody, without a common lock. Its role changes under the allocator's
//! lock ([`Allocator`]) only.

mod allocator;
mod ledger;

pub(crate) use allocator::RESERVED_FROM_PUTS;
pub use allocator::{Allocator, Purpose, Reserve, place_for_copies};
pub use ledger::{Role, Zone, ZoneTable};
pub(crate) use ledger::{ZoneClaims, charge_bytes};
