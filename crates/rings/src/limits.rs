//! The memory and the file descriptors that this process can still have.

use std::fs;
use std::io;
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nsrouter_linux::procfs::fields;

use crate::sys::child;

/// The limit of open file descriptors (RLIMIT_NOFILE, `ulimit -n`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// The limit in force.
    pub soft: u64,
    /// The limit to which it may be raised.
    pub hard: u64,
}

impl Descriptors {
    /// Raises this process's soft limit to the hard one, and returns the limits before. Programs that it
    /// starts should get those: some use select(2), which cannot handle a descriptor above 1,023.
    ///
    /// # Errors
    /// That of getrlimit(2) or setrlimit(2).
    pub fn raise() -> io::Result<Descriptors> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok(Descriptors { soft, hard })
    }

    /// Starts a child with these limits.
    pub fn give_to(self, command: &mut Command) {
        child::set_in_child(command, self.soft, self.hard);
    }
}

/// Available memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    /// Of the machine, or of the control group where that has less.
    pub memory: u64,
    /// What this process may still map (RLIMIT_AS, `ulimit -v`); `None`: no limit.
    pub mapped: Option<u64>,
    /// What this process may still pin (RLIMIT_MEMLOCK, `ulimit -l`); `None`: no limit, as with CAP_IPC_LOCK.
    pub locked: Option<u64>,
}

/// One part in so many of the free memory is left to the lab's programs.
const RESERVE: u64 = 8;

/// Reads how much memory is available now.
///
/// # Errors
/// Where /proc cannot be read or parsed.
pub fn available_memory() -> io::Result<Available> {
    let unknown = || io::Error::from(io::ErrorKind::InvalidData);
    let machine = fields::bytes(&fs::read_to_string("/proc/meminfo")?, "MemAvailable").ok_or_else(unknown)?;
    let free = group_memory().map_or(machine, |group| group.min(machine));
    let status = fs::read_to_string("/proc/self/status")?;
    let limit =
        |resource| getrlimit(resource).ok().map(|(soft, _)| soft).filter(|soft| *soft != libc::RLIM_INFINITY);
    let size = fields::bytes(&status, "VmSize").unwrap_or(0);
    let pinned = fields::bytes(&status, "VmPin").unwrap_or(0);
    Ok(Available {
        memory: free - free / RESERVE,
        mapped: limit(Resource::RLIMIT_AS).map(|limit| limit.saturating_sub(size)),
        locked: limit(Resource::RLIMIT_MEMLOCK)
            .filter(|_| !may_lock(&status))
            .map(|limit| limit.saturating_sub(pinned)),
    })
}

/// Whether this process's address space is limited (RLIMIT_AS, `ulimit -v`).
///
/// Each thread maps a signal stack and an arena for its allocations, and one that cannot map its signal stack
/// aborts the process: so where there is a limit, what could be done side by side is done one by one.
#[must_use]
pub fn is_address_space_limited() -> bool {
    // It fails only for a resource that there is not.
    getrlimit(Resource::RLIMIT_AS).is_ok_and(|(soft, _)| soft != libc::RLIM_INFINITY)
}

/// CAP_IPC_LOCK (include/uapi/linux/capability.h).
const CAP_IPC_LOCK: u64 = 14;

/// Whether RLIMIT_MEMLOCK does not apply to this process, by its /proc/self/status.
fn may_lock(status: &str) -> bool {
    let capabilities =
        fields::value(status, "CapEff").and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or(0);
    capabilities >> CAP_IPC_LOCK & 1 == 1
}

/// The least that any control group above this process has left; `None` where none has a limit (cgroup v2,
/// memory.max).
fn group_memory() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = std::path::Path::new("/sys/fs/cgroup");
    let number = |path: std::path::PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let path = root.join(own);
    let above = path.ancestors().take_while(|folder| folder.starts_with(root));
    above
        .filter_map(|folder| {
            let used = number(folder.join("memory.current")).unwrap_or(0);
            number(folder.join("memory.max")).map(|max| max.saturating_sub(used))
        })
        .min()
}

/// The hint for a failure to open a descriptor: the limit of open files where that is the reason, else
/// `otherwise`.
pub(crate) fn hint_of(error: &io::Error, otherwise: &'static str) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => "`ulimit -n` allows no more open files",
        Some(libc::ENFILE) => "the machine's limit of open files, fs.file-max, is reached",
        _ => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_the_limit_that_there_was_before() {
        let before = Descriptors::raise().expect("a limit can be raised to the hard one");
        let lower = Descriptors { soft: before.hard.min(100), hard: before.hard };
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -Sn"]);
        lower.give_to(&mut shell);
        let told = shell.output().expect("a shell starts").stdout;
        assert_eq!(String::from_utf8_lossy(&told).trim(), lower.soft.to_string());
        assert_eq!(Descriptors::raise().expect("again").soft, before.hard, "this process has all");
    }

    #[test]
    fn this_process_has_memory_left() {
        let available = available_memory().expect("/proc is there");
        assert!(available.memory > 1 << 20, "{available:?}");
        assert!(available.mapped.is_none_or(|bytes| bytes > 0), "{available:?}");
    }

    #[test]
    fn the_capability_is_read_by_its_number() {
        assert!(may_lock("Name:\tx\nCapEff:\t0000000000004000\n"));
        assert!(!may_lock("Name:\tx\nCapEff:\t0000000000003fff\n"));
        assert!(!may_lock("Name:\tx\n"));
    }

    #[test]
    fn the_hint_depends_on_the_errno() {
        let of = |errno| hint_of(&io::Error::from_raw_os_error(errno), "it takes CAP_NET_RAW");
        assert!(of(libc::EMFILE).contains("ulimit -n") && of(libc::ENFILE).contains("fs.file-max"));
        assert_eq!(of(libc::EPERM), "it takes CAP_NET_RAW");
    }
}
