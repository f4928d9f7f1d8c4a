//! What is measured: modes, scenarios, and the order in which their cells run.

mod mode;
pub mod place;
mod scenario;

use std::str::FromStr;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::traffic::TrafficChoice;
pub use mode::{Forwarder, Mode};
use place::Placement;
pub use scenario::{Direction, Family, Frames, Load, Rate, Scenario};

/// Scenarios that go by one name.
const SETS: [(&str, &str); 3] = [
    ("quick", "tcp-1,udp-64,latency-idle"),
    ("speed", "tcp-1,tcp-4,udp-64,ndr-64,udp-64-at-kernel70,udp-64-at-own70,ping,latency-idle,latency-load"),
    (
        "full",
        "tcp-1,tcp-4,tcp-1-reverse,tcp-bidir,tcp-1-v6,udp-64,udp-128,udp-256,udp-512,udp-1024,udp-1280,udp-1518,\
         udp-imix,ndr-64,udp-64-at-kernel70,udp-64-at-own70,ping,latency-idle,latency-load,latency-idle-v6,connections",
    ),
];

/// One scenario, or a named set of them: what a command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenarios(pub Vec<Scenario>);

impl FromStr for Scenarios {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let set = SETS.iter().find(|(name, _)| *name == text);
        let names = set.map_or(text, |(_, names)| names);
        names.split(',').map(str::parse).collect::<Result<_, _>>().map(Scenarios)
    }
}

/// A mode or scenario that there is not, or a plan that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Not a mode.
    #[error(
        "there is no mode `{text}`; the modes are kernel, userspace:BACKEND (packet, tap, xdp) and cmd:SCRIPT, with the \
         options :no-offload, and for userspace :spin=TIME, :workers=N and :nice=N"
    )]
    Mode {
        /// What was asked for.
        text: String,
    },
    /// Not a scenario.
    #[error(
        "there is no scenario `{text}`; there are tcp-N, tcp-N-reverse, tcp-bidir, udp-SIZE, udp-SIZE-at-RATE, udp-imix, \
         ndr-SIZE, ping, latency-idle, latency-load and connections, each also with -v6 and then -1k or -1m (routes), and the \
         sets quick, speed and full"
    )]
    Scenario {
        /// What was asked for.
        text: String,
    },
    /// A frame that does not exist or holds no numbered datagram.
    #[error(
        "`{text}` cannot be sent: frames are 62 (IPv6: 82) to 1518 bytes long with their FCS, 64 being the usual least"
    )]
    FrameSize {
        /// What was asked for.
        text: String,
    },
    /// Nothing to do.
    #[error("nothing to measure: give at least one {what}")]
    Empty {
        /// Mode, scenario or round.
        what: &'static str,
    },
    /// The same mode or scenario twice would be counted as one with twice the samples.
    #[error("`{text}` is given twice")]
    Twice {
        /// The word that is there twice.
        text: String,
    },
    /// A rate that is a share of a result, without that result.
    #[error("`{text}` is a share of what `{needs}` gives: measure that too{}", if *.kernel { ", in the mode kernel" } else { "" })]
    Depends {
        /// The scenario.
        text: String,
        /// What it depends on.
        needs: String,
        /// Whether it is the kernel's result that is missing.
        kernel: bool,
    },
    /// Routes that nobody can load.
    #[error("`{scenario}` loads routes with ip, which `{mode}` does not read: measure it without that mode")]
    Routes {
        /// The scenario.
        scenario: String,
        /// The mode.
        mode: String,
    },
}

/// A whole benchmark, as asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Columns. Ratios are to [`Mode::references`], where those are among them.
    pub modes: Vec<Mode>,
    /// Rows.
    pub scenarios: Vec<Scenario>,
    /// Samples of every cell.
    pub rounds: u32,
    /// Measured time of a cell, without its warm-up.
    pub seconds: u32,
    /// Time of the same load before it counts.
    pub warm_up_seconds: u32,
    /// Decides the order of the cells and the resampling.
    pub seed: u64,
    /// What generates the traffic.
    pub traffic: TrafficChoice,
    /// Where things run.
    pub placement: Placement,
    /// The hosts' TCP congestion control, where it is not to be the machine's.
    pub congestion: Option<String>,
}

/// One measurement: this scenario in this mode, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Counted from 0.
    pub round: u32,
    /// What is sent.
    pub scenario: Scenario,
    /// Who forwards.
    pub mode: Mode,
}

impl Plan {
    /// Where things run in this scenario. Where nothing else runs there is nothing to keep apart, and a sleeping processor that
    /// must be woken for each echo is what would be measured.
    pub fn placement_of(&self, scenario: &Scenario) -> Placement {
        match scenario.load {
            Load::Ping | Load::LatencyIdle => Placement::Scheduler,
            Load::Tcp { .. }
            | Load::Udp { .. }
            | Load::Ndr { .. }
            | Load::LatencyLoad
            | Load::Connections => self.placement,
        }
    }

    /// Whether the plan can be run at all.
    ///
    /// # Errors
    /// Says what is missing or double.
    pub fn validate(&self) -> Result<(), PlanError> {
        let empty = [
            (self.modes.is_empty(), "mode"),
            (self.scenarios.is_empty(), "scenario"),
            (self.rounds == 0, "round"),
            (self.seconds == 0, "second"),
        ];
        if let Some(&(_, what)) = empty.iter().find(|(empty, _)| *empty) {
            return Err(PlanError::Empty { what });
        }
        let modes = self.modes.iter().map(ToString::to_string);
        let mut names: Vec<String> = modes.chain(self.scenarios.iter().map(ToString::to_string)).collect();
        names.sort();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(PlanError::Twice { text: pair[0].clone() });
        }
        for scenario in &self.scenarios {
            self.can_be_measured(scenario)?;
        }
        Ok(())
    }

    fn can_be_measured(&self, scenario: &Scenario) -> Result<(), PlanError> {
        let text = scenario.to_string();
        if let Some(needs) = scenario.depends_on() {
            let of_kernel = matches!(scenario.load, Load::Udp { rate: Rate::OfKernel(_), .. });
            let no_kernel = of_kernel && !self.modes.contains(&Mode::kernel());
            if no_kernel || !self.scenarios.contains(&needs) {
                return Err(PlanError::Depends { text, needs: needs.to_string(), kernel: no_kernel });
            }
        }
        let reads_no_routes = |mode: &&Mode| matches!(mode.forwarder, Forwarder::Script { .. });
        match self.modes.iter().find(reads_no_routes) {
            Some(mode) if scenario.routes > 0 => {
                Err(PlanError::Routes { scenario: text, mode: mode.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// All cells in the order in which they run: round by round, the scenarios of a round shuffled, and of each scenario
    /// the modes right after each other, shuffled too. What the machine does meanwhile then meets all modes alike.
    /// Scenarios that depend on another's result come last in their round.
    pub fn schedule(&self) -> Vec<Cell> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut cells = Vec::new();
        for round in 0..self.rounds {
            let mut scenarios = self.scenarios.clone();
            scenarios.shuffle(&mut rng);
            scenarios.sort_by_key(|scenario| scenario.depends_on().is_some());
            for scenario in scenarios {
                let mut modes = self.modes.clone();
                modes.shuffle(&mut rng);
                cells.extend(modes.into_iter().map(|mode| Cell { round, scenario, mode }));
            }
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan(rounds: u32, seed: u64) -> Plan {
        Plan {
            modes: ["kernel", "userspace:packet", "userspace:tap"].map(|m| m.parse().unwrap()).into(),
            scenarios: ["tcp-1", "udp-64", "latency-idle"].map(|s| s.parse().unwrap()).into(),
            rounds,
            seconds: 1,
            warm_up_seconds: 1,
            seed,
            traffic: TrafficChoice::Auto,
            placement: crate::plan::place::Placement::Scheduler,
            congestion: None,
        }
    }

    #[test]
    fn every_cell_once_a_round_and_modes_side_by_side() {
        let plan = plan(4, 11);
        let cells = plan.schedule();
        assert_eq!(cells.len(), 4 * 3 * 3);
        for group in cells.chunks(3) {
            assert!(group.iter().all(|c| c.round == group[0].round && c.scenario == group[0].scenario));
            for mode in &plan.modes {
                assert_eq!(group.iter().filter(|c| c.mode == *mode).count(), 1);
            }
        }
        assert!(cells.windows(2).all(|pair| pair[0].round <= pair[1].round));
        for cell in &cells {
            assert_eq!(cells.iter().filter(|c| *c == cell).count(), 1);
        }
    }

    #[test]
    fn the_seed_decides_the_order() {
        assert_eq!(plan(5, 1).schedule(), plan(5, 1).schedule());
        assert_ne!(plan(5, 1).schedule(), plan(5, 2).schedule());
        let first: Vec<Mode> = plan(20, 3).schedule().chunks(3).map(|c| c[0].mode.clone()).collect();
        assert!(first.iter().any(|m| *m != first[0]), "the same mode goes first every time");
    }

    #[test]
    fn a_plan_must_say_something_and_nothing_twice() {
        assert_eq!(plan(1, 1).validate(), Ok(()));
        assert_eq!(plan(0, 1).validate(), Err(PlanError::Empty { what: "round" }));
        let mut double = plan(1, 1);
        double.modes.push(Mode::kernel());
        assert_eq!(double.validate(), Err(PlanError::Twice { text: "kernel".into() }));
    }
    #[test]
    fn what_depends_on_a_result_comes_after_it() {
        let mut plan = plan(6, 5);
        plan.scenarios =
            ["udp-64-at-kernel70", "ndr-64", "udp-64-at-own70"].map(|s| s.parse().unwrap()).into();
        assert_eq!(plan.validate(), Ok(()));
        for round in plan.schedule().chunks(9) {
            assert!(round[..3].iter().all(|cell| matches!(cell.scenario.load, Load::Ndr { .. })));
        }
        plan.modes.remove(0);
        assert!(matches!(plan.validate(), Err(PlanError::Depends { kernel: true, .. })));
        plan.scenarios.remove(1);
        plan.modes.push(Mode::kernel());
        assert!(matches!(plan.validate(), Err(PlanError::Depends { kernel: false, .. })));
    }

    #[test]
    fn sets_are_scenarios_by_one_name() {
        for (name, _) in SETS {
            let Scenarios(scenarios) = name.parse().unwrap();
            let plan = Plan { scenarios, ..plan(1, 1) };
            assert_eq!(plan.validate(), Ok(()), "{name}");
        }
        assert_eq!("tcp-1".parse(), Ok(Scenarios(vec!["tcp-1".parse().unwrap()])));
        assert!("fast".parse::<Scenarios>().is_err());
    }

    #[test]
    fn no_routes_for_a_script() {
        let mut plan = plan(1, 1);
        plan.scenarios = vec!["tcp-1-1m".parse().unwrap()];
        assert_eq!(plan.validate(), Ok(()));
        plan.modes.push("cmd:./peer.sh".parse().unwrap());
        assert!(matches!(plan.validate(), Err(PlanError::Routes { .. })));
    }
}
