//! The plan of a benchmark: modes, scenarios, and the order in which their cells run.

mod mode;
mod placement;
mod scenario;
mod traffic;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

pub use mode::{Backend, Forwarder, Mode, ModeError};
pub use placement::{Pin, Placement};
pub use scenario::{Direction, Family, Frames, Load, Rate, Scenario, ScenarioError, Scenarios};
pub use traffic::TrafficChoice;

/// A plan that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is nothing to do.
    #[error("nothing to measure: give at least one {what}")]
    Empty {
        /// Mode, scenario, round or second.
        what: &'static str,
    },
    /// A mode or scenario that is given twice would be counted as one with twice the samples.
    #[error("`{text}` is given twice")]
    Twice {
        /// The word.
        text: String,
    },
    /// A rate is a share of a result that the plan does not measure.
    #[error("`{text}` is a share of what `{needs}` gives: measure that too{}", if *.kernel { ", in the mode kernel" } else { "" })]
    Depends {
        /// The scenario.
        text: String,
        /// The scenario whose result is missing.
        needs: String,
        /// Whether that is the kernel's result.
        kernel: bool,
    },
    /// A forwarder that does not read the routes that a scenario loads.
    #[error("`{scenario}` loads routes with ip, which `{mode}` does not read: measure it without that mode")]
    Routes {
        /// The scenario.
        scenario: String,
        /// The mode.
        mode: String,
    },
}

/// A whole benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The columns. Ratios are to [`Mode::references`], as far as those are among them.
    pub modes: Vec<Mode>,
    /// The rows.
    pub scenarios: Vec<Scenario>,
    /// Samples per cell.
    pub rounds: u32,
    /// Measured time of a cell.
    pub seconds: u32,
    /// Time of the same load before that, not counted.
    pub warm_up_seconds: u32,
    /// Seeds the order of the cells and the resampling.
    pub seed: u64,
    /// The traffic generator.
    pub traffic: TrafficChoice,
    /// CPU placement.
    pub placement: Placement,
    /// The hosts' TCP congestion control; `None` keeps the machine's.
    pub congestion: Option<String>,
}

/// One measurement: this scenario in this mode, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Counted from 0.
    pub round: u32,
    /// The row.
    pub scenario: Scenario,
    /// The column.
    pub mode: Mode,
}

impl Plan {
    /// CPU placement in this scenario. On an otherwise idle path there is nothing to keep apart, and pinning
    /// would measure how long an idle CPU takes to wake for each echo.
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

    /// Checks that the plan can be run.
    ///
    /// # Errors
    /// Names what is missing or given twice.
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

    /// All cells in the order in which they run: round by round, the scenarios of a round shuffled, and of
    /// each scenario the modes right after each other, shuffled too. Whatever else the machine does then
    /// affects all modes alike. Scenarios that depend on another's result come last in their round.
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
impl Plan {
    /// Two modes, two scenarios, five rounds of a second.
    pub(crate) fn example() -> Plan {
        Plan {
            modes: vec![Mode::kernel(), Mode::of("userspace:packet")],
            scenarios: ["tcp-1", "udp-64"].into_iter().flat_map(str::parse).collect(),
            rounds: 5,
            seconds: 1,
            warm_up_seconds: 0,
            seed: 4,
            traffic: TrafficChoice::Auto,
            placement: Placement::Scheduler,
            congestion: None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan(rounds: u32, seed: u64) -> Plan {
        let mut plan = Plan { rounds, seed, ..Plan::example() };
        plan.modes.push(Mode::of("userspace:tap"));
        plan.scenarios.push("latency-idle".parse().unwrap());
        plan
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
    fn every_set_can_be_measured() {
        for (name, _) in scenario::SETS {
            let Scenarios(scenarios) = name.parse().unwrap();
            let plan = Plan { scenarios, ..plan(1, 1) };
            assert_eq!(plan.validate(), Ok(()), "{name}");
        }
    }

    #[test]
    fn no_routes_for_a_script() {
        let mut plan = plan(1, 1);
        plan.scenarios = vec!["tcp-1-1m".parse().unwrap()];
        assert_eq!(plan.validate(), Ok(()));
        plan.modes.push(Mode::of("cmd:./peer.sh"));
        assert!(matches!(plan.validate(), Err(PlanError::Routes { .. })));
    }
}
