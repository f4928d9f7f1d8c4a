//! CPU placement: the sending host, the receiving host and the router each pinned to a CPU of its own, as far
//! as there are enough, and the same in every mode.
//!
//! A scheduler that keeps moving them makes results that differ by half from one sample to the next. On two
//! CPUs the router shares one with the receiving host: kernel forwarding runs in the sender.

use std::fmt;
use std::str::FromStr;

use nsrouter_linux::affinity;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The CPU that a thread is pinned to; `None` leaves it to the scheduler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pin(pub Option<usize>);

impl Pin {
    /// Pins the calling thread, and what it starts.
    pub(crate) fn pin_thread(self) {
        let Some(cpu) = self.0 else { return };
        // A CPU that went offline since the plan was made leaves the thread where it is; the results say
        // which CPUs the lab was allowed.
        let _ = affinity::pin(&[cpu]);
    }
}

/// Who decides on which CPU things run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The scheduler.
    Scheduler,
    /// Everything is pinned.
    Pinned {
        /// The CPU of the client's host, which sends.
        client: usize,
        /// The CPU of the server's host.
        server: usize,
        /// The CPU of a userspace router's worker.
        router: usize,
    },
}

impl Placement {
    /// Pinned to the first CPUs that this process may use, where there are two or more.
    pub fn pinned() -> Placement {
        Placement::over(affinity::available().unwrap_or_default().into_iter())
    }

    fn over(mut cpus: impl Iterator<Item = usize>) -> Placement {
        match (cpus.next(), cpus.next()) {
            (Some(client), Some(server)) => {
                Placement::Pinned { client, server, router: cpus.next().unwrap_or(server) }
            }
            _ => Placement::Scheduler,
        }
    }

    /// The pins of the client's host, the server's host and the router.
    pub fn pins(self) -> [Pin; 3] {
        match self {
            Placement::Scheduler => [Pin(None); 3],
            Placement::Pinned { client, server, router } => {
                [client, server, router].map(|cpu| Pin(Some(cpu)))
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
                "`{text}` is no placement: pinned, scheduler, or the CPUs of client, server and router as in 0,1,2"
            )),
        }
    }
}

impl Serialize for Placement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Placement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Placement, D::Error> {
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
    fn a_thread_is_pinned_and_no_other_is() {
        let before = affinity::available().unwrap();
        let first = before[0];
        let inside = std::thread::spawn(move || {
            Pin(Some(first)).pin_thread();
            affinity::available().unwrap()
        });
        assert_eq!(inside.join().unwrap(), [first]);
        assert_eq!(affinity::available().unwrap(), before);
    }
}
