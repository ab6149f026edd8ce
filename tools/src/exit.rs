//! The exit codes that every tool of zonal keeps to.

/// The work is done, or the answer is yes.
pub const DONE: u8 = 0;
/// The answer is no: a key is absent, a check found damage.
pub const ANSWER_NO: u8 = 1;
/// The command line cannot be understood; nothing was touched. The same code that clap gives.
pub const WRONG_USAGE: u8 = 2;
/// The work failed.
pub const FAILED: u8 = 3;
