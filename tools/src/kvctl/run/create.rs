//! `create`.

use std::path::Path;

use zonal::{Db, Options};

use super::describe;
use crate::kvctl::failure::Failure;
use crate::kvctl::output::Output;

/// Makes a store and shows what it is.
pub(super) fn create(store: &Path, options: Options, output: &mut Output) -> Result<(), Failure> {
    let db = Db::open(store, options)?;
    let info = db.info();
    db.close()?;
    describe::show_info(&info, output)
}
