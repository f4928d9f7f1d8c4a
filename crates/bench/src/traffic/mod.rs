//! What makes packets: echo, trace and verified transfers of our own, and iperf3 as a real client and server.
//!
//! Everything here acts in the network namespace of the thread that calls it. Whoever calls decides where that is:
//! `bench` enters the namespaces of a lab's hosts itself ([`crate::agent`]), `check` does so through the lab.

pub(crate) mod builtin;
mod echo;
mod icmp;
pub(crate) mod interface;
pub mod iperf3;
mod trace;
pub mod verified;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use echo::{EchoOptions, EchoReport, echo};
pub use iperf3::Iperf3Error;
pub use trace::{Answer, TraceOptions, trace};

/// Which generator was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrafficChoice {
    /// The first that this machine has.
    #[default]
    Auto,
    /// iperf3, or an error.
    Iperf3,
    /// Our own.
    Builtin,
}

impl fmt::Display for TrafficChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrafficChoice::Auto => "auto",
            TrafficChoice::Iperf3 => "iperf3",
            TrafficChoice::Builtin => "builtin",
        })
    }
}

impl FromStr for TrafficChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(TrafficChoice::Auto),
            "iperf3" => Ok(TrafficChoice::Iperf3),
            "builtin" => Ok(TrafficChoice::Builtin),
            _ => Err(format!("there is no traffic generator `{text}`; there are auto, iperf3 and builtin")),
        }
    }
}

/// The generator that a choice comes to on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Generator {
    /// iperf3.
    Iperf3 {
        /// What it says of itself.
        version: String,
    },
    /// `builtin`.
    Builtin,
}

impl Generator {
    /// Looks what there is.
    ///
    /// # Errors
    /// Where iperf3 was asked for by name and is not there, or cannot be started.
    pub fn choose(choice: TrafficChoice) -> Result<Generator, Iperf3Error> {
        match (choice, iperf3::version()) {
            (TrafficChoice::Builtin, _) | (TrafficChoice::Auto, Err(Iperf3Error::Missing)) => {
                Ok(Generator::Builtin)
            }
            (TrafficChoice::Auto | TrafficChoice::Iperf3, version) => {
                Ok(Generator::Iperf3 { version: version? })
            }
        }
    }
}

impl fmt::Display for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Generator::Iperf3 { version } => f.write_str(version),
            Generator::Builtin => f.write_str("the built-in generator"),
        }
    }
}

/// One measured value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What was measured: `throughput`, `forwarded`, `delivered`, `latency_p50` and so on.
    pub metric: String,
    /// Its unit: `bit/s`, `packet/s`, `s`, `1` for shares, `segment` for counts of them.
    pub unit: String,
    /// The value, in that unit.
    pub value: f64,
}

impl Sample {
    pub(crate) fn new(metric: &str, unit: &str, value: f64) -> Sample {
        Sample { metric: metric.into(), unit: unit.into(), value }
    }
}
