//! The rows of results.json.

use serde::Serialize;

use crate::metric::{Metric, Unit, with_unit};
use crate::plan::{Mode, Scenario};
use crate::stats::{Estimate, Ratio};
use crate::units;

/// Samples of one metric.
#[derive(Debug, Clone, Serialize)]
pub struct ResultRow {
    /// The scenario.
    pub scenario: Scenario,
    /// The mode.
    pub mode: Mode,
    /// The metric; its unit is that of the samples, the median and the interval.
    #[serde(flatten, serialize_with = "with_unit")]
    pub metric: Metric,
    /// The round of each sample, counted from 0.
    pub rounds: Vec<u32>,
    /// The samples.
    pub samples: Vec<f64>,
    /// Their median and its interval.
    #[serde(flatten)]
    pub estimate: Estimate,
}

impl ResultRow {
    /// The median with its interval, as text.
    pub(crate) fn text(&self) -> String {
        units::with_interval(&self.estimate, self.metric.unit())
    }
}

/// A mode compared with a kernel.
#[derive(Debug, Clone, Serialize)]
pub struct RatioRow {
    /// The scenario.
    pub scenario: Scenario,
    /// The metric.
    pub metric: Metric,
    /// The numerator's mode.
    pub mode: Mode,
    /// The denominator's mode.
    pub to: Mode,
    /// The ratio.
    #[serde(flatten)]
    pub ratio: Ratio,
}

/// The distribution of round trips.
#[derive(Debug, Clone, Serialize)]
pub struct DistributionRow {
    /// The scenario.
    pub scenario: Scenario,
    /// The mode.
    pub mode: Mode,
    /// Unit of the classes' ends.
    pub unit: Unit,
    /// The upper end of each class, ascending, and how many round trips are in it.
    pub classes: Vec<(f64, u64)>,
}

/// A mode that was left out, because its forwarder cannot work here.
#[derive(Debug, Clone, Serialize)]
pub struct SkippedRow {
    /// The mode.
    pub mode: Mode,
    /// The forwarder's last words.
    pub reason: String,
}

/// An attempt that gave no samples.
#[derive(Debug, Clone, Serialize)]
pub struct FailureRow {
    /// The scenario.
    pub scenario: Scenario,
    /// The mode.
    pub mode: Mode,
    /// Counted from 0.
    pub round: u32,
    /// Counted from 1; there are two.
    pub attempt: u32,
    /// The error and its causes.
    pub message: String,
}
