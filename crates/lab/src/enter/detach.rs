//! A lab without a terminal: a copy of this process, in a session of its own, that says when the lab is ready.
//!
//! The copy's standard input is a socket whose other end the first process holds. All processes of a private lab inherit it, so
//! the one that builds the lab says so on it, and its end tells that none of them is left.

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

use super::Part;
use super::relay::{Happened, Signals, pid_of, reap};
use crate::{Error, pointer, state};

/// What the copy says when the lab is ready.
const READY: &[u8] = b"\n";

/// What came of starting a copy of this process without a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detached {
    /// This is the copy: go on.
    Here,
    /// The lab is ready, and stays when this process ends.
    Ready {
        /// The process that a signal ends it by.
        pid: i32,
        /// What it says goes here.
        log: PathBuf,
    },
    /// There is no lab.
    Failed {
        /// The exit code of the copy.
        code: u8,
        /// What it said.
        said: String,
    },
}

/// Where a lab that has no terminal says what it has to say; it stays until a lab of that name ends well, or the next one
/// starts.
///
/// # Errors
/// Where the user has no folder for it.
pub fn log_of(name: &str) -> Result<PathBuf, Error> {
    Ok(pointer::dir()?.join(format!("{name}.log")))
}

/// Starts the copy, and waits until it says that the lab is ready. Signals go to the copy meanwhile.
pub(super) fn detach(name: &str) -> Result<Detached, Error> {
    if Part::current().is_some() {
        return Ok(Detached::Here);
    }
    state::check_name(name)?;
    let signals = Signals::take()?;
    let log = log_of(name)?;
    // Another lab of that name, perhaps one that runs, has the log until this one is ready.
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
        Ok(Waited::Ready(pid)) => {
            fs::rename(&beside, &log).map_err(Error::file("write", &log))?;
            Ok(Detached::Ready { pid, log })
        }
        Ok(Waited::Ended(code)) => {
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
    // The copy's end of the socket is closed here with `command`.
    Ok((signals.spawn(&mut command)?, ours))
}

/// How the waiting ended.
enum Waited {
    Ready(i32),
    Ended(u8),
}

fn await_ready(
    signals: &Signals,
    child: std::process::Child,
    mut socket: UnixStream,
) -> Result<Waited, Error> {
    let child = pid_of(&child);
    let mut said = [0; READY.len()];
    loop {
        match signals.next(Some(&socket))? {
            // A terminal's too: the copy is in another session, which they do not reach.
            Happened::Signal(signal) | Happened::Terminal(signal) => {
                let _ = kill(child, signal);
            }
            Happened::Child => {
                if let Some(code) = reap(child)? {
                    return Ok(Waited::Ended(code));
                }
            }
            Happened::Other => match socket.read(&mut said) {
                Ok(0) => return wait(signals, child).map(Waited::Ended),
                Ok(_) => return Ok(Waited::Ready(child.as_raw())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // ECONNRESET: it is gone.
                Err(_) => return wait(signals, child).map(Waited::Ended),
            },
        }
    }
}

/// The exit code of a child whose end is near.
fn wait(signals: &Signals, child: nix::unistd::Pid) -> Result<u8, Error> {
    loop {
        if let Some(code) = reap(child)? {
            return Ok(code);
        }
        if let Happened::Signal(signal) | Happened::Terminal(signal) = signals.next(None::<&OwnedFd>)? {
            let _ = kill(child, signal);
        }
    }
}

/// The copy's first act: away from the terminal, whose hang-up is none of its business.
pub(super) fn leave_terminal() -> Result<(), Error> {
    setsid().map(drop).map_err(Error::step("leave the terminal"))
}

/// Says that the lab is ready, and lets go of what the copy was started with: its socket and its folder.
pub(super) fn tell_ready() -> Result<(), Error> {
    let step = || Error::step("tell whoever started this lab that it is ready");
    let stdin = io::stdin();
    // Without a signal where nobody listens any more: then nobody knows of the lab, and it has to go.
    send(std::os::fd::AsRawFd::as_raw_fd(&stdin), READY, MsgFlags::MSG_NOSIGNAL).map_err(step())?;
    let null = File::open("/dev/null").map_err(Error::file("open", "/dev/null"))?;
    dup2_stdin(&null).map_err(step())?;
    chdir(Path::new("/")).map_err(step())
}
