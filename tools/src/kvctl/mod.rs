//! The admin tool: makes stores, reads and changes what they hold, and shows how they are.
//!
//! Three layers: `command_line` holds what was typed, `resolve` makes a checked `Plan` of it, and `run` does
//! that, one file a group of commands. `device_line` is the part of `kvctl device`. Beside them `record` is the JSON line that dumps are made of, `escape` writes
//! bytes for people, `zone_map` draws (pure, all three), and `failure` says what went wrong and what to do about it.

mod command_line;
#[cfg(feature = "decoders")]
#[doc(hidden)]
pub mod decoders;
mod device_line;
mod escape;
mod failure;
mod help;
mod output;
mod plan;
mod progress;
mod record;
mod resolve;
mod run;
mod sysfs;
mod zone_map;

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::Parser;

use crate::exit;
use command_line::CommandLine;
use failure::Failure;

/// The whole program, from its arguments to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = resolve::resolve(CommandLine::parse()).and_then(run::run);
    ExitCode::from(conclude(outcome))
}

/// What a command has to say by its exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    /// The work is done, or the answer is yes.
    Yes,
    /// The key is absent, or the store is damaged.
    No,
}

fn conclude(outcome: Result<Answer, Failure>) -> u8 {
    match outcome {
        Ok(Answer::Yes) => exit::DONE,
        Ok(Answer::No) => exit::ANSWER_NO,
        // Whoever read the results has seen enough of them: `kvctl scan | head`.
        Err(failure) if failure.is_a_reader_gone() => exit::DONE,
        Err(failure) => {
            // Where stderr is closed, the exit code has to be enough.
            let _ = write!(stderr(), "{}", failure.explanation());
            failure.exit_code()
        }
    }
}
