//! How much memory routes take: a small lab stays small, a million routes stay under 100 MiB. In a process of its own, for
//! what the process has is looked at too.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use nsrouter_router::{InsertMode, Origin, PortConfig, Rib, Route, RouteKind, RouteNextHop, Settings};
use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::PortId;

const MIB: usize = 1 << 20;

/// Memory that this process has in use, in bytes (/proc/pid/statm, in pages of 4 KiB).
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn table() -> Rib {
    let port = PortConfig {
        name: "port".to_owned(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        addresses: vec!["10.0.0.1/24".parse().unwrap(), "fd00::1/64".parse().unwrap()],
        up: true,
    };
    Rib::new(&[port], Settings::default()).unwrap()
}

fn insert(table: &mut Rib, prefix: IpNet) {
    let hop = RouteNextHop { port: Some(PortId(0)), via: Some([10, 0, 0, 2].into()), weight: 1 };
    let route = Route { prefix, kind: RouteKind::Unicast(vec![hop]), metric: 0, mtu: None };
    table.insert(Origin::Learned, InsertMode::Append, &route).unwrap();
}

#[test]
fn ten_routes_and_a_million() {
    let before = resident_bytes();
    let mut small = table();
    for n in 0..10 {
        insert(&mut small, IpNet::V4(Ipv4Net::new(Ipv4Addr::new(20, n, 0, 0), 16 + n).unwrap().trunc()));
    }
    let used = resident_bytes() - before;
    assert!(small.fib_memory_bytes() < 4 * MIB, "{} bytes", small.fib_memory_bytes());
    assert!(used < 4 * MIB, "the process has {used} bytes more");

    // Three of four are a /24, as in a full BGP table; spread over the whole of the unicast space.
    let before = resident_bytes();
    let mut large = table();
    let mut random = 1u32;
    let mut next = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        random
    };
    while large.prefixes() < 1_000_000 {
        let address = 0x0b00_0000 + next() % 0xd000_0000;
        let length = if next() >> 30 == 0 { 16 + u8::try_from(next() >> 29).unwrap() } else { 24 };
        insert(&mut large, IpNet::V4(Ipv4Net::new(address.into(), length).unwrap().trunc()));
    }
    let used = resident_bytes() - before;
    println!(
        "a million routes: {} MiB for look-ups, {} MiB in all",
        large.fib_memory_bytes() / MIB,
        used / MIB
    );
    assert!(large.fib_memory_bytes() < 100 * MIB, "{} bytes", large.fib_memory_bytes());
    assert!(used < 200 * MIB, "the process has {used} bytes more");
}
