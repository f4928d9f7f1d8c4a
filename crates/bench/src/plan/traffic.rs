//! The traffic generator that a command line asks for.

use std::fmt;
use std::str::FromStr;

/// A choice of traffic generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrafficChoice {
    /// iperf3 where it is installed, otherwise the built-in generator.
    #[default]
    Auto,
    /// iperf3.
    Iperf3,
    /// iperf 2.
    Iperf,
    /// The built-in generator.
    Builtin,
}

impl fmt::Display for TrafficChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrafficChoice::Auto => "auto",
            TrafficChoice::Iperf3 => "iperf3",
            TrafficChoice::Iperf => "iperf",
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
            "iperf" => Ok(TrafficChoice::Iperf),
            "builtin" => Ok(TrafficChoice::Builtin),
            _ => Err(format!(
                "there is no traffic generator `{text}`; there are auto, iperf3, iperf and builtin"
            )),
        }
    }
}
