//! The processes inside given network namespaces, and ending them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use nsrouter_linux::netns::Netns;
use nsrouter_linux::procfs::process::pids;
use rustix::process::Signal;
use serde::Serialize;

use super::handle::{ProcessHandle, all_end_within};
use super::id::own_pid;

/// How often processes are looked for: those that forked while they were being ended are found in the next
/// round.
const ROUNDS: u32 = 20;

/// How long processes may take to end after SIGKILL in each round.
const KILL_PATIENCE: Duration = Duration::from_millis(500);

/// A process that was ended because it ran inside a namespace that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndedProcess {
    /// Its PID.
    pub pid: i32,
    /// Its name, as in `/proc/PID/comm`.
    pub name: String,
}

/// Ends every process, except the caller's own, whose network namespace is one of `inodes` and belongs to the
/// lab as `is_own` says (asked once a namespace): SIGTERM, SIGKILL after `patience`, and again for processes
/// started meanwhile.
///
/// # Errors
/// Where `/proc` cannot be read, or a process could not be ended.
pub(crate) fn end_all_in(
    inodes: &HashSet<u64>,
    patience: Duration,
    is_own: impl Fn(&Netns) -> io::Result<bool>,
) -> io::Result<Vec<EndedProcess>> {
    let mut ended: Vec<EndedProcess> = Vec::new();
    let mut known = HashMap::new();
    for round in 0..ROUNDS {
        let mut handles = Vec::new();
        for inside in in_namespaces(inodes)? {
            let own = match known.entry(inside.ns.inode()) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(unknown) => *unknown.insert(is_own(&inside.ns)?),
            };
            if own {
                handles.push(inside.handle);
                if ended.iter().all(|before| before.pid != inside.process.pid) {
                    ended.push(inside.process);
                }
            }
        }
        if handles.is_empty() {
            return Ok(ended);
        }
        if round == 0 {
            signal_all(&handles, Signal::TERM);
            if all_end_within(&handles, patience)? {
                continue;
            }
        }
        signal_all(&handles, Signal::KILL);
        all_end_within(&handles, KILL_PATIENCE)?;
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "processes inside the namespaces survive SIGKILL"))
}

fn signal_all(handles: &[ProcessHandle], signal: Signal) {
    for handle in handles {
        // ESRCH: it has ended by itself.
        let _ = handle.signal(signal);
    }
}

/// A process inside one of the namespaces.
struct ProcessInside {
    handle: ProcessHandle,
    process: EndedProcess,
    ns: Netns,
}

/// The processes whose main thread is in one of the namespaces, except the caller's own.
fn in_namespaces(inodes: &HashSet<u64>) -> io::Result<Vec<ProcessInside>> {
    let own = own_pid()?;
    let mut found = Vec::new();
    for pid in pids()? {
        if pid == own || !namespace_of(pid).is_some_and(|inode| inodes.contains(&inode)) {
            continue;
        }
        // First the handle, then a second look: from here on the PID means this process.
        let Some(handle) = ProcessHandle::open(pid)? else { continue };
        let ns = match Netns::open(Path::new(&format!("/proc/{pid}/ns/net"))) {
            Ok(ns) => ns,
            // It has ended meanwhile. No other error says that.
            Err(error) if matches!(error.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ESRCH)) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        if inodes.contains(&ns.inode()) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let process = EndedProcess { pid, name: name.trim_end().to_owned() };
            found.push(ProcessInside { handle, process, ns });
        }
    }
    Ok(found)
}

/// The inode number of a process's network namespace; `None` for a zombie, and for a process that may not be
/// examined.
fn namespace_of(pid: i32) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// Whether any process that the caller can see is in that network namespace.
pub(crate) fn is_any_in(inode: u64) -> io::Result<bool> {
    Ok(pids()?.any(|pid| namespace_of(pid) == Some(inode)))
}
