//! A lab without a terminal: a copy of this process, in a session of its own, that reports when the lab is
//! ready.
//!
//! The standard input of the copy is a socket whose other end the first process holds. All processes of a
//! private lab inherit it: the one that builds the lab reports on it, and its end-of-file means that none of
//! them is left.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::kill;
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::{chdir, dup2_stdin, setsid};

use super::part::Part;
use super::relay::{Event, Signals, pid_of, reap};
use crate::error::Error;
use crate::records::{check_name, pointer_dir};

/// The report of the copy that the lab is ready.
const READY: &[u8] = b"\n";

/// The result of starting a copy of this process without a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detached {
    /// This is the copy: continue.
    Here,
    /// The lab is ready, and stays up when this process ends.
    Ready {
        /// The PID of the process that ends the lab when it is signalled.
        pid: i32,
        /// The file with its output.
        log: PathBuf,
    },
    /// There is no lab.
    Failed {
        /// The exit code of the copy.
        code: u8,
        /// Its output.
        said: String,
    },
}

/// The log of a lab without a terminal. It is kept until a lab of that name ends successfully or the next one
/// starts.
///
/// # Errors
/// Where there is no folder for it.
pub fn log_of(name: &str) -> Result<PathBuf, Error> {
    Ok(pointer_dir()?.join(format!("{name}.log")))
}

/// Starts a copy of this process, with the same arguments, that keeps the lab of that name without a
/// terminal. The copy gets [`Detached::Here`] and calls [`tell_ready`]; the caller waits for that.
///
/// # Errors
/// Where there is no folder for its log, or it cannot be started.
pub fn detach(name: &str) -> Result<Detached, Error> {
    if Part::current().is_some() {
        return Ok(Detached::Here);
    }
    check_name(name)?;
    let signals = Signals::take()?;
    let log = log_of(name)?;
    // The log may belong to another lab of that name, perhaps one that runs, until this one is ready.
    let beside = log.with_extension(format!("{}.log", std::process::id()));
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&beside)
        .map_err(Error::file("write", &beside))?;
    let outcome = start(&signals, file).and_then(|(child, socket)| await_ready(&signals, child, socket));
    match outcome {
        Ok(WaitResult::Ready(pid)) => {
            fs::rename(&beside, &log).map_err(Error::file("write", &log))?;
            Ok(Detached::Ready { pid, log })
        }
        Ok(WaitResult::Ended(code)) => {
            let said = fs::read_to_string(&beside).unwrap_or_default();
            let _ = fs::remove_file(&beside);
            Ok(Detached::Failed { code, said })
        }
        Err(error) => {
            let _ = fs::remove_file(&beside);
            Err(error)
        }
    }
}

fn start(signals: &Signals, log: File) -> Result<(std::process::Child, UnixStream), Error> {
    let step = || Error::step("start a copy of this process");
    let (ours, theirs) = UnixStream::pair().map_err(step())?;
    let mut command = Part::Detached.command();
    command
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::from(log.try_clone().map_err(step())?))
        .stderr(Stdio::from(log));
    // The end of the socket that the copy has is closed here with `command`.
    Ok((signals.spawn(&mut command)?, ours))
}

/// The result of waiting.
enum WaitResult {
    Ready(i32),
    Ended(u8),
}

fn await_ready(
    signals: &Signals,
    child: std::process::Child,
    mut socket: UnixStream,
) -> Result<WaitResult, Error> {
    let child = pid_of(&child);
    let mut said = [0; READY.len()];
    loop {
        match signals.next(Some(&socket))? {
            // Those of a terminal too: the copy is in another session, which they do not reach.
            Event::Signal(signal) | Event::Terminal(signal) => {
                let _ = kill(child, signal);
            }
            Event::Child => {
                if let Some(code) = reap(child)? {
                    return Ok(WaitResult::Ended(code));
                }
            }
            Event::Other => match socket.read(&mut said) {
                Ok(0) => return wait(signals, child).map(WaitResult::Ended),
                Ok(_) => return Ok(WaitResult::Ready(child.as_raw())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // ECONNRESET: the copy has ended.
                Err(_) => return wait(signals, child).map(WaitResult::Ended),
            },
        }
    }
}

/// Waits for the exit code of a child that is about to end.
fn wait(signals: &Signals, child: nix::unistd::Pid) -> Result<u8, Error> {
    loop {
        if let Some(code) = reap(child)? {
            return Ok(code);
        }
        if let Event::Signal(signal) | Event::Terminal(signal) = signals.next(None::<&OwnedFd>)? {
            let _ = kill(child, signal);
        }
    }
}

/// Leaves the terminal, so that its hang-up does not reach the copy.
pub(super) fn leave_terminal() -> Result<(), Error> {
    setsid().map(drop).map_err(Error::step("leave the terminal"))
}

/// Reports to the process that waits in [`detach`] that the lab is ready.
///
/// Also releases the socket and the working directory that the copy was started with.
///
/// # Errors
/// Where it no longer waits, so that nobody knows of the lab.
pub fn tell_ready() -> Result<(), Error> {
    let step = || Error::step("report that the lab is ready to the process that started it");
    let stdin = io::stdin();
    // An error rather than SIGPIPE where nobody listens: then nobody knows of the lab, and it has to end.
    send(std::os::fd::AsRawFd::as_raw_fd(&stdin), READY, MsgFlags::MSG_NOSIGNAL).map_err(step())?;
    let null = File::open("/dev/null").map_err(Error::file("open", "/dev/null"))?;
    dup2_stdin(&null).map_err(step())?;
    chdir(Path::new("/")).map_err(step())
}
