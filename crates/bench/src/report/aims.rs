//! The table of speed aims: what each backend should reach, and what it reached.

use super::Report;
use super::grid::Grid;
use crate::metric::Metric;
use crate::plan::{Mode, Scenario};

/// The value that is compared with an aim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Against {
    /// The ratio to the kernel.
    Kernel,
    /// The value itself.
    Itself,
}

/// One aim.
struct Aim {
    measure: &'static str,
    scenario: &'static str,
    metric: Metric,
    against: Against,
    more_is_better: bool,
    minimum: f64,
    target: f64,
    /// Modes whose workers never sleep, or those whose workers do; `None`: both.
    spinning: Option<bool>,
}

const fn ratio(
    measure: &'static str,
    scenario: &'static str,
    metric: Metric,
    minimum: f64,
    target: f64,
) -> Aim {
    let more_is_better = minimum <= target;
    Aim {
        measure,
        scenario,
        metric,
        against: Against::Kernel,
        more_is_better,
        minimum,
        target,
        spinning: None,
    }
}

const fn loss(measure: &'static str, scenario: &'static str) -> Aim {
    Aim {
        measure,
        scenario,
        metric: Metric::RouterLoss,
        against: Against::Itself,
        more_is_better: false,
        minimum: 0.0,
        target: 0.0,
        spinning: None,
    }
}

const AIMS: [Aim; 11] = [
    ratio("TCP, 1 stream", "tcp-1", Metric::Throughput, 0.8, 1.0),
    ratio("TCP, 4 streams", "tcp-4", Metric::Throughput, 0.5, 0.7),
    // To the receiving host: what its program has time for is not the router's doing.
    ratio("64-byte UDP delivered", "udp-64", Metric::Forwarded, 1.4, 2.0),
    loss("loss at 70% of the kernel's no-loss rate", "udp-64-at-kernel70"),
    loss("loss at 70% of its own no-loss rate", "udp-64-at-own70"),
    Aim { spinning: Some(true), ..ratio("ping, spinning", "ping", Metric::LatencyP50, 1.5, 1.0) },
    Aim { spinning: Some(false), ..ratio("ping, default", "ping", Metric::LatencyP50, 4.0, 2.0) },
    Aim {
        spinning: Some(true),
        ..ratio("round trip, spinning", "latency-idle", Metric::LatencyP50, 1.5, 1.0)
    },
    Aim {
        spinning: Some(false),
        ..ratio("round trip, default", "latency-idle", Metric::LatencyP50, 4.0, 2.0)
    },
    ratio("round trip p99 beside TCP", "latency-load", Metric::LatencyP99, 1.0, 0.1),
    ratio("TCP retransmits", "tcp-1", Metric::Retransmits, 1.0, 0.0),
];

/// The line below the table.
pub(crate) const LEGEND: &str =
    "+ minimum met, ++ target met, - missed; in parentheses: to the kernel under the same host offloads";

/// A row for each aim, a column for each userspace mode; `None` where the run has not measured all that the
/// aims are about.
pub(crate) fn grid(report: &Report) -> Option<Grid> {
    let modes: Vec<&Mode> = report.modes.iter().filter(|mode| mode.is_userspace()).collect();
    let has = |aim: &Aim| report.results.iter().any(|row| row.scenario.to_string() == aim.scenario);
    if !AIMS.iter().all(has) || !report.modes.contains(&Mode::kernel()) || modes.is_empty() {
        return None;
    }
    let mut head = vec!["measure, to kernel".to_owned(), "at least".into(), "aim".into()];
    head.extend(modes.iter().map(|mode| mode.to_string().replace("userspace:", "")));
    let row = |aim: &Aim| {
        let mut cells = vec![aim.measure.to_owned(), limit(aim.minimum, aim), limit(aim.target, aim)];
        cells.extend(modes.iter().map(|mode| cell(report, aim, mode)));
        cells
    };
    Some(Grid { head, words: 1, rows: AIMS.iter().map(row).collect() })
}

fn limit(value: f64, aim: &Aim) -> String {
    match aim.against {
        Against::Kernel => format!("{}{value}", if aim.more_is_better { "" } else { "<= " }),
        Against::Itself => value.to_string(),
    }
}

fn cell(report: &Report, aim: &Aim, mode: &Mode) -> String {
    const UNKNOWN: &str = "not measured";
    if aim.spinning.is_some_and(|spinning| spinning != mode.is_spinning()) {
        return String::new();
    }
    let Ok(scenario) = aim.scenario.parse::<Scenario>() else { return UNKNOWN.into() };
    let Some(result) = report.result(&scenario, aim.metric, mode) else { return UNKNOWN.into() };
    let value = match aim.against {
        Against::Itself => Some(result.estimate.median),
        Against::Kernel => {
            let ratio = report.ratio(&scenario, aim.metric, mode, &Mode::kernel());
            // There is no ratio to nothing: no retransmits are as good as the kernel's none.
            let none = result.estimate.median <= 0.0;
            ratio.map(|row| row.ratio.estimate.median).or(none.then_some(0.0))
        }
    };
    let Some(value) = value else { return result.text() };
    let reached = |limit: f64| if aim.more_is_better { value >= limit } else { value <= limit };
    let mark = match (reached(aim.minimum), reached(aim.target)) {
        (_, true) => "++",
        (true, false) => "+",
        (false, false) => "-",
    };
    let text = match aim.against {
        Against::Itself if value > 0.0 => format!("{:.4} %", value * 100.0),
        Against::Itself => "0".into(),
        Against::Kernel => format!("{value:.2}"),
    };
    let alike = report.ratio(&scenario, aim.metric, mode, &Mode::kernel_without_offloads());
    let alike = alike.map_or(String::new(), |row| format!(" ({:.2})", row.ratio.estimate.median));
    format!("{text}{alike} {mark}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::agent::AgentReport;
    use crate::metric::Sample;
    use crate::plan::{Plan, Scenarios};
    use crate::report::example::{agent, report_of};
    use crate::run::{Measurement, Outcome};

    fn measured(scenarios: &str) -> Report {
        let modes =
            ["kernel", "kernel:no-offload", "userspace:packet", "userspace:packet:spin", "userspace:xdp"];
        let plan = Plan {
            modes: modes.map(Mode::of).into(),
            scenarios: scenarios.parse::<Scenarios>().unwrap().0,
            rounds: 1,
            ..Plan::example()
        };
        let mut outcome = Outcome::default();
        for cell in plan.schedule() {
            let part = if cell.mode.is_userspace() { 0.75 } else { 1.0 };
            let metrics = [
                Metric::Throughput,
                Metric::Forwarded,
                Metric::NoLossRate,
                Metric::LatencyP50,
                Metric::LatencyP99,
                Metric::Retransmits,
            ];
            let mut samples: Vec<Sample> =
                metrics.iter().map(|metric| Sample::new(*metric, 1000.0 * part)).collect();
            let lost = if cell.mode.is_spinning() { 0.001 } else { 0.0 };
            samples.push(Sample::new(Metric::RouterLoss, lost));
            outcome.measurements.push(Measurement { cell, report: AgentReport { samples, ..agent() } });
        }
        report_of(&plan, &outcome)
    }

    #[test]
    fn each_aim_is_a_row_with_its_verdict() {
        let grid = grid(&measured("speed")).unwrap();
        let cells = |measure: &str| -> Vec<String> {
            let row = grid.rows.iter().find(|row| row[0].contains(measure)).unwrap();
            row.iter().filter(|cell| !cell.is_empty()).cloned().collect()
        };
        assert_eq!(
            cells("TCP, 1 stream"),
            ["TCP, 1 stream", "0.8", "1", "0.75 -", "0.75 -", "0.75 (0.75) -"]
        );
        assert_eq!(cells("TCP, 4")[3], "0.75 ++");
        assert_eq!(cells("ping, spinning"), ["ping, spinning", "<= 1.5", "<= 1", "0.75 ++"]);
        assert_eq!(cells("ping, default").len(), 5);
        assert_eq!(cells("round trip, spinning"), ["round trip, spinning", "<= 1.5", "<= 1", "0.75 ++"]);
        assert_eq!(cells("round trip, default").len(), 5);
        assert_eq!(cells("kernel's no-loss")[3..], ["0 ++", "0.1000 % -", "0 ++"]);
        assert_eq!(cells("retransmits")[3], "0.75 +");
    }

    #[test]
    fn a_run_of_something_else_has_no_such_table() {
        assert_eq!(grid(&measured("quick")), None);
    }
}
