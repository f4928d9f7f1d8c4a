//! The built-in generator of TCP: bulk and connections. UDP is [`super::raw`]'s.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::error::TrafficError;
use super::window::{Counted, Window};
use crate::metric::{Metric, Sample};
use crate::plan::{Direction, Pin};
use crate::testbed::{Host, counters};

/// Read and written at a time, in bytes, as iperf3 does by default.
const TCP_BLOCK_BYTES: usize = 128 << 10;
/// A working path accepts a connection at once.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Threads that open connections.
const CONNECTORS: usize = 4;
/// How often an idle receiver checks whether the window has ended.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// One end of a connection, and the CPU of its program.
struct End {
    stream: TcpStream,
    pin: Pin,
}

/// The hosts of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Hosts<'a> {
    /// The host that connects.
    pub(crate) client: &'a Host,
    /// The host that listens.
    pub(crate) server: &'a Host,
    /// The server's address.
    pub(crate) target: IpAddr,
}

/// TCP bulk between two hosts: `streams` connections in each direction asked for.
pub(crate) fn throughput(
    hosts: Hosts<'_>,
    streams: u16,
    direction: Direction,
    window: Window,
) -> Result<Vec<Sample>, TrafficError> {
    let directions: &[bool] = match direction {
        Direction::Forward => &[true],
        Direction::Reverse => &[false],
        Direction::Both => &[true, false],
    };
    let mut flows: Vec<(End, End)> = Vec::new();
    for &forward in directions {
        for (near, far) in connect(hosts, streams)? {
            flows.push(if forward { (near, far) } else { (far, near) });
        }
    }
    let retransmitted = || -> Result<u64, TrafficError> {
        // RetransSegs of RFC 1213; the kernel counts by namespace, and a lab's namespaces are its own.
        let of = |host| counters::snmp(host, "Tcp.RetransSegs");
        Ok(of(hosts.client)? + of(hosts.server)?)
    };
    let before = retransmitted()?;
    let counted = bulk(&flows, |received| window.count(|| [received.load(Ordering::Relaxed)]));
    let Counted { counts: [bytes], elapsed } = counted;
    let after = retransmitted()?;
    if bytes == 0 {
        return Err(TrafficError::NothingArrived);
    }
    Ok(vec![
        Sample::new(Metric::Throughput, bytes as f64 * 8.0 / elapsed.as_secs_f64()),
        // The warm-up included.
        Sample::new(Metric::Retransmits, after.saturating_sub(before) as f64),
    ])
}

/// Runs `work` beside one TCP stream from the client's host to the server's that takes all the bandwidth it
/// gets.
pub(crate) fn beside_bulk<T, E: From<TrafficError>>(
    hosts: Hosts<'_>,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let flows = connect(hosts, 1)?;
    bulk(&flows, |_| work())
}

/// Keeps all flows (writing end, reading end) full while `work` runs. `work` is given the count of bytes that
/// were read.
fn bulk<T>(flows: &[(End, End)], work: impl FnOnce(&AtomicU64) -> T) -> T {
    let (received, over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for (from, to) in flows {
            scope.spawn(|| write_until(from, &over));
            scope.spawn(|| read_all(to, &received));
        }
        let result = work(&received);
        over.store(true, Ordering::Relaxed);
        for (from, to) in flows {
            // Wakes both threads; fails only where the connection is gone already.
            let _ = from.stream.shutdown(Shutdown::Both);
            let _ = to.stream.shutdown(Shutdown::Both);
        }
        result
    })
}

/// New TCP connections from the client's host to the server's, each opened, accepted and closed, by a few
/// connecting threads.
pub(crate) fn connections(hosts: Hosts<'_>, window: Window) -> Result<Vec<Sample>, TrafficError> {
    let Hosts { client, server, .. } = hosts;
    let (listener, address) = listen(hosts)?;
    let timeout = TimeVal::milliseconds(50);
    setsockopt(&listener, sockopt::ReceiveTimeout, &timeout).map_err(|e| TrafficError::Socket(e.into()))?;
    let (made, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let counted = thread::scope(|scope| {
        scope.spawn(|| {
            server.pin().pin_thread();
            while !over.load(Ordering::Relaxed) {
                // Closed at once. A timeout only checks whether the window has ended.
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
        return Err(TrafficError::NothingArrived);
    }
    Ok(vec![Sample::new(Metric::Connections, made as f64 / counted.elapsed.as_secs_f64())])
}

fn connect_until(address: SocketAddr, made: &AtomicU64, over: &AtomicBool) -> Result<(), TrafficError> {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    while !over.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect_timeout(&address, CONNECT_WITHIN) else { continue };
        // The server closes what it has accepted. Without waiting for that, connectors outrun it, its queue
        // overflows, and the SYNs that it drops are sent again a second later: that would be the measurement.
        // Connections that are still in its queue at the end are never closed.
        stream.set_read_timeout(Some(CHECK_INTERVAL)).map_err(TrafficError::Socket)?;
        let accepted = matches!(stream.read(&mut [0; 1]), Ok(0));
        // Closed by a reset: no socket waits in TIME_WAIT until the ports run out.
        setsockopt(&stream, sockopt::Linger, &at_once).map_err(|e| TrafficError::Socket(e.into()))?;
        made.fetch_add(u64::from(accepted), Ordering::Relaxed);
    }
    Ok(())
}

/// A listener on the server's host, and its address.
fn listen(Hosts { server, target, .. }: Hosts<'_>) -> Result<(TcpListener, SocketAddr), TrafficError> {
    // A socket stays in the namespace in which it was made, whichever thread uses it later.
    let listener =
        server.run(|| TcpListener::bind(SocketAddr::new(target, 0)).map_err(TrafficError::Socket))?;
    let address = listener.local_addr().map_err(TrafficError::Socket)?;
    Ok((listener, address))
}

/// Connections from the client's host to the server's: pairs of the near and the far end.
fn connect(hosts: Hosts<'_>, streams: u16) -> Result<Vec<(End, End)>, TrafficError> {
    let Hosts { client, server, .. } = hosts;
    let (listener, address) = listen(hosts)?;
    (0..streams)
        .map(|_| {
            let near = client
                .run(|| TcpStream::connect_timeout(&address, CONNECT_WITHIN).map_err(TrafficError::Socket))?;
            let (far, _) = listener.accept().map_err(TrafficError::Socket)?;
            Ok((End { stream: near, pin: client.pin() }, End { stream: far, pin: server.pin() }))
        })
        .collect()
}

fn write_until(end: &End, over: &AtomicBool) {
    end.pin.pin_thread();
    let mut stream = &end.stream;
    let block = vec![0x6e; TCP_BLOCK_BYTES];
    while !over.load(Ordering::Relaxed) && stream.write_all(&block).is_ok() {}
}

fn read_all(end: &End, received: &AtomicU64) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SHORT: Window = Window { warm_up: Duration::from_millis(20), length: Duration::from_millis(100) };

    #[test]
    fn tcp_over_loopback_counts_bytes_and_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let flow = || {
            let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let end = |stream| End { stream, pin: Pin::default() };
            (end(ours), end(listener.accept().unwrap().0))
        };
        let counted = bulk(&[flow(), flow()], |received| SHORT.count(|| [received.load(Ordering::Relaxed)]));
        assert!(counted.counts[0] > 100_000, "{:?}", counted.counts);
    }
}
