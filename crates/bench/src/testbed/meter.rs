//! The cost of forwarding: CPU time and frames over the same stretch of time.
//!
//! The machine's CPU time is what /proc/stat counts as busy, in the kernel's ticks: the hosts' share is in
//! it, and that of everything else on the machine. The router's own time is what its threads ran, in
//! nanoseconds. Kernel forwarding has no threads of its own: it runs in the sender's context, so there only
//! the machine's figure says something.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nsrouter_linux::procfs::process::{self, ProcessStat};
use nsrouter_linux::procfs::{self, cpu};

use super::counters::{CounterError, Totals};
use super::{Host, Testbed};
use crate::metric::{Metric, Sample};

/// Bytes of a full Ethernet frame without FCS at an MTU of 1500: a GSO packet counts as so many of these.
const FULL_FRAME_BYTES: f64 = 1514.0;
/// The longest that frames are on their way.
const DRAIN_WITHIN: Duration = Duration::from_millis(500);
/// Without a new frame for so long, none is on its way.
pub(crate) const STILL_FOR: Duration = Duration::from_millis(20);

/// The processes whose threads are the router's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// None: the kernel forwards.
    Kernel,
    /// That process.
    Process(i32),
    /// That process and its descendants.
    Tree(i32),
}

/// Reads the counters of a testbed at any moment.
pub(crate) struct Meter {
    stat: File,
    client: File,
    server: File,
    owner: Owner,
    ticks_per_second: u64,
}

/// CPU time and frames until one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    at: Instant,
    machine_s: f64,
    router_s: Option<f64>,
    pub(crate) client: Totals,
    pub(crate) server: Totals,
}

impl Meter {
    /// Opens the kernel's files.
    pub(crate) fn new(testbed: &Testbed, owner: Owner) -> Result<Meter, CounterError> {
        let counters = |host: &Host| host.run(|| procfs::open_net("dev").map_err(CounterError::Read));
        Ok(Meter {
            stat: File::open("/proc/stat").map_err(CounterError::Read)?,
            client: counters(&testbed.client)?,
            server: counters(&testbed.server)?,
            owner,
            ticks_per_second: cpu::ticks_per_second(),
        })
    }

    /// Reads them.
    pub(crate) fn read(&self) -> Result<Reading, CounterError> {
        let read = || -> io::Result<Reading> {
            let busy = cpu::busy_ticks(&procfs::read_from_start(&self.stat)?);
            Ok(Reading {
                at: Instant::now(),
                machine_s: busy as f64 / self.ticks_per_second as f64,
                router_s: self.router_seconds()?,
                client: Totals::of(&procfs::read_from_start(&self.client)?),
                server: Totals::of(&procfs::read_from_start(&self.server)?),
            })
        };
        read().map_err(CounterError::Read)
    }

    fn router_seconds(&self) -> io::Result<Option<f64>> {
        let pids = match self.owner {
            Owner::Kernel => return Ok(None),
            Owner::Process(pid) => vec![pid],
            Owner::Tree(root) => tree(root, &parents()?),
        };
        Ok(Some(pids.into_iter().map(process::run_time_ns).sum::<u64>() as f64 / 1e9))
    }

    /// Does `work` and measures meanwhile: from `from` after its beginning for `length`, or until it ends.
    pub(crate) fn beside<T, E: From<CounterError>>(
        &self,
        from: Duration,
        length: Duration,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<(T, Cost), E> {
        let (done, ended) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let watch = scope.spawn(move || -> Result<Cost, CounterError> {
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
            let cost = watch.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((result?, cost?))
        })
    }

    /// Waits until no more frames arrive at the server, and reads.
    pub(crate) fn drained(&self) -> Result<Reading, CounterError> {
        let deadline = Instant::now() + DRAIN_WITHIN;
        let mut last = self.read()?;
        let mut since = Instant::now();
        while since.elapsed() < STILL_FOR && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
            let now = self.read()?;
            if now.server.rx_frames != last.server.rx_frames {
                since = Instant::now();
            }
            last = now;
        }
        Ok(last)
    }
}

/// CPU time, and the frames that were forwarded for it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cost {
    seconds: f64,
    machine_s: f64,
    router_s: Option<f64>,
    /// Of frames without FCS that reached either host.
    bytes: f64,
    /// Those frames; a GSO packet counts as the full frames that it holds.
    packets: f64,
    /// Frames that reached the server's interface, as the kernel counts them.
    to_server: u64,
}

impl Cost {
    fn between(first: &Reading, last: &Reading) -> Cost {
        let (mut bytes, mut packets) = (0.0, 0.0);
        for (before, after) in [(first.client, last.client), (first.server, last.server)] {
            let grown = after.rx_bytes.saturating_sub(before.rx_bytes) as f64;
            let frames = after.rx_frames.saturating_sub(before.rx_frames) as f64;
            bytes += grown;
            packets += frames.max(grown / FULL_FRAME_BYTES);
        }
        Cost {
            seconds: last.at.duration_since(first.at).as_secs_f64(),
            machine_s: last.machine_s - first.machine_s,
            router_s: last.router_s.zip(first.router_s).map(|(after, before)| (after - before).max(0.0)),
            bytes,
            packets,
            to_server: last.server.rx_frames.saturating_sub(first.server.rx_frames),
        }
    }

    /// Frames per second that reached the server's interface.
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

/// The parent of each process.
fn parents() -> io::Result<HashMap<i32, i32>> {
    // A process may end between the two looks.
    let parent = |pid: i32| Some((pid, ProcessStat::of(pid).ok()?.parent));
    Ok(process::pids()?.filter_map(parent).collect())
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
    fn descendants_are_found_and_strangers_are_not() {
        let parents = HashMap::from([(1, 0), (2, 1), (3, 2), (4, 3), (5, 1)]);
        let mut found = tree(2, &parents);
        found.sort_unstable();
        assert_eq!(found, [2, 3, 4]);
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(tree(own, &super::parents().unwrap()).contains(&own));
    }

    #[test]
    fn gso_packets_count_as_the_frames_that_they_hold() {
        let reading = |at: Instant, seconds: f64, frames: u64, bytes: u64| Reading {
            at,
            machine_s: seconds,
            router_s: Some(seconds / 2.0),
            client: Totals::default(),
            server: Totals { rx_frames: frames, rx_bytes: bytes, ..Totals::default() },
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
