//! Stores on zoned drives that crash and fail. These tests need a virtual machine made for them: they are ignored unless
//! asked for, and `tests/zns/suite.sh` asks for them inside.
//!
//! - [`crash`]: the kernel crashes under load, again and again.
//! - [`faults`]: drives that fail writes, and whose zones wear out.
//! - [`removal`]: drives that are removed, and come back.
//! - [`load`]: what they write, and how it is looked for afterwards.
//!
//! Drives come by environment variables; `machine/boot.sh` says which.

mod crash;
mod faults;
mod load;
mod removal;

use std::path::PathBuf;

/// The drive that an environment variable names.
fn drive(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    path.unwrap_or_else(|| panic!("{variable} names no drive: these tests are run by tests/zns/suite.sh"))
        .into()
}
