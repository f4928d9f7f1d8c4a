use etherparse::{Icmpv6Slice, Ipv6Slice};

use crate::testing::*;
use crate::*;

fn via_t1(prefix: &str, gateway: &str) -> Route {
    let hop = RouteNextHop { port: Some(P1), via: Some(addr(gateway)), weight: 1 };
    Route { prefix: prefix.parse().unwrap(), kind: RouteKind::Unicast(vec![hop]), metric: 0, mtu: None }
}

fn bench(settings: Settings) -> Bench {
    let routes = [via_t1("10.9.0.0/16", "10.10.251.1"), via_t1("fd09::/16", "fe80::11")];
    Bench::new(&routes, settings)
}

#[test]
fn a_sender_on_the_link_is_told_of_the_gateway_and_the_packet_goes_on() {
    let mut bench = bench(Settings::default());
    let frame = udp4_to([10, 10, 251, 5], [10, 9, 0, 1], 64, b"payload");
    let map = NeighbourMap::new(
        1,
        Default::default(),
        &[
            (NextHop { port: P1, addr: addr("10.10.251.1") }, MacAddr(T1_MAC), false),
            (NextHop { port: P1, addr: addr("10.10.251.5") }, MacAddr(T2_MAC), false),
        ],
    );
    bench.tables = bench.tables.with_neighbours(map.into());
    let done = bench.push(P1, &frame);
    assert_eq!(done.verdict, Verdict::Send(P1));
    let (port, redirect) = bench.take_one();
    assert_eq!((port, &redirect[..6]), (P1, &T2_MAC[..]));
    assert_eq!(redirect[34..36], [5, 1]);
    assert_eq!(redirect[38..42], [10, 10, 251, 1]);
    assert_eq!(redirect[26..30], [10, 10, 251, 2]);
    assert_eq!(redirect[42..], done.bytes[14..], "quoted as it is sent on");
    let counters = bench.router.counters();
    assert_eq!((counters.received, counters.sent, counters.originated), (1, 2, 1));
    // Not for every packet.
    assert_eq!(bench.push(P1, &frame).verdict, Verdict::Send(P1));
    assert!(bench.out.sent.is_empty());
}

#[test]
fn no_redirect_when_switched_off_or_the_sender_is_not_on_the_link() {
    let mut off = bench(Settings { redirects: false, ..Settings::default() });
    let frame = udp4_to([10, 10, 251, 5], [10, 9, 0, 1], 64, b"payload");
    assert_eq!(off.push(P1, &frame).verdict, Verdict::Send(P1));
    assert!(off.out.sent.is_empty() && off.out.held.is_empty());
    let mut on = bench(Settings::default());
    let far = udp4_to([10, 9, 0, 2], [10, 9, 0, 1], 64, b"payload");
    assert_eq!(on.push(P1, &far).verdict, Verdict::Send(P1));
    assert!(on.out.sent.is_empty() && on.out.held.is_empty());
}

#[test]
fn an_ipv6_sender_is_told_with_target_address_and_quote() {
    let mut bench = bench(Settings::default());
    let frame = udp6("fd00:251::1", "fd09::1", 64, b"payload");
    assert_eq!(bench.push(P1, &frame).verdict, Verdict::Send(P1));
    let (port, redirect) = bench.take_one();
    assert_eq!(port, P1);
    let ip = Ipv6Slice::from_slice(&redirect[14..]).unwrap();
    let header = ip.header();
    assert_eq!(
        (header.hop_limit(), header.source_addr().to_string().as_str()),
        (255, "fe80::1:2ff:fe03:401")
    );
    let body = ip.payload().payload;
    let icmp = Icmpv6Slice::from_slice(body).unwrap();
    assert!(icmp.is_checksum_valid(header.source(), header.destination()));
    assert_eq!(body[..4], [137, 0, body[2], body[3]]);
    assert_eq!(body[8..24], octets6("fe80::11"));
    assert_eq!(body[24..40], octets6("fd09::1"));
    assert_eq!(body[40..48], [&[2, 1][..], &T1_MAC].concat());
    let quoted = &frame[14..];
    assert_eq!(body[48..50], [4, ((quoted.len() + 8) / 8) as u8]);
    assert_eq!(body[56..], quoted[..(quoted.len() + 8) / 8 * 8 - 8]);
}

#[test]
fn a_link_local_source_may_be_sent_on_within_its_link() {
    let mut bench = bench(Settings::default());
    assert_eq!(bench.push(P1, &udp6("fe80::11", "fd09::1", 64, b"")).verdict, Verdict::Send(P1));
}
