//! What a ring has registered: the file of its device and buffers, each known to the kernel by a number.
//!
//! Invariants:
//! - A buffer is registered under a number from when its owner gets the claim until the claim is dropped, which is before the
//!   buffer's memory is freed. Operations move buffers with their claims, so that a number in use is always a buffer's that lives.
//! - A number is given out once at a time.
//!
//! Threading: any thread registers and drops claims. The lock is held across the system call that does either.
#![expect(unsafe_code, reason = "registering gives the kernel addresses; each use is proved at its place")]

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use io_uring::IoUring;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::AlignedBuffer;
use super::ring_shape::RingShape;
use crate::buffer::Registration;

/// How many buffers a ring has numbers for.
pub(super) const SLOT_COUNT: u16 = 256;

/// The number under which a ring has its device's file.
pub(super) const FILE_SLOT: u32 = 0;

/// What the commands of a ring may name by number.
#[derive(Clone, Copy, Debug)]
pub struct Registered {
    /// Tells the ring from all others.
    pub(super) ring: u64,
    /// The file that the ring has at [`FILE_SLOT`].
    pub(super) fd: Option<RawFd>,
}

impl Registered {
    /// For a ring that is new.
    pub(super) fn new(fd: Option<RawFd>) -> Self {
        static RING_COUNT: AtomicU64 = AtomicU64::new(0);
        Self { ring: RING_COUNT.fetch_add(1, Ordering::Relaxed), fd }
    }
}

type RingOf<R> = IoUring<<R as RingShape>::Submission, <R as RingShape>::Completion>;

/// The buffers of a ring.
#[derive(Debug)]
pub(super) struct Buffers<R: RingShape> {
    /// Gone when the queue is: then nothing is registered any more.
    ring: Weak<RingOf<R>>,
    identity: u64,
    /// Numbers that are free; none before the first buffer.
    free: Mutex<Option<Vec<u16>>>,
}

/// A number that is a buffer's.
struct Claim<R: RingShape> {
    buffers: Arc<Buffers<R>>,
    slot: u16,
}

impl<R: RingShape> Buffers<R> {
    pub(super) fn new(ring: &Arc<RingOf<R>>, Registered { ring: identity, .. }: Registered) -> Arc<Self> {
        Arc::new(Self { ring: Arc::downgrade(ring), identity, free: Mutex::new(None) })
    }

    /// See [`super::IoQueue::register`].
    pub(super) fn register(self: &Arc<Self>, ring: &RingOf<R>, buffer: &mut AlignedBuffer) -> io::Result<()> {
        if buffer.slot_on(self.identity).is_some() {
            return Ok(());
        }
        let slot = self.add_to_table(ring, buffer)?;
        let claim = Claim { buffers: Arc::clone(self), slot };
        // Without the lock: a claim of another queue may end here, which takes that queue's lock.
        buffer.register(Registration::new(self.identity, slot, claim));
        Ok(())
    }

    fn add_to_table(&self, ring: &RingOf<R>, buffer: &mut AlignedBuffer) -> io::Result<u16> {
        let mut free = self.free.lock();
        if free.is_none() {
            ring.submitter().register_buffers_sparse(u32::from(SLOT_COUNT)).map_err(explain)?;
        }
        let free = free.get_or_insert_with(|| (0..SLOT_COUNT).rev().collect());
        let Some(&slot) = free.last() else {
            let text = format!("the queue has {SLOT_COUNT} registered buffers, which is all that it takes");
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
        };
        let memory = buffer.whole_memory();
        let memory = libc::iovec { iov_base: memory.as_mut_ptr().cast(), iov_len: memory.len() };
        // SAFETY: the memory is valid until the buffer is dropped. The claim that the buffer gets is dropped before that and
        // takes the memory out of the table; no command names the number later, because only the buffer tells it. Nothing
        // is read or written through the table but by commands, which own the buffer meanwhile or share in it.
        unsafe { ring.submitter().register_buffers_update(u32::from(slot), &[memory], None) }?;
        free.pop();
        Ok(slot)
    }

    fn give_back(&self, slot: u16) {
        let Some(ring) = self.ring.upgrade() else { return };
        let mut free = self.free.lock();
        // Otherwise the number stays taken, and nobody names it any more.
        if let (Ok(()), Some(free)) = (empty::<R>(&ring, slot), free.as_mut()) {
            free.push(slot);
        }
    }

    #[cfg(test)]
    pub(super) fn take_out_of_table(&self, buffer: &AlignedBuffer) {
        let slot = buffer.slot_on(self.identity).expect("the buffer is registered here");
        let ring = self.ring.upgrade().expect("the queue is there");
        empty::<R>(&ring, slot).expect("empty the number");
    }
}

impl<R: RingShape> Drop for Claim<R> {
    fn drop(&mut self) {
        self.buffers.give_back(self.slot);
    }
}

fn empty<R: RingShape>(ring: &RingOf<R>, slot: u16) -> io::Result<()> {
    let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    // SAFETY: no memory is named.
    unsafe { ring.submitter().register_buffers_update(u32::from(slot), &[nothing], None) }
}

fn explain(error: io::Error) -> io::Error {
    if Errno::from_io_error(&error) != Some(Errno::INVAL) {
        return error;
    }
    io::Error::new(io::ErrorKind::Unsupported, "registered buffers need Linux 5.19 or later")
}
