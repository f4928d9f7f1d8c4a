//! The identity of a process across PID reuse, reboots, and PID and time namespaces.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nsrouter_linux::procfs::cpu::ticks_per_second;
use nsrouter_linux::procfs::process::{ProcessStat, pids};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::handle::ProcessHandle;

/// How long a process may take to end after SIGKILL.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

/// A process, distinct from every other that has had or will have its PID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its PID in the PID namespace `pid_namespace`.
    pub pid: i32,
    /// When it started, in clock ticks since boot (proc_pid_stat(5), field 22), as counted in the machine's
    /// first time namespace.
    pub start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The inode number of the PID namespace in which `pid` is its PID.
    pub pid_namespace: u64,
}

impl ProcessId {
    /// The calling process.
    ///
    /// # Errors
    /// Where `/proc` is not mounted, or belongs to another PID namespace.
    pub fn current() -> io::Result<Self> {
        Self::of(own_pid()?)
    }

    /// The process with that PID in the caller's PID namespace.
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

    /// Whether it still runs. A process that cannot be examined, because it is in another PID namespace or
    /// for want of descriptors, counts as running: nothing that may belong to a live lab is removed.
    pub fn is_alive(&self) -> bool {
        match boot_id() {
            Ok(boot_id) if boot_id != self.boot_id => false,
            _ if self.is_of_this_namespace() => match start_ticks(self.pid) {
                // The kernel rounds after adding the offset of a time namespace.
                Ok(ticks) => ticks.abs_diff(self.start_ticks) <= 1,
                Err(error) => !is_gone(&error),
            },
            _ => may_have_processes(self.pid_namespace),
        }
    }

    /// How long it has run; `None` where it cannot be examined.
    pub fn age(&self) -> Option<Duration> {
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let uptime: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
        // Both figures contain the offset of the reader's time namespace, or neither.
        let started = shown_start_ticks(self.pid).ok()?;
        let started = Duration::from_millis(started.saturating_mul(1000) / ticks_per_second());
        Some(Duration::try_from_secs_f64(uptime).ok()?.saturating_sub(started))
    }

    /// Whether `pid` is its PID for the caller too.
    fn is_of_this_namespace(&self) -> bool {
        own_pid_namespace().is_ok_and(|inode| inode == self.pid_namespace)
    }

    /// Ends it: SIGTERM, then SIGKILL after `patience`. Returns when it has ended.
    ///
    /// # Errors
    /// Where it may not be signalled, or survives SIGKILL by two seconds.
    pub fn end(&self, patience: Duration) -> io::Result<()> {
        if !self.is_of_this_namespace() {
            return if self.is_alive() {
                Err(io::Error::other("it is in another PID namespace"))
            } else {
                Ok(())
            };
        }
        let Some(handle) = ProcessHandle::open(self.pid)? else { return Ok(()) };
        // Checked with the handle open: from here on the PID cannot be reused.
        if !self.is_alive() {
            return Ok(());
        }
        handle.signal(Signal::TERM)?;
        if handle.ends_within(patience)? {
            return Ok(());
        }
        handle.signal(Signal::KILL)?;
        if handle.ends_within(KILL_PATIENCE)? {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "it survived SIGKILL"))
    }
}

/// The inode number of the machine's first PID namespace, from which all processes are visible:
/// `PROC_PID_INIT_INO` of include/linux/proc_ns.h.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

fn own_pid_namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

/// Whether that PID namespace has a process; true where not all processes are visible.
fn may_have_processes(pid_namespace: u64) -> bool {
    if !own_pid_namespace().is_ok_and(|own| own == FIRST_PID_NAMESPACE) {
        return true;
    }
    let Ok(mut pids) = pids() else { return true };
    pids.any(|pid| fs::metadata(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns.ino() == pid_namespace))
}

/// The caller's PID, if `/proc` belongs to its own PID namespace.
pub(super) fn own_pid() -> io::Result<i32> {
    let own = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    if fs::read_link("/proc/self")?.to_str() == Some(own.to_string().as_str()) {
        Ok(own)
    } else {
        Err(io::Error::other("/proc belongs to another PID namespace"))
    }
}

/// Whether an error of reading `/proc/PID/...` means that there is no such process, rather than that it could
/// not be examined.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

/// When a process started, as counted in the machine's first time namespace.
///
/// `/proc/PID/stat` shows it with the offset of the reader's own time namespace added (`do_task_stat` of
/// fs/proc/array.c), so that two readers may see two numbers for one process.
fn start_ticks(pid: i32) -> io::Result<u64> {
    let shown = shown_start_ticks(pid)?;
    let offset = boottime_offset_ticks().unwrap_or(0);
    Ok(shown.saturating_add_signed(offset.saturating_neg()))
}

/// The offset of the caller's time namespace from the first one, in clock ticks; none where the kernel has no
/// time namespaces.
fn boottime_offset_ticks() -> Option<i64> {
    let offsets = fs::read_to_string("/proc/self/timens_offsets").ok()?;
    let line = offsets.lines().find(|line| line.starts_with("boottime"))?;
    let mut fields = line.split_ascii_whitespace().skip(1).filter_map(|field| field.parse::<i64>().ok());
    let (seconds, nanoseconds) = (fields.next()?, fields.next()?);
    let per_second = i64::try_from(ticks_per_second()).ok()?;
    Some(seconds.saturating_mul(per_second) + nanoseconds.saturating_mul(per_second) / 1_000_000_000)
}

/// The start time as `/proc/PID/stat` shows it. A zombie has ended: nothing of it runs any more.
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
        // From the first PID namespace all processes are visible, and none is in that one.
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
