//! A handle on a process (a pidfd): while it is open, it means that process and no later one with the same
//! PID.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process held by a pidfd.
#[derive(Debug)]
pub(crate) struct ProcessHandle {
    fd: OwnedFd,
}

impl ProcessHandle {
    /// `None` where there is no such process.
    pub(crate) fn open(pid: i32) -> io::Result<Option<Self>> {
        let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => Ok(Some(Self { fd })),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.fd, signal)?)
    }

    /// Whether it has ended, or ends within that time.
    pub(crate) fn ends_within(&self, timeout: Duration) -> io::Result<bool> {
        all_end_within(std::slice::from_ref(self), timeout)
    }
}

/// Waits until all have ended (a pidfd becomes readable when its process is a zombie); false when the time is
/// up.
pub(super) fn all_end_within(processes: &[ProcessHandle], timeout: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + timeout;
    for process in processes {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(process.fd.as_fd(), PollFlags::POLLIN)], left) {
                Ok(0) => return Ok(false),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(true)
}
