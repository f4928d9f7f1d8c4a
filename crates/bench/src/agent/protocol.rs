//! What a run tells its agent, as command-line arguments, and what the agent answers, as one line of JSON.

use serde::{Deserialize, Serialize};

use crate::metric::Sample;
use crate::plan::{Mode, Placement, Scenario, TrafficChoice};
use crate::stats::histogram::Histogram;
use crate::testbed::setting::Setting;

/// One cell to measure. The lab stands, in this mode; only a [`crate::plan::Forwarder::Script`] is the
/// agent's to start.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentOptions {
    /// The row.
    pub scenario: Scenario,
    /// The column.
    pub mode: Mode,
    /// Measured time.
    pub seconds: u32,
    /// Time of the same load before that, not counted.
    pub warm_up_seconds: u32,
    /// The traffic generator.
    pub traffic: TrafficChoice,
    /// CPU placement of the hosts' programs.
    pub placement: Placement,
    /// The hosts' TCP congestion control; `None` keeps the machine's.
    pub congestion: Option<String>,
    /// Frames per second, where the scenario's rate is a share of another's result.
    pub rate: Option<f64>,
}

impl AgentOptions {
    /// The options as command-line arguments.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = [
            ("--scenario", self.scenario.to_string()),
            ("--forwarder", self.mode.to_string()),
            ("--seconds", self.seconds.to_string()),
            ("--warm-up", self.warm_up_seconds.to_string()),
            ("--traffic", self.traffic.to_string()),
            ("--placement", self.placement.to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
        if let Some(congestion) = &self.congestion {
            arguments.extend(["--congestion".into(), congestion.clone()]);
        }
        if let Some(rate) = self.rate {
            arguments.extend(["--rate".into(), rate.to_string()]);
        }
        arguments
    }
}

/// What an agent measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentReport {
    /// The measured values.
    pub samples: Vec<Sample>,
    /// The generator and its version, like `iperf 3.12`.
    pub traffic: String,
    /// All round trips, where those were measured.
    #[serde(default)]
    pub round_trips: Option<Histogram>,
    /// The settings of the lab.
    #[serde(default)]
    pub setting: Option<Setting>,
}

impl AgentReport {
    /// Samples of a generator.
    pub(crate) fn new(samples: Vec<Sample>, traffic: impl Into<String>) -> AgentReport {
        AgentReport { samples, traffic: traffic.into(), round_trips: None, setting: None }
    }
}
