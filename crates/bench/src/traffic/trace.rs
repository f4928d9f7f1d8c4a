//! The routers on a path: UDP probes with a rising TTL or hop limit (RFC 1393 describes the method).

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use nsrouter_wire::protocol;

use super::icmp::{IcmpSocket, Kind};

/// The first destination port, one more for each probe. By convention no program listens there.
const FIRST_PORT: u16 = 33_434;

/// The answer to a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A router where the TTL ran out.
    Router(IpAddr),
    /// The destination: no program listens on the port.
    Destination(IpAddr),
    /// A node on the path: the destination is unreachable.
    Unreachable(IpAddr),
    /// None in time.
    Nobody,
}

/// The probes to send.
#[derive(Debug, Clone, Copy)]
pub struct TraceOptions {
    /// The highest TTL tried.
    pub max_hops: u8,
    /// Probes per hop until one is answered. Routers limit their error messages (RFC 1812 section 4.3.2.8).
    pub tries: u8,
    /// How long to wait for the answer to one probe.
    pub patience: Duration,
    /// UDP payload of a probe, in bytes. IPv4 probes that fit the first link carry DF.
    pub payload_bytes: usize,
    /// The end of every wait.
    pub deadline: Instant,
}

/// The path to `target` from the calling thread's namespace: an answer for TTL 1, 2 and so on up to the
/// destination.
///
/// # Errors
/// A socket cannot be opened or used.
pub fn trace(target: IpAddr, options: &TraceOptions) -> io::Result<Vec<Answer>> {
    let mut icmp = IcmpSocket::open(target)?;
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let probe = UdpSocket::bind(any)?;
    let source_port = probe.local_addr()?.port();
    let payload = vec![0x6e; options.payload_bytes];
    let mut port = FIRST_PORT;
    let mut way = Vec::new();
    for hops in 1..=options.max_hops {
        match target {
            IpAddr::V4(_) => setsockopt(&probe, sockopt::Ipv4Ttl, &i32::from(hops))?,
            IpAddr::V6(_) => setsockopt(&probe, sockopt::Ipv6Ttl, &i32::from(hops))?,
        }
        let mut answer = Answer::Nobody;
        for _ in 0..options.tries {
            port = port.wrapping_add(1).max(FIRST_PORT);
            // The error about an earlier probe may be reported here: then this probe was not sent, and is
            // tried again.
            if probe.send_to(&payload, SocketAddr::new(target, port)).is_err() {
                continue;
            }
            let until = (Instant::now() + options.patience).min(options.deadline);
            answer = await_answer(&mut icmp, target, source_port, port, until)?;
            if answer != Answer::Nobody {
                break;
            }
        }
        way.push(answer);
        if matches!(answer, Answer::Destination(_) | Answer::Unreachable(_))
            || Instant::now() >= options.deadline
        {
            break;
        }
    }
    Ok(way)
}

fn await_answer(
    icmp: &mut IcmpSocket,
    target: IpAddr,
    source_port: u16,
    port: u16,
    until: Instant,
) -> io::Result<Answer> {
    while let Some(message) = icmp.receive(until)? {
        let ours = message.quoted().is_some_and(|(to, protocol, ports)| {
            to == target
                && protocol == protocol::UDP
                && ports[..2] == source_port.to_be_bytes()
                && ports[2..4] == port.to_be_bytes()
        });
        match message.kind {
            Kind::TimeExceeded if ours => return Ok(Answer::Router(message.from)),
            Kind::PortUnreachable if ours => return Ok(Answer::Destination(message.from)),
            Kind::Unreachable if ours => return Ok(Answer::Unreachable(message.from)),
            Kind::TimeExceeded | Kind::PortUnreachable | Kind::Unreachable => {}
            Kind::EchoRequest | Kind::EchoReply | Kind::Other => {}
        }
    }
    Ok(Answer::Nobody)
}
