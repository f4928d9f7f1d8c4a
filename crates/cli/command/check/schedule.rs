//! How tests are run: in phases, several at once, each shown as it ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::command::check::row::{Outcome, Row};

/// Tests at once: most of a ping's time is spent waiting for a second reply, and transfers share the CPUs.
const PINGS_AT_ONCE: usize = 32;
const TRANSFERS_AT_ONCE: usize = 4;

/// When a test is run: one phase after the other, those of a phase several at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between neighbours, which learn each other's MAC address by it.
    Neighbours,
    /// Between hosts.
    Pings,
    /// More of that, and traces.
    More,
    /// Transfers.
    Transfers,
}

/// The phases in their order, and how many tests of each run at once.
const PHASES: [(Phase, usize); 4] = [
    (Phase::Neighbours, PINGS_AT_ONCE),
    (Phase::Pings, PINGS_AT_ONCE),
    (Phase::More, PINGS_AT_ONCE),
    (Phase::Transfers, TRANSFERS_AT_ONCE),
];

/// A test to run, in one address family.
pub(super) struct Test<'a> {
    pub(super) phase: Phase,
    pub(super) name: String,
    pub(super) family: &'static str,
    /// The plain ping on the same path, by its place in the list.
    pub(super) ping: Option<usize>,
    /// Runs it; the argument says whether that ping failed.
    pub(super) run: Box<dyn Fn(bool) -> Outcome + Send + Sync + 'a>,
}

/// Runs the tests and shows each as it ends; the rows are returned in the order of the tests.
pub(super) fn run_all(tests: &[Test<'_>], mut show: impl FnMut(&Row)) -> Vec<Row> {
    let mut rows: Vec<Option<Row>> = tests.iter().map(|_| None).collect();
    for (phase, at_once) in PHASES {
        let of_phase: Vec<usize> = (0..tests.len()).filter(|index| tests[*index].phase == phase).collect();
        let failed = |index: usize| {
            let outcome = rows[index].as_ref().map(|row| &row.outcome);
            matches!(outcome, Some(Outcome::Fail { .. }))
        };
        let hopeless: Vec<bool> =
            of_phase.iter().map(|index| tests[*index].ping.is_some_and(failed)).collect();
        let next = AtomicUsize::new(0);
        let (tell, told) = mpsc::channel();
        let done: Vec<(usize, Row)> = thread::scope(|scope| {
            for _ in 0..at_once.min(of_phase.len()) {
                let (tell, next, of_phase, hopeless) = (tell.clone(), &next, &of_phase, &hopeless);
                scope.spawn(move || {
                    while let Some((&index, &hopeless)) = {
                        let turn = next.fetch_add(1, Ordering::Relaxed);
                        of_phase.get(turn).zip(hopeless.get(turn))
                    } {
                        let test = &tests[index];
                        let outcome = (test.run)(hopeless);
                        let row = Row { test: test.name.clone(), family: test.family, outcome };
                        // The receiver outlives the senders.
                        let _ = tell.send((index, row));
                    }
                });
            }
            drop(tell);
            told.iter().inspect(|(_, row)| show(row)).collect()
        });
        for (index, row) in done {
            rows[index] = Some(row);
        }
    }
    rows.into_iter().flatten().collect()
}
