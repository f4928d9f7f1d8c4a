//! Waking a thread that sleeps on descriptors: a pipe that is written only when nobody has rung already.
//!
//! A pipe rather than an eventfd, because an asynchronous runtime takes it as readily as poll(2) does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read, write};

/// A bell that many may ring and one listens to.
///
/// Ringing an already ringing bell costs one atomic operation and no system call, so a worker may ring for
/// every event that it reports.
#[derive(Clone, Debug)]
pub(crate) struct Bell {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    readable: OwnedFd,
    writable: OwnedFd,
    ringing: AtomicBool,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Bell> {
        let (readable, writable) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        Ok(Bell { inner: Arc::new(Inner { readable, writable, ringing: AtomicBool::new(false) }) })
    }

    /// Makes the descriptor readable.
    pub(crate) fn ring(&self) {
        if !self.inner.ringing.swap(true, Ordering::AcqRel) {
            // It can fail only when the pipe is full, and then it is readable.
            let _ = write(&self.inner.writable, &[1]);
        }
    }

    /// Silences the bell, once its descriptor was seen to be readable. What was put down before a ring is visible after this returns; what rings later is
    /// readable again.
    pub(crate) fn silence(&self) {
        // The order matters: read first, so that a ring between the two is not lost.
        let _ = read(&self.inner.readable, &mut [0; 16]);
        self.inner.ringing.swap(false, Ordering::AcqRel);
    }

    /// A descriptor of its own for a runtime that wants to own what it watches.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.inner.readable.try_clone()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.readable.as_fd()
    }
}
