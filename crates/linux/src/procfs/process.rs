//! `/proc/PID`: state, parent, start and CPU time of a process.

use std::fs;
use std::io;
use std::path::Path;

/// What `/proc/PID/stat` says about a process (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    /// `R`, `S`, `D`, `Z` and so on; `Z` is a zombie: the process has ended and its parent has not yet reaped
    /// it.
    pub state: char,
    /// The PID of the parent.
    pub parent: i32,
    /// When the process started, in clock ticks since boot, with the offset of the reader's time namespace
    /// added (do_task_stat() of fs/proc/array.c).
    pub start_ticks: u64,
}

impl ProcessStat {
    /// Reads it for the process of that PID.
    ///
    /// # Errors
    /// NotFound or ESRCH where there is no such process; InvalidData where the kernel's text is not
    /// understood.
    pub fn of(pid: i32) -> io::Result<Self> {
        let text = fs::read(format!("/proc/{pid}/stat"))?;
        // The process chooses its name, which need not be UTF-8.
        Self::parse(&String::from_utf8_lossy(&text)).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("unexpected text in /proc/{pid}/stat"))
        })
    }

    /// Parses the text of the file. The second field, the name, is in parentheses and may itself contain
    /// blanks and parentheses.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
        Some(Self {
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            start_ticks: fields.nth(17)?.parse().ok()?,
        })
    }
}

/// The PIDs of all processes that `/proc` shows.
///
/// # Errors
/// Where `/proc` cannot be read.
pub fn pids() -> io::Result<impl Iterator<Item = i32>> {
    Ok(fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// Nanoseconds for which all present threads of a process have run on a CPU, from the first number of each
/// one's `schedstat` (Documentation/scheduler/sched-stats.rst). A thread that has ended no longer counts; a
/// process that has ended has 0.
pub fn run_time_ns(pid: i32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().filter_map(Result::ok);
    let ran = |task: &Path| {
        let text = fs::read_to_string(task.join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    tasks.filter_map(|task| ran(&task.path())).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_counted_after_the_name() {
        let text = "42 (a) b (c)) S 7 42 42 0 -1 4194304 98 0 0 0 11 12 0 0 20 0 1 0 1206430 3133440 382\n";
        let stat = ProcessStat { state: 'S', parent: 7, start_ticks: 1_206_430 };
        assert_eq!(ProcessStat::parse(text), Some(stat));
        assert_eq!(ProcessStat::parse("42 (cut) S 7 42"), None);
        assert_eq!(ProcessStat::parse("nonsense"), None);
    }

    #[test]
    fn this_process_is_seen_to_run() {
        let own = i32::try_from(std::process::id()).unwrap();
        let stat = ProcessStat::of(own).unwrap();
        assert!("RS".contains(stat.state) && stat.start_ticks > 0, "{stat:?}");
        assert_eq!(u32::try_from(stat.parent).unwrap(), std::os::unix::process::parent_id());
        assert!(pids().unwrap().any(|pid| pid == own));
        let before = run_time_ns(own);
        // Updated by the scheduler's tick.
        while run_time_ns(own) == before {
            std::hint::spin_loop();
        }
        assert_eq!(run_time_ns(-1), 0);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9]{0,3} ?\\(?.{0,8}\\)( ?[A-Z0-9\\-]{0,21}){0,24}|.{0,40}") {
            let _ = ProcessStat::parse(&text);
        }
    }
}
