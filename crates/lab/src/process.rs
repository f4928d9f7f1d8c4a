//! Processes: told apart for good, found by their network namespace, and ended.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nsrouter_linux::netns::Netns;
use nsrouter_linux::procfs::cpu::ticks_per_second;
use nsrouter_linux::procfs::process::{ProcessStat, pids};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process, told apart from any other that had or will have its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number, in the PID namespace `pid_namespace`.
    pub pid: i32,
    /// When it started, in clock ticks since boot (proc_pid_stat(5), field 22), as the machine's first time namespace
    /// counts them.
    pub start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The inode number of the PID namespace in which `pid` means it.
    pub pid_namespace: u64,
}

impl ProcessId {
    /// The calling process.
    ///
    /// # Errors
    /// Where `/proc` is not mounted, or is that of another PID namespace.
    pub fn current() -> io::Result<Self> {
        Self::of(own_pid()?)
    }

    /// The process of that number in the caller's PID namespace.
    ///
    /// # Errors
    /// Where there is none.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self {
            pid,
            start_ticks: start_ticks(pid)?,
            boot_id: boot_id()?,
            pid_namespace: own_pid_namespace()?,
        })
    }

    /// Whether it still runs. One that cannot be seen or looked at, from another PID namespace or for want of descriptors,
    /// is taken to run: nothing of a lab that might be alive is removed.
    pub fn is_alive(&self) -> bool {
        match boot_id() {
            Ok(boot_id) if boot_id != self.boot_id => false,
            _ if self.is_of_this_namespace() => match start_ticks(self.pid) {
                // The kernel rounds after it has added a time namespace's offset.
                Ok(ticks) => ticks.abs_diff(self.start_ticks) <= 1,
                Err(error) => !is_gone(&error),
            },
            _ => lives_namespace(self.pid_namespace),
        }
    }

    /// For how long it has run; `None` where it cannot be looked at.
    pub fn age(&self) -> Option<Duration> {
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let uptime: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
        // Both figures have the offset of the reader's time namespace, or neither.
        let started = shown_start_ticks(self.pid).ok()?;
        let started = Duration::from_millis(started.saturating_mul(1000) / ticks_per_second());
        Some(Duration::try_from_secs_f64(uptime).ok()?.saturating_sub(started))
    }

    /// Whether `pid` means the same to the caller.
    pub(crate) fn is_of_this_namespace(&self) -> bool {
        own_pid_namespace().is_ok_and(|inode| inode == self.pid_namespace)
    }

    /// Ends it: SIGTERM, then SIGKILL after `patience`. Returns when it is gone.
    ///
    /// # Errors
    /// Where it may not be signalled, or outlives SIGKILL by two seconds.
    pub fn end(&self, patience: Duration) -> io::Result<()> {
        if !self.is_of_this_namespace() {
            return if self.is_alive() {
                Err(io::Error::other("it is in another PID namespace"))
            } else {
                Ok(())
            };
        }
        let Some(held) = Held::open(self.pid)? else { return Ok(()) };
        // Looked at after it is held: the number cannot come to mean another now.
        if !self.is_alive() {
            return Ok(());
        }
        pidfd_send_signal(&held.fd, Signal::TERM)?;
        if wait_all(std::slice::from_ref(&held), patience)? {
            return Ok(());
        }
        pidfd_send_signal(&held.fd, Signal::KILL)?;
        if wait_all(&[held], Duration::from_secs(2))? {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "it outlived SIGKILL"))
    }
}

/// The inode number of the machine's first PID namespace, from which all processes are seen:
/// `PROC_PID_INIT_INO` of include/linux/proc_ns.h.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

fn own_pid_namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

/// Whether a process lives in that PID namespace; true where not all processes can be seen.
fn lives_namespace(inode: u64) -> bool {
    if !own_pid_namespace().is_ok_and(|own| own == FIRST_PID_NAMESPACE) {
        return true;
    }
    let Ok(mut pids) = pids() else { return true };
    pids.any(|pid| fs::metadata(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns.ino() == inode))
}

/// A process of whose number we can be sure.
struct Held {
    fd: OwnedFd,
}

impl Held {
    /// `None` where there is no such process.
    fn open(pid: i32) -> io::Result<Option<Self>> {
        let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => Ok(Some(Self { fd })),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// A process that is watched from where its number means something else, or nothing.
#[derive(Debug)]
pub(crate) struct Watched(OwnedFd);

impl Watched {
    /// `None` where there is no such process.
    pub(crate) fn open(pid: i32) -> io::Result<Option<Self>> {
        Ok(Held::open(pid)?.map(|held| Self(held.fd)))
    }

    /// Whether it has ended, or does so within that time.
    pub(crate) fn ends_within(self, timeout: Duration) -> io::Result<bool> {
        wait_all(&[Held { fd: self.0 }], timeout)
    }
}

/// Waits until all are gone (a pidfd is readable when its process is a zombie); false when time is up.
fn wait_all(held: &[Held], timeout: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + timeout;
    for process in held {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(std::os::fd::AsFd::as_fd(&process.fd), PollFlags::POLLIN)], left) {
                Ok(0) => return Ok(false),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(true)
}

/// A process that was ended because it ran inside a namespace that had to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// Its number.
    pub pid: i32,
    /// Its name, as in `/proc/PID/comm`.
    pub name: String,
}

/// Ends every process, but the caller's own, whose network namespace is one of `inodes` and which `is_ours`
/// (asked once a namespace): SIGTERM, after `patience` SIGKILL, and again for what was started meanwhile.
///
/// # Errors
/// Where `/proc` cannot be read, or one could not be ended.
pub(crate) fn end_all_in(
    inodes: &HashSet<u64>,
    patience: Duration,
    is_ours: impl Fn(&Netns) -> io::Result<bool>,
) -> io::Result<Vec<Ended>> {
    let mut ended: Vec<Ended> = Vec::new();
    let mut known = HashMap::new();
    // What forks while it is being ended is caught by the next look, with no more patience.
    for round in 0..20 {
        let mut held = Vec::new();
        for inside in in_namespaces(inodes)? {
            let ours = match known.entry(inside.ns.inode()) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(unknown) => *unknown.insert(is_ours(&inside.ns)?),
            };
            if ours {
                held.push(inside.held);
                if ended.iter().all(|before| before.pid != inside.who.pid) {
                    ended.push(inside.who);
                }
            }
        }
        if held.is_empty() {
            return Ok(ended);
        }
        if round == 0 {
            signal_all(&held, Signal::TERM);
            if wait_all(&held, patience)? {
                continue;
            }
        }
        signal_all(&held, Signal::KILL);
        wait_all(&held, Duration::from_millis(500))?;
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "processes inside the namespaces outlive SIGKILL"))
}

fn signal_all(held: &[Held], signal: Signal) {
    for process in held {
        // ESRCH: it went by itself, which is what was wanted.
        let _ = pidfd_send_signal(&process.fd, signal);
    }
}

/// A process inside a namespace that may be ours.
struct Inside {
    held: Held,
    who: Ended,
    ns: Netns,
}

/// The processes whose main thread is in one of the namespaces, the caller's own excepted.
fn in_namespaces(inodes: &HashSet<u64>) -> io::Result<Vec<Inside>> {
    let own = own_pid()?;
    let mut found = Vec::new();
    for pid in pids()? {
        if pid == own || !namespace_of(pid).is_some_and(|inode| inodes.contains(&inode)) {
            continue;
        }
        // Held first, then looked at again: from here on the number means this process.
        let Some(held) = Held::open(pid)? else { continue };
        let ns = match Netns::open(Path::new(&format!("/proc/{pid}/ns/net"))) {
            Ok(ns) => ns,
            // It has ended meanwhile. Anything else says nothing about the process.
            Err(error) if matches!(error.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ESRCH)) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        if inodes.contains(&ns.inode()) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            found.push(Inside { held, who: Ended { pid, name: name.trim_end().to_owned() }, ns });
        }
    }
    Ok(found)
}

/// The inode number of a process's network namespace; `None` for a zombie and where it may not be seen.
fn namespace_of(pid: i32) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// Whether a process that the caller can see is in that network namespace.
pub(crate) fn any_in(inode: u64) -> io::Result<bool> {
    Ok(pids()?.any(|pid| namespace_of(pid) == Some(inode)))
}

/// The caller's number, if `/proc` is that of its own PID namespace.
fn own_pid() -> io::Result<i32> {
    let own = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    if fs::read_link("/proc/self")?.to_str() == Some(own.to_string().as_str()) {
        Ok(own)
    } else {
        Err(io::Error::other("/proc is that of another PID namespace"))
    }
}

/// Whether an error of reading `/proc/PID/...` says that there is no such process, rather than that it could not be looked at.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

/// When a process started, as the machine's first time namespace counts it.
///
/// What `/proc/PID/stat` shows has the offset of the reader's own time namespace in it (`do_task_stat` of fs/proc/array.c),
/// so two readers may be shown two numbers for one process.
fn start_ticks(pid: i32) -> io::Result<u64> {
    let shown = shown_start_ticks(pid)?;
    let offset = boottime_offset_ticks().unwrap_or(0);
    Ok(shown.saturating_add_signed(offset.saturating_neg()))
}

/// The offset of the caller's time namespace from the first one, in clock ticks; none where the kernel has no time namespaces.
fn boottime_offset_ticks() -> Option<i64> {
    let offsets = fs::read_to_string("/proc/self/timens_offsets").ok()?;
    let line = offsets.lines().find(|line| line.starts_with("boottime"))?;
    let mut fields = line.split_ascii_whitespace().skip(1).filter_map(|field| field.parse::<i64>().ok());
    let (seconds, nanoseconds) = (fields.next()?, fields.next()?);
    let per_second = i64::try_from(ticks_per_second()).ok()?;
    Some(seconds.saturating_mul(per_second) + nanoseconds.saturating_mul(per_second) / 1_000_000_000)
}

/// The start time as `/proc/PID/stat` shows it. A zombie has ended: nothing runs any more.
fn shown_start_ticks(pid: i32) -> io::Result<u64> {
    let stat = ProcessStat::of(pid)?;
    if stat.state == 'Z' { Err(io::ErrorKind::NotFound.into()) } else { Ok(stat.start_ticks) }
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_is_alive_only_with_its_start_and_boot() {
        let own = ProcessId::current().unwrap();
        assert!(own.is_alive());
        assert!(!ProcessId { start_ticks: own.start_ticks + 2, ..own.clone() }.is_alive());
        assert!(!ProcessId { boot_id: "another".to_owned(), ..own.clone() }.is_alive());
        let elsewhere = ProcessId { pid_namespace: 1, ..own };
        // From the first PID namespace all are seen, and nothing lives in that one.
        let sees_all = own_pid_namespace().unwrap() == FIRST_PID_NAMESPACE;
        assert_eq!(elsewhere.is_alive(), !sees_all, "what cannot be seen is left alone");
        assert_eq!(elsewhere.end(Duration::ZERO).is_ok(), sees_all, "no number is taken for another's");
    }

    #[test]
    fn ends_a_child_that_ignores_sigterm() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "trap '' TERM; while :; do sleep 1; done"])
            .spawn()
            .unwrap();
        let id = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
        id.end(Duration::from_millis(20)).unwrap();
        assert!(!id.is_alive());
        child.wait().unwrap();
    }
}
