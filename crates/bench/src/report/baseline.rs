//! A run compared with an earlier one: what got better, what got worse.
//!
//! The two runs share no rounds, so their samples are resampled independently. A change of the machine
//! between them is part of the ratio and not of its interval: a verdict assumes the same machine, and
//! [`Baseline::differences`] lists what differs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::environment::Environment;
use super::rows::ResultRow;
use super::{Report, SCHEMA};
use crate::metric::{Better, Metric};
use crate::plan::{Mode, Plan, Scenario};
use crate::stats::{self, ROUNDS_FOR_A_VERDICT, Ratio};

/// An earlier run that cannot be compared with.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// The file cannot be read.
    #[error("cannot read the baseline {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not JSON, or not a results.json.
    #[error("the baseline {} is not a results.json of `bench --out`", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why parsing failed.
        source: serde_json::Error,
    },
    /// The file was written by a version with another schema.
    #[error("the baseline {} has schema {schema}, this program reads schema {SCHEMA}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The file's schema.
        schema: u32,
    },
    /// The file has no result of the plan.
    #[error("the baseline {} has none of these scenarios in these modes: there is nothing to compare", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

/// The parts of an earlier results.json that are compared.
#[derive(Debug, Clone, Deserialize)]
pub struct Baseline {
    environment: Machine,
    results: Vec<Row>,
}

#[derive(Debug, Clone, Deserialize)]
struct Version {
    schema: u32,
}

#[derive(Debug, Clone, Deserialize)]
struct Machine {
    kernel: String,
    cpu: String,
    cpus: usize,
    traffic: String,
}

/// In strings, because another version may have other scenarios, modes and metrics; those that this one lacks
/// are ignored.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    scenario: String,
    mode: String,
    metric: String,
    samples: Vec<f64>,
}

impl Row {
    fn is_of(&self, row: &ResultRow) -> bool {
        self.scenario == row.scenario.to_string()
            && self.mode == row.mode.to_string()
            && self.metric == row.metric.name()
    }
}

/// How a metric changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval is on the better side of 1.
    Better,
    /// The whole interval is on the worse side of 1.
    Worse,
    /// The difference is not significant, or there are too few rounds.
    Same,
}

/// One metric in both runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The scenario.
    pub scenario: Scenario,
    /// The mode.
    pub mode: Mode,
    /// The metric.
    pub metric: Metric,
    /// The number of samples in the run that has fewer.
    pub rounds: usize,
    /// This run's median over the earlier one's.
    pub ratio: Ratio,
    /// The verdict for this metric.
    pub verdict: Verdict,
}

impl Baseline {
    /// Reads the file and checks that it has a result of the plan.
    ///
    /// # Errors
    /// See [`BaselineError`].
    pub fn read(path: &Path, plan: &Plan) -> Result<Baseline, BaselineError> {
        let text = fs::read(path).map_err(|source| BaselineError::Read { path: path.into(), source })?;
        let parse = |source| BaselineError::Parse { path: path.into(), source };
        let Version { schema } = serde_json::from_slice(&text).map_err(parse)?;
        if schema != SCHEMA {
            return Err(BaselineError::Schema { path: path.into(), schema });
        }
        let baseline: Baseline = serde_json::from_slice(&text).map_err(parse)?;
        let planned = |row: &Row| {
            plan.scenarios.iter().any(|scenario| scenario.to_string() == row.scenario)
                && plan.modes.iter().any(|mode| mode.to_string() == row.mode)
        };
        if baseline.results.iter().any(planned) {
            Ok(baseline)
        } else {
            Err(BaselineError::Foreign { path: path.into() })
        }
    }

    /// The differences between the two environments, which may explain those of the figures.
    pub fn differences(&self, now: &Environment) -> Vec<String> {
        let then = &self.environment;
        [
            ("kernel", &then.kernel, &now.kernel),
            ("CPU", &then.cpu, &now.cpu),
            ("number of CPUs", &then.cpus.to_string(), &now.cpus.to_string()),
            ("traffic generator", &then.traffic, &now.traffic),
        ]
        .into_iter()
        .filter(|(_, then, now)| then != now)
        .map(|(what, then, now)| format!("the {what} is not the baseline's: {now} now, {then} then"))
        .collect()
    }

    /// Every metric that has a better side and is in both runs, in the order of the report.
    pub fn compare(&self, report: &Report) -> Vec<Change> {
        let of_row = |row: &ResultRow| {
            let more_is_better = match row.metric.better() {
                Better::More => true,
                Better::Less => false,
                Better::Neither => return None,
            };
            let then = self.results.iter().find(|then| then.is_of(row))?;
            let seed = report.environment.seed;
            let ratio = stats::bootstrap_ratio_of_runs(&row.samples, &then.samples, seed)?;
            let verdict = match (ratio.differs, ratio.estimate.median > 1.0) {
                (false, _) => Verdict::Same,
                (true, more) if more == more_is_better => Verdict::Better,
                (true, _) => Verdict::Worse,
            };
            Some(Change {
                scenario: row.scenario,
                mode: row.mode.clone(),
                metric: row.metric,
                rounds: row.samples.len().min(then.samples.len()),
                ratio,
                verdict,
            })
        };
        report.results.iter().filter_map(of_row).collect()
    }
}

/// The comparison in lines for a terminal: what changed, then how many figures did not.
pub fn lines(changes: &[Change]) -> Vec<String> {
    let mut lines = Vec::new();
    for (verdict, word) in [(Verdict::Worse, "worse"), (Verdict::Better, "better")] {
        for change in changes.iter().filter(|change| change.verdict == verdict) {
            let Change { scenario, mode, metric, ratio, .. } = change;
            let [low, high] = ratio.estimate.ci95;
            lines.push(format!(
                "{word}: {scenario} in {mode}, {}: {:.2} times the baseline [{low:.2}, {high:.2}]",
                metric.label(),
                ratio.estimate.median
            ));
        }
    }
    let same = changes.iter().filter(|change| change.verdict == Verdict::Same).count();
    lines.push(format!(
        "against the baseline: {same} of {} figures do not differ significantly",
        changes.len()
    ));
    let unjudged = changes.iter().filter(|change| change.rounds < ROUNDS_FOR_A_VERDICT).count();
    if unjudged > 0 {
        lines.push(format!(
            "warning: {unjudged} of them cannot be judged: this run or the baseline has fewer than \
             {ROUNDS_FOR_A_VERDICT} rounds; use --rounds {ROUNDS_FOR_A_VERDICT} or more for both"
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::example::report;

    /// The example's own report as a baseline, its samples multiplied.
    fn baseline(factor: f64) -> Baseline {
        let json = serde_json::to_value(report()).unwrap();
        let mut baseline: Baseline = serde_json::from_value(json).unwrap();
        baseline.results.iter_mut().flat_map(|row| &mut row.samples).for_each(|value| *value *= factor);
        baseline
    }

    #[test]
    fn less_throughput_is_worse_and_less_latency_better() {
        let mut now = report();
        let verdicts = |baseline: &Baseline, now: &Report| -> Vec<Verdict> {
            baseline.compare(now).iter().map(|change| change.verdict).collect()
        };
        assert!(verdicts(&baseline(1.0), &now).iter().all(|verdict| *verdict == Verdict::Same));
        assert!(verdicts(&baseline(2.0), &now).iter().all(|verdict| *verdict == Verdict::Worse));
        assert!(verdicts(&baseline(0.5), &now).iter().all(|verdict| *verdict == Verdict::Better));
        assert_eq!(baseline(1.0).compare(&now).len(), 4, "throughput and delivered of two modes");
        now.results.iter_mut().for_each(|row| row.metric = Metric::LatencyP50);
        let mut slower = baseline(2.0);
        slower.results.iter_mut().for_each(|row| row.metric = "latency_p50".into());
        assert!(slower.compare(&now).iter().any(|change| change.verdict == Verdict::Better));
    }

    #[test]
    fn metrics_of_another_version_are_passed_over() {
        let mut baseline = baseline(2.0);
        baseline.results.iter_mut().for_each(|row| row.metric = "throughput_of_tomorrow".into());
        assert_eq!(baseline.compare(&report()), []);
    }

    #[test]
    fn the_lines_put_what_is_worse_first() {
        let lines = lines(&baseline(2.0).compare(&report()));
        assert_eq!(lines[0], "worse: tcp-1 in kernel, throughput: 0.50 times the baseline [0.49, 0.51]");
        assert!(lines[4].contains("0 of 4") && lines.len() == 5, "{lines:?}");
    }

    #[test]
    fn a_baseline_of_few_rounds_is_told() {
        let mut few = baseline(2.0);
        few.results.iter_mut().for_each(|row| row.samples.truncate(2));
        let lines = lines(&few.compare(&report()));
        assert!(lines[0].contains("4 of 4 figures") && lines[1].contains("4 of them cannot"), "{lines:?}");
    }

    #[test]
    fn another_machine_is_told() {
        let now = report().environment;
        let mut baseline = baseline(1.0);
        assert_eq!(baseline.differences(&now), [""; 0]);
        baseline.environment.cpus += 1;
        assert!(baseline.differences(&now)[0].starts_with("the number of CPUs is not the baseline's"));
    }

    #[test]
    fn what_is_no_baseline_is_refused() {
        let mut plan = Plan::example();
        let path = std::env::temp_dir().join(format!("nsrouter-baseline-test-{}", std::process::id()));
        let of = |text: &str, plan: &Plan| {
            fs::write(&path, text).unwrap();
            let read = Baseline::read(&path, plan);
            fs::remove_file(&path).unwrap();
            read
        };
        assert!(matches!(of("not JSON", &plan), Err(BaselineError::Parse { .. })));
        assert!(matches!(of("{\"schema\": 1}", &plan), Err(BaselineError::Parse { .. })));
        assert!(matches!(of("{\"schema\": 9}", &plan), Err(BaselineError::Schema { schema: 9, .. })));
        assert!(matches!(Baseline::read(&path, &plan), Err(BaselineError::Read { .. })));
        let good = serde_json::to_string(&report()).unwrap();
        assert!(of(&good, &plan).is_ok());
        plan.scenarios = vec!["connections".parse().unwrap()];
        assert!(matches!(of(&good, &plan), Err(BaselineError::Foreign { .. })));
    }
}
