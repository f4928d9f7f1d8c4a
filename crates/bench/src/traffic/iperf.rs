//! iperf 2 as the client and the server, and what its CSV says.
//!
//! It knows no time that does not count, so it reports every second, and the seconds of the warm-up are left out. Of UDP it
//! tells what was offered; what was delivered the kernel of the receiving host tells better.

use std::io::{self, Read};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::Sample;
use super::iperf3::listens;
use crate::plan::{Direction, Load};

/// Its own default.
pub(crate) const PORT: u16 = 5001;
/// More than any link here carries: as fast as it goes.
const UDP_RATE: &str = "100g";

/// What goes wrong with iperf 2.
#[derive(Debug, thiserror::Error)]
pub enum IperfError {
    /// There is no such program in `PATH`.
    #[error("iperf is not installed")]
    Missing,
    /// It could not be started.
    #[error("iperf could not be started")]
    Start(#[source] io::Error),
    /// The server exited, or did not listen in time.
    #[error("the iperf server did not come up")]
    Server,
    /// The client did not end in time, and was ended.
    #[error("iperf did not end within {} s", .0.as_secs())]
    Stalled(Duration),
    /// It says nothing of the time after the warm-up.
    #[error("iperf reports nothing of the measured time{}", if .said.is_empty() { String::new() } else { format!(": {}", .said) })]
    Nothing {
        /// What it says instead.
        said: String,
    },
    /// The load is not iperf's to make.
    #[error("iperf cannot make this load")]
    Load,
}

fn start_error(error: io::Error) -> IperfError {
    match error.kind() {
        io::ErrorKind::NotFound => IperfError::Missing,
        _ => IperfError::Start(error),
    }
}

/// What `iperf --version` says of itself, without the date.
pub(crate) fn version() -> Result<String, IperfError> {
    let output = Command::new("iperf").arg("--version").stdin(Stdio::null()).output().map_err(start_error)?;
    // Some releases say it on standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let words: Vec<&str> = text.split_whitespace().take_while(|word| !word.starts_with('(')).collect();
    Ok(words.join(" ").replace(" version", ""))
}

/// A server that is ended, by its process id, when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts a server in the calling thread's namespace and waits until it listens.
    pub(crate) fn start(target: IpAddr, udp: bool, patience: Duration) -> Result<Server, IperfError> {
        let mut command = Command::new("iperf");
        command.args(["-s", "-p", &PORT.to_string()]);
        if udp {
            command.arg("-u");
        }
        if target.is_ipv6() {
            command.arg("-V");
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(start_error)?;
        let mut server = Server { child };
        let deadline = Instant::now() + patience;
        while !listens(PORT, udp) {
            if !matches!(server.child.try_wait(), Ok(None)) || Instant::now() > deadline {
                return Err(IperfError::Server);
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the client in the calling thread's namespace to its end. TCP gives `throughput`, UDP `offered`.
pub(crate) fn client(
    target: IpAddr,
    load: Load,
    payload_bytes: u16,
    seconds: u32,
    warm_up_seconds: u32,
) -> Result<Vec<Sample>, IperfError> {
    let mut command = Command::new("iperf");
    command.args(["-c", &target.to_string(), "-p", &PORT.to_string(), "-y", "C", "-i", "1"]);
    command.args(["-t", &(seconds + warm_up_seconds).to_string()]);
    if target.is_ipv6() {
        command.arg("-V");
    }
    match load {
        Load::Tcp { streams, direction } => {
            command.args(["-P", &streams.to_string()]);
            match direction {
                Direction::Forward => {}
                Direction::Reverse => drop(command.arg("-R")),
                Direction::Both => drop(command.arg("--full-duplex")),
            }
        }
        Load::Udp { .. } => drop(command.args(["-u", "-b", UDP_RATE, "-l", &payload_bytes.to_string()])),
        Load::Ndr { .. } | Load::LatencyIdle | Load::LatencyLoad | Load::Connections => {
            return Err(IperfError::Load);
        }
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start_error)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (done, text) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.map_or(Ok(0), |mut stdout| stdout.read_to_string(&mut text));
        // Nobody listens any more where it took too long.
        let _ = done.send(read.map(|_| text));
    });
    let patience = Duration::from_secs(u64::from(seconds + warm_up_seconds) + 10);
    let text = text.recv_timeout(patience);
    // It has said everything, or has had its time.
    let _ = child.kill();
    let _ = child.wait();
    let text = text.map_err(|_| IperfError::Stalled(patience))?.map_err(IperfError::Start)?;
    let mut said = String::new();
    // Told only where there is nothing better to tell.
    let _ = stderr.map(|mut stderr| stderr.read_to_string(&mut said));
    let said = said.lines().next().unwrap_or_default().trim().to_owned();
    parse(&text, load, warm_up_seconds).ok_or(IperfError::Nothing { said })
}

/// Reads the lines of a client: time, addresses and ports, id, `from-to` in seconds, bytes, bit/s, and of UDP jitter, lost,
/// datagrams (Debian's 2.1.8). The last line of a flow sums its whole time up.
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
    Some(match load {
        Load::Udp { .. } => vec![Sample::new("offered", "packet/s", packets / seconds)],
        _ => vec![Sample::new("throughput", "bit/s", bytes * 8.0 / seconds)],
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::{Frames, Rate};

    const TCP: Load = Load::Tcp { streams: 2, direction: Direction::Forward };

    // What iperf 2.1.8 printed in the lab with kernel forwarding.
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
        assert_eq!(samples, [Sample::new("offered", "packet/s", 611_293.0)]);
    }

    #[test]
    fn its_version_is_told_without_the_date() {
        assert!(matches!(version(), Err(IperfError::Missing)) || version().unwrap().starts_with("iperf 2"));
    }
}
