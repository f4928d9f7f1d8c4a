//! The table of speed aims: what each backend should reach, and what it reached.

use crate::export::terminal::{Look, align, fit, lined, with_interval};
use crate::plan::Mode;
use crate::report::Report;

/// What a row holds up to its aims.
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
    metric: &'static str,
    against: Against,
    more_is_better: bool,
    least: f64,
    aim: f64,
    /// Whether it is about modes that look for frames all the time, or about those that sleep; `None`: about both.
    spinning: Option<bool>,
}

const fn ratio(
    measure: &'static str,
    scenario: &'static str,
    metric: &'static str,
    least: f64,
    aim: f64,
) -> Aim {
    let more_is_better = least <= aim;
    Aim { measure, scenario, metric, against: Against::Kernel, more_is_better, least, aim, spinning: None }
}

const fn loss(measure: &'static str, scenario: &'static str) -> Aim {
    Aim {
        measure,
        scenario,
        metric: "router_loss",
        against: Against::Itself,
        more_is_better: false,
        least: 0.0,
        aim: 0.0,
        spinning: None,
    }
}

const AIMS: [Aim; 11] = [
    ratio("TCP, 1 stream", "tcp-1", "throughput", 0.8, 1.0),
    ratio("TCP, 4 streams", "tcp-4", "throughput", 0.5, 0.7),
    // To the receiving host: what its program has time for is not the router's doing.
    ratio("64-byte UDP delivered", "udp-64", "forwarded", 1.4, 2.0),
    loss("loss at 70% of the kernel's no-loss rate", "udp-64-at-kernel70"),
    loss("loss at 70% of its own no-loss rate", "udp-64-at-own70"),
    Aim { spinning: Some(true), ..ratio("ping, spinning", "ping", "latency_p50", 1.5, 1.0) },
    Aim { spinning: Some(false), ..ratio("ping, default", "ping", "latency_p50", 4.0, 2.0) },
    Aim { spinning: Some(true), ..ratio("round trip, spinning", "latency-idle", "latency_p50", 1.5, 1.0) },
    Aim { spinning: Some(false), ..ratio("round trip, default", "latency-idle", "latency_p50", 4.0, 2.0) },
    ratio("round trip p99 beside TCP", "latency-load", "latency_p99", 1.0, 0.1),
    ratio("TCP retransmits", "tcp-1", "retransmits", 1.0, 0.0),
];

/// What stands below the table.
pub(crate) const LEGEND: &str = "+ the least is reached, ++ the aim too, - neither; in parentheses: to the kernel under the same host offloads";

/// The table for a terminal, where a run has measured all that it is about.
pub fn table(report: &Report, look: Look) -> Option<String> {
    let [header, rows @ ..] = &rows(report)?[..] else { return None };
    let mut table = lined(look);
    table.set_header(header);
    table.add_rows(rows);
    align(&mut table, 1);
    fit(&mut table, look);
    Some(format!("{table}\n{LEGEND}"))
}

/// The header, then a row an aim.
pub(crate) fn rows(report: &Report) -> Option<Vec<Vec<String>>> {
    let kernel = Mode::kernel().to_string();
    let has = |aim: &Aim| report.results.iter().any(|row| row.scenario == aim.scenario);
    let modes = report.modes.iter().filter_map(|mode| mode.parse::<Mode>().ok());
    let modes: Vec<Mode> = modes.filter(Mode::is_userspace).collect();
    if !AIMS.iter().all(has) || !report.modes.contains(&kernel) || modes.is_empty() {
        return None;
    }
    let mut header = vec!["measure, to kernel".to_owned(), "at least".into(), "aim".into()];
    header.extend(modes.iter().map(|mode| mode.to_string().replace("userspace:", "")));
    let row = |aim: &Aim| {
        let mut cells = vec![aim.measure.to_owned(), limit(aim.least, aim), limit(aim.aim, aim)];
        cells.extend(modes.iter().map(|mode| cell(report, aim, mode, &kernel)));
        cells
    };
    Some(std::iter::once(header).chain(AIMS.iter().map(row)).collect())
}

fn limit(value: f64, aim: &Aim) -> String {
    match aim.against {
        Against::Kernel => format!("{}{value}", if aim.more_is_better { "" } else { "<= " }),
        Against::Itself => value.to_string(),
    }
}

fn cell(report: &Report, aim: &Aim, mode: &Mode, kernel: &str) -> String {
    if aim.spinning.is_some_and(|spinning| spinning != mode.is_spinning()) {
        return String::new();
    }
    let name = mode.to_string();
    let Some(result) = report.result(aim.scenario, aim.metric, &name) else { return "not measured".into() };
    let value = match aim.against {
        Against::Itself => Some(result.estimate.median),
        Against::Kernel => {
            let ratio = report.ratio(aim.scenario, aim.metric, &name, kernel);
            // Of nothing there is no ratio: none against none is as good.
            let none = result.estimate.median <= 0.0;
            ratio.map(|row| row.ratio.estimate.median).or(none.then_some(0.0))
        }
    };
    let Some(value) = value else { return with_interval(&result.estimate, &result.unit) };
    let reached = |limit: f64| if aim.more_is_better { value >= limit } else { value <= limit };
    let mark = match (reached(aim.least), reached(aim.aim)) {
        (_, true) => "++",
        (true, false) => "+",
        (false, false) => "-",
    };
    let text = match aim.against {
        Against::Itself if value > 0.0 => format!("{:.4} %", value * 100.0),
        Against::Itself => "0".into(),
        Against::Kernel => format!("{value:.2}"),
    };
    let alike = Mode::kernel_without_offloads().to_string();
    let alike = report.ratio(aim.scenario, aim.metric, &name, &alike);
    let alike = alike.map_or(String::new(), |row| format!(" ({:.2})", row.ratio.estimate.median));
    format!("{text}{alike} {mark}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::agent::AgentReport;
    use crate::plan::{Plan, Scenarios};
    use crate::report::environment::Environment;
    use crate::run::{Measurement, Outcome};
    use crate::traffic::{Generator, Sample, TrafficChoice};

    fn measured(scenarios: &str) -> Report {
        let plan = Plan {
            modes: [
                "kernel",
                "kernel:no-offload",
                "userspace:packet",
                "userspace:packet:spin",
                "userspace:xdp",
            ]
            .map(|mode| mode.parse().unwrap())
            .into(),
            scenarios: scenarios.parse::<Scenarios>().unwrap().0,
            rounds: 1,
            seconds: 1,
            warm_up_seconds: 0,
            seed: 1,
            traffic: TrafficChoice::Auto,
            placement: crate::plan::place::Placement::Scheduler,
            congestion: None,
        };
        let mut outcome = Outcome::default();
        for cell in plan.schedule() {
            let ours = if cell.mode.is_userspace() { 0.75 } else { 1.0 };
            let metrics =
                ["throughput", "delivered", "no_loss_rate", "latency_p50", "latency_p99", "retransmits"];
            let mut samples: Vec<Sample> =
                metrics.iter().map(|metric| Sample::new(metric, "packet/s", 1000.0 * ours)).collect();
            samples.push(Sample::new("router_loss", "1", if cell.mode.is_spinning() { 0.001 } else { 0.0 }));
            let report = AgentReport { samples, traffic: "test".into(), round_trips: None, setting: None };
            outcome.measurements.push(Measurement { cell, report });
        }
        let environment = Environment::look(&plan, &Generator::Builtin, "0.0.0");
        Report::new(&plan, environment, &outcome)
    }

    #[test]
    fn each_aim_is_a_row_with_its_verdict() {
        let table = table(&measured("speed"), Look::default()).unwrap();
        let cells = |measure: &str| -> Vec<String> {
            let line = table.lines().find(|line| line.contains(measure)).unwrap();
            line.split(['│', '┆'])
                .map(|cell| cell.trim().to_owned())
                .filter(|cell| !cell.is_empty())
                .collect()
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
        assert_eq!(table(&measured("quick"), Look::default()), None);
    }
}
