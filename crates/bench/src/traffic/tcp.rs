//! The built-in generator of TCP: bulk and connections, where no iperf3 is installed. UDP is [`super::raw`]'s.
//!
//! A window is cut out of the running load by reading counters at its beginning and end, so what happens before, the warm-up,
//! and after it does not matter.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::agent::AgentError;
use crate::metric::{Metric, Sample};
use crate::plan::Direction;
use crate::plan::Pin;
use crate::testbed::Host;

/// Read and written at a time, as iperf3 does by default.
const TCP_BLOCK_BYTES: usize = 128 << 10;
/// A connection is made at once, or the path does not work.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Threads that open connections.
const CONNECTORS: usize = 4;
/// How often a receiver that gets nothing looks whether it is over.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// When the counting begins and for how long it goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) warm_up: Duration,
    pub(crate) length: Duration,
}

/// Something counted at two moments, a window apart.
pub(crate) struct Counted<const N: usize> {
    pub(crate) counts: [u64; N],
    pub(crate) elapsed: Duration,
}

impl Window {
    /// Waits for the window to pass, and says by how much the counters grew meanwhile.
    pub(crate) fn count<const N: usize>(self, read: impl Fn() -> [u64; N]) -> Counted<N> {
        thread::sleep(self.warm_up);
        let (start, before) = (Instant::now(), read());
        thread::sleep(self.length);
        let (elapsed, after) = (start.elapsed(), read());
        let mut counts = after;
        for (count, before) in counts.iter_mut().zip(before) {
            *count = count.saturating_sub(before);
        }
        Counted { counts, elapsed }
    }
}

/// TCP between two hosts: `streams` connections in each direction asked for.
pub(crate) fn tcp(
    client: &Host,
    server: &Host,
    target: IpAddr,
    streams: u16,
    direction: Direction,
    window: Window,
) -> Result<Vec<Sample>, AgentError> {
    let ways: &[bool] = match direction {
        Direction::Forward => &[true],
        Direction::Reverse => &[false],
        Direction::Both => &[true, false],
    };
    let mut flows: Vec<(End, End)> = Vec::new();
    for &forward in ways {
        for (ours, theirs) in connect(client, server, target, streams)? {
            flows.push(if forward { (ours, theirs) } else { (theirs, ours) });
        }
    }
    let before = retransmitted(client)? + retransmitted(server)?;
    let Counted { counts: [bytes], elapsed } = tcp_over(&flows, window);
    let after = retransmitted(client)? + retransmitted(server)?;
    if bytes == 0 {
        return Err(AgentError::NothingArrived);
    }
    Ok(vec![
        Sample::new(Metric::Throughput, bytes as f64 * 8.0 / elapsed.as_secs_f64()),
        // Of the warm-up too: the kernel counts them by namespace, and a lab's are its own.
        Sample::new(Metric::Retransmits, after.saturating_sub(before) as f64),
    ])
}

/// Keeps all flows (writing end, reading end) full, and counts the bytes that were read.
fn tcp_over(flows: &[(End, End)], window: Window) -> Counted<1> {
    let (received, over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for (from, to) in flows {
            scope.spawn(|| write_until(from, &over));
            scope.spawn(|| read_until(to, &received));
        }
        let counted = window.count(|| [received.load(Ordering::Relaxed)]);
        over.store(true, Ordering::Relaxed);
        for (from, to) in flows {
            // Wakes whoever waits for the other; fails only where the connection is gone already.
            let _ = from.stream.shutdown(Shutdown::Both);
            let _ = to.stream.shutdown(Shutdown::Both);
        }
        counted
    })
}

/// Runs `work` beside one TCP stream from the client's host to the server's that takes all it can get.
pub(crate) fn beside_bulk<T>(
    client: &Host,
    server: &Host,
    target: IpAddr,
    work: impl FnOnce() -> Result<T, AgentError>,
) -> Result<T, AgentError> {
    let flows = connect(client, server, target, 1)?;
    let (received, over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for (from, to) in &flows {
            scope.spawn(|| write_until(from, &over));
            scope.spawn(|| read_until(to, &received));
        }
        let result = work();
        over.store(true, Ordering::Relaxed);
        for (from, to) in &flows {
            // As in `tcp_over`.
            let _ = from.stream.shutdown(Shutdown::Both);
            let _ = to.stream.shutdown(Shutdown::Both);
        }
        result
    })
}

/// New TCP connections from the client's host to the server's, each opened, accepted and closed, by a few connecting
/// threads.
pub(crate) fn connections(
    client: &Host,
    server: &Host,
    target: IpAddr,
    window: Window,
) -> Result<Vec<Sample>, AgentError> {
    let listener =
        server.run(|| TcpListener::bind(SocketAddr::new(target, 0)).map_err(AgentError::Generator))?;
    let address = listener.local_addr().map_err(AgentError::Generator)?;
    let timeout = TimeVal::milliseconds(50);
    setsockopt(&listener, sockopt::ReceiveTimeout, &timeout).map_err(|e| AgentError::Generator(e.into()))?;
    let (made, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let counted = thread::scope(|scope| {
        scope.spawn(|| {
            server.pin.pin_thread();
            while !over.load(Ordering::Relaxed) {
                // Closed at once; a timeout only looks again whether it is over.
                drop(listener.accept());
            }
        });
        for _ in 0..CONNECTORS {
            // The sockets must be made inside the host's namespace.
            scope.spawn(|| client.run(|| connect_until(address, &made, &over)));
        }
        let counted = window.count(|| [made.load(Ordering::Relaxed)]);
        over.store(true, Ordering::Relaxed);
        counted
    });
    let [made] = counted.counts;
    if made == 0 {
        return Err(AgentError::NothingArrived);
    }
    Ok(vec![Sample::new(Metric::Connections, made as f64 / counted.elapsed.as_secs_f64())])
}

fn connect_until(address: SocketAddr, made: &AtomicU64, over: &AtomicBool) -> Result<(), AgentError> {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    while !over.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect_timeout(&address, CONNECT_WITHIN) else { continue };
        // The server closes what it has accepted. Without waiting for that, connectors outrun it, its queue overflows, and
        // the SYNs that it drops are sent again a second later: that would be the measurement.
        // Those that are in its queue when it ends are never closed.
        stream.set_read_timeout(Some(LOOK_AGAIN)).map_err(AgentError::Generator)?;
        let accepted = matches!(stream.read(&mut [0; 1]), Ok(0));
        // Closed by a reset: nothing waits in TIME_WAIT until the ports run out.
        setsockopt(&stream, sockopt::Linger, &at_once).map_err(|e| AgentError::Generator(e.into()))?;
        made.fetch_add(u64::from(accepted), Ordering::Relaxed);
    }
    Ok(())
}

/// Connects from the client's host to the server's: pairs of both ends.
/// One end of a connection, and where its program runs.
struct End {
    stream: TcpStream,
    pin: Pin,
}

fn connect(
    client: &Host,
    server: &Host,
    target: IpAddr,
    streams: u16,
) -> Result<Vec<(End, End)>, AgentError> {
    // A socket stays in the namespace in which it was made, whoever uses it later.
    let listener =
        server.run(|| TcpListener::bind(SocketAddr::new(target, 0)).map_err(AgentError::Generator))?;
    let address = listener.local_addr().map_err(AgentError::Generator)?;
    (0..streams)
        .map(|_| {
            let ours = client.run(|| {
                TcpStream::connect_timeout(&address, CONNECT_WITHIN).map_err(AgentError::Generator)
            })?;
            let (theirs, _) = listener.accept().map_err(AgentError::Generator)?;
            Ok((End { stream: ours, pin: client.pin }, End { stream: theirs, pin: server.pin }))
        })
        .collect()
}

fn write_until(end: &End, over: &AtomicBool) {
    end.pin.pin_thread();
    let mut stream = &end.stream;
    let block = vec![0x6e; TCP_BLOCK_BYTES];
    while !over.load(Ordering::Relaxed) && stream.write_all(&block).is_ok() {}
}

fn read_until(end: &End, received: &AtomicU64) {
    end.pin.pin_thread();
    let mut stream = &end.stream;
    let mut block = vec![0; TCP_BLOCK_BYTES];
    loop {
        match stream.read(&mut block) {
            Ok(0) => return,
            Ok(bytes) => {
                received.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Segments that the host's TCP has sent again: `RetransSegs` of its namespace (RFC 1213).
fn retransmitted(host: &Host) -> Result<u64, AgentError> {
    let table =
        host.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp").map_err(AgentError::Generator))?;
    Ok(snmp(&table, "Tcp:", "RetransSegs").unwrap_or(0))
}

/// A value of /proc/net/snmp: a line of names, then a line of values.
pub(crate) fn snmp(table: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = table.lines().filter(|line| line.starts_with(group));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|word| word == name)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SHORT: Window = Window { warm_up: Duration::from_millis(20), length: Duration::from_millis(100) };

    #[test]
    fn values_of_snmp_are_found_by_name() {
        let table = "Ip: Forwarding\nIp: 1\nTcp: RtoMin RetransSegs InErrs\nTcp: 200 42 0\n";
        assert_eq!(snmp(table, "Tcp:", "RetransSegs"), Some(42));
        assert_eq!(snmp(table, "Tcp:", "NoSuch"), None);
        assert_eq!(snmp(table, "Udp:", "RetransSegs"), None);
    }

    #[test]
    fn a_window_counts_what_grew_within_it() {
        let counter = AtomicU64::new(7);
        let counted = SHORT.count(|| [counter.fetch_add(5, Ordering::Relaxed)]);
        assert_eq!(counted.counts, [5]);
        assert!(counted.elapsed >= SHORT.length);
    }

    #[test]
    fn tcp_over_loopback_counts_bytes_and_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let flow = || {
            let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let end = |stream| End { stream, pin: Pin::default() };
            (end(ours), end(listener.accept().unwrap().0))
        };
        let counted = tcp_over(&[flow(), flow()], SHORT);
        assert!(counted.counts[0] > 100_000, "{:?}", counted.counts);
    }
}
