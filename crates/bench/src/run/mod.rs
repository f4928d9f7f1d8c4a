//! Runs a plan cell by cell. A cell that fails is reported and tried once more.

pub mod cell;

use crate::agent::AgentReport;
use crate::metric::Metric;
use crate::plan::{Cell, Forwarder, Mode, Plan, Rate};
use crate::stats;
use crate::testbed::script;
use crate::text::with_causes;
use cell::{Binary, Cancel, CellError};

/// The most attempts at a cell.
const ATTEMPTS: u32 = 2;

/// Samples of one cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// The cell.
    pub cell: Cell,
    /// The agent's report.
    pub report: AgentReport,
}

/// One attempt that gave no samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The cell.
    pub cell: Cell,
    /// Counted from 1.
    pub attempt: u32,
    /// The error and its causes.
    pub message: String,
}

/// The outcome of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// In the order in which they were measured.
    pub measurements: Vec<Measurement>,
    /// Every failed attempt, also where the second one succeeded.
    pub failures: Vec<Failure>,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// The mode that the binary refused. That ended the run: a comparison without one of its modes is not the
    /// one that was asked for.
    pub refused: Option<Refusal>,
    /// Modes of other forwarders that cannot work here.
    pub skipped: Vec<Refusal>,
}

/// A mode that cannot be run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The mode.
    pub mode: Mode,
    /// The binary's exit code: 2 where it does not know the mode, 3 where the machine or user cannot.
    pub code: i32,
    /// Its last words.
    pub said: String,
}

impl Outcome {
    /// Cells that failed on every attempt.
    pub fn lost_cells(&self) -> impl Iterator<Item = &Failure> {
        self.failures.iter().filter(|failure| failure.attempt == ATTEMPTS)
    }
}

/// The progress of a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// A cell begins.
    Begin {
        /// The cell.
        cell: &'a Cell,
    },
    /// A cell ends, measured or lost.
    Done,
    /// An attempt failed.
    Failed(&'a Failure),
    /// A mode cannot be measured here, and is left out.
    Skipped(&'a Refusal),
    /// A round ends.
    Round {
        /// The outcome until now.
        so_far: &'a Outcome,
    },
}

/// Measures every cell of the plan. Failures do not end the run, [`Cancel`] does.
pub fn run(binary: &Binary, plan: &Plan, cancel: &Cancel, observe: impl FnMut(Event<'_>)) -> Outcome {
    run_with(plan, cancel, observe, |cell, rate| cell::measure(binary, plan, cell, rate, cancel))
}

fn run_with(
    plan: &Plan,
    cancel: &Cancel,
    mut observe: impl FnMut(Event<'_>),
    mut measure: impl FnMut(&Cell, Option<f64>) -> Result<AgentReport, CellError>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let schedule = plan.schedule();
    let mut cells = schedule.iter().peekable();
    while let Some(cell) = cells.next() {
        observe(Event::Begin { cell });
        let skipped = outcome.skipped.iter().any(|refusal| refusal.mode == cell.mode);
        for attempt in 1..=(if skipped { 0 } else { ATTEMPTS }) {
            if cancel.is_cancelled() {
                outcome.interrupted = true;
                return outcome;
            }
            let measured = match rate(cell, &outcome) {
                Ok(rate) => measure(cell, rate),
                Err(error) => Err(error),
            };
            match measured {
                Ok(report) => {
                    outcome.measurements.push(Measurement { cell: cell.clone(), report });
                    break;
                }
                Err(CellError::Cancelled) => {
                    outcome.interrupted = true;
                    return outcome;
                }
                Err(CellError::Refused { code, said }) => {
                    let refusal = Refusal { mode: cell.mode.clone(), code, said };
                    // The others are compared without a forwarder that is not installed.
                    if code == script::CANNOT && matches!(cell.mode.forwarder, Forwarder::Script { .. }) {
                        observe(Event::Skipped(&refusal));
                        outcome.skipped.push(refusal);
                        break;
                    }
                    outcome.refused = Some(refusal);
                    return outcome;
                }
                Err(error) => {
                    let failure = Failure { cell: cell.clone(), attempt, message: with_causes(&error) };
                    observe(Event::Failed(&failure));
                    outcome.failures.push(failure);
                }
            }
        }
        observe(Event::Done);
        if cells.peek().is_none_or(|next| next.round != cell.round) {
            observe(Event::Round { so_far: &outcome });
        }
    }
    outcome
}

/// The rate of a cell where the scenario's is a share of another's result: of the median of its samples so
/// far.
fn rate(cell: &Cell, outcome: &Outcome) -> Result<Option<f64>, CellError> {
    let Some(search) = cell.scenario.depends_on() else { return Ok(None) };
    let (mode, percent) = match cell.scenario.load.rate() {
        Some(Rate::OfKernel(percent)) => (Mode::kernel(), percent),
        Some(Rate::OfOwn(percent)) => (cell.mode.clone(), percent),
        Some(Rate::Full | Rate::PerSecond(_)) | None => return Ok(None),
    };
    let is_of = |m: &&Measurement| m.cell.scenario == search && m.cell.mode == mode;
    let measured = outcome.measurements.iter().filter(is_of);
    let samples = measured.flat_map(|m| &m.report.samples);
    let rates: Vec<f64> = samples.filter(|s| s.metric == Metric::NoLossRate).map(|s| s.value).collect();
    match stats::median(&rates) {
        Some(median) if median > 0.0 => Ok(Some(median * f64::from(percent) / 100.0)),
        _ => Err(CellError::NoRate { scenario: search.to_string(), mode }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metric::Sample;
    use std::time::Duration;

    fn plan() -> Plan {
        let scenarios = vec!["tcp-1".parse().unwrap()];
        Plan { scenarios, rounds: 3, ..Plan::example() }
    }

    fn good() -> AgentReport {
        let samples = vec![Sample::new(Metric::Throughput, 1.0)];
        AgentReport::new(samples, "test")
    }

    fn bad() -> CellError {
        CellError::Stalled { after: Duration::from_secs(9), said: "stuck".into() }
    }

    #[test]
    fn a_failed_attempt_is_told_and_made_up_for() {
        let mut calls = 0;
        let (mut rounds, mut told) = (0, 0);
        let observe = |event: Event<'_>| match event {
            Event::Round { .. } => rounds += 1,
            Event::Failed(_) => told += 1,
            Event::Begin { .. } | Event::Done | Event::Skipped(_) => {}
        };
        let outcome = run_with(&plan(), &Cancel::default(), observe, |_, _| {
            calls += 1;
            if calls == 2 { Err(bad()) } else { Ok(good()) }
        });
        assert_eq!((calls, rounds, told), (7, 3, 1));
        assert_eq!(outcome.measurements.len(), 6);
        assert_eq!(outcome.failures[0].message, "no result within 9 s: stuck");
        assert_eq!(outcome.lost_cells().count(), 0);
    }

    #[test]
    fn a_cell_that_fails_twice_is_lost_but_not_in_silence() {
        let outcome = run_with(
            &plan(),
            &Cancel::default(),
            |_| {},
            |cell, _| if cell.mode == Mode::kernel() { Ok(good()) } else { Err(bad()) },
        );
        assert_eq!((outcome.measurements.len(), outcome.failures.len()), (3, 6));
        assert_eq!(outcome.lost_cells().count(), 3);
    }

    #[test]
    fn a_mode_that_is_refused_ends_the_run() {
        let mut calls = 0;
        let outcome = run_with(
            &plan(),
            &Cancel::default(),
            |_| {},
            |_, _| {
                calls += 1;
                Err(CellError::Refused { code: 2, said: "no such backend".into() })
            },
        );
        assert_eq!(calls, 1);
        assert_eq!(outcome.refused.unwrap().said, "no such backend");
    }

    #[test]
    fn cancelling_keeps_what_there_is() {
        let cancel = Cancel::default();
        let outcome = run_with(
            &plan(),
            &cancel,
            |_| {},
            |cell, _| {
                if cell.round == 1 {
                    cancel.cancel();
                    return Err(CellError::Cancelled);
                }
                Ok(good())
            },
        );
        assert!(outcome.interrupted);
        assert_eq!((outcome.measurements.len(), outcome.failures.len()), (2, 0));
    }

    #[test]
    fn a_script_that_cannot_is_skipped_and_the_others_go_on() {
        let mut plan = plan();
        plan.modes.push(Mode::of("cmd:./peer.sh"));
        let mut tries = 0;
        let outcome = run_with(
            &plan,
            &Cancel::default(),
            |_| {},
            |cell, _| match cell.mode.forwarder {
                Forwarder::Script { .. } => {
                    tries += 1;
                    Err(CellError::Refused { code: script::CANNOT, said: "it is not installed".into() })
                }
                Forwarder::Kernel | Forwarder::Userspace { .. } => Ok(good()),
            },
        );
        assert_eq!((tries, outcome.measurements.len(), outcome.refused), (1, 6, None));
        assert_eq!(outcome.skipped[0].said, "it is not installed");
    }

    #[test]
    fn a_share_is_of_what_was_found_so_far() {
        let mut plan = plan();
        plan.scenarios =
            ["ndr-64", "udp-64-at-kernel70", "udp-64-at-own50"].map(|s| s.parse().unwrap()).into();
        let mut rates = Vec::new();
        run_with(
            &plan,
            &Cancel::default(),
            |_| {},
            |cell, rate| {
                rates.extend(rate.map(|rate| (cell.mode.to_string(), cell.scenario.to_string(), rate)));
                let value = if cell.mode == Mode::kernel() { 1000.0 } else { 2000.0 };
                let samples = vec![Sample::new(Metric::NoLossRate, value)];
                Ok(AgentReport { samples, ..good() })
            },
        );
        assert_eq!(rates.len(), 3 * 4);
        for (mode, scenario, rate) in rates {
            let expect = match (mode.as_str(), scenario.as_str()) {
                (_, "udp-64-at-kernel70") => 700.0,
                ("kernel", _) => 500.0,
                _ => 1000.0,
            };
            assert!((rate - expect).abs() < 1e-9, "{mode} {scenario}: {rate}");
        }
    }

    #[test]
    fn a_share_of_nothing_is_a_failure_that_says_so() {
        let mut plan = plan();
        plan.scenarios = ["ndr-64", "udp-64-at-own70"].map(|s| s.parse().unwrap()).into();
        let outcome = run_with(
            &plan,
            &Cancel::default(),
            |_| {},
            |cell, _| if cell.scenario.depends_on().is_none() { Err(bad()) } else { Ok(good()) },
        );
        assert_eq!(outcome.measurements.len(), 0);
        assert!(outcome.failures.iter().any(|f| f.message.contains("no result of ndr-64")));
    }
}
