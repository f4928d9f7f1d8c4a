//! Every metric of a benchmark, in one table: variant, name, unit, which way is better, where it is shown,
//! title.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeStruct, Serializer};

macro_rules! units {
    ($($variant:ident $symbol:literal $sentence:literal;)*) => {
        /// The unit of a metric's samples.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Unit {
            $(#[doc = $sentence] $variant,)*
        }

        impl Unit {
            /// Every unit, in the order of the table.
            pub const ALL: [Unit; [$($symbol),*].len()] = [$(Unit::$variant),*];

            /// The unit as results.json has it.
            pub const fn symbol(self) -> &'static str {
                match self { $(Unit::$variant => $symbol,)* }
            }
        }
    };
}

units! {
    BitPerSecond "bit/s" "Bits of payload per second.";
    PacketPerSecond "packet/s" "Packets per second.";
    ConnectionPerSecond "connection/s" "Connections per second.";
    Second "s" "Seconds.";
    Share "1" "A share of a whole, from 0 to 1.";
    Packet "packet" "A count of packets.";
    Segment "segment" "A count of TCP segments.";
    Trial "trial" "A count of trials.";
    RoundTrip "round trip" "A count of round trips.";
    SecondPerGigabyte "s/GB" "CPU seconds per gigabyte.";
    SecondPerMegapacket "s/Mpkt" "CPU seconds per million packets.";
}

/// Which way a metric gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// More is better.
    More,
    /// Less is better.
    Less,
    /// No verdict is made of it: it is the sender's own, a count, or told by another metric as a rate.
    Neither,
}

/// The scenarios for which a table or a chart shows a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// All of them.
    Always,
    /// TCP bulk, where bytes matter.
    Tcp,
    /// All but TCP bulk.
    NotTcp,
    /// UDP at a rate or as fast as it goes.
    Udp,
    /// UDP, the search for the no-loss rate, and connections. Beside a few echoes the whole machine's time
    /// says nothing.
    Packets,
    /// None: results.json has it.
    Never,
}

/// How much a metric says by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// The figure of its scenario: stands at a glance, and a wide interval of it is worth a warning.
    Headline,
    /// Stands at a glance.
    Main,
    /// Explains the others.
    Detail,
}

macro_rules! metrics {
    ($($variant:ident $name:literal $unit:ident $better:ident $tables:ident $bars:ident $weight:ident $title:literal;)*) => {
        /// What is measured. The same word is used in results.json, tables, charts and README.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Metric {
            $(#[doc = $title] $variant,)*
        }

        impl Metric {
            /// Every metric, in the order of the table, which is that of the charts.
            pub const ALL: [Metric; [$($name),*].len()] = [$(Metric::$variant),*];

            /// The name in results.json: snake_case.
            pub const fn name(self) -> &'static str {
                match self { $(Metric::$variant => $name,)* }
            }

            /// The unit of its samples, its median and its interval.
            pub const fn unit(self) -> Unit {
                match self { $(Metric::$variant => Unit::$unit,)* }
            }

            /// Which way it gets better.
            pub const fn better(self) -> Better {
                match self { $(Metric::$variant => Better::$better,)* }
            }

            /// The scenarios for which the terminal's and Markdown's tables show it.
            pub const fn tables(self) -> Shown {
                match self { $(Metric::$variant => Shown::$tables,)* }
            }

            /// The scenarios for which the page has bars of it.
            pub const fn bars(self) -> Shown {
                match self { $(Metric::$variant => Shown::$bars,)* }
            }

            /// How much it says by itself.
            pub const fn weight(self) -> Weight {
                match self { $(Metric::$variant => Weight::$weight,)* }
            }

            /// What it is, as a chart's title.
            pub const fn title(self) -> &'static str {
                match self { $(Metric::$variant => $title,)* }
            }
        }
    };
}

metrics! {
    // Variant, name, unit, which way is better, shown in tables, shown as bars, weight, title.
    Throughput "throughput" BitPerSecond More Always Always Headline "TCP throughput";
    Retransmits "retransmits" Segment Neither Always Never Detail "TCP segments sent again";
    Forwarded "forwarded" PacketPerSecond More Always Always Headline "UDP forwarded to the receiver's interface";
    Delivered "delivered" PacketPerSecond More Always Always Main "UDP delivered to the receiving program";
    Offered "offered" PacketPerSecond Neither Always Never Detail "UDP put on the sender's interface";
    Loss "loss" Share Neither Always Never Detail "Share lost end to end";
    RouterLoss "router_loss" Share Neither Always Never Detail "Share lost between the hosts' interfaces";
    Sent "sent" Packet Neither Never Never Detail "UDP packets sent, warm-up included";
    Received "received" Packet Neither Never Never Detail "UDP packets received, warm-up included";
    NoLossRate "no_loss_rate" PacketPerSecond More Always Always Headline "Highest UDP rate without loss";
    Resolution "resolution" PacketPerSecond Neither Never Never Detail "Resolution of the search for the no-loss rate";
    Trials "trials" Trial Neither Never Never Detail "Trials of the search for the no-loss rate";
    Connections "connections" ConnectionPerSecond More Always Never Main "TCP connections opened and accepted";
    LatencyP50 "latency_p50" Second Less Always Always Headline "Round trip, median";
    LatencyP90 "latency_p90" Second Less Never Never Detail "Round trip, 90th percentile";
    LatencyP99 "latency_p99" Second Less Always Always Main "Round trip, 99th percentile";
    LatencyP999 "latency_p99_9" Second Less Never Never Detail "Round trip, 99.9th percentile";
    LatencyMax "latency_max" Second Neither Never Never Detail "Round trip, maximum";
    RoundTrips "round_trips" RoundTrip Neither Never Never Detail "Round trips measured";
    CpuPerGb "cpu_per_gb" SecondPerGigabyte Less Tcp Tcp Detail "CPU seconds per gigabyte of TCP; the solid part is the router's own";
    CpuPerMpkt "cpu_per_mpkt" SecondPerMegapacket Less Packets Udp Detail "CPU seconds per million UDP packets; the solid part is the router's own";
    RouterCpuPerGb "router_cpu_per_gb" SecondPerGigabyte Less Tcp Never Detail "CPU seconds of the router's threads per gigabyte";
    RouterCpuPerMpkt "router_cpu_per_mpkt" SecondPerMegapacket Less NotTcp Never Detail "CPU seconds of the router's threads per million packets";
}

impl Metric {
    /// The name as tables show it.
    pub fn label(self) -> String {
        self.name().replace('_', " ")
    }

    /// The metric whose value is a part of this one's, and drawn as that.
    pub fn part(self) -> Option<Metric> {
        const PARTS: [(Metric, Metric); 2] =
            [(Metric::CpuPerGb, Metric::RouterCpuPerGb), (Metric::CpuPerMpkt, Metric::RouterCpuPerMpkt)];
        PARTS.iter().find(|(whole, _)| *whole == self).map(|(_, part)| *part)
    }

    /// Whether the ratio of two modes' values says something. A share of a share does not: `loss` stands
    /// beside `delivered`. Nor does how often an echo was sent.
    pub fn has_ratio(self) -> bool {
        !matches!(self.unit(), Unit::Share | Unit::RoundTrip)
    }
}

/// A name that no metric has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no metric `{0}`")]
pub struct UnknownMetric(pub String);

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(name: &str) -> Result<Metric, UnknownMetric> {
        let found = Metric::ALL.into_iter().find(|metric| metric.name() == name);
        found.ok_or_else(|| UnknownMetric(name.into()))
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Metric, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.symbol())
    }
}

/// Writes the two fields `metric` and `unit`, for `#[serde(flatten, serialize_with)]`.
pub(crate) fn with_unit<S: Serializer>(metric: &Metric, serializer: S) -> Result<S::Ok, S::Error> {
    let mut fields = serializer.serialize_struct("Metric", 2)?;
    fields.serialize_field("metric", metric)?;
    fields.serialize_field("unit", &metric.unit())?;
    fields.end()
}

/// One measured value.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize)]
pub struct Sample {
    /// What was measured.
    pub metric: Metric,
    /// The value, in the metric's unit.
    pub value: f64,
}

impl Sample {
    pub(crate) fn new(metric: Metric, value: f64) -> Sample {
        Sample { metric, value }
    }
}

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Sample", 3)?;
        fields.serialize_field("metric", &self.metric)?;
        fields.serialize_field("unit", &self.metric.unit())?;
        fields.serialize_field("value", &self.value)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_unique_snake_case_and_read_as_they_are_written() {
        let mut names: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        for metric in Metric::ALL {
            let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            assert!(metric.name().bytes().all(is_word), "{metric}");
            assert_eq!(metric.name().parse(), Ok(metric));
            assert!(!metric.title().is_empty() && !metric.title().ends_with('.'), "{metric}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Metric::ALL.len());
        assert_eq!("nonsense".parse::<Metric>().unwrap_err().to_string(), "there is no metric `nonsense`");
    }

    #[test]
    fn what_is_seen_at_a_glance_has_a_good_side() {
        for metric in Metric::ALL {
            let seen = !matches!(metric.weight(), Weight::Detail) || metric.bars() != Shown::Never;
            assert!(!seen || metric.better() != Better::Neither, "{metric}");
            assert!(!seen || metric.has_ratio(), "{metric}");
        }
    }

    #[test]
    fn a_part_has_the_unit_of_its_whole() {
        for (whole, part) in Metric::ALL.into_iter().filter_map(|whole| Some((whole, whole.part()?))) {
            assert_eq!(whole.unit(), part.unit());
            assert_ne!(whole.bars(), Shown::Never, "{whole}");
        }
    }

    #[test]
    fn a_sample_is_written_with_its_unit() {
        let sample = Sample::new(Metric::RouterLoss, 0.25);
        let text = serde_json::to_string(&sample).unwrap();
        assert_eq!(text, r#"{"metric":"router_loss","unit":"1","value":0.25}"#);
        assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), sample);
        assert!(serde_json::from_str::<Sample>(&text.replace("router_loss", "nonsense")).is_err());
    }
}
