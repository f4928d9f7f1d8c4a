//! What makes packets: echo, trace and verified transfers of our own, and iperf3 as a real client and server.
//!
//! Everything here acts in the network namespace of the thread that calls it. Whoever calls decides where that is:
//! `bench` enters the namespaces of a lab's hosts itself ([`crate::agent`]), `check` does so through the lab.

mod echo;
mod icmp;
pub mod iperf3;
mod trace;
pub mod verified;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use echo::{EchoOptions, EchoReport, echo};
pub use trace::{Answer, TraceOptions, trace};

/// Which generator was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrafficChoice {
    /// The first that this machine has.
    #[default]
    Auto,
    /// iperf3, or an error.
    Iperf3,
}

impl fmt::Display for TrafficChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrafficChoice::Auto => "auto",
            TrafficChoice::Iperf3 => "iperf3",
        })
    }
}

impl FromStr for TrafficChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(TrafficChoice::Auto),
            "iperf3" => Ok(TrafficChoice::Iperf3),
            _ => Err(format!("there is no traffic generator `{text}`; there are auto and iperf3")),
        }
    }
}

/// One measured value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What was measured: `throughput`, `delivered`, `latency_p50` and so on.
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
