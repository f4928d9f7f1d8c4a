//! Which tests a lab gets: pings between neighbours and between hosts, large packets, traces, transfers; in
//! both families.

use nsrouter_lab::topology::HOST_PORT;

use crate::command::check::lab::{Lab, Pair};
use crate::command::check::probe::{ping, traceroute, transfer};
use crate::command::check::row::{Outcome, family_of};
use crate::command::check::schedule::{Phase, Test};

/// Bytes of a TCP transfer between hosts, and between a host and a local program on a router.
const TRANSFER_BYTES: u64 = 32 << 20;
const HOST_TRANSFER_BYTES: u64 = 4 << 20;
/// ICMP payload of an ordinary ping, in bytes.
const PING_BYTES: usize = 56;
/// ICMP payload that needs three fragments on a link with an MTU of 1500, in bytes.
const FRAGMENTED_BYTES: usize = 4000;
/// IP and ICMP headers of an echo request, in bytes.
const V4_ECHO_HEADERS: usize = 28;
const V6_ECHO_HEADERS: usize = 48;

/// The tests of a lab, in the order in which they are reported. `no_host_port_because` says why local
/// programs on the router have no access to the network, where they have none: what they take part in is
/// skipped.
pub(super) fn tests<'a>(lab: &'a Lab<'a>, no_host_port_because: Option<&'a str>) -> Vec<Test<'a>> {
    let mut tests: Vec<Test<'a>> = Vec::new();
    let mut host_pings = Vec::new();
    for n in lab.neighbours() {
        let (host, router) = (n.host.name(), n.router.name());
        tests.push(Test {
            phase: Phase::Neighbours,
            name: format!("ping {router} to {host}"),
            family: family_of(n.host_address),
            ping: None,
            run: Box::new(move |_| {
                unless(no_host_port_because, || ping(n.router, n.host_address, PING_BYTES))
            }),
        });
        host_pings.push(tests.len());
        tests.push(Test {
            phase: Phase::Neighbours,
            name: format!("ping {host} to {router}"),
            family: family_of(n.router_address),
            ping: None,
            run: Box::new(move |_| ping(n.host, n.router_address, PING_BYTES)),
        });
    }
    let mut near = Vec::new();
    for Pair { from, to, address, is_near } in lab.pairs() {
        let (name, family) = (format!("ping {} to {}", from.name(), to.name()), family_of(address));
        let plain = tests.len();
        tests.push(Test {
            phase: Phase::Pings,
            name: name.clone(),
            family,
            ping: None,
            run: Box::new(move |_| ping(from, address, PING_BYTES)),
        });
        if !is_near {
            continue;
        }
        near.push((from, to, address, plain));
        let mtu = from.record.ports.iter().map(|port| port.mtu).min().unwrap_or(0);
        let headers = if address.is_ipv4() { V4_ECHO_HEADERS } else { V6_ECHO_HEADERS };
        let payload = usize::try_from(mtu).unwrap_or(0).saturating_sub(headers);
        for (how, bytes) in
            [(format!("{mtu} bytes unfragmented"), payload), ("in fragments".into(), FRAGMENTED_BYTES)]
        {
            tests.push(Test {
                phase: Phase::More,
                name: format!("{name}, {how}"),
                family,
                ping: Some(plain),
                run: Box::new(move |_| ping(from, address, bytes)),
            });
        }
    }
    for &(from, to, address, plain) in &near {
        tests.push(Test {
            phase: Phase::More,
            name: format!("traceroute {} to {}", from.name(), to.name()),
            family: family_of(address),
            ping: Some(plain),
            run: Box::new(move |_| traceroute(lab, from, address)),
        });
    }
    for (from, to, address, plain) in near {
        let mib = TRANSFER_BYTES >> 20;
        tests.push(Test {
            phase: Phase::Transfers,
            name: format!("TCP {} to {}, {mib} MiB compared", from.name(), to.name()),
            family: family_of(address),
            ping: Some(plain),
            run: Box::new(move |is_hopeless| transfer(from, to, address, TRANSFER_BYTES, is_hopeless)),
        });
    }
    for (n, plain) in lab.neighbours().into_iter().zip(host_pings) {
        let mib = HOST_TRANSFER_BYTES >> 20;
        tests.push(Test {
            phase: Phase::Transfers,
            name: format!("TCP {} to {}, {mib} MiB compared", n.host.name(), n.router.name()),
            family: family_of(n.router_address),
            ping: Some(plain),
            run: Box::new(move |is_hopeless| {
                unless(no_host_port_because, || {
                    transfer(n.host, n.router, n.router_address, HOST_TRANSFER_BYTES, is_hopeless)
                })
            }),
        });
    }
    tests
}

/// Runs a test that local programs on a router take part in, unless they have no host port: a userspace
/// router owns its addresses itself, and lends them to the kernel only through the host port.
fn unless(no_host_port_because: Option<&str>, test: impl FnOnce() -> Outcome) -> Outcome {
    match no_host_port_because {
        None => test(),
        Some(reason) => Outcome::Skipped { detail: format!("{HOST_PORT}: {reason}") },
    }
}
