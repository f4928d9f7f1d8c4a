//! Relaying for a child process: signals go to it, its exit code comes back.

use std::fs;
use std::os::fd::AsFd;
use std::process::{Child, Command};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use nsrouter_linux::procfs::fields;

use crate::error::Error;

/// The signals that end a lab, or that a program may use.
const RELAYED: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// `SI_KERNEL` of include/uapi/asm-generic/siginfo.h: the signal of a terminal, which goes to the whole
/// foreground process group, so that the child has received it too.
const SI_KERNEL: i32 = 0x80;

/// Whether this process was started to ignore a hang-up, as by nohup(1). Then SIGHUP is not handled, and the
/// lab survives it. The other signals are handled in any case: a shell starts each background job of a script
/// with SIGINT and SIGQUIT ignored, and a lab has to end with its script.
pub fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    // One bit a signal, starting with signal 1 (proc_pid_status(5)).
    let mask = fields::value(&status, "SigIgn");
    let mask = mask.and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
    mask >> (Signal::SIGHUP as i32 - 1) & 1 == 1
}

/// Signals, received as data while this exists.
pub(super) struct Signals {
    fd: SignalFd,
    before: SigSet,
    taken: SigSet,
}

/// An event that the relay reacts to.
pub(super) enum Event {
    /// A child changed its state.
    Child,
    /// A signal that the child has not received.
    Signal(Signal),
    /// A signal of the terminal, which a child in the foreground has received too.
    Terminal(Signal),
    /// The other descriptor that was polled is readable or closed.
    Other,
}

impl Signals {
    /// Blocks the signals and receives them as data.
    pub(super) fn take() -> Result<Self, Error> {
        let take = || -> nix::Result<Self> {
            let mut taken: SigSet = RELAYED.into_iter().collect();
            if ignores_hangup() {
                taken.remove(Signal::SIGHUP);
            }
            taken.add(Signal::SIGCHLD);
            let before = taken.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
            let fd = SignalFd::with_flags(&taken, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
            Ok(Self { fd, before, taken })
        };
        take().map_err(Error::step("receive signals as data"))
    }

    /// Starts a child with the former signal mask: it inherits the mask, and would otherwise not receive
    /// these signals. A signal that arrives meanwhile ends this process, as it would have a moment earlier; a
    /// child that ends meanwhile is noticed by [`reap`] only.
    pub(super) fn spawn(&self, command: &mut Command) -> Result<Child, Error> {
        self.before.thread_set_mask().map_err(Error::step("unblock signals"))?;
        let child = command.spawn();
        self.taken.thread_block().map_err(Error::step("block signals"))?;
        child.map_err(Error::step(format!("start {}", command.get_program().display())))
    }

    /// Waits for the next event.
    pub(super) fn next(&self, other: Option<&impl AsFd>) -> Result<Event, Error> {
        loop {
            let signals = PollFd::new(self.fd.as_fd(), PollFlags::POLLIN);
            let polled = match other {
                Some(other) => {
                    let mut fds = [signals, PollFd::new(other.as_fd(), PollFlags::POLLIN)];
                    let polled = poll(&mut fds, PollTimeout::NONE);
                    polled.map(|_| fds[1].any().unwrap_or(false))
                }
                None => poll(&mut [signals], PollTimeout::NONE).map(|_| false),
            };
            match polled {
                Ok(true) => return Ok(Event::Other),
                Ok(false) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(Error::step("wait for signals")(errno)),
            }
            if let Some(info) = self.fd.read_signal().map_err(Error::step("read a signal"))? {
                let number = i32::try_from(info.ssi_signo).unwrap_or(0);
                match Signal::try_from(number) {
                    Ok(Signal::SIGCHLD) => return Ok(Event::Child),
                    Ok(signal) if info.ssi_code == SI_KERNEL => return Ok(Event::Terminal(signal)),
                    Ok(signal) => return Ok(Event::Signal(signal)),
                    Err(_) => {}
                }
            }
        }
    }
}

/// Reaps every child that has ended (an init also has adopted ones); the exit code if one was `child`.
pub(super) fn reap(child: Pid) -> Result<Option<u8>, Error> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => {
                return Ok(Some(u8::try_from(code & 0xff).unwrap_or(u8::MAX)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Ok(Some(u8::try_from(128 + signal as i32).unwrap_or(u8::MAX)));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::step("wait for a child process")(errno)),
        }
    }
}

/// The PID of a child.
pub(super) fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}
