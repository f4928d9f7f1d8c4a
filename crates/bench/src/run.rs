//! Runs a plan cell by cell. A cell that fails is said to have failed and tried once more.

use crate::agent::AgentReport;
use crate::cell::{self, Binary, Cancel, CellError};
use crate::plan::{Cell, Mode, Plan};

/// Attempts at a cell.
const ATTEMPTS: u32 = 2;

/// Samples of one cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// What was measured.
    pub cell: Cell,
    /// What the agent reported.
    pub report: AgentReport,
}

/// One attempt that gave no samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was to be measured.
    pub cell: Cell,
    /// Counted from 1.
    pub attempt: u32,
    /// Why.
    pub message: String,
}

/// All that a run gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// In the order in which they were measured.
    pub measurements: Vec<Measurement>,
    /// Every failed attempt, those that a second one made up for included.
    pub failures: Vec<Failure>,
    /// It was stopped before its end.
    pub interrupted: bool,
    /// The binary will not run a mode here: what it said. Ends the run, because a comparison without one of its modes is not
    /// the one that was asked for.
    pub refused: Option<Refusal>,
}

/// A mode that the binary will not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The mode.
    pub mode: Mode,
    /// The binary's exit code: 2 where it does not know the mode, 3 where the machine or user cannot.
    pub code: i32,
    /// What it said.
    pub said: String,
}

impl Outcome {
    /// Cells that failed on every attempt.
    pub fn lost_cells(&self) -> impl Iterator<Item = &Failure> {
        self.failures.iter().filter(|failure| failure.attempt == ATTEMPTS)
    }
}

/// What is happening, for a progress bar and for whoever keeps the results of a run cut short.
#[derive(Debug)]
pub enum Event<'a> {
    /// A cell begins.
    Begin {
        /// Which.
        cell: &'a Cell,
    },
    /// A cell is done with, measured or lost.
    Done,
    /// An attempt failed.
    Failed(&'a Failure),
    /// A round is complete.
    Round {
        /// Everything until now.
        so_far: &'a Outcome,
    },
}

/// Measures every cell of the plan. Failures do not end it, [`Cancel`] does.
pub fn run(binary: &Binary, plan: &Plan, cancel: &Cancel, observe: impl FnMut(Event<'_>)) -> Outcome {
    run_with(plan, cancel, observe, |cell| cell::measure(binary, plan, cell, cancel))
}

fn run_with(
    plan: &Plan,
    cancel: &Cancel,
    mut observe: impl FnMut(Event<'_>),
    mut measure: impl FnMut(&Cell) -> Result<AgentReport, CellError>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let schedule = plan.schedule();
    let mut cells = schedule.iter().peekable();
    while let Some(cell) = cells.next() {
        observe(Event::Begin { cell });
        for attempt in 1..=ATTEMPTS {
            if cancel.is_cancelled() {
                outcome.interrupted = true;
                return outcome;
            }
            match measure(cell) {
                Ok(report) => {
                    outcome.measurements.push(Measurement { cell: cell.clone(), report });
                    break;
                }
                Err(CellError::Cancelled) => {
                    outcome.interrupted = true;
                    return outcome;
                }
                Err(CellError::Refused { code, said }) => {
                    outcome.refused = Some(Refusal { mode: cell.mode.clone(), code, said });
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

/// An error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::traffic::{Sample, TrafficChoice};
    use std::time::Duration;

    fn plan() -> Plan {
        Plan {
            modes: vec![Mode::Kernel, "userspace".parse().unwrap()],
            scenarios: vec!["tcp-1".parse().unwrap()],
            rounds: 3,
            seconds: 1,
            warm_up_seconds: 0,
            seed: 1,
            traffic: TrafficChoice::Auto,
        }
    }

    fn good() -> AgentReport {
        AgentReport { samples: vec![Sample::new("throughput", "bit/s", 1.0)], traffic: String::new() }
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
            Event::Begin { .. } | Event::Done => {}
        };
        let outcome = run_with(&plan(), &Cancel::default(), observe, |_| {
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
            |cell| match cell.mode {
                Mode::Kernel => Ok(good()),
                Mode::Userspace { .. } => Err(bad()),
            },
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
            |_| {
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
            |cell| {
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
}
