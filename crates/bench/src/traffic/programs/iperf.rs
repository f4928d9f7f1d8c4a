//! iperf 2 as client and server, and its CSV.
//!
//! It has no warm-up, so it reports every second and the first seconds are left out. For UDP it reports what
//! was offered; what was delivered is read from the receiving kernel's counters.

use std::net::IpAddr;
use std::time::Duration;

use super::{ClientRun, Program, ProgramError, Server};
use crate::metric::{Metric, Sample};
use crate::plan::{Direction, Load};

/// iperf's default port.
const PORT: u16 = 5001;
/// More than any virtual link carries: as fast as it goes.
const UDP_RATE: &str = "100g";

const IPERF: Program = Program { name: "iperf", package: "iperf" };

/// A run of iperf 2 that failed.
#[derive(Debug, thiserror::Error)]
pub enum IperfError {
    /// It is not installed, does not start, does not listen or does not end.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// It reports nothing for the time after the warm-up.
    #[error("iperf reports nothing of the measured time{}", if .said.is_empty() { String::new() } else { format!(": {}", .said) })]
    Nothing {
        /// The first line of its standard error.
        said: String,
    },
    /// iperf does not make this load.
    #[error("iperf cannot make this load")]
    Load,
}

/// Name and version by `iperf --version`, without the date.
pub(crate) fn version() -> Result<String, IperfError> {
    let output = IPERF.version("--version")?;
    // Some releases print it on standard error.
    let text = [output.stdout, output.stderr].concat();
    Ok(version_in(&String::from_utf8_lossy(&text)))
}

fn version_in(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().take_while(|word| !word.starts_with('(')).collect();
    words.join(" ").replace(" version", "")
}

/// Starts a server in the calling thread's namespace and waits until it listens.
pub(crate) fn server(target: IpAddr, is_udp: bool, patience: Duration) -> Result<Server, IperfError> {
    let port = PORT.to_string();
    let mut arguments = vec!["-s", "-p", &port];
    arguments.extend(is_udp.then_some("-u"));
    arguments.extend(target.is_ipv6().then_some("-V"));
    Ok(Server::start(IPERF, &arguments, PORT, is_udp, patience)?)
}

/// Runs the client in the calling thread's namespace to its end. TCP gives `throughput`, UDP `offered`.
pub(crate) fn client(run: &ClientRun) -> Result<Vec<Sample>, IperfError> {
    let ClientRun { target, load, payload_bytes, seconds, warm_up_seconds } = *run;
    let mut arguments = vec!["-c".to_owned(), target.to_string(), "-y".into(), "C".into()];
    let mut option = |name: &str, value: &str| arguments.extend([name.to_owned(), value.to_owned()]);
    option("-p", &PORT.to_string());
    option("-i", "1");
    option("-t", &(seconds + warm_up_seconds).to_string());
    match load {
        Load::Tcp { streams, direction } => {
            option("-P", &streams.to_string());
            match direction {
                Direction::Forward => {}
                Direction::Reverse => arguments.push("-R".into()),
                Direction::Both => arguments.push("--full-duplex".into()),
            }
        }
        Load::Udp { .. } => {
            option("-b", UDP_RATE);
            option("-l", &payload_bytes.to_string());
            arguments.push("-u".into());
        }
        Load::Ndr { .. } | Load::Ping | Load::LatencyIdle | Load::LatencyLoad | Load::Connections => {
            return Err(IperfError::Load);
        }
    }
    arguments.extend(target.is_ipv6().then(|| "-V".to_owned()));
    let said = IPERF.run(&arguments, run.patience())?;
    parse(&said.output, load, warm_up_seconds).ok_or(IperfError::Nothing { said: said.complaint })
}

/// Parses the lines of a client: time, addresses and ports, id, `from-to` in seconds, bytes, bit/s, and for
/// UDP jitter, lost, datagrams (Debian's 2.1.8). The last line of a flow is its sum.
fn parse(text: &str, load: Load, warm_up_seconds: u32) -> Option<Vec<Sample>> {
    let (mut bytes, mut packets, mut end) = (0.0, 0.0, 0.0f64);
    for line in text.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let Some((from, to)) = fields.get(6).and_then(|interval| interval.split_once('-')) else { continue };
        let (Ok(from), Ok(to)) = (from.parse::<f64>(), to.parse::<f64>()) else { continue };
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        if from < f64::from(warm_up_seconds) || to - from > 1.5 {
            continue;
        }
        bytes += number(7);
        packets += number(11);
        end = end.max(to);
    }
    let seconds = end - f64::from(warm_up_seconds);
    if bytes <= 0.0 || seconds <= 0.0 {
        return None;
    }
    match load {
        Load::Udp { .. } => Some(vec![Sample::new(Metric::Offered, packets / seconds)]),
        Load::Tcp { .. } => Some(vec![Sample::new(Metric::Throughput, bytes * 8.0 / seconds)]),
        Load::Ndr { .. } | Load::Ping | Load::LatencyIdle | Load::LatencyLoad | Load::Connections => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::{Frames, Rate};

    const TCP: Load = Load::Tcp { streams: 2, direction: Direction::Forward };

    // Output of iperf 2.1.8 in the lab with kernel forwarding.
    const TWO_STREAMS: &str = "\
20261123230938,10.10.251.1,41052,10.10.252.1,5001,1,0.0-1.0,1361838140,10894705120
20261123230938,10.10.251.1,41054,10.10.252.1,5001,2,0.0-1.0,1304428604,10435428832
20261123230939,10.10.251.1,41052,10.10.252.1,5001,1,1.0-2.0,1238237184,9905897472
20261123230939,10.10.251.1,41054,10.10.252.1,5001,2,1.0-2.0,1447428096,11579424768
20261123230939,10.10.251.1,41052,10.10.252.1,5001,1,0.0-2.0,2600206396,10309417136
20261123230939,10.10.251.1,41054,10.10.252.1,5001,2,0.0-2.0,2751987772,10908541548
";

    #[test]
    fn streams_are_summed_and_the_warm_up_is_left_out() {
        let value = |warm_up| parse(TWO_STREAMS, TCP, warm_up).unwrap()[0].value;
        assert!(
            (value(0) - (9905897472.0 + 11579424768.0 + 10894705120.0 + 10435428832.0) / 2.0).abs() < 1.0
        );
        assert!((value(1) - (9905897472.0 + 11579424768.0)).abs() < 1.0);
        assert_eq!(parse(TWO_STREAMS, TCP, 2), None);
        assert_eq!(parse("", TCP, 0), None);
    }

    #[test]
    fn datagrams_are_counted() {
        let text = "\
20261123230941,10.10.251.1,34713,10.10.252.1,5001,1,0.0-1.0,10592914,84743312,0.000,0,588492,0.000,0
20261123230942,10.10.251.1,34713,10.10.252.1,5001,1,1.0-2.0,11003274,88026192,0.000,0,611293,0.000,0
20261123230942,10.10.251.1,34713,10.10.252.1,5001,1,0.0-2.0,21596260,86384694,0.000,0,-1,-0.000,0
";
        let load = Load::Udp { frames: Frames::Size(64), rate: Rate::Full };
        let samples = parse(text, load, 1).unwrap();
        assert_eq!(samples, [Sample::new(Metric::Offered, 611_293.0)]);
    }

    #[test]
    fn its_version_is_told_without_the_date() {
        let said = "iperf version 2.1.8 (12 August 2022) pthreads\n";
        assert_eq!(version_in(said), "iperf 2.1.8");
        assert_eq!(version_in("iperf version 2.2.1\n"), "iperf 2.2.1");
    }
}
