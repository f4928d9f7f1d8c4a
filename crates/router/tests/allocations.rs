//! No frame makes the router allocate: not one that is forwarded, nor one that is held, answered, cut or refused.
#![allow(clippy::unwrap_used)]

use allocation_counter::measure;
use etherparse::{IcmpEchoHeader, Icmpv4Type, PacketBuilder};
use nsrouter_router::{
    Config, DropReason, Event, InsertMode, Limits, NeighConfig, Neighbours, NextHop, Origin, Originate,
    PortConfig, Rib, Route, RouteKind, RouteNextHop, Router, Settings, Tables, Time, Verdict,
};
use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::offload::Offload;

const ROUTER: [[u8; 6]; 2] = [[2, 1, 2, 3, 4, 1], [2, 1, 2, 3, 4, 2]];
const HOST: [[u8; 6]; 2] = [[2, 9, 9, 9, 9, 1], [2, 9, 9, 9, 9, 2]];
const HEADROOM: usize = 128;

/// Takes what is originated, in one buffer over and over.
struct Sink {
    buffer: Vec<u8>,
    sent: u32,
    held: u32,
    reported: u32,
}

impl Originate for Sink {
    fn buffer(&mut self, len: usize) -> Option<&mut [u8]> {
        self.buffer.get_mut(..len)
    }
    fn send(&mut self, _: PortId, _: Offload) {
        self.sent += 1;
    }
    fn hold(&mut self, _: NextHop) {
        self.held += 1;
    }
    fn report(&mut self, _: Event) {
        self.reported += 1;
    }
}

fn tables() -> Tables {
    let port = |n: usize| PortConfig {
        name: format!("port{n}"),
        mac: MacAddr(ROUTER[n - 1]),
        mtu: if n == 2 { 1400 } else { 1500 },
        addresses: vec![
            format!("10.0.{n}.254/24").parse().unwrap(),
            format!("fd00:{n}::fe/64").parse().unwrap(),
        ],
        up: true,
    };
    let mut table = Rib::new(&[port(1), port(2)], Settings::default()).unwrap();
    let hop = |last: u8| RouteNextHop { port: None, via: Some([10, 0, 2, last].into()), weight: 1 };
    let routes = [
        ("20.0.0.0/8", RouteKind::Unicast(vec![hop(1)])),
        ("30.0.0.0/8", RouteKind::Unicast(vec![hop(1), hop(2)])),
        ("40.0.0.0/8", RouteKind::Prohibit),
    ];
    for (prefix, kind) in routes {
        let route = Route { prefix: prefix.parse().unwrap(), kind, metric: 0, mtu: None };
        table.insert(Origin::Configured, InsertMode::Append, &route).unwrap();
    }
    let mut neighbours = Neighbours::new(NeighConfig::default());
    let mut actions = Vec::new();
    for (port, address) in
        [(0, "10.0.1.1"), (1, "10.0.2.1"), (1, "10.0.2.2"), (0, "fd00:1::1"), (1, "fd00:2::1")]
    {
        let next_hop = NextHop { port: PortId(port), addr: address.parse().unwrap() };
        neighbours.set_permanent(next_hop, MacAddr(HOST[usize::from(port)]), &mut actions);
    }
    table.set_neighbours(neighbours.map().unwrap());
    table.tables()
}

fn udp4(to: [u8; 4], ttl: u8, payload: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2(HOST[0], ROUTER[0]).ipv4([10, 0, 1, 1], to, ttl);
    builder.udp(1000, 2000).write(&mut bytes, &vec![0; payload]).unwrap();
    // The builder sets DF; without it what is too big is cut.
    bytes[20] &= !0x40;
    nsrouter_wire::ipv4::fill_checksum(&mut bytes[14..34]);
    bytes
}

fn udp6(to: &str, hop_limit: u8, payload: usize) -> Vec<u8> {
    let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let mut bytes = Vec::new();
    let builder =
        PacketBuilder::ethernet2(HOST[0], ROUTER[0]).ipv6(octets("fd00:1::1"), octets(to), hop_limit);
    builder.udp(1000, 2000).write(&mut bytes, &vec![0; payload]).unwrap();
    bytes
}

fn echo4() -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2(HOST[0], ROUTER[0]).ipv4([10, 0, 1, 1], [10, 0, 1, 254], 64);
    let request = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 1, seq: 2 });
    builder.icmpv4(request).write(&mut bytes, b"echo").unwrap();
    bytes
}

fn arp_request() -> Vec<u8> {
    let mut bytes = [&[0xff; 6][..], &HOST[0], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &HOST[0]].concat();
    bytes.extend([10, 0, 1, 1, 0, 0, 0, 0, 0, 0, 10, 0, 1, 254]);
    bytes
}

#[test]
fn no_frame_makes_the_router_allocate() {
    let is_send: fn(Verdict) -> bool = |verdict| matches!(verdict, Verdict::Send(PortId(1)));
    let is_hold: fn(Verdict) -> bool = |verdict| matches!(verdict, Verdict::Hold(_));
    let is_reply: fn(Verdict) -> bool = |verdict| matches!(verdict, Verdict::Reply(PortId(0)));
    let is_drop: fn(Verdict) -> bool = |verdict| matches!(verdict, Verdict::Drop(_));
    let is_consumed: fn(Verdict) -> bool = |verdict| matches!(verdict, Verdict::Consumed);
    let cases = [
        ("forwarded, IPv4", udp4([10, 0, 2, 1], 64, 18), is_send),
        ("forwarded, IPv6", udp6("fd00:2::1", 64, 18), is_send),
        ("forwarded by a gateway", udp4([20, 0, 2, 1], 64, 18), is_send),
        ("forwarded by one of several", udp4([30, 0, 2, 1], 64, 18), is_send),
        ("held, IPv4", udp4([10, 0, 2, 77], 64, 18), is_hold),
        ("held, IPv6", udp6("fd00:2::77", 64, 18), is_hold),
        ("TTL exceeded", udp4([10, 0, 2, 1], 1, 18), is_drop),
        ("hop limit exceeded", udp6("fd00:2::1", 1, 18), is_drop),
        ("no route, IPv4", udp4([50, 0, 0, 1], 64, 18), is_drop),
        ("no route, IPv6", udp6("fd99::1", 64, 18), is_drop),
        ("prohibited", udp4([40, 0, 0, 1], 64, 18), is_drop),
        ("too big, IPv6", udp6("fd00:2::1", 64, 1420), is_drop),
        ("cut into fragments", udp4([10, 0, 2, 1], 64, 1430), is_consumed),
        ("echo", echo4(), is_reply),
        ("ARP request", arp_request(), is_reply),
    ];
    let tables = tables();
    let mut router = Router::new(0, Config { ports: 2, seed: 7 }, Limits::new(7));
    let mut sink = Sink { buffer: vec![0; 2048], sent: 0, held: 0, reported: 0 };
    let mut mono_ns = 0;
    for (what, bytes, expected) in &cases {
        let mut buffer = vec![0; HEADROOM + bytes.len()];
        for turn in 0..100u64 {
            buffer[HEADROOM..].copy_from_slice(bytes);
            // Ten seconds from one to the next: no limit holds an answer back.
            mono_ns += 10_000_000_000;
            let now = Time { mono_ns, utc_ms: 0 };
            let mut frame =
                Frame::new(&mut buffer, HEADROOM, bytes.len(), PortId(0), Offload::default()).unwrap();
            let mut verdict = Verdict::Consumed;
            let allocated = measure(|| {
                tables.prefetch(std::slice::from_ref(&frame));
                verdict = router.forward(&mut frame, &tables, now, &mut sink);
            });
            assert!(expected(verdict), "{what}: {verdict:?}");
            assert_eq!((allocated.count_total, allocated.bytes_total), (0, 0), "{what}, turn {turn}");
        }
    }
    router.counters().check_conservation().unwrap();
    assert!(sink.sent >= 800, "errors and fragments were originated: {}", sink.sent);
    assert!(sink.reported >= 200, "unresolved next hops were reported: {}", sink.reported);
    // Held frames that go, and held frames whose next hop fails.
    let next_hop = NextHop { port: PortId(1), addr: [10, 0, 2, 1].into() };
    let bytes = udp4([10, 0, 2, 77], 64, 18);
    for fails in [false, true] {
        let mut buffer = vec![0; HEADROOM + bytes.len()];
        buffer[HEADROOM..].copy_from_slice(&bytes);
        let mut frame =
            Frame::new(&mut buffer, HEADROOM, bytes.len(), PortId(0), Offload::default()).unwrap();
        let now = Time { mono_ns: 2_000_000_000_000, utc_ms: 0 };
        router.forward(&mut frame, &tables, now, &mut sink);
        let allocated = measure(|| {
            let verdict = if fails {
                router.unreachable(&mut frame, DropReason::NeighbourFailed, &tables, now, &mut sink)
            } else {
                router.release(&mut frame, next_hop, &tables)
            };
            assert_eq!(matches!(verdict, Verdict::Drop(_)), fails);
        });
        assert_eq!(allocated.count_total, 0, "fails: {fails}");
    }
}
