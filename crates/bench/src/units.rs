//! Values as text, each in a unit that suits its size.

use crate::metric::Unit;
use crate::stats::Estimate;

/// How a value of some size is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    /// The value is multiplied by this.
    pub(crate) factor: f64,
    /// The unit after it; empty for counts.
    pub(crate) symbol: &'static str,
    /// Decimals that leave about three digits.
    pub(crate) decimals: usize,
}

/// The scale that suits a value.
pub(crate) fn scale(value: f64, unit: Unit) -> Scale {
    let (factor, symbol) = match unit {
        Unit::BitPerSecond if value >= 1e9 => (1e-9, "Gb/s"),
        Unit::BitPerSecond => (1e-6, "Mb/s"),
        Unit::PacketPerSecond if value >= 1e6 => (1e-6, "Mpps"),
        Unit::PacketPerSecond => (1e-3, "kpps"),
        Unit::ConnectionPerSecond => (1.0, "1/s"),
        Unit::Second if value >= 1e-3 => (1e3, "ms"),
        Unit::Second => (1e6, "us"),
        Unit::Share => (1e2, "%"),
        Unit::SecondPerGigabyte if value < 0.1 => (1e3, "ms/GB"),
        Unit::SecondPerGigabyte => (1.0, "s/GB"),
        Unit::SecondPerMegapacket if value < 0.1 => (1e3, "ms/Mpkt"),
        Unit::SecondPerMegapacket => (1.0, "s/Mpkt"),
        Unit::Packet | Unit::Segment | Unit::Trial | Unit::RoundTrip => (1.0, ""),
    };
    let shown = value * factor;
    let decimals = match symbol {
        "" => 0,
        _ if shown >= 100.0 => 0,
        _ if shown >= 10.0 => 1,
        _ => 2,
    };
    Scale { factor, symbol, decimals }
}

/// A median with its interval: `16.3 Gb/s [16.0, 16.6]`.
pub(crate) fn with_interval(estimate: &Estimate, unit: Unit) -> String {
    let Scale { factor, symbol, decimals } = scale(estimate.median, unit);
    let number = |value: f64| format!("{:.decimals$}", value * factor);
    let [low, high] = estimate.ci95.map(number);
    let median = number(estimate.median);
    if symbol.is_empty() {
        format!("{median} [{low}, {high}]")
    } else {
        format!("{median} {symbol} [{low}, {high}]")
    }
}

/// A ratio with its interval: `0.50 [0.49, 0.51]`.
pub(crate) fn ratio(Estimate { median, ci95: [low, high] }: &Estimate) -> String {
    format!("{median:.2} [{low:.2}, {high:.2}]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Metric;

    #[test]
    fn cpu_seconds_have_a_unit_of_their_size() {
        let estimate = Estimate { median: 0.0123, ci95: [0.01, 0.02] };
        assert_eq!(with_interval(&estimate, Unit::SecondPerGigabyte), "12.3 ms/GB [10.0, 20.0]");
        let estimate = Estimate { median: 1.5, ci95: [1.0, 2.0] };
        assert_eq!(with_interval(&estimate, Unit::SecondPerMegapacket), "1.50 s/Mpkt [1.00, 2.00]");
        let estimate = Estimate { median: 4812.0, ci95: [4790.0, 4850.0] };
        assert_eq!(with_interval(&estimate, Unit::RoundTrip), "4812 [4790, 4850]");
    }

    /// A count in per cent, or a rate without its unit, would be believed.
    #[test]
    fn every_metric_is_written_in_the_unit_of_its_kind() {
        let of = |metric: Metric| with_interval(&Estimate { median: 3.0, ci95: [2.0, 4.0] }, metric.unit());
        for metric in Metric::ALL {
            let expect = match metric {
                Metric::Throughput => "0.00 Mb/s [0.00, 0.00]",
                Metric::Forwarded
                | Metric::Delivered
                | Metric::Offered
                | Metric::NoLossRate
                | Metric::Resolution => "0.00 kpps [0.00, 0.00]",
                Metric::Loss | Metric::RouterLoss => "300 % [200, 400]",
                Metric::Retransmits
                | Metric::Sent
                | Metric::Received
                | Metric::Trials
                | Metric::RoundTrips => "3 [2, 4]",
                Metric::Connections => "3.00 1/s [2.00, 4.00]",
                Metric::LatencyP50
                | Metric::LatencyP90
                | Metric::LatencyP99
                | Metric::LatencyP999
                | Metric::LatencyMax => "3000 ms [2000, 4000]",
                Metric::CpuPerGb | Metric::RouterCpuPerGb => "3.00 s/GB [2.00, 4.00]",
                Metric::CpuPerMpkt | Metric::RouterCpuPerMpkt => "3.00 s/Mpkt [2.00, 4.00]",
            };
            assert_eq!(of(metric), expect, "{metric}");
        }
    }

    #[test]
    fn every_unit_has_three_digits_at_most_behind_a_large_number() {
        for unit in Unit::ALL {
            let Scale { factor, decimals, .. } = scale(123.0, unit);
            assert!(123.0 * factor < 100.0 || decimals == 0, "{unit:?}");
        }
    }
}
