//! What a process does first: become a private lab, join one that runs, or enter a node.
//!
//! All of it must happen while the process has one thread: before any runtime, first thing in `main`.

use std::ffi::OsString;

use crate::Error;
use crate::state::State;

/// Where the process is after [`private`] or [`join`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// Where it has to be: go on.
    Here,
    /// A copy of it was there and has ended: leave with this exit code.
    Done(u8),
}

/// Enters namespaces of nsrouter's own (user if need be, mount, PID, network) if `wanted` or if the
/// caller cannot build a lab without. `name` is the lab's name, for other terminals to find it.
///
/// The process is started again inside with the same arguments; that copy gets [`Entered::Here`].
///
/// # Errors
/// [`Error::Cannot`] where the machine forbids it, with what is missing.
pub fn private(name: &str, wanted: bool) -> Result<Entered, Error> {
    let _ = (name, wanted);
    todo!()
}

/// Whether the caller is inside a private lab.
pub fn is_private() -> bool {
    crate::pointer::is_inside()
}

/// Goes to where a running lab can be seen: nowhere if it is on record here, else into the private lab.
/// Without a name the lab `default`, or the only one that runs.
///
/// # Errors
/// [`Error::NoLab`], [`Error::NoLabs`], [`Error::WhichLab`], or what the kernel refused.
pub fn join(name: Option<&str>) -> Result<(Entered, Option<Box<State>>), Error> {
    let _ = name;
    todo!()
}

/// Replaces the process by `command` inside a node, as `ip netns exec` does: the node's network, `/sys`
/// that shows it, and the files of `/etc/netns/NAMESPACE` in the place of those in `/etc`.
/// Returns only on failure.
pub fn exec(state: &State, node: &str, command: &[OsString], environment: &[(&str, String)]) -> Error {
    let _ = (state, node, command, environment);
    todo!()
}
