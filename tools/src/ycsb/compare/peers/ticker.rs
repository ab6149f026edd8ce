//! Hands buffered writes to the operating system every few milliseconds, as zonal does by itself at `Buffered`.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The longest that zonal keeps a buffered write in memory, by default.
const INTERVAL: Duration = Duration::from_millis(5);

/// Does something every five milliseconds until it is dropped.
pub(super) struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Begins. `act` says whether to go on.
    pub(super) fn start(act: impl Fn() -> bool + Send + 'static) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread =
            thread::spawn(
                move || {
                    while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) && act() {}
                },
            );
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
