//! Results with their intervals, as data for JSON and as a table for people.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::environment::Environment;
use crate::plan::{Mode, Plan};
use crate::run::Outcome;
use crate::stats::{self, Estimate, ROUNDS_FOR_A_VERDICT, Ratio};

/// Of the JSON that [`Report`] serializes to. Raised by every change that a reader could stumble over.
pub const SCHEMA: u32 = 1;

/// An interval wider than this share of its median makes a warning.
const WIDE: f64 = 0.3;

/// Everything that a run found out.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Machine, software and method.
    pub environment: Environment,
    /// The modes in the order in which they were given.
    pub modes: Vec<String>,
    /// One entry for every scenario, mode and metric.
    pub results: Vec<ResultRow>,
    /// One entry for every scenario, metric and mode but the kernel.
    pub ratios: Vec<RatioRow>,
    /// Attempts that gave nothing.
    pub failures: Vec<FailureRow>,
    /// Whether every cell that was planned was tried.
    pub complete: bool,
    /// What a reader should know before believing the figures.
    pub warnings: Vec<String>,
}

/// Samples of one metric.
#[derive(Debug, Clone, Serialize)]
pub struct ResultRow {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the mode.
    pub mode: String,
    /// Name of the metric.
    pub metric: String,
    /// Unit of the samples, the median and the interval.
    pub unit: String,
    /// The round of each sample, counted from 0.
    pub rounds: Vec<u32>,
    /// The samples.
    pub samples: Vec<f64>,
    /// Their median and its interval.
    #[serde(flatten)]
    pub estimate: Estimate,
}

/// A mode compared with the kernel.
#[derive(Debug, Clone, Serialize)]
pub struct RatioRow {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the metric.
    pub metric: String,
    /// The mode above the fraction line.
    pub mode: String,
    /// The mode below it.
    pub to: String,
    /// The ratio.
    #[serde(flatten)]
    pub ratio: Ratio,
}

/// An attempt that gave nothing.
#[derive(Debug, Clone, Serialize)]
pub struct FailureRow {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the mode.
    pub mode: String,
    /// Counted from 0.
    pub round: u32,
    /// Counted from 1; there are two.
    pub attempt: u32,
    /// Why.
    pub message: String,
}

impl Report {
    /// Puts together what a run gave, in the order of the plan.
    pub fn new(plan: &Plan, environment: Environment, outcome: &Outcome) -> Report {
        let results = results(plan, outcome);
        let ratios = ratios(plan, &results);
        let failures = outcome.failures.iter().map(|failure| FailureRow {
            scenario: failure.cell.scenario.to_string(),
            mode: failure.cell.mode.to_string(),
            round: failure.cell.round,
            attempt: failure.attempt,
            message: failure.message.clone(),
        });
        let warnings = warnings(plan, &environment, &results, outcome);
        Report {
            schema: SCHEMA,
            environment,
            modes: plan.modes.iter().map(ToString::to_string).collect(),
            results,
            ratios,
            failures: failures.collect(),
            complete: !outcome.interrupted && outcome.refused.is_none(),
            warnings,
        }
    }

    /// The comparison for a terminal: a row a metric, a column a mode, then the ratios to the kernel.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
        let others: Vec<&String> =
            self.modes.iter().filter(|mode| **mode != Mode::Kernel.to_string()).collect();
        let compared: Vec<&String> =
            others.into_iter().filter(|mode| self.ratios.iter().any(|ratio| ratio.mode == **mode)).collect();
        let mut header = vec!["scenario".to_owned(), "metric".into()];
        header.extend(self.modes.iter().cloned());
        header.extend(compared.iter().map(|mode| format!("{mode} / kernel")));
        table.set_header(header);

        let mut rows: Vec<(&str, &str)> = Vec::new();
        for result in &self.results {
            let row = (result.scenario.as_str(), result.metric.as_str());
            if shown(&result.metric) && !rows.contains(&row) {
                rows.push(row);
            }
        }
        for (scenario, metric) in rows {
            let mut cells = vec![scenario.to_owned(), metric.replace('_', " ")];
            for mode in &self.modes {
                let of = self
                    .results
                    .iter()
                    .find(|r| r.scenario == scenario && r.metric == metric && r.mode == *mode);
                cells.push(of.map_or("-".into(), |result| with_interval(&result.estimate, &result.unit)));
            }
            for mode in &compared {
                let of = self
                    .ratios
                    .iter()
                    .find(|r| r.scenario == scenario && r.metric == metric && r.mode == **mode);
                cells.push(of.map_or("-".into(), |row| {
                    let [low, high] = row.ratio.estimate.ci95;
                    let verdict = self.environment.rounds as usize >= ROUNDS_FOR_A_VERDICT;
                    let told_apart = if row.ratio.differs || !verdict { "" } else { " ~" };
                    format!("{:.2} [{low:.2}, {high:.2}]{told_apart}", row.ratio.estimate.median)
                }));
            }
            table.add_row(cells);
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }

    /// What to know about the table: what its marks mean, and the warnings.
    pub fn notes(&self) -> Vec<String> {
        let rounds = self.environment.rounds;
        let mut notes = vec![format!(
            "medians of {rounds} round{} with 95% bootstrap intervals; traffic by {}",
            if rounds == 1 { "" } else { "s" },
            self.environment.traffic
        )];
        if rounds as usize >= ROUNDS_FOR_A_VERDICT {
            notes.push("~ marks a ratio that is not told apart from 1".into());
        }
        if self.results.iter().any(|row| row.metric == "forwarded") {
            notes.push(
                "UDP: offered by the sender, forwarded to the receiver's interface, delivered to its program"
                    .into(),
            );
        }
        notes.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        notes
    }
}

/// Metrics that are in the JSON and would only fill the table.
fn shown(metric: &str) -> bool {
    !matches!(metric, "latency_p90" | "latency_p99_9" | "latency_max" | "round_trips")
}

fn results(plan: &Plan, outcome: &Outcome) -> Vec<ResultRow> {
    let mut rows = Vec::new();
    for scenario in &plan.scenarios {
        for mode in &plan.modes {
            let mut cells: Vec<_> = outcome
                .measurements
                .iter()
                .filter(|m| m.cell.scenario == *scenario && m.cell.mode == *mode)
                .collect();
            cells.sort_by_key(|m| m.cell.round);
            // Metrics in the order in which the agent gives them.
            let mut order: Vec<(&str, &str)> = Vec::new();
            let mut values: BTreeMap<&str, (Vec<u32>, Vec<f64>)> = BTreeMap::new();
            for (round, sample) in
                cells.iter().flat_map(|m| m.report.samples.iter().map(|s| (m.cell.round, s)))
            {
                let (rounds, samples) = values.entry(&sample.metric).or_insert_with(|| {
                    order.push((&sample.metric, &sample.unit));
                    Default::default()
                });
                rounds.push(round);
                samples.push(sample.value);
            }
            for (metric, unit) in order {
                let Some((rounds, samples)) = values.remove(metric) else { continue };
                let Some(estimate) = stats::bootstrap_median(&samples, plan.seed) else { continue };
                rows.push(ResultRow {
                    scenario: scenario.to_string(),
                    mode: mode.to_string(),
                    metric: metric.into(),
                    unit: unit.into(),
                    rounds,
                    samples,
                    estimate,
                });
            }
        }
    }
    rows
}

fn ratios(plan: &Plan, results: &[ResultRow]) -> Vec<RatioRow> {
    let kernel = Mode::Kernel.to_string();
    let pairs =
        |row: &ResultRow| row.rounds.iter().copied().zip(row.samples.iter().copied()).collect::<Vec<_>>();
    let of_row = |row: &ResultRow| {
        let to = results
            .iter()
            .find(|k| k.mode == kernel && k.scenario == row.scenario && k.metric == row.metric)?;
        Some(RatioRow {
            scenario: row.scenario.clone(),
            metric: row.metric.clone(),
            mode: row.mode.clone(),
            to: kernel.clone(),
            ratio: stats::bootstrap_ratio(&pairs(row), &pairs(to), plan.seed)?,
        })
    };
    // A share of a share says nothing: loss stands beside what was delivered.
    results.iter().filter(|row| row.mode != kernel && row.unit != "1").filter_map(of_row).collect()
}

fn warnings(plan: &Plan, environment: &Environment, results: &[ResultRow], outcome: &Outcome) -> Vec<String> {
    let mut warnings = Vec::new();
    if outcome.interrupted {
        warnings.push("the run was stopped early: what is here is what had been measured".into());
    }
    for lost in outcome.lost_cells() {
        let Cell { scenario, mode, round } = Cell::of(lost);
        warnings.push(format!("{scenario} in {mode}, round {}: failed twice ({})", round + 1, lost.message));
    }
    if environment.cpus < 4 {
        warnings.push(format!(
            "{} CPU{} for a sender, a receiver and a router: they take time from each other, which favours the mode that \
             needs least; compare ratios, on a machine with 4 or more where it matters",
            environment.cpus,
            if environment.cpus == 1 { "" } else { "s" }
        ));
    }
    if environment.load_average.is_some_and(|load| load > environment.cpus as f64 / 2.0) {
        warnings.push(
            "the machine was busy before the run began: stop what else runs, or expect wide intervals".into(),
        );
    }
    if (plan.rounds as usize) < ROUNDS_FOR_A_VERDICT {
        warnings.push(format!(
            "fewer than {ROUNDS_FOR_A_VERDICT} rounds: intervals are too narrow to tell modes apart; use --rounds {ROUNDS_FOR_A_VERDICT} or more"
        ));
    }
    let wide: Vec<String> = results
        .iter()
        .filter(|row| matches!(row.metric.as_str(), "throughput" | "forwarded" | "latency_p50"))
        .filter(|row| row.estimate.ci95[1] - row.estimate.ci95[0] > WIDE * row.estimate.median)
        .map(|row| format!("{} in {}", row.scenario, row.mode))
        .collect();
    if !wide.is_empty() {
        warnings.push(format!("wide intervals ({}): more --rounds or longer --seconds", wide.join(", ")));
    }
    warnings
}

/// Names of a failed cell.
struct Cell {
    scenario: String,
    mode: String,
    round: u32,
}

impl Cell {
    fn of(failure: &crate::run::Failure) -> Cell {
        let cell = &failure.cell;
        Cell { scenario: cell.scenario.to_string(), mode: cell.mode.to_string(), round: cell.round }
    }
}

/// A median with its interval, in a unit that suits its size.
pub(crate) fn with_interval(estimate: &Estimate, unit: &str) -> String {
    let (scale, unit, decimals) = scaled(estimate.median, unit);
    let value = |x: f64| format!("{:.decimals$}", x * scale);
    let [low, high] = estimate.ci95.map(value);
    format!("{} {unit} [{low}, {high}]", value(estimate.median)).replace("  ", " ")
}

/// A factor, the unit after it, and how many decimals leave three digits or so.
pub(crate) fn scaled(value: f64, unit: &str) -> (f64, &'static str, usize) {
    let (scale, unit) = match unit {
        "bit/s" if value >= 1e9 => (1e-9, "Gb/s"),
        "bit/s" => (1e-6, "Mb/s"),
        "packet/s" if value >= 1e6 => (1e-6, "Mpps"),
        "packet/s" => (1e-3, "kpps"),
        "s" if value >= 1e-3 => (1e3, "ms"),
        "s" => (1e6, "us"),
        "1" => (1e2, "%"),
        _ => (1.0, ""),
    };
    let shown = value * scale;
    let decimals = match unit {
        "" => 0,
        _ if shown >= 100.0 => 0,
        _ if shown >= 10.0 => 1,
        _ => 2,
    };
    (scale, unit, decimals)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::agent::AgentReport;
    use crate::plan;
    use crate::run::{Failure, Measurement};
    use crate::traffic::{Generator, Sample, TrafficChoice};

    pub(crate) fn example() -> (Plan, Outcome) {
        let plan = Plan {
            modes: vec![Mode::Kernel, "userspace:packet".parse().unwrap()],
            scenarios: vec!["tcp-1".parse().unwrap(), "udp-64".parse().unwrap()],
            rounds: 5,
            seconds: 1,
            warm_up_seconds: 0,
            seed: 4,
            traffic: TrafficChoice::Auto,
        };
        let mut outcome = Outcome::default();
        for (n, cell) in plan.schedule().into_iter().enumerate() {
            let half = if cell.mode == Mode::Kernel { 1.0 } else { 0.5 };
            let noise = 1.0 + 0.01 * f64::from(cell.round);
            let samples = match cell.scenario.load {
                plan::Load::Tcp { .. } => vec![
                    Sample::new("throughput", "bit/s", 16e9 * half * noise),
                    Sample::new("retransmits", "segment", 0.0),
                ],
                _ => vec![
                    Sample::new("delivered", "packet/s", 600e3 * noise),
                    Sample::new("offered", "packet/s", 610e3),
                    Sample::new("loss", "1", 0.016),
                ],
            };
            if n == 7 {
                outcome.failures.push(Failure { cell: cell.clone(), attempt: 1, message: "no route".into() });
            }
            let report = AgentReport { samples, traffic: "test".into() };
            outcome.measurements.push(Measurement { cell, report });
        }
        (plan, outcome)
    }

    pub(crate) fn report() -> Report {
        let (plan, outcome) = example();
        Report::new(&plan, Environment::look(&plan, &Generator::Builtin, "0.0.0"), &outcome)
    }

    #[test]
    fn json_has_the_documented_shape() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["schema"], 1);
        assert_eq!(json["modes"], serde_json::json!(["kernel", "userspace:packet"]));
        assert_eq!(json["environment"]["seed"], 4);
        let first = &json["results"][0];
        assert_eq!((&first["scenario"], &first["mode"]), (&"tcp-1".into(), &"kernel".into()));
        assert_eq!((&first["metric"], &first["unit"]), (&"throughput".into(), &"bit/s".into()));
        assert_eq!(first["samples"].as_array().unwrap().len(), 5);
        assert!((first["median"].as_f64().unwrap() - 16e9 * 1.02).abs() < 1.0);
        assert_eq!(first["ci95"].as_array().unwrap().len(), 2);
        let ratio = &json["ratios"][0];
        assert_eq!((&ratio["mode"], &ratio["to"]), (&"userspace:packet".into(), &"kernel".into()));
        assert!((ratio["median"].as_f64().unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(ratio["differs"], true);
        assert_eq!(json["failures"][0]["message"], "no route");
    }

    #[test]
    fn no_ratio_of_shares_nor_to_nothing() {
        let metrics: Vec<String> = report().ratios.into_iter().map(|row| row.metric).collect();
        assert_eq!(metrics, ["throughput", "delivered", "offered"]);
    }

    #[test]
    fn the_table_shows_medians_ratios_and_what_belongs_together() {
        let table = report().table();
        let line = |start: &str| table.lines().find(|line| line.contains(start)).unwrap().to_owned();
        let throughput = line("throughput");
        assert!(
            throughput.contains("16.3 Gb/s [16.0, 16.6]") && throughput.contains("0.50 [0.50, 0.50]"),
            "{throughput}"
        );
        let delivered = line("delivered");
        assert!(delivered.contains("612 kpps") && delivered.contains("1.00 [1.00, 1.00] ~"), "{delivered}");
        assert!(line("loss").contains("1.60 % [1.60, 1.60]"));
    }

    #[test]
    fn warnings_say_what_to_do() {
        let (mut plan, mut outcome) = example();
        plan.rounds = 3;
        let cell = outcome.measurements[0].cell.clone();
        outcome.failures.push(Failure { cell, attempt: 2, message: "it stalled".into() });
        outcome.interrupted = true;
        let report = Report::new(&plan, Environment::look(&plan, &Generator::Builtin, "0.0.0"), &outcome);
        let warnings = report.warnings.join("\n");
        for part in ["stopped early", "failed twice (it stalled)", "--rounds 5"] {
            assert!(warnings.contains(part), "{part} is not in: {warnings}");
        }
        assert!(!report.complete);
    }
}
