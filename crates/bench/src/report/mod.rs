//! Results with their intervals, as data for JSON.

pub mod aims;
pub mod baseline;
pub mod environment;
pub(crate) mod warnings;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::plan::{Mode, Plan};
use crate::run::Outcome;
use crate::stats::histogram::Histogram;
use crate::stats::{self, Estimate, Ratio};
use environment::Environment;
use warnings::warnings;

/// Of the JSON that [`Report`] serializes to. Raised by every change that a reader could stumble over.
pub const SCHEMA: u32 = 1;

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
    /// One entry for every scenario, metric, mode and kernel that the mode is held against.
    pub ratios: Vec<RatioRow>,
    /// All round trips of a scenario in a mode, the rounds together.
    pub distributions: Vec<DistributionRow>,
    /// Modes that were left out, because the forwarder says that it cannot work here.
    pub skipped: Vec<SkippedRow>,
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

/// A mode compared with a kernel.
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

/// How often round trips took how long.
#[derive(Debug, Clone, Serialize)]
pub struct DistributionRow {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the mode.
    pub mode: String,
    /// Unit of the classes' ends.
    pub unit: &'static str,
    /// The upper end of each class, ascending, and how many round trips are in it.
    pub classes: Vec<(f64, u64)>,
}

/// A mode that was left out.
#[derive(Debug, Clone, Serialize)]
pub struct SkippedRow {
    /// Name of the mode.
    pub mode: String,
    /// What the forwarder said.
    pub reason: String,
}

impl Report {
    /// Puts together what a run gave, in the order of the plan.
    pub fn new(plan: &Plan, mut environment: Environment, outcome: &Outcome) -> Report {
        environment.add(outcome);
        let results = results(plan, outcome);
        let ratios = ratios(plan, &results);
        let failures = outcome.failures.iter().map(|failure| FailureRow {
            scenario: failure.cell.scenario.to_string(),
            mode: failure.cell.mode.to_string(),
            round: failure.cell.round,
            attempt: failure.attempt,
            message: failure.message.clone(),
        });
        let skipped = outcome
            .skipped
            .iter()
            .map(|refusal| SkippedRow { mode: refusal.mode.to_string(), reason: refusal.said.clone() });
        let warnings = warnings(plan, &environment, &results, outcome);
        Report {
            schema: SCHEMA,
            environment,
            modes: plan.modes.iter().map(ToString::to_string).collect(),
            results,
            ratios,
            distributions: distributions(plan, outcome),
            skipped: skipped.collect(),
            failures: failures.collect(),
            complete: !outcome.interrupted && outcome.refused.is_none(),
            warnings,
        }
    }

    /// The samples of a metric.
    pub fn result(&self, scenario: &str, metric: &str, mode: &str) -> Option<&ResultRow> {
        self.results.iter().find(|r| r.scenario == scenario && r.metric == metric && r.mode == mode)
    }

    /// The ratio of a metric to that of another mode.
    pub fn ratio(&self, scenario: &str, metric: &str, mode: &str, to: &str) -> Option<&RatioRow> {
        let is = |r: &&RatioRow| r.scenario == scenario && r.metric == metric && r.mode == mode && r.to == to;
        self.ratios.iter().find(is)
    }
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
    let pairs =
        |row: &ResultRow| row.rounds.iter().copied().zip(row.samples.iter().copied()).collect::<Vec<_>>();
    let mut ratios = Vec::new();
    // A share of a share says nothing: loss stands beside what was delivered. Nor does how often was asked.
    for row in results.iter().filter(|row| row.unit != "1" && row.metric != "round_trips") {
        let references = plan.modes.iter().find(|mode| mode.to_string() == row.mode).map(Mode::references);
        for to in references.unwrap_or_default().iter().map(ToString::to_string) {
            let is_it = |k: &&ResultRow| k.mode == to && k.scenario == row.scenario && k.metric == row.metric;
            let Some(reference) = results.iter().find(is_it) else { continue };
            let ratio = stats::bootstrap_ratio(&pairs(row), &pairs(reference), plan.seed);
            ratios.extend(ratio.map(|ratio| RatioRow {
                scenario: row.scenario.clone(),
                metric: row.metric.clone(),
                mode: row.mode.clone(),
                to,
                ratio,
            }));
        }
    }
    ratios
}

fn distributions(plan: &Plan, outcome: &Outcome) -> Vec<DistributionRow> {
    let mut rows = Vec::new();
    for scenario in &plan.scenarios {
        for mode in &plan.modes {
            let of =
                outcome.measurements.iter().filter(|m| m.cell.scenario == *scenario && m.cell.mode == *mode);
            let mut all = Histogram::default();
            of.filter_map(|m| m.report.round_trips.as_ref()).for_each(|one| all.add(one));
            let classes: Vec<(f64, u64)> = all.classes().collect();
            if !classes.is_empty() {
                let (scenario, mode) = (scenario.to_string(), mode.to_string());
                rows.push(DistributionRow { scenario, mode, unit: "s", classes });
            }
        }
    }
    rows
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::agent::AgentReport;
    use crate::plan;
    use crate::run::{Failure, Measurement, Refusal};
    use crate::testbed::setting::Setting;
    use crate::traffic::{Generator, Sample, TrafficChoice};

    pub(crate) fn example() -> (Plan, Outcome) {
        let plan = Plan {
            modes: vec![Mode::kernel(), "userspace:packet".parse().unwrap()],
            scenarios: vec!["tcp-1".parse().unwrap(), "udp-64".parse().unwrap()],
            rounds: 5,
            seconds: 1,
            warm_up_seconds: 0,
            seed: 4,
            traffic: TrafficChoice::Auto,
            placement: crate::plan::place::Placement::Scheduler,
            congestion: None,
        };
        let mut outcome = Outcome::default();
        for (n, cell) in plan.schedule().into_iter().enumerate() {
            let half = if cell.mode == Mode::kernel() { 1.0 } else { 0.5 };
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
            let report = AgentReport {
                samples,
                traffic: "test".into(),
                round_trips: None,
                setting: Some(setting(&cell)),
            };
            outcome.measurements.push(Measurement { cell, report });
        }
        (plan, outcome)
    }

    /// A lab whose host has the offloads of a veth, or only what is left without them.
    fn setting(cell: &plan::Cell) -> Setting {
        let on: &[&str] = if cell.mode.host_offloads() {
            &["tx-checksum-ip-generic", "tx-tcp-segmentation", "rx-gro"]
        } else {
            &["rx-gro"]
        };
        let on = on.iter().map(|&name| name.to_owned()).collect();
        Setting { offloads: [("t1 t1-eth0".to_owned(), on)].into(), cpus: "0-1".into(), ..Setting::default() }
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
    fn modes_without_offloads_are_held_against_both_kernels() {
        let (mut plan, _) = example();
        plan.modes = ["kernel", "kernel:no-offload", "userspace:packet", "userspace:xdp"]
            .map(|mode| mode.parse().unwrap())
            .into();
        let mut outcome = Outcome::default();
        for cell in plan.schedule() {
            let samples = vec![Sample::new("throughput", "bit/s", 1e9)];
            let report = AgentReport { samples, traffic: "test".into(), round_trips: None, setting: None };
            outcome.measurements.push(Measurement { cell, report });
        }
        let report = Report::new(&plan, Environment::look(&plan, &Generator::Builtin, "0.0.0"), &outcome);
        let pairs: Vec<(&str, &str)> = report
            .ratios
            .iter()
            .filter(|row| row.scenario == "tcp-1")
            .map(|row| (row.mode.as_str(), row.to.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("kernel:no-offload", "kernel"),
                ("userspace:packet", "kernel"),
                ("userspace:xdp", "kernel"),
                ("userspace:xdp", "kernel:no-offload")
            ]
        );
    }

    #[test]
    fn what_the_labs_were_is_kept_and_summed_up() {
        let environment = report().environment;
        assert_eq!(environment.labs.len(), 2);
        assert_eq!(environment.offloads, "hosts have checksum, TSO, GRO in kernel, userspace:packet");
        assert!(
            environment.cpu_placement.starts_with("processors 0-1 for "),
            "{}",
            environment.cpu_placement
        );
        assert_eq!(environment.generators["tcp-1"], "test");
    }

    #[test]
    fn round_trips_of_all_rounds_are_one_distribution_and_skipped_modes_have_a_reason() {
        let (plan, mut outcome) = example();
        for measurement in &mut outcome.measurements {
            let mut one = Histogram::default();
            one.record(20e-6);
            measurement.report.round_trips = Some(one);
        }
        let mode: Mode = "cmd:./peer.sh".parse().unwrap();
        outcome.skipped.push(Refusal { mode, code: 3, said: "it is not installed".into() });
        let report = Report::new(&plan, Environment::look(&plan, &Generator::Builtin, "0.0.0"), &outcome);
        let first = &report.distributions[0];
        assert_eq!((report.distributions.len(), first.classes.len(), first.classes[0].1), (4, 1, 5));
        assert_eq!(report.skipped[0].reason, "it is not installed");
    }
}
