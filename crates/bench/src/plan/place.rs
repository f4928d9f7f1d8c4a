//! Where things run: the sending host, the receiving host and the router each on a processor of its own, as far as there are
//! enough, and the same in every mode.
//!
//! A scheduler that places them anew all the time makes results that differ by half from one sample to the next. On two
//! processors the router shares one with the receiving host: the sender is what kernel forwarding burdens.

use std::fmt;
use std::str::FromStr;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// The processor that something stays on; `None`: wherever the scheduler puts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place(pub Option<usize>);

impl Place {
    /// Has the calling thread stay there, and what it starts.
    pub(crate) fn take(self) {
        let Some(cpu) = self.0 else { return };
        let mut set = CpuSet::new();
        // A processor that went away since the plan was made leaves the thread where it is: the placement that was had
        // stands in the results.
        let _ = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    }
}

/// Who decides where things run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The scheduler, all the time.
    Scheduler,
    /// Everything stays on its processor.
    Pinned {
        /// The client's host: it sends.
        client: usize,
        /// The server's host.
        server: usize,
        /// The workers of a userspace router.
        router: usize,
    },
}

impl Placement {
    /// Pinned to the first processors that this process may use, where there are two or more.
    pub fn pinned() -> Placement {
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        Placement::over((0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)))
    }

    fn over(mut cpus: impl Iterator<Item = usize>) -> Placement {
        match (cpus.next(), cpus.next()) {
            (Some(client), Some(server)) => {
                Placement::Pinned { client, server, router: cpus.next().unwrap_or(server) }
            }
            _ => Placement::Scheduler,
        }
    }

    /// Of the client's host, the server's and the router.
    pub fn places(self) -> [Place; 3] {
        match self {
            Placement::Scheduler => [Place(None); 3],
            Placement::Pinned { client, server, router } => {
                [Place(Some(client)), Place(Some(server)), Place(Some(router))]
            }
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Placement::Scheduler => f.write_str("scheduler"),
            Placement::Pinned { client, server, router } => write!(f, "{client},{server},{router}"),
        }
    }
}

impl FromStr for Placement {
    type Err = String;

    fn from_str(text: &str) -> Result<Placement, String> {
        let numbers: Vec<usize> = text.split(',').filter_map(|number| number.parse().ok()).collect();
        match (text, &numbers[..]) {
            ("scheduler", _) => Ok(Placement::Scheduler),
            (_, &[client, server, router]) if text.split(',').count() == 3 => {
                Ok(Placement::Pinned { client, server, router })
            }
            _ => Err(format!(
                "`{text}` is no placement: pinned, scheduler, or the processors of client, server and router as in 0,1,2"
            )),
        }
    }
}

impl Serialize for Placement {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Placement {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Placement, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_router_shares_with_the_receiver_where_it_must() {
        let over = |cpus: &[usize]| Placement::over(cpus.iter().copied());
        assert_eq!(over(&[]), Placement::Scheduler);
        assert_eq!(over(&[3]), Placement::Scheduler);
        assert_eq!(over(&[0, 1]), Placement::Pinned { client: 0, server: 1, router: 1 });
        assert_eq!(over(&[2, 4, 5, 7]), Placement::Pinned { client: 2, server: 4, router: 5 });
    }

    #[test]
    fn placements_read_as_they_are_written() {
        for text in ["scheduler", "0,1,1", "2,4,5"] {
            assert_eq!(text.parse::<Placement>().unwrap().to_string(), text);
        }
        for text in ["", "0,1", "0,1,2,3", "0,a,1", "anywhere"] {
            assert!(text.parse::<Placement>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_thread_takes_its_place_and_no_other_does() {
        let before = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let first = (0..CpuSet::count()).find(|cpu| before.is_set(*cpu).unwrap()).unwrap();
        let inside = std::thread::spawn(move || {
            Place(Some(first)).take();
            sched_getaffinity(Pid::from_raw(0)).unwrap()
        });
        let inside = inside.join().unwrap();
        assert!((0..CpuSet::count()).all(|cpu| inside.is_set(cpu).unwrap() == (cpu == first)));
        assert_eq!(sched_getaffinity(Pid::from_raw(0)).unwrap(), before);
    }
}
