//! What a process does first: become a private lab, join one that runs, or enter a node.
//!
//! A private lab is three processes of the same program. The *supervisor* is the one that the user
//! started: it makes the user and PID namespaces, relays signals and passes the exit code on. *Init* is
//! PID 1 of the new PID namespace: it makes the mount and network namespaces and reaps orphans; when it
//! goes, the kernel ends everything inside. The third is the real nsrouter. Each is started as
//! `/proc/self/exe` with the user's arguments, and told its part in its zeroth argument, which unlike an
//! environment variable no child inherits.
//!
//! All of it must happen while the process has one thread: before any runtime, first thing in `main`.

mod command;
mod detach;
mod mounts;
mod names;
mod node;
mod private;
mod relay;
pub mod rights;

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::labs::{self, Which};
use crate::state::{self, Place, State};
use crate::{Error, pointer};

pub use detach::{Detached, log_of};

/// Where the process is after [`private`] or [`join`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// Where it has to be: go on.
    Here,
    /// A copy of it was there and has ended: leave with this exit code.
    Done(u8),
}

/// The part of a process in a private lab, as its zeroth argument says it.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// PID 1; the numbers are that of the descriptor on which the supervisor speaks, and that of the supervisor.
    Init(i32, u32),
    /// The real one.
    Inside,
    /// A child that tries whether user namespaces can be had.
    Probe,
    /// One that keeps a lab without a terminal.
    Detached,
    /// A child that becomes the user's command; the number is its parent's.
    Command(u32),
}

impl Part {
    fn of(argument: &OsStr) -> Option<Self> {
        match argument.to_str()? {
            "nsrouter-inside" => Some(Self::Inside),
            "nsrouter-probe" => Some(Self::Probe),
            "nsrouter-detached" => Some(Self::Detached),
            other => match other.split_once(':')? {
                ("nsrouter-init", numbers) => {
                    let (fd, supervisor) = numbers.split_once(':')?;
                    Some(Self::Init(fd.parse().ok()?, supervisor.parse().ok()?))
                }
                ("nsrouter-command", parent) => parent.parse().ok().map(Self::Command),
                _ => None,
            },
        }
    }

    fn argument(&self) -> String {
        match self {
            Self::Init(fd, supervisor) => format!("nsrouter-init:{fd}:{supervisor}"),
            Self::Inside => "nsrouter-inside".to_owned(),
            Self::Probe => "nsrouter-probe".to_owned(),
            Self::Detached => "nsrouter-detached".to_owned(),
            Self::Command(parent) => format!("nsrouter-command:{parent}"),
        }
    }

    fn current() -> Option<Self> {
        std::env::args_os().next().as_deref().and_then(Self::of)
    }

    /// This program once more, in that part, with the same arguments.
    fn command(&self) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(self.argument()).args(std::env::args_os().skip(1));
        command
    }
}

/// Plays the parts that are not the user's: to be called before arguments are looked at. `Some` is the
/// exit code to leave with at once.
///
/// # Errors
/// [`Error::Cannot`] where the machine forbids a private lab, with what is missing.
pub fn first() -> Result<Option<u8>, Error> {
    match Part::current() {
        Some(Part::Init(fd, supervisor)) => private::init(fd, supervisor).map(Some),
        Some(Part::Probe) => Ok(Some(rights::probe())),
        Some(Part::Command(parent)) => Ok(Some(command::become_command(parent))),
        Some(Part::Detached) => detach::leave_terminal().map(|()| None),
        Some(Part::Inside) | None => Ok(None),
    }
}

/// Has a copy of this process, started again with the same arguments, keep the lab of that name without a terminal: it gets
/// [`Detached::Here`], and calls [`tell_ready`]. The caller waits for that.
///
/// # Errors
/// Where there is no place for its log, or it cannot be started.
pub fn detach(name: &str) -> Result<Detached, Error> {
    detach::detach(name)
}

/// Tells the process that waits in [`detach`] that the lab is ready.
///
/// # Errors
/// Where it waits no longer: then nobody has come to know of the lab.
pub fn tell_ready() -> Result<(), Error> {
    detach::tell_ready()
}

/// A program for `program` and its arguments that ends with the calling thread, whatever ends that. It says itself what it could
/// not run, and its exit code is then 126 or 127, as a shell's.
pub fn tied_command(program: &OsStr) -> Command {
    command::tied(program)
}

/// Whether this process was started to ignore a hang-up, as nohup(1) does it.
pub fn ignores_hangup() -> bool {
    relay::ignores_hangup()
}

/// Enters namespaces of nsrouter's own (user if need be, mount, PID, network) if `wanted` or if the
/// caller cannot build a lab without. `name` is the lab's name, for other terminals to find it. Another private lab of the
/// caller's that has it and runs is ended where `replace` says so.
///
/// The process is started again inside with the same arguments; that copy gets [`Entered::Here`].
///
/// # Errors
/// [`Error::Cannot`] where the machine forbids it, with what is missing; [`Error::Running`] where the name is taken.
pub fn private(name: &str, wanted: bool, replace: bool) -> Result<Entered, Error> {
    state::check_name(name)?;
    if Part::current() == Some(Part::Inside) || (!wanted && rights::can_build_here()?) {
        return Ok(Entered::Here);
    }
    private::supervise(name, replace).map(Entered::Done)
}

/// Goes to where a running lab can be seen: nowhere if it is on record here, else into the private lab,
/// where the process is started again with the same arguments. Without a name or a process: the lab `default`, or the
/// only one that runs. The record comes with [`Entered::Here`].
///
/// # Errors
/// [`Error::NoLab`], [`Error::NoLabs`], [`Error::WhichLab`], or what the kernel refused.
pub fn join(which: Which<'_>) -> Result<(Entered, Option<Box<State>>), Error> {
    // Inside a private lab its process has another number than outside, and there is no other lab.
    let which = if pointer::is_inside() { Which { pid: None, ..which } } else { which };
    match labs::choose(state::list()?, which)? {
        Place::Here(state) => Ok((Entered::Here, Some(state))),
        Place::Private(pointer) => Ok((Entered::Done(private::join(&pointer)?), None)),
    }
}

/// Inside a private lab, the number that the process which keeps it has outside.
pub fn outside_pid() -> Option<u32> {
    pointer::outside_pid()
}

/// Replaces the process by `command` inside a node, as `ip netns exec` does: the node's network, a `/sys`
/// that shows it, and the files of `/etc/netns/NAMESPACE` in the place of those in `/etc`. Programs there find every node by its
/// name, through /etc/hosts, and the node's name is their host name.
/// `environment` is added to the command's. Returns only on failure.
pub fn exec(state: &State, node: &str, command: &[OsString], environment: &[(&str, String)]) -> Error {
    node::exec(state, node, command, environment)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_part_is_told_by_the_zeroth_argument() {
        for part in [Part::Init(7, 8), Part::Inside, Part::Probe, Part::Detached, Part::Command(9)] {
            assert_eq!(Part::of(OsStr::new(&part.argument())), Some(part));
        }
        assert_eq!(Part::of(OsStr::new("nsrouter")), None);
        assert_eq!(Part::of(OsStr::new("nsrouter-init:x")), None);
    }
}
