//! Latency: round trips one at a time, as percentiles for the tables and a distribution for the plot.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::error::AgentError;
use super::protocol::AgentReport;
use crate::metric::{Metric, Sample};
use crate::stats::histogram::Histogram;
use crate::stats::quantile;
use crate::traffic::programs::ping::{self, Pinged};
use crate::traffic::{EchoOptions, echo};

/// From one echo request to the next: long enough for the path to become idle.
const ECHO_INTERVAL: Duration = Duration::from_millis(1);
/// Round trips not counted, per second of warm-up.
const WARM_UP_ECHOES_A_SECOND: u32 = 100;
/// The percentiles that are reported.
const QUANTILES: [(Metric, f64); 5] = [
    (Metric::LatencyP50, 0.5),
    (Metric::LatencyP90, 0.9),
    (Metric::LatencyP99, 0.99),
    (Metric::LatencyP999, 0.999),
    (Metric::LatencyMax, 1.0),
];

/// Measures round trips from the calling thread's namespace.
pub(crate) fn measure(target: IpAddr, seconds: u32, warm_up_seconds: u32) -> Result<AgentReport, AgentError> {
    let a_second = u32::try_from(Duration::from_secs(1).as_millis() / ECHO_INTERVAL.as_millis()).unwrap_or(1);
    let warm_up = warm_up_seconds * WARM_UP_ECHOES_A_SECOND;
    let count = (seconds * a_second + warm_up).min(u32::from(u16::MAX));
    let options = EchoOptions {
        count,
        payload_bytes: 56,
        interval: ECHO_INTERVAL,
        patience: Duration::from_secs(1),
        linger: Duration::ZERO,
        // A slow path makes fewer round trips in three times the time, instead of never ending.
        deadline: Instant::now() + Duration::from_secs(u64::from(seconds) * 3 + 2),
    };
    let report = echo(target, &options).map_err(AgentError::Echo)?;
    let skipped = usize::try_from(warm_up).unwrap_or(usize::MAX);
    let round_trips = report.round_trips.get(skipped..).unwrap_or_default();
    evaluate(round_trips, report.sent, report.answered, "built-in echo".into())
}

/// Measures round trips by the ping program, from the calling thread's namespace.
pub(crate) fn ping(target: IpAddr, seconds: u32, warm_up_seconds: u32) -> Result<AgentReport, AgentError> {
    let Pinged { program, sent, round_trips } = ping::ping(target, seconds, warm_up_seconds)?;
    let answered = u32::try_from(round_trips.len()).unwrap_or(sent);
    evaluate(&round_trips, sent, answered, program)
}

fn evaluate(
    round_trips: &[Duration],
    sent: u32,
    answered: u32,
    traffic: String,
) -> Result<AgentReport, AgentError> {
    let mut round_trips: Vec<f64> = round_trips.iter().map(Duration::as_secs_f64).collect();
    round_trips.sort_by(f64::total_cmp);
    if round_trips.is_empty() || answered < sent / 2 {
        return Err(AgentError::Lossy { sent, answered });
    }
    // Fifteen round trips have no 99th percentile.
    let is_told = |q: f64| q == 1.0 || (1.0 - q) * round_trips.len() as f64 >= 1.0;
    let of = |(metric, q): &(Metric, f64)| Some(Sample::new(*metric, quantile(&round_trips, *q)?));
    let mut samples: Vec<Sample> = QUANTILES.iter().filter(|(_, q)| is_told(*q)).filter_map(of).collect();
    samples.push(Sample::new(Metric::RoundTrips, round_trips.len() as f64));
    samples.push(Sample::new(Metric::Loss, 1.0 - f64::from(answered) / f64::from(sent)));
    let mut histogram = Histogram::default();
    round_trips.iter().for_each(|seconds| histogram.record(*seconds));
    Ok(AgentReport { samples, traffic, round_trips: Some(histogram), setting: None })
}
