//! What goes wrong, in words, with what to do about it.

use std::error::Error;
use std::fmt::Write;
use std::io;
use std::path::PathBuf;

use thiserror::Error as ThisError;
use zonal::ErrorKind;

use crate::exit;

/// Why a command did not do what it was asked for.
#[derive(Debug, ThisError)]
pub(crate) enum Failure {
    /// The command line asks for something impossible; nothing was touched.
    #[error("{0}")]
    Usage(String),
    /// The store's own error.
    #[error(transparent)]
    Store(#[from] zonal::Error),
    /// The queue that was asked for is not to be had.
    #[error("cannot set up a queue to the device")]
    Queue(#[source] io::Error),
    /// Results cannot be written to stdout.
    #[error("cannot write the results")]
    Results(#[source] io::Error),
    /// A file other than the store.
    #[error("cannot {action} {name}")]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file, or `stdin`.
        name: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Where a dump should go there is something.
    #[error("{} exists already; a dump never replaces a file", .0.display())]
    DumpExists(PathBuf),
    /// A line of a dump is no record.
    #[error("line {line}: {reason}\n  stored: {stored}")]
    BadLine {
        /// Which line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
        /// How far the load came.
        stored: Stored,
    },
    /// A load stopped for another reason than its input.
    #[error("the load stopped\n  stored: {stored}")]
    LoadStopped {
        /// How far the load came.
        stored: Stored,
        /// Why.
        source: Box<Self>,
    },
}

/// How far a load came before it stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ThisError)]
#[error("{lines} lines (records: {records}); go on with line {}", .lines + 1)]
pub(crate) struct Stored {
    /// Lines of the input that have been applied, all from the first on.
    pub(crate) lines: u64,
    /// Records among them; the other lines are blank.
    pub(crate) records: u64,
}

impl Failure {
    /// Whether all that went wrong is that nobody reads the results any more.
    pub(crate) fn is_a_reader_gone(&self) -> bool {
        matches!(self, Self::Results(source) if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code that goes with it.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => exit::WRONG_USAGE,
            Self::Store(error) if error.kind() == ErrorKind::InvalidArgument => exit::WRONG_USAGE,
            _ => exit::FAILED,
        }
    }

    /// All there is to say: the failure, what it comes from, what to do.
    pub(crate) fn explanation(&self) -> String {
        let mut text = format!("kvctl: {self}\n");
        let mut cause = self.source();
        while let Some(error) = cause {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  because: {error}");
            cause = error.source();
        }
        if let Some(remedy) = self.kind().map(remedy) {
            let _ = writeln!(text, "  what to do: {remedy}");
        }
        text
    }

    fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Store(error) => Some(error.kind()),
            Self::Queue(source) if source.kind() == io::ErrorKind::Unsupported => {
                Some(ErrorKind::Unsupported)
            }
            Self::Queue(_) => Some(ErrorKind::Io),
            Self::LoadStopped { source, .. } => source.kind(),
            _ => None,
        }
    }
}

/// What somebody at a command line does about an error of a store.
fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidArgument => "give a value within the limits named above; nothing was changed",
        ErrorKind::NotFound => "correct the path, or make a store there with `kvctl create <STORE>`",
        ErrorKind::AlreadyExists => "choose another path; `kvctl info <STORE>` shows what is there",
        ErrorKind::NotBlank => {
            "choose another device; or, if all of that may be destroyed, run this again with --yes"
        }
        ErrorKind::NotAStore => "correct the path; what is there was not changed",
        ErrorKind::Incompatible => {
            "use the version of zonal that wrote the store, or the device as it was; nothing was changed"
        }
        ErrorKind::Locked => {
            "wait until that process is done with the store, or end it; unmount what is mounted"
        }
        ErrorKind::Corruption => {
            "find out how much is damaged with `kvctl check --deep <STORE>`, then restore from a dump or a backup, or save \
             what can be read with `kvctl salvage <STORE> --into <NEW>`"
        }
        ErrorKind::NoSpace => {
            "delete something, make room on the file system that holds the store if it is that which is full, or dump the \
             store and load it into a larger one (`kvctl create --capacity`)"
        }
        ErrorKind::PermissionDenied => {
            "check mode, owner and mount of the file and its directory; reading needs no more than to read"
        }
        ErrorKind::Unsupported => "use what the message names instead",
        ErrorKind::ReadOnly => "check who may write to the file or device",
        ErrorKind::Closed => "run the command again",
        ErrorKind::WritesRefused => {
            "find out why the write failed (is the disk full, or failing?), then run the command again: the store \
             recovers when it is opened"
        }
        ErrorKind::WornOut => {
            "copy the store while it can be read: `kvctl dump <STORE>`, then `kvctl create` and `kvctl load` elsewhere"
        }
        ErrorKind::DeviceGone => {
            "attach the device again, then run the command again; the device may have another name then \
             (`kvctl device list`)"
        }
        ErrorKind::Io => {
            "see the cause above: permissions, free space and the system's log (`dmesg`) tell more"
        }
        _ => "see the documentation of zonal::ErrorKind",
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{Failure, Stored};

    #[test]
    fn only_a_broken_pipe_of_stdout_is_a_reader_gone() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(Failure::Results(broken()).is_a_reader_gone());
        assert!(!Failure::Results(io::Error::from(io::ErrorKind::StorageFull)).is_a_reader_gone());
        let file = Failure::File { action: "write", name: "x".to_owned(), source: broken() };
        assert!(!file.is_a_reader_gone());
        let stored = Stored { lines: 1, records: 1 };
        let load = Failure::LoadStopped { stored, source: Box::new(Failure::Results(broken())) };
        assert!(!load.is_a_reader_gone(), "a load that stops half way is never done");
    }

    #[test]
    fn the_explanation_goes_down_to_the_first_cause() {
        let source = io::Error::other("the disk is on fire");
        let failure = Failure::LoadStopped {
            stored: Stored { lines: 20, records: 19 },
            source: Box::new(Failure::Results(source)),
        };
        assert_eq!(
            failure.explanation(),
            "kvctl: the load stopped\n  stored: 20 lines (records: 19); go on with line 21\n  \
             because: cannot write the results\n  because: the disk is on fire\n"
        );
    }
}
