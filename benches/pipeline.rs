//! `cargo bench --bench pipeline`: what the router does with a frame, in memory: bursts of 64 through
//! `Router::forward`, without rings.
//!
//! Frames are made anew before each burst, outside of the measured time, so that headers are in the cache as
//! after a ring's copy.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use etherparse::PacketBuilder;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nsrouter_router::{
    Action, Config, Event, InsertMode, Limits, NeighConfig, Neighbours, NextHop, Origin, Originate,
    PortConfig, Rib, Route, RouteKind, RouteNextHop, Router, Settings, Tables, Time, Verdict,
};
use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::ipv4;
use nsrouter_wire::offload::{Gso, Offload, PendingChecksum};

const BURST: usize = 64;
const HEADROOM: usize = 64;
const ROUTER: [[u8; 6]; 2] = [[2, 1, 2, 3, 4, 1], [2, 1, 2, 3, 4, 2]];
const HOST: [[u8; 6]; 2] = [[2, 9, 9, 9, 9, 1], [2, 9, 9, 9, 9, 2]];
/// Ethernet and IP headers.
const HEADERS_V4: usize = 34;
const HEADERS_V6: usize = 54;

/// Nothing is originated here.
struct Nowhere;

impl Originate for Nowhere {
    fn buffer(&mut self, _: usize) -> Option<&mut [u8]> {
        None
    }
    fn send(&mut self, _: PortId, _: Offload) {}
    fn hold(&mut self, _: NextHop) {}
    fn report(&mut self, _: Event) {}
}

/// The lab's router, with these routes through t2.
fn tables(prefixes: impl Iterator<Item = IpNet>) -> Tables {
    let port = |n: usize| PortConfig {
        name: format!("port{n}"),
        mac: MacAddr(ROUTER[n - 1]),
        mtu: 1500,
        addresses: vec![
            format!("10.10.25{n}.2/24").parse().unwrap(),
            format!("fd00:25{n}::2/64").parse().unwrap(),
        ],
        up: true,
    };
    let mut table = Rib::new(&[port(1), port(2)], Settings::default()).unwrap();
    for prefix in prefixes {
        let via = if prefix.addr().is_ipv4() { "10.10.252.1" } else { "fd00:252::1" };
        let hop = RouteNextHop { port: None, via: Some(via.parse().unwrap()), weight: 1 };
        let route = Route { prefix, kind: RouteKind::Unicast(vec![hop]), metric: 0, mtu: None };
        table.insert(Origin::Configured, InsertMode::Append, &route).unwrap();
    }
    let mut neighbours = Neighbours::new(NeighConfig::default());
    let mut actions: Vec<Action> = Vec::new();
    for n in 1..=2 {
        for address in [format!("10.10.25{n}.1"), format!("fd00:25{n}::1")] {
            let next_hop = NextHop { port: PortId(n - 1), addr: address.parse().unwrap() };
            neighbours.set_permanent(next_hop, MacAddr(HOST[usize::from(n) - 1]), &mut actions);
        }
    }
    table.set_neighbours(neighbours.map().unwrap());
    table.tables()
}

fn udp_v4(destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2(HOST[0], ROUTER[0]).ipv4([10, 10, 251, 1], destination, 64);
    builder.udp(1000, 2000).write(&mut bytes, payload).unwrap();
    bytes
}

fn udp_v6(destination: [u8; 16], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let source = "fd00:251::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let builder = PacketBuilder::ethernet2(HOST[0], ROUTER[0]).ipv6(source, destination, 64);
    builder.udp(1000, 2000).write(&mut bytes, payload).unwrap();
    bytes
}

/// A GSO packet of 64 KiB as a veth hands it over: one checksum to be completed, segments of 1448 bytes.
fn gso_packet() -> (Vec<u8>, Offload) {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2(HOST[0], ROUTER[0]).ipv4([10, 10, 251, 1], [10, 10, 252, 1], 64);
    builder.tcp(1000, 2000, 1, 65535).write(&mut bytes, &vec![0; 65_000]).unwrap();
    let offload = Offload {
        checksum: Some(PendingChecksum { start: 34, offset: 16 }),
        gso: Gso::Tcp4 { ecn: false },
        gso_size: 1448,
        header_bytes: 54,
    };
    (bytes, offload)
}

/// Measures bursts of one kind of frame; `renew` writes the headers of frame number `n`.
fn bursts(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    tables: &Tables,
    (frame, offload): (&[u8], Offload),
    mut renew: impl FnMut(usize, &mut [u8]),
) {
    group.throughput(Throughput::Elements(BURST as u64));
    let mut router = Router::new(0, Config { ports: 2, seed: 7 }, Limits::new(7));
    let mut buffers: Vec<Vec<u8>> = (0..BURST)
        .map(|_| {
            let mut buffer = vec![0; HEADROOM];
            buffer.extend_from_slice(frame);
            buffer
        })
        .collect();
    let mut number = 0;
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                for buffer in &mut buffers {
                    renew(number, &mut buffer[HEADROOM..]);
                    number += 1;
                }
                let mut frames: Vec<Frame<'_>> = buffers
                    .iter_mut()
                    .map(|buffer| Frame::new(buffer, HEADROOM, frame.len(), PortId(0), offload).unwrap())
                    .collect();
                let begin = Instant::now();
                tables.prefetch(&frames);
                for frame in &mut frames {
                    let verdict = router.forward(frame, tables, Time::default(), &mut Nowhere);
                    assert_eq!(black_box(verdict), Verdict::Send(PortId(1)));
                }
                spent += begin.elapsed();
            }
            spent
        });
    });
}

fn main() {
    // `cargo test --benches` only wants to see that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("pipeline");
    let lab = tables(std::iter::empty());
    let v4 = udp_v4([10, 10, 252, 1], &[0; 18]);
    bursts(&mut group, "v4_64_bytes", &lab, (&v4, Offload::default()), |_, frame| {
        frame[..HEADERS_V4].copy_from_slice(&v4[..HEADERS_V4]);
    });
    let v6 = udp_v6("fd00:252::1".parse::<std::net::Ipv6Addr>().unwrap().octets(), &[0; 8]);
    bursts(&mut group, "v6_64_bytes", &lab, (&v6, Offload::default()), |_, frame| {
        frame[..HEADERS_V6].copy_from_slice(&v6[..HEADERS_V6]);
    });
    let (large, offload) = gso_packet();
    bursts(&mut group, "v4_gso_packets", &lab, (&large, offload), |_, frame| {
        frame[..HEADERS_V4].copy_from_slice(&large[..HEADERS_V4]);
    });

    let prefixes = common::prefixes_v4(1_000_000);
    let to = common::destinations_v4(&prefixes, 1 << 20);
    let million = tables(prefixes.iter().map(|p| IpNet::V4(Ipv4Net::new(p.0.into(), p.1).unwrap())));
    for (name, count) in [("v4_million_routes_random", to.len()), ("v4_million_routes_local", 64)] {
        bursts(&mut group, name, &million, (&v4, Offload::default()), |number, frame| {
            frame[..HEADERS_V4].copy_from_slice(&v4[..HEADERS_V4]);
            frame[30..34].copy_from_slice(&to[number % count].to_be_bytes());
            ipv4::fill_checksum(&mut frame[14..34]);
        });
    }
    drop(million);
    let prefixes = common::prefixes_v6(200_000);
    let to = common::destinations_v6(&prefixes, 1 << 20);
    let many = tables(prefixes.iter().map(|p| IpNet::V6(Ipv6Net::new(p.0.into(), p.1).unwrap())));
    for (name, count) in [("v6_200k_routes_random", to.len()), ("v6_200k_routes_local", 64)] {
        bursts(&mut group, name, &many, (&v6, Offload::default()), |number, frame| {
            frame[..HEADERS_V6].copy_from_slice(&v6[..HEADERS_V6]);
            frame[38..54].copy_from_slice(&to[number % count].to_be_bytes());
        });
    }
    group.finish();
    criterion.final_summary();
}
