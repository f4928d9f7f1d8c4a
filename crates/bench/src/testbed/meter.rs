//! What the forwarding cost: processor time and frames over the same stretch of time.
//!
//! Whole-machine time is what /proc/stat counts as busy, in the kernel's ticks: it has the hosts' share in it, and whatever else
//! the machine does. The router's own time is what its threads ran, in nanoseconds. Kernel forwarding has no threads of its
//! own: it happens in whoever sends, so there only the machine's figure says something.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{SysconfVar, sysconf};

use crate::agent::AgentError;
use crate::metric::{Metric, Sample};
use crate::testbed::interface::Totals;
use crate::testbed::{Host, Lab};

/// Bytes of a full Ethernet frame without FCS at an MTU of 1500: a super-frame counts as so many of these.
const FULL_FRAME: f64 = 1514.0;
/// Processor ticks a second where the kernel does not say: it has been this everywhere for decades.
const USUAL_TICKS: f64 = 100.0;
/// How long frames that are on their way may take to arrive.
const DRAIN_WITHIN: Duration = Duration::from_millis(500);
/// Nothing new for so long: nothing is on its way.
pub(crate) const STILL_FOR: Duration = Duration::from_millis(20);

/// Whose threads are the router's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody's: the kernel forwards.
    Kernel,
    /// That process's.
    Process(i32),
    /// That process's and its descendants'.
    Tree(i32),
}

/// Reads the counters of a lab at any moment.
pub(crate) struct Meter {
    stat: File,
    client: File,
    server: File,
    owner: Owner,
    ticks: f64,
}

/// Everything at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    at: Instant,
    machine_s: f64,
    router_s: Option<f64>,
    pub(crate) client: Totals,
    pub(crate) server: Totals,
}

impl Meter {
    pub(crate) fn new(lab: &Lab, owner: Owner) -> Result<Meter, AgentError> {
        let counters = |host: &Host| host.run(|| Totals::open().map_err(AgentError::Meter));
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
        Ok(Meter {
            stat: File::open("/proc/stat").map_err(AgentError::Meter)?,
            client: counters(&lab.client)?,
            server: counters(&lab.server)?,
            owner,
            ticks: ticks.map_or(USUAL_TICKS, |ticks| ticks as f64),
        })
    }

    pub(crate) fn read(&self) -> Result<Reading, AgentError> {
        let read = || -> io::Result<Reading> {
            Ok(Reading {
                at: Instant::now(),
                machine_s: busy_ticks(&whole(&self.stat)?) as f64 / self.ticks,
                router_s: self.router_seconds()?,
                client: Totals::of(&whole(&self.client)?),
                server: Totals::of(&whole(&self.server)?),
            })
        };
        read().map_err(AgentError::Meter)
    }

    fn router_seconds(&self) -> io::Result<Option<f64>> {
        let pids = match self.owner {
            Owner::Kernel => return Ok(None),
            Owner::Process(pid) => vec![pid],
            Owner::Tree(root) => tree(root, &parents()?),
        };
        Ok(Some(pids.into_iter().map(thread_nanoseconds).sum::<u64>() as f64 / 1e9))
    }

    /// Does the work and measures meanwhile: from `from` after its beginning for `length`, or until it ends.
    pub(crate) fn beside<T>(
        &self,
        from: Duration,
        length: Duration,
        work: impl FnOnce() -> Result<T, AgentError>,
    ) -> Result<(T, Cost), AgentError> {
        let (done, ended) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let watch = scope.spawn(move || -> Result<Cost, AgentError> {
                let first = match ended.recv_timeout(from) {
                    Err(RecvTimeoutError::Timeout) => self.read()?,
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(Cost::default()),
                };
                // Whichever comes first.
                let _ = ended.recv_timeout(length);
                Ok(Cost::between(&first, &self.read()?))
            });
            let result = work();
            drop(done);
            let cost = watch.join().unwrap_or(Err(AgentError::Panicked));
            Ok((result?, cost?))
        })
    }

    /// Waits until nothing arrives at the server any more, and reads.
    pub(crate) fn drained(&self) -> Result<Reading, AgentError> {
        let deadline = Instant::now() + DRAIN_WITHIN;
        let mut last = self.read()?;
        let mut since = Instant::now();
        while since.elapsed() < STILL_FOR && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
            let now = self.read()?;
            if now.server.received_frames != last.server.received_frames {
                since = Instant::now();
            }
            last = now;
        }
        Ok(last)
    }
}

/// Processor time and what was forwarded for it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cost {
    seconds: f64,
    machine_s: f64,
    router_s: Option<f64>,
    /// Of frames without FCS that reached either host.
    bytes: f64,
    /// Those frames; of super-frames, as many full frames as they hold.
    packets: f64,
    /// Frames that reached the server's interface, as the kernel counts them.
    to_server: u64,
}

impl Cost {
    fn between(first: &Reading, last: &Reading) -> Cost {
        let (mut bytes, mut packets) = (0.0, 0.0);
        for (before, after) in [(first.client, last.client), (first.server, last.server)] {
            let grown = after.received_bytes.saturating_sub(before.received_bytes) as f64;
            let frames = after.received_frames.saturating_sub(before.received_frames) as f64;
            bytes += grown;
            packets += frames.max(grown / FULL_FRAME);
        }
        Cost {
            seconds: last.at.duration_since(first.at).as_secs_f64(),
            machine_s: last.machine_s - first.machine_s,
            router_s: last.router_s.zip(first.router_s).map(|(after, before)| (after - before).max(0.0)),
            bytes,
            packets,
            to_server: last.server.received_frames.saturating_sub(first.server.received_frames),
        }
    }

    /// Frames a second that reached the server's interface.
    pub(crate) fn forwarded(&self) -> f64 {
        self.to_server as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// As samples; none where nothing was forwarded.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        if self.seconds <= 0.0 || self.packets <= 0.0 {
            return Vec::new();
        }
        let (gigabytes, millions) = (self.bytes / 1e9, self.packets / 1e6);
        let mut samples = vec![
            Sample::new(Metric::CpuPerGb, self.machine_s / gigabytes),
            Sample::new(Metric::CpuPerMpkt, self.machine_s / millions),
        ];
        if let Some(router_s) = self.router_s {
            samples.push(Sample::new(Metric::RouterCpuPerGb, router_s / gigabytes));
            samples.push(Sample::new(Metric::RouterCpuPerMpkt, router_s / millions));
        }
        samples
    }
}

/// A file of /proc from its beginning; it is made anew by every read from there.
fn whole(file: &File) -> io::Result<String> {
    let mut text = vec![0; 1 << 14];
    let mut len = 0;
    loop {
        let read = file.read_at(&mut text[len..], len as u64)?;
        len += read;
        if read == 0 {
            text.truncate(len);
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        if len == text.len() {
            text.resize(len * 2, 0);
        }
    }
}

/// Ticks that the processors were busy: user, nice, system, irq and softirq of the first line of /proc/stat (proc_stat(5)). Not
/// idle and iowait, and not steal, which is somebody else's.
fn busy_ticks(stat: &str) -> u64 {
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
    [0, 1, 2, 5, 6].iter().filter_map(|&at| fields.get(at)).sum()
}

/// Nanoseconds that all threads of a process ran: the first number of each one's schedstat
/// (Documentation/scheduler/sched-stats.rst). A thread that has ended meanwhile counts for nothing.
fn thread_nanoseconds(pid: i32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().filter_map(Result::ok);
    let ran = |task: &Path| {
        fs::read_to_string(task.join("schedstat")).ok()?.split_whitespace().next()?.parse::<u64>().ok()
    };
    tasks.filter_map(|task| ran(&task.path())).sum()
}

/// The parent of each process.
fn parents() -> io::Result<HashMap<i32, i32>> {
    let pids = fs::read_dir("/proc")?.filter_map(Result::ok);
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    Ok(pids
        .filter_map(|pid| Some((pid, parent(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect())
}

/// The fourth field of /proc/PID/stat. The second, the name, may have blanks and parentheses in it.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// A process and its descendants.
fn tree(root: i32, parents: &HashMap<i32, i32>) -> Vec<i32> {
    let descends = |mut pid: i32| {
        // No chain of parents is longer than there are processes.
        for _ in 0..parents.len() {
            if pid == root {
                return true;
            }
            match parents.get(&pid) {
                Some(&above) => pid = above,
                None => return false,
            }
        }
        false
    };
    parents.keys().copied().filter(|&pid| descends(pid)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn busy_is_neither_idle_nor_stolen() {
        assert_eq!(busy_ticks("cpu  1 2 4 1000 2000 8 16 4000 0 0\ncpu0 9 9 9 9\n"), 1 + 2 + 4 + 8 + 16);
        assert_eq!(busy_ticks(""), 0);
    }

    #[test]
    fn a_name_with_parentheses_hides_no_parent() {
        assert_eq!(parent("42 (a) b (c)) S 7 42 42 0"), Some(7));
        assert_eq!(parent("nonsense"), None);
    }

    #[test]
    fn descendants_are_found_and_strangers_are_not() {
        let parents = HashMap::from([(1, 0), (2, 1), (3, 2), (4, 3), (5, 1)]);
        let mut found = tree(2, &parents);
        found.sort_unstable();
        assert_eq!(found, [2, 3, 4]);
    }

    #[test]
    fn our_own_threads_have_run() {
        let own = i32::try_from(std::process::id()).unwrap();
        let before = thread_nanoseconds(own);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(60) {
            std::hint::spin_loop();
        }
        let ran = thread_nanoseconds(own) - before;
        // Updated by the scheduler's tick, and shared with the other tests' threads.
        assert!(ran > 20_000_000, "{ran} ns");
        assert!(parents().unwrap().contains_key(&own));
    }

    #[test]
    fn super_frames_count_as_the_frames_that_they_hold() {
        let reading = |at: Instant, seconds: f64, frames: u64, bytes: u64| Reading {
            at,
            machine_s: seconds,
            router_s: Some(seconds / 2.0),
            client: Totals::default(),
            server: Totals { received_frames: frames, received_bytes: bytes, ..Totals::default() },
        };
        let start = Instant::now();
        let first = reading(start, 10.0, 100, 1000);
        let last = reading(start + Duration::from_secs(1), 11.0, 200, 1000 + 1_514_000_000);
        let cost = Cost::between(&first, &last);
        assert!((cost.packets - 1e6).abs() < 1e-6);
        let values: Vec<(Metric, f64)> = cost.samples().into_iter().map(|s| (s.metric, s.value)).collect();
        assert_eq!(values[1], (Metric::CpuPerMpkt, 1.0));
        assert_eq!(values[3], (Metric::RouterCpuPerMpkt, 0.5));
        assert!((values[0].1 - 1.0 / 1.514).abs() < 1e-9);
        assert_eq!(Cost::default().samples(), []);
    }
}
