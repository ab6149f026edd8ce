//! The queue that device operations go through, as both tools name it on their command lines.

use clap::ValueEnum;
use zonal::QueueKind;

/// Which queue to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum QueueName {
    /// The best that the device and the machine have, in the order below
    #[default]
    Auto,
    /// Linux io_uring
    #[value(name = "io_uring")]
    IoUring,
    /// Linux aio
    Aio,
    /// Positioned reads and writes on a few threads
    Threads,
}

impl From<QueueName> for QueueKind {
    fn from(name: QueueName) -> Self {
        match name {
            QueueName::Auto => Self::Automatic,
            QueueName::IoUring => Self::IoUring,
            QueueName::Aio => Self::Aio,
            QueueName::Threads => Self::Threads,
        }
    }
}
