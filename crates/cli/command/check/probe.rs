//! The tests themselves: a ping, a traceroute, a transfer whose bytes are compared.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use nsrouter_bench::traffic::{Answer, EchoOptions, TraceOptions, echo, trace, verified};

use crate::command::check::lab::{Lab, Node};
use crate::command::check::row::Outcome;

/// Echo requests a row.
const ECHOES: u32 = 5;
/// From one request to the next.
const ECHO_INTERVAL: Duration = Duration::from_millis(10);
/// How long a reply may take. A lab's round trip is below a millisecond; the first one resolves neighbours.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to listen for a second answer to the same request.
const LINGER: Duration = Duration::from_millis(60);
/// No ping and no trace takes longer, answered or not.
const PROBE_WITHIN: Duration = Duration::from_secs(3);
/// No transfer takes longer.
const TRANSFER_WITHIN: Duration = Duration::from_secs(20);
/// Where a ping already failed, the transfer on the same path takes no longer.
const HOPELESS_WITHIN: Duration = Duration::from_secs(3);

/// A trace passes where the first hop is the sender's router, every further one a router of the lab, and the
/// last the destination itself.
pub(super) fn traceroute(lab: &Lab<'_>, from: &Node<'_>, to: IpAddr) -> Outcome {
    let deadline = Instant::now() + PROBE_WITHIN;
    let max_hops = u8::try_from(lab.state.topology.routers().count()).unwrap_or(u8::MAX).saturating_add(2);
    let options = TraceOptions { max_hops, tries: 3, patience: PATIENCE, payload_bytes: 32, deadline };
    let hops = match from.namespace.run(|| trace(to, &options)).and_then(|result| result) {
        Ok(hops) => hops,
        Err(error) => return Outcome::Fail { detail: error.to_string() },
    };
    let first_hops: Vec<IpAddr> =
        lab.first_routers(from).into_iter().filter(|router| router.is_ipv4() == to.is_ipv4()).collect();
    judge_trace(&hops, to, &first_hops, &lab.router_addresses())
}

fn judge_trace(hops: &[Answer], to: IpAddr, first_hops: &[IpAddr], routers: &[IpAddr]) -> Outcome {
    let words: Vec<String> = hops
        .iter()
        .map(|answer| match answer {
            Answer::Router(address) => address.to_string(),
            Answer::Destination(address) => format!("{address} (there)"),
            Answer::Unreachable(address) => format!("{address} (unreachable)"),
            Answer::Nobody => "*".into(),
        })
        .collect();
    let detail = words.join(" > ");
    let passes = match hops {
        [Answer::Router(first), between @ .., Answer::Destination(last)] => {
            first_hops.contains(first)
                && *last == to
                && between.iter().all(|hop| matches!(hop, Answer::Router(router) if routers.contains(router)))
        }
        _ => false,
    };
    if passes { Outcome::Pass { detail } } else { Outcome::Fail { detail } }
}

/// Sends echo requests of one size; passes where each is answered once, unchanged, by the right address.
pub(super) fn ping(from: &Node<'_>, to: IpAddr, payload_bytes: usize) -> Outcome {
    let options = EchoOptions {
        count: ECHOES,
        payload_bytes,
        interval: ECHO_INTERVAL,
        patience: PATIENCE,
        linger: LINGER,
        deadline: Instant::now() + PROBE_WITHIN,
    };
    let report = match from.namespace.run(|| echo(to, &options)).and_then(|result| result) {
        Ok(report) => report,
        Err(error) => return Outcome::Fail { detail: format!("{to}: {error}") },
    };
    if report.clean() {
        let mut round_trips = report.round_trips;
        round_trips.sort();
        let median = round_trips.get(round_trips.len() / 2).copied().unwrap_or_default();
        return Outcome::Pass {
            detail: format!("{}/{}, {} us", report.answered, report.sent, median.as_micros()),
        };
    }
    let mut detail = format!("{to}: {} of {} answered", report.answered, report.sent);
    for (count, what) in [
        (report.surplus, "answered twice or by another address"),
        (report.corrupt, "corrupted"),
        (report.refused, "refused"),
    ] {
        if count > 0 {
            // Writing to a String cannot fail.
            let _ = write!(detail, ", {count} {what}");
        }
    }
    Outcome::Fail { detail }
}

/// Sends a pattern over TCP and compares every byte that arrives. It waits less where `is_hopeless`: a ping
/// on the same path failed.
pub(super) fn transfer(
    from: &Node<'_>,
    to: &Node<'_>,
    address: IpAddr,
    bytes: u64,
    is_hopeless: bool,
) -> Outcome {
    let within = if is_hopeless { HOPELESS_WITHIN } else { TRANSFER_WITHIN };
    match try_transfer(from, to, address, bytes, Instant::now() + within) {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Fail { detail: format!("{address}: {error}") },
    }
}

fn try_transfer(
    from: &Node<'_>,
    to: &Node<'_>,
    address: IpAddr,
    bytes: u64,
    deadline: Instant,
) -> io::Result<Outcome> {
    // A socket stays in the namespace in which it was made, whoever uses it later.
    let listener = to.namespace.run(|| TcpListener::bind(SocketAddr::new(address, 0)))??;
    let there = listener.local_addr()?;
    let seed = bytes ^ u64::from(there.port());
    let (sent, received) = thread::scope(|scope| {
        let receiver = scope.spawn(|| verified::receive(&listener, seed, deadline));
        let sent =
            from.namespace.run(|| verified::send(there, bytes, seed, deadline)).and_then(|result| result);
        let received = receiver.join().unwrap_or_else(|_| Err(io::Error::other("the receiver panicked")));
        (sent, received)
    });
    // A sender that fails explains more than a receiver that waited for it.
    sent?;
    let received = received?;
    let detail = match received.first_difference {
        Some(offset) => format!("byte {offset} of {} is not what was sent", received.bytes),
        None if received.bytes != bytes => format!("{} of {bytes} bytes arrived", received.bytes),
        None => {
            let gigabits = bytes as f64 * 8e-9 / received.elapsed.as_secs_f64().max(1e-9);
            return Ok(Outcome::Pass { detail: format!("same bytes, {gigabits:.1} Gb/s") });
        }
    };
    Ok(Outcome::Fail { detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_trace_needs_its_router_first_and_the_destination_last() {
        let passes = |way: &[Answer]| {
            matches!(judge_trace(way, ip(9), &[ip(1)], &[ip(1), ip(2)]), Outcome::Pass { .. })
        };
        let (there, one, two) = (Answer::Destination(ip(9)), Answer::Router(ip(1)), Answer::Router(ip(2)));
        assert!(passes(&[one, there]));
        assert!(passes(&[one, two, there]));
        // Not through the router, another router, a stranger between, not to the end, silence.
        assert!(!passes(&[there]));
        assert!(!passes(&[two, there]));
        assert!(!passes(&[one, Answer::Router(ip(7)), there]));
        assert!(!passes(&[one, two]));
        assert!(!passes(&[one, Answer::Nobody, there]));
        assert!(!passes(&[one, Answer::Destination(ip(8))]));
        assert!(!passes(&[one, Answer::Unreachable(ip(9))]));
    }
}
