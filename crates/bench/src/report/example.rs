//! A run and its report for tests.

use super::Report;
use super::environment::Environment;
use crate::agent::AgentReport;
use crate::metric::{Metric, Sample};
use crate::plan::{Cell, Load, Mode, Plan};
use crate::run::{Failure, Measurement, Outcome};
use crate::testbed::setting::Setting;
use crate::traffic::Generator;

/// Two modes of which the second has half of the first's throughput, and one failed attempt.
pub(crate) fn run() -> (Plan, Outcome) {
    let plan = Plan::example();
    let mut outcome = Outcome::default();
    for (n, cell) in plan.schedule().into_iter().enumerate() {
        let half = if cell.mode == Mode::kernel() { 1.0 } else { 0.5 };
        let noise = 1.0 + 0.01 * f64::from(cell.round);
        let samples = match cell.scenario.load {
            Load::Tcp { .. } => vec![
                Sample::new(Metric::Throughput, 16e9 * half * noise),
                Sample::new(Metric::Retransmits, 0.0),
            ],
            _ => vec![
                Sample::new(Metric::Delivered, 600e3 * noise),
                Sample::new(Metric::Offered, 610e3),
                Sample::new(Metric::Loss, 0.016),
            ],
        };
        if n == 7 {
            outcome.failures.push(Failure { cell: cell.clone(), attempt: 1, message: "no route".into() });
        }
        let report = AgentReport { samples, setting: Some(setting(&cell)), ..agent() };
        outcome.measurements.push(Measurement { cell, report });
    }
    (plan, outcome)
}

/// What an agent reports that has measured nothing.
pub(crate) fn agent() -> AgentReport {
    AgentReport::new(Vec::new(), "test")
}

/// A lab whose host has the offloads of a veth, or only what is left without them.
fn setting(cell: &Cell) -> Setting {
    let on: &[&str] = if cell.mode.host_offloads() {
        &["tx-checksum-ip-generic", "tx-tcp-segmentation", "rx-gro"]
    } else {
        &["rx-gro"]
    };
    let on = on.iter().map(|&name| name.to_owned()).collect();
    Setting { offloads: [("t1 t1-eth0".to_owned(), on)].into(), cpus: "0-1".into(), ..Setting::default() }
}

/// The report of a run on this machine.
pub(crate) fn report_of(plan: &Plan, outcome: &Outcome) -> Report {
    Report::new(plan, Environment::look(plan, &Generator::Builtin, "0.0.0"), outcome)
}

/// The report of [`run`].
pub(crate) fn report() -> Report {
    let (plan, outcome) = run();
    report_of(&plan, &outcome)
}
