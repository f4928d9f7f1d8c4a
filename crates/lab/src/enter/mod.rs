//! What a process does first: become a private lab, join one that runs, or enter a node.
//!
//! A private lab is three processes of the same program. The user starts the *supervisor*: it creates the
//! user and PID namespaces, relays signals and passes the exit code on. *Init* is PID 1 of the new PID
//! namespace: it creates the mount and network namespaces and reaps orphans; when it ends, the kernel ends
//! everything inside. The third is the nsrouter that does the work. Each is started as `/proc/self/exe` with
//! the user's arguments, and learns its part from its zeroth argument, which unlike an environment variable
//! no child inherits.
//!
//! All of this must happen while the process has one thread: first thing in `main`, before any runtime.

mod command;
mod detach;
mod mounts;
mod names;
mod node;
mod part;
mod private;
mod relay;
pub mod rights;

use self::part::Part;
use crate::error::Error;
use crate::records::{self, LabSelector, RecordPlace, State};

pub use self::command::tied_command;
pub use self::detach::{Detached, detach, log_of, tell_ready};
pub use self::node::exec;
pub use self::relay::ignores_hangup;

/// Where the process is after [`private()`] or [`join`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// Where it has to be: continue.
    Here,
    /// A copy of it was there and has ended: exit with this code.
    Done(u8),
}

/// Plays the parts of processes that the user did not start. Call it before parsing arguments; `Some` is the
/// code to exit with at once.
///
/// # Errors
/// [`Error::Cannot`] where this machine does not permit a private lab, with what is missing.
pub fn first() -> Result<Option<u8>, Error> {
    match Part::current() {
        Some(Part::Init(fd, supervisor)) => private::init(fd, supervisor).map(Some),
        Some(Part::Probe) => Ok(Some(rights::probe())),
        Some(Part::Command(parent)) => Ok(Some(command::become_command(parent))),
        Some(Part::Detached) => detach::leave_terminal().map(|()| None),
        Some(Part::Inside) | None => Ok(None),
    }
}

/// Becomes a private lab, in namespaces of its own (user if necessary, mount, PID, network), if `wanted` or
/// if the caller cannot build a lab without. `name` is the name of the lab, by which other terminals find it.
/// A running private lab of the caller with that name is ended if `replace` is set.
///
/// The process is started again inside with the same arguments; that copy gets [`Entered::Here`].
///
/// # Errors
/// [`Error::Cannot`] where this machine does not permit it, with what is missing; [`Error::Running`] where
/// the name is taken.
pub fn private(name: &str, wanted: bool, replace: bool) -> Result<Entered, Error> {
    records::check_name(name)?;
    if Part::current() == Some(Part::Inside) || (!wanted && rights::can_build_here()?) {
        return Ok(Entered::Here);
    }
    private::supervise(name, replace).map(Entered::Done)
}

/// Goes to where a running lab is visible: nowhere if it is on record here, else into the private lab, where
/// the process is started again with the same arguments. Without a name or a PID: the lab `default`, or the
/// only one that runs. The record comes with [`Entered::Here`].
///
/// # Errors
/// [`Error::NoLab`], [`Error::NoLabs`], [`Error::WhichLab`], or what the kernel refused.
pub fn join(selector: LabSelector<'_>) -> Result<(Entered, Option<Box<State>>), Error> {
    // Inside a private lab its process has another PID than outside, and there is no other lab.
    let selector = if records::is_inside() { LabSelector { pid: None, ..selector } } else { selector };
    match records::choose(records::list()?, selector)? {
        RecordPlace::Here(state) => Ok((Entered::Here, Some(state))),
        RecordPlace::Private(pointer) => Ok((Entered::Done(private::join(&pointer)?), None)),
    }
}
