//! The queue over Linux io_uring.

/// A queue over one io_uring instance.
#[derive(Debug)]
pub struct UringQueue;
