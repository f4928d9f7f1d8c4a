//! The report of a run: medians, intervals, ratios and warnings, as results.json has them and as tables show
//! them.

pub mod aims;
pub mod baseline;
pub(crate) mod comparison;
pub mod environment;
#[cfg(test)]
pub(crate) mod example;
pub(crate) mod grid;
pub mod notes;
pub mod rows;
mod utc;
mod warnings;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::metric::{Metric, Unit};
use crate::plan::{Mode, Plan, Scenario};
use crate::run::Outcome;
use crate::stats;
use crate::stats::histogram::Histogram;
use environment::Environment;
use rows::{DistributionRow, FailureRow, RatioRow, ResultRow, SkippedRow};

/// Version of the JSON that [`Report`] serializes to. Raised by every change that a reader could stumble
/// over.
pub const SCHEMA: u32 = 1;

/// Everything that a run found out.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Machine, software and method.
    pub environment: Environment,
    /// The modes in the order in which they were given.
    pub modes: Vec<Mode>,
    /// One entry for every scenario, mode and metric.
    pub results: Vec<ResultRow>,
    /// One entry for every scenario, metric, mode and kernel that the mode is compared with.
    pub ratios: Vec<RatioRow>,
    /// All round trips of a scenario in a mode, the rounds together.
    pub distributions: Vec<DistributionRow>,
    /// Modes that were left out, because their forwarder cannot work here.
    pub skipped: Vec<SkippedRow>,
    /// Attempts that gave no samples.
    pub failures: Vec<FailureRow>,
    /// Whether every cell of the plan was tried.
    pub complete: bool,
    /// Reasons to doubt the figures, and what to do about them.
    pub warnings: Vec<String>,
}

impl Report {
    /// Puts together what a run gave, in the order of the plan.
    pub fn new(plan: &Plan, mut environment: Environment, outcome: &Outcome) -> Report {
        environment.add(outcome);
        let results = results(plan, outcome);
        let ratios = ratios(plan, &results);
        let failures = outcome.failures.iter().map(|failure| FailureRow {
            scenario: failure.cell.scenario,
            mode: failure.cell.mode.clone(),
            round: failure.cell.round,
            attempt: failure.attempt,
            message: failure.message.clone(),
        });
        let skipped = outcome
            .skipped
            .iter()
            .map(|refusal| SkippedRow { mode: refusal.mode.clone(), reason: refusal.said.clone() });
        let warnings = warnings::warnings(plan, &environment, &results, outcome);
        Report {
            schema: SCHEMA,
            environment,
            modes: plan.modes.clone(),
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
    pub fn result(&self, scenario: &Scenario, metric: Metric, mode: &Mode) -> Option<&ResultRow> {
        let is = |r: &&ResultRow| r.scenario == *scenario && r.metric == metric && r.mode == *mode;
        self.results.iter().find(is)
    }

    /// The ratio of a mode's metric to another mode's.
    pub fn ratio(&self, scenario: &Scenario, metric: Metric, mode: &Mode, to: &Mode) -> Option<&RatioRow> {
        let is =
            |r: &&RatioRow| r.scenario == *scenario && r.metric == metric && r.mode == *mode && r.to == *to;
        self.ratios.iter().find(is)
    }

    /// Whether the metric was measured in any cell.
    pub(crate) fn has(&self, metric: Metric) -> bool {
        self.results.iter().any(|row| row.metric == metric)
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
            let mut order: Vec<Metric> = Vec::new();
            let mut values: BTreeMap<Metric, (Vec<u32>, Vec<f64>)> = BTreeMap::new();
            for (round, sample) in
                cells.iter().flat_map(|m| m.report.samples.iter().map(|s| (m.cell.round, s)))
            {
                let (rounds, samples) = values.entry(sample.metric).or_insert_with(|| {
                    order.push(sample.metric);
                    Default::default()
                });
                rounds.push(round);
                samples.push(sample.value);
            }
            for metric in order {
                let Some((rounds, samples)) = values.remove(&metric) else { continue };
                let Some(estimate) = stats::bootstrap_median(&samples, plan.seed) else { continue };
                rows.push(ResultRow {
                    scenario: *scenario,
                    mode: mode.clone(),
                    metric,
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
    for row in results.iter().filter(|row| row.metric.has_ratio()) {
        for to in row.mode.references() {
            let is_it = |k: &&ResultRow| k.mode == to && k.scenario == row.scenario && k.metric == row.metric;
            let Some(reference) = results.iter().find(is_it) else { continue };
            let ratio = stats::bootstrap_ratio(&pairs(row), &pairs(reference), plan.seed);
            ratios.extend(ratio.map(|ratio| RatioRow {
                scenario: row.scenario,
                metric: row.metric,
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
                rows.push(DistributionRow {
                    scenario: *scenario,
                    mode: mode.clone(),
                    unit: Unit::Second,
                    classes,
                });
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::example::{agent, report, report_of, run};
    use super::*;
    use crate::agent::AgentReport;
    use crate::metric::Sample;
    use crate::run::{Measurement, Refusal};

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
        let metrics: Vec<Metric> = report().ratios.into_iter().map(|row| row.metric).collect();
        assert_eq!(metrics, [Metric::Throughput, Metric::Delivered, Metric::Offered]);
    }

    #[test]
    fn modes_without_offloads_are_held_against_both_kernels() {
        let mut plan = Plan::example();
        plan.modes =
            ["kernel", "kernel:no-offload", "userspace:packet", "userspace:xdp"].map(Mode::of).into();
        let mut outcome = Outcome::default();
        for cell in plan.schedule() {
            let samples = vec![Sample::new(Metric::Throughput, 1e9)];
            let report = AgentReport { samples, ..agent() };
            outcome.measurements.push(Measurement { cell, report });
        }
        let report = report_of(&plan, &outcome);
        let tcp: Scenario = "tcp-1".parse().unwrap();
        let rows = report.ratios.iter().filter(|row| row.scenario == tcp);
        let pairs: Vec<(String, String)> =
            rows.map(|row| (row.mode.to_string(), row.to.to_string())).collect();
        assert_eq!(
            pairs,
            [
                ("kernel:no-offload", "kernel"),
                ("userspace:packet", "kernel"),
                ("userspace:xdp", "kernel"),
                ("userspace:xdp", "kernel:no-offload")
            ]
            .map(|(mode, to)| (mode.to_owned(), to.to_owned()))
        );
    }

    #[test]
    fn what_the_labs_were_is_kept_and_summed_up() {
        let environment = report().environment;
        assert_eq!(environment.labs.len(), 2);
        assert_eq!(environment.offloads, "hosts have checksum, TSO, GRO in kernel, userspace:packet");
        assert!(environment.cpu_placement.starts_with("CPUs 0-1 for "), "{}", environment.cpu_placement);
        assert_eq!(environment.generators["tcp-1"], "test");
    }

    #[test]
    fn round_trips_of_all_rounds_are_one_distribution_and_skipped_modes_have_a_reason() {
        let (plan, mut outcome) = run();
        for measurement in &mut outcome.measurements {
            let mut one = Histogram::default();
            one.record(20e-6);
            measurement.report.round_trips = Some(one);
        }
        let mode = Mode::of("cmd:./peer.sh");
        outcome.skipped.push(Refusal { mode, code: 3, said: "it is not installed".into() });
        let report = report_of(&plan, &outcome);
        let first = &report.distributions[0];
        assert_eq!((report.distributions.len(), first.classes.len(), first.classes[0].1), (4, 1, 5));
        assert_eq!(report.skipped[0].reason, "it is not installed");
    }
}
