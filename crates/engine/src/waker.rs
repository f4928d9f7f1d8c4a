//! Waking a thread that sleeps on descriptors: a pipe that is written only when no wake-up is pending yet.
//!
//! A pipe rather than an eventfd, because an asynchronous runtime takes it as readily as poll(2) does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read, write};

/// Wakes one thread on behalf of many.
///
/// While a wake-up is pending, another costs one atomic operation and no system call, so a worker may wake
/// the control thread for every event that it reports.
#[derive(Clone, Debug)]
pub(crate) struct Waker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    readable: OwnedFd,
    writable: OwnedFd,
    is_pending: AtomicBool,
}

impl Waker {
    /// A waker with no wake-up pending.
    ///
    /// # Errors
    /// The error of pipe2(2): out of descriptors, say.
    pub(crate) fn new() -> io::Result<Waker> {
        let (readable, writable) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        Ok(Waker { inner: Arc::new(Inner { readable, writable, is_pending: AtomicBool::new(false) }) })
    }

    /// Makes the descriptor readable.
    pub(crate) fn wake(&self) {
        if !self.inner.is_pending.swap(true, Ordering::AcqRel) {
            // It can fail only when the pipe is full, and then it is readable.
            let _ = write(&self.inner.writable, &[1]);
        }
    }

    /// Clears the pending wake-up, once the descriptor was readable. Acquires everything written before the
    /// last [`Waker::wake`]; a later one makes the descriptor readable again.
    pub(crate) fn clear(&self) {
        // The order matters: read first, so that a wake-up between the two is not lost.
        let _ = read(&self.inner.readable, &mut [0; 16]);
        self.inner.is_pending.swap(false, Ordering::AcqRel);
    }

    /// A duplicate of the descriptor, for a runtime that owns what it watches.
    ///
    /// # Errors
    /// The error of dup(2).
    pub(crate) fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        self.inner.readable.try_clone()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.readable.as_fd()
    }
}
