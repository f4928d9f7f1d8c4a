//! iperf3 as client and server, and its JSON.

use std::time::Duration;

use serde::Deserialize;

use super::{ClientRun, Program, ProgramError, Server};
use crate::metric::{Metric, Sample};
use crate::plan::{Direction, Load};

/// iperf3's default port.
const PORT: u16 = 5201;

const IPERF3: Program = Program { name: "iperf3", package: "iperf3" };

/// A run of iperf3 that failed.
#[derive(Debug, thiserror::Error)]
pub enum Iperf3Error {
    /// It is not installed, does not start, does not listen or does not end.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The client reports an error.
    #[error("iperf3: {0}")]
    Client(String),
    /// Its output is not the JSON that is expected.
    #[error("iperf3's report cannot be read")]
    Json(#[from] serde_json::Error),
    /// The report lacks a part that this load has.
    #[error("iperf3's report has no {0}")]
    Lacks(&'static str),
    /// iperf3 does not make this load.
    #[error("iperf3 cannot make this load")]
    Load,
}

/// The first line of `iperf3 --version`.
pub(crate) fn version() -> Result<String, Iperf3Error> {
    let output = IPERF3.version("--version")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split(" (").next().unwrap_or_default().lines().next().unwrap_or_default().trim().to_owned())
}

/// Starts a server for one client in the calling thread's namespace and waits until it listens, or for
/// `patience`.
pub(crate) fn server(patience: Duration) -> Result<Server, Iperf3Error> {
    let arguments = ["--server", "--one-off", "--json", "--port", &PORT.to_string()];
    Ok(Server::start(IPERF3, &arguments, PORT, false, patience)?)
}

/// Runs the client to its end in the calling thread's namespace.
pub(crate) fn client(run: &ClientRun) -> Result<Vec<Sample>, Iperf3Error> {
    let ClientRun { target, load, payload_bytes, seconds, warm_up_seconds } = *run;
    let mut arguments = vec!["--client".to_owned(), target.to_string(), "--json".into()];
    let mut option = |name: &str, value: u32| arguments.extend([name.to_owned(), value.to_string()]);
    option("--port", PORT.into());
    option("--time", seconds);
    option("--omit", warm_up_seconds);
    match load {
        Load::Tcp { streams, direction } => {
            option("--parallel", streams.into());
            match direction {
                Direction::Forward => {}
                Direction::Reverse => arguments.push("--reverse".into()),
                Direction::Both => arguments.push("--bidir".into()),
            }
        }
        Load::Udp { .. } => {
            option("--length", payload_bytes.into());
            option("--bitrate", 0);
            arguments.push("--udp".into());
        }
        Load::Ndr { .. } | Load::Ping | Load::LatencyIdle | Load::LatencyLoad | Load::Connections => {
            return Err(Iperf3Error::Load);
        }
    }
    parse(&IPERF3.run(&arguments, run.patience())?.output, run)
}

#[derive(Deserialize)]
struct Report {
    error: Option<String>,
    #[serde(default)]
    end: End,
}

#[derive(Deserialize, Default)]
struct End {
    sum_sent: Option<Sum>,
    sum_received: Option<Sum>,
    sum_sent_bidir_reverse: Option<Sum>,
    sum_received_bidir_reverse: Option<Sum>,
}

#[derive(Deserialize, Clone, Copy)]
struct Sum {
    seconds: f64,
    bytes: u64,
    bits_per_second: f64,
    retransmits: Option<u64>,
    packets: Option<u64>,
}

/// The report in the output of a client. Some releases print warnings before it (iperf 3.7 and later, on
/// standard output).
fn report_in(text: &str) -> Result<Report, serde_json::Error> {
    let start = if text.starts_with('{') { 0 } else { text.find("\n{").map_or(0, |at| at + 1) };
    Report::deserialize(&mut serde_json::Deserializer::from_str(&text[start..]))
}

/// Parses a client's report.
///
/// Throughput is the receiver's. UDP packets delivered are computed from bytes, because iperf 3.12 counts
/// losses of the warm-up too.
fn parse(text: &str, run: &ClientRun) -> Result<Vec<Sample>, Iperf3Error> {
    let report = report_in(text)?;
    // The exit code is 0 in this case too.
    if let Some(error) = report.error {
        return Err(Iperf3Error::Client(error));
    }
    let end = report.end;
    let sent = end.sum_sent.ok_or(Iperf3Error::Lacks("sum_sent"))?;
    let received = end.sum_received.ok_or(Iperf3Error::Lacks("sum_received"))?;
    match run.load {
        Load::Tcp { direction, .. } => {
            let mut bits_per_second = received.bits_per_second;
            let mut retransmits = sent.retransmits;
            if direction == Direction::Both {
                let (back_sent, back_received) = end
                    .sum_sent_bidir_reverse
                    .zip(end.sum_received_bidir_reverse)
                    .ok_or(Iperf3Error::Lacks("way back"))?;
                bits_per_second += back_received.bits_per_second;
                retransmits = retransmits.zip(back_sent.retransmits).map(|(there, back)| there + back);
            }
            if received.bytes == 0 {
                return Err(Iperf3Error::Client("not a byte arrived".into()));
            }
            let mut samples = vec![Sample::new(Metric::Throughput, bits_per_second)];
            samples.extend(retransmits.map(|n| Sample::new(Metric::Retransmits, count(n))));
            Ok(samples)
        }
        Load::Udp { .. } => {
            let offered = count(sent.packets.ok_or(Iperf3Error::Lacks("count of packets"))?);
            let delivered = count(received.bytes) / f64::from(run.payload_bytes);
            if !(offered > 0.0 && delivered > 0.0 && received.seconds > 0.0 && sent.seconds > 0.0) {
                return Err(Iperf3Error::Client("not a datagram arrived".into()));
            }
            // Packets under way at the end of the warm-up can make it slightly negative.
            let loss = (1.0 - delivered / offered).max(0.0);
            Ok(vec![
                Sample::new(Metric::Delivered, delivered / received.seconds),
                Sample::new(Metric::Offered, offered / sent.seconds),
                Sample::new(Metric::Loss, loss),
            ])
        }
        Load::Ndr { .. } | Load::Ping | Load::LatencyIdle | Load::LatencyLoad | Load::Connections => {
            Err(Iperf3Error::Load)
        }
    }
}

/// A count; beyond 2^53, which no run reaches, it would lose its last bits.
fn count(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::{Frames, Rate};
    use std::net::{IpAddr, Ipv4Addr};

    fn read(text: &str, load: Load, payload_bytes: u16) -> Result<Vec<Sample>, Iperf3Error> {
        let target = IpAddr::V4(Ipv4Addr::LOCALHOST);
        parse(text, &ClientRun { target, load, payload_bytes, seconds: 1, warm_up_seconds: 0 })
    }

    /// Rounded: the last bits depend on who parses the number.
    fn values(samples: &[Sample]) -> Vec<(&str, f64)> {
        samples.iter().map(|s| (s.metric.name(), s.value.round())).collect()
    }

    const UDP: Load = Load::Udp { frames: Frames::Size(64), rate: Rate::Full };

    fn tcp(streams: u16, direction: Direction) -> Load {
        Load::Tcp { streams, direction }
    }

    // The files are output of iperf 3.12 in the lab with kernel forwarding.
    #[test]
    fn tcp_one_and_four_streams() {
        let one =
            read(include_str!("../../../tests/data/tcp-1.json"), tcp(1, Direction::Forward), 0).unwrap();
        assert_eq!(values(&one), [("throughput", 17_471_432_687.0), ("retransmits", 6509.0)]);
        let four =
            read(include_str!("../../../tests/data/tcp-4.json"), tcp(4, Direction::Forward), 0).unwrap();
        assert_eq!(values(&four), [("throughput", 30_887_372_945.0), ("retransmits", 10136.0)]);
    }

    #[test]
    fn warnings_around_the_report_are_skipped() {
        let report = include_str!("../../../tests/data/tcp-1.json");
        let warning = "warning: UDP block size 1472 exceeds TCP MSS 1448, {may} result in fragmentation\n";
        let load = tcp(1, Direction::Forward);
        let plain = read(report, load, 0).unwrap();
        for text in [format!("{warning}{report}"), format!("{warning}\n{warning}{report}\n{warning}")] {
            assert_eq!(values(&read(&text, load, 0).unwrap()), values(&plain));
        }
        assert!(matches!(read(warning, load, 0), Err(Iperf3Error::Json(_))));
    }

    #[test]
    fn tcp_reverse_and_both_ways() {
        let back =
            read(include_str!("../../../tests/data/tcp-1-reverse.json"), tcp(1, Direction::Reverse), 0)
                .unwrap();
        assert_eq!(values(&back), [("throughput", 18_743_851_220.0), ("retransmits", 7252.0)]);
        let both =
            read(include_str!("../../../tests/data/tcp-bidir.json"), tcp(1, Direction::Both), 0).unwrap();
        assert_eq!(values(&both)[1], ("retransmits", 24953.0 + 25545.0));
        assert!((both[0].value - 26_758_828_409.493_8).abs() < 1.0);
    }

    #[test]
    fn udp_offered_delivered_and_lost_belong_together() {
        let udp = read(include_str!("../../../tests/data/udp-64.json"), UDP, 18).unwrap();
        let by_name = |name: &str| udp.iter().find(|s| s.metric.name() == name).unwrap().value;
        let delivered = 10_580_814.0 / 18.0;
        assert!((by_name("offered") - 600_630.0 / 1.000_033).abs() < 1e-6);
        assert!((by_name("delivered") - delivered / 1.000_421).abs() < 1e-6);
        assert!((by_name("loss") - (600_630.0 - delivered) / 600_630.0).abs() < 1e-12);
    }

    #[test]
    fn losses_of_the_warm_up_are_not_counted() {
        let text = include_str!("../../../tests/data/udp-64-omit.json");
        let udp = read(text, UDP, 18).unwrap();
        let loss = udp.iter().find(|s| s.metric == Metric::Loss).unwrap().value;
        // The report's own lost_percent is 1.56, with what was lost in the omitted second.
        assert!((0.0..0.0156).contains(&loss), "{loss}");
    }

    #[test]
    fn errors_are_told_in_its_words() {
        let error = read(include_str!("../../../tests/data/refused.json"), tcp(1, Direction::Forward), 0)
            .unwrap_err();
        assert_eq!(error.to_string(), "iperf3: unable to connect to server: Connection refused");
        assert!(matches!(read("", tcp(1, Direction::Forward), 0), Err(Iperf3Error::Json(_))));
        assert!(matches!(
            read("{\"end\":{}}", tcp(1, Direction::Forward), 0),
            Err(Iperf3Error::Lacks("sum_sent"))
        ));
        let one_way = include_str!("../../../tests/data/tcp-1.json");
        assert!(matches!(read(one_way, tcp(1, Direction::Both), 0), Err(Iperf3Error::Lacks("way back"))));
    }
}
