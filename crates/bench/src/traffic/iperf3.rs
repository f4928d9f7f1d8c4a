//! iperf3 as the client and the server, and what its JSON says.

use std::io::{self, Read};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Sample;
use crate::plan::{Direction, Load};

/// What goes wrong with iperf3.
#[derive(Debug, thiserror::Error)]
pub enum Iperf3Error {
    /// There is no such program in `PATH`.
    #[error("iperf3 is not installed")]
    Missing,
    /// It could not be started.
    #[error("iperf3 could not be started")]
    Start(#[source] io::Error),
    /// The server exited, or did not listen in time.
    #[error("the iperf3 server did not come up: {0}")]
    Server(String),
    /// The client reports an error.
    #[error("iperf3: {0}")]
    Client(String),
    /// It did not end in time, and was ended.
    #[error("iperf3 did not end within {} s", .0.as_secs())]
    Stalled(Duration),
    /// Its output is not what this version of nsrouter knows.
    #[error("iperf3's report cannot be read")]
    Json(#[from] serde_json::Error),
    /// The report lacks what the load should have given.
    #[error("iperf3's report has no {0}")]
    Lacks(&'static str),
    /// The load is not iperf3's to make.
    #[error("iperf3 cannot make this load")]
    Load,
}

/// First line of `iperf3 --version`: proof that the program is there.
///
/// # Errors
/// [`Iperf3Error::Missing`] where it is not.
pub fn version() -> Result<String, Iperf3Error> {
    let output =
        Command::new("iperf3").arg("--version").stdin(Stdio::null()).output().map_err(start_error)?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split(" (").next().unwrap_or_default().lines().next().unwrap_or_default().trim().to_owned())
}

fn start_error(error: io::Error) -> Iperf3Error {
    match error.kind() {
        io::ErrorKind::NotFound => Iperf3Error::Missing,
        _ => Iperf3Error::Start(error),
    }
}

/// A server that is ended, by its process id, when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts a server in the calling thread's namespace and waits until it listens on `port`, or for `patience`.
    ///
    /// # Errors
    /// When it cannot start or does not listen.
    pub fn start(port: u16, patience: Duration) -> Result<Server, Iperf3Error> {
        // The process belongs to the namespace of the thread that starts it.
        let child = Command::new("iperf3")
            .args(["--server", "--one-off", "--json", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(start_error)?;
        let mut server = Server { child };
        let deadline = Instant::now() + patience;
        // Connecting to see whether it listens would use up its one test. The kernel's table of sockets of this thread's
        // namespace tells without touching it.
        while !listens(port, false) {
            if let Ok(Some(status)) = server.child.try_wait() {
                return Err(Iperf3Error::Server(format!("it ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(Iperf3Error::Server(format!("nobody listens on port {port}")));
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

/// Whether a TCP socket listens on `port` in the calling thread's namespace, or a UDP socket is bound to it.
pub(super) fn listens(port: u16, udp: bool) -> bool {
    // States of include/net/tcp_states.h: TCP_LISTEN, and TCP_CLOSE, which is that of an unconnected UDP socket.
    let (tables, state) = if udp { (["udp6", "udp"], "07") } else { (["tcp6", "tcp"], "0A") };
    let in_table = |table: String| {
        table.lines().skip(1).any(|line| {
            let mut words = line.split_whitespace().skip(1);
            let local_port = words.next().and_then(|address| address.rsplit(':').next());
            local_port == Some(&format!("{port:04X}")) && words.nth(1) == Some(state)
        })
    };
    tables
        .iter()
        .any(|table| std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).is_ok_and(in_table))
}

/// One run of the client.
#[derive(Debug, Clone, Copy)]
pub struct ClientOptions {
    /// Where the server is.
    pub server: IpAddr,
    /// Its port.
    pub port: u16,
    /// What to send.
    pub load: Load,
    /// UDP payload of a datagram, in bytes, where the load is UDP.
    pub payload_bytes: u16,
    /// Measured time.
    pub seconds: u32,
    /// Time before that, not counted.
    pub warm_up_seconds: u32,
}

/// Runs the client in the calling thread's namespace to its end.
///
/// # Errors
/// When it cannot start, reports an error, does not end in time, or its report cannot be read.
pub fn client(options: &ClientOptions) -> Result<Vec<Sample>, Iperf3Error> {
    let mut command = Command::new("iperf3");
    command.args(["--client", &options.server.to_string(), "--port", &options.port.to_string(), "--json"]);
    command.args(["--time", &options.seconds.to_string(), "--omit", &options.warm_up_seconds.to_string()]);
    match options.load {
        Load::Tcp { streams, direction } => {
            command.args(["--parallel", &streams.to_string()]);
            match direction {
                Direction::Forward => {}
                Direction::Reverse => drop(command.arg("--reverse")),
                Direction::Both => drop(command.arg("--bidir")),
            }
        }
        Load::Udp { .. } => {
            command.args(["--udp", "--bitrate", "0", "--length", &options.payload_bytes.to_string()]);
        }
        Load::Ndr { .. } | Load::LatencyIdle | Load::LatencyLoad | Load::Connections => {
            return Err(Iperf3Error::Load);
        }
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(start_error)?;
    let stdout = child.stdout.take();
    let (done, text) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.map_or(Ok(0), |mut stdout| stdout.read_to_string(&mut text));
        // Nobody listens any more where it took too long.
        let _ = done.send(read.map(|_| text));
    });
    let patience = Duration::from_secs(u64::from(options.seconds + options.warm_up_seconds) + 10);
    let text = text.recv_timeout(patience);
    // Its report is complete, or it has had its time. The reader ends with it, because the pipe does.
    let _ = child.kill();
    let _ = child.wait();
    let text = text.map_err(|_| Iperf3Error::Stalled(patience))?.map_err(Iperf3Error::Start)?;
    parse(&text, options)
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

/// Reads a client's report.
///
/// Throughput is what the receiver got. Of UDP, what was delivered is counted in bytes, because 3.12 counts as lost also what
/// was lost while warming up.
fn parse(text: &str, options: &ClientOptions) -> Result<Vec<Sample>, Iperf3Error> {
    let report: Report = serde_json::from_str(text)?;
    // It exits with 0 in this case too.
    if let Some(error) = report.error {
        return Err(Iperf3Error::Client(error));
    }
    let end = report.end;
    let sent = end.sum_sent.ok_or(Iperf3Error::Lacks("sum_sent"))?;
    let received = end.sum_received.ok_or(Iperf3Error::Lacks("sum_received"))?;
    match options.load {
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
            let mut samples = vec![Sample::new("throughput", "bit/s", bits_per_second)];
            samples.extend(retransmits.map(|n| Sample::new("retransmits", "segment", count(n))));
            Ok(samples)
        }
        Load::Udp { .. } => {
            let offered = count(sent.packets.ok_or(Iperf3Error::Lacks("count of packets"))?);
            let delivered = count(received.bytes) / f64::from(options.payload_bytes);
            if !(offered > 0.0 && delivered > 0.0 && received.seconds > 0.0 && sent.seconds > 0.0) {
                return Err(Iperf3Error::Client("not a datagram arrived".into()));
            }
            // What was on its way when the warm-up ended can make it a little less than nothing.
            let loss = (1.0 - delivered / offered).max(0.0);
            Ok(vec![
                Sample::new("delivered", "packet/s", delivered / received.seconds),
                Sample::new("offered", "packet/s", offered / sent.seconds),
                Sample::new("loss", "1", loss),
            ])
        }
        Load::Ndr { .. } | Load::LatencyIdle | Load::LatencyLoad | Load::Connections => {
            Err(Iperf3Error::Load)
        }
    }
}

/// Counts beyond 2^53 lose their last bits, which no run of seconds reaches.
fn count(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::{Frames, Rate};
    use std::net::Ipv4Addr;

    fn read(text: &str, load: Load, payload_bytes: u16) -> Result<Vec<Sample>, Iperf3Error> {
        let server = IpAddr::V4(Ipv4Addr::LOCALHOST);
        parse(
            text,
            &ClientOptions { server, port: 5201, load, payload_bytes, seconds: 1, warm_up_seconds: 0 },
        )
    }

    /// Rounded: the last bits depend on who parses the number.
    fn values(samples: &[Sample]) -> Vec<(&str, f64)> {
        samples.iter().map(|s| (s.metric.as_str(), s.value.round())).collect()
    }

    const UDP: Load = Load::Udp { frames: Frames::Size(64), rate: Rate::Full };

    fn tcp(streams: u16, direction: Direction) -> Load {
        Load::Tcp { streams, direction }
    }

    // The files are what iperf 3.12 printed in the lab with kernel forwarding.
    #[test]
    fn tcp_one_and_four_streams() {
        let one = read(include_str!("../../tests/data/tcp-1.json"), tcp(1, Direction::Forward), 0).unwrap();
        assert_eq!(values(&one), [("throughput", 17_471_432_687.0), ("retransmits", 6509.0)]);
        let four = read(include_str!("../../tests/data/tcp-4.json"), tcp(4, Direction::Forward), 0).unwrap();
        assert_eq!(values(&four), [("throughput", 30_887_372_945.0), ("retransmits", 10136.0)]);
    }

    #[test]
    fn tcp_reverse_and_both_ways() {
        let back =
            read(include_str!("../../tests/data/tcp-1-reverse.json"), tcp(1, Direction::Reverse), 0).unwrap();
        assert_eq!(values(&back), [("throughput", 18_743_851_220.0), ("retransmits", 7252.0)]);
        let both = read(include_str!("../../tests/data/tcp-bidir.json"), tcp(1, Direction::Both), 0).unwrap();
        assert_eq!(values(&both)[1], ("retransmits", 24953.0 + 25545.0));
        assert!((both[0].value - 26_758_828_409.493_8).abs() < 1.0);
    }

    #[test]
    fn udp_offered_delivered_and_lost_belong_together() {
        let udp = read(include_str!("../../tests/data/udp-64.json"), UDP, 18).unwrap();
        let by_name = |name: &str| udp.iter().find(|s| s.metric == name).unwrap().value;
        let delivered = 10_580_814.0 / 18.0;
        assert!((by_name("offered") - 600_630.0 / 1.000_033).abs() < 1e-6);
        assert!((by_name("delivered") - delivered / 1.000_421).abs() < 1e-6);
        assert!((by_name("loss") - (600_630.0 - delivered) / 600_630.0).abs() < 1e-12);
    }

    #[test]
    fn losses_of_the_warm_up_are_not_counted() {
        let text = include_str!("../../tests/data/udp-64-omit.json");
        let udp = read(text, UDP, 18).unwrap();
        let loss = udp.iter().find(|s| s.metric == "loss").unwrap().value;
        // The report's own lost_percent is 1.56, with what was lost in the omitted second.
        assert!((0.0..0.0156).contains(&loss), "{loss}");
    }

    #[test]
    fn errors_are_told_in_its_words() {
        let error =
            read(include_str!("../../tests/data/refused.json"), tcp(1, Direction::Forward), 0).unwrap_err();
        assert_eq!(error.to_string(), "iperf3: unable to connect to server: Connection refused");
        assert!(matches!(read("", tcp(1, Direction::Forward), 0), Err(Iperf3Error::Json(_))));
        assert!(matches!(
            read("{\"end\":{}}", tcp(1, Direction::Forward), 0),
            Err(Iperf3Error::Lacks("sum_sent"))
        ));
        let one_way = include_str!("../../tests/data/tcp-1.json");
        assert!(matches!(read(one_way, tcp(1, Direction::Both), 0), Err(Iperf3Error::Lacks("way back"))));
    }

    #[test]
    fn a_listening_port_is_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listens(port, false) && !listens(port, true));
        drop(listener);
        assert!(!listens(port, false));
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(listens(receiver.local_addr().unwrap().port(), true));
    }
}
