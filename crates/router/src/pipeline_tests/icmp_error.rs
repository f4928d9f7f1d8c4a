use nsrouter_wire::frame::PortId;
use nsrouter_wire::icmp;

use crate::testing::*;
use crate::*;

const NOWHERE: [u8; 4] = [192, 0, 2, 1];
const T1: [u8; 4] = [10, 10, 251, 1];

fn icmp4(kind: u8) -> Vec<u8> {
    let mut body = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    icmp::v4_fill(&mut body);
    let mut frame = Vec::new();
    from_t1().ipv4(T1, NOWHERE, 64).write(&mut frame, 1.into(), &body).unwrap();
    frame
}

fn icmp6(kind: u8) -> Vec<u8> {
    let mut frame = Vec::new();
    from_t1()
        .ipv6(octets6("fd00:251::1"), octets6("2001:db8::1"), 64)
        .write(&mut frame, 58.into(), &[kind, 0, 0, 0, 0, 0, 0, 0])
        .unwrap();
    frame
}

#[test]
fn never_about_an_icmp_error_but_about_other_icmp() {
    let mut bench = Bench::new(&[], Settings { icmp_interval_ms: 0, ..Settings::default() });
    for kind in [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 19, 255] {
        bench.expect_drop(P1, &icmp4(kind), DropReason::NoRoute);
    }
    for kind in [1, 2, 3, 4, 127, 137] {
        bench.expect_drop(P1, &icmp6(kind), DropReason::NoRoute);
    }
    assert!(bench.out.sent.is_empty());
    for kind in [0, 8, 13] {
        bench.expect_drop(P1, &icmp4(kind), DropReason::NoRoute);
    }
    for kind in [128, 129] {
        bench.expect_drop(P1, &icmp6(kind), DropReason::NoRoute);
    }
    assert_eq!(bench.out.sent.len(), 5);
}

#[test]
fn only_about_first_fragments_and_unicast() {
    let mut bench = Bench::lab();
    let mut later = udp4_to(T1, NOWHERE, 64, b"payload");
    later[21] = 1;
    fix4(&mut later);
    bench.expect_drop(P1, &later, DropReason::NoRoute);
    let mut group = udp4_to(T1, NOWHERE, 64, b"payload");
    group[0] = 1;
    bench.expect_drop(P1, &group, DropReason::L2Broadcast);
    assert!(bench.out.sent.is_empty());
    let mut first = udp4_to(T1, NOWHERE, 64, b"payload");
    first[20] = 0x20;
    fix4(&mut first);
    bench.expect_drop(P1, &first, DropReason::NoRoute);
    assert_eq!(bench.out.sent.len(), 1);
}

#[test]
fn a_source_without_a_way_back_hears_nothing() {
    let mut bench = Bench::lab();
    bench.expect_drop(P1, &udp4_to([198, 51, 100, 1], NOWHERE, 64, b""), DropReason::NoRoute);
    assert!(bench.out.sent.is_empty());
}

#[test]
fn the_way_back_decides_source_and_port() {
    // The sender is beyond t2, though its packet came in from t1.
    let hop = RouteNextHop { port: Some(P2), via: Some(addr("10.10.252.1")), weight: 1 };
    let prefix = "198.51.100.0/24".parse().unwrap();
    let routes = [Route { prefix, kind: RouteKind::Unicast(vec![hop]), metric: 0, mtu: None }];
    let mut bench = Bench::new(&routes, Settings::default());
    bench.expect_drop(P1, &udp4_to([198, 51, 100, 1], NOWHERE, 64, b""), DropReason::NoRoute);
    let (port, error) = bench.take_one();
    assert_eq!(port, P2);
    assert_eq!(error[..6], T2_MAC);
    assert_eq!(error[26..30], [10, 10, 252, 2]);
}

#[test]
fn type_of_service_is_internetwork_control_with_the_original_low_bits() {
    let mut bench = Bench::lab();
    let mut frame = udp4_to(T1, NOWHERE, 64, b"");
    frame[15] = 0xff;
    fix4(&mut frame);
    bench.expect_drop(P1, &frame, DropReason::NoRoute);
    assert_eq!(bench.take_one().1[15], 0xde);
}

#[test]
fn six_at_once_and_path_mtu_errors_without_limit() {
    let mut bench = Bench::lab();
    for _ in 0..20 {
        bench.expect_drop(P1, &udp4(1, b""), DropReason::TtlExceeded);
    }
    assert_eq!(bench.out.sent.len(), 6);
    assert_eq!(bench.router.counters().icmp_rate_limited, 14);
    bench.out.sent.clear();
    for _ in 0..20 {
        bench.expect_drop(P1, &udp6("fd00:251::1", "fd00:252::1", 64, &[0; 1500]), DropReason::TooBig);
    }
    assert_eq!(bench.out.sent.len(), 20);
    bench.now.mono_ns += 1_000_000_000;
    bench.expect_drop(P1, &udp4(1, b""), DropReason::TtlExceeded);
    assert_eq!(bench.out.sent.len(), 21);
}

#[test]
fn without_a_buffer_the_error_is_counted_as_missed() {
    let mut bench = Bench::lab();
    bench.out.room = Some(0);
    bench.expect_drop(P1, &udp4(1, b""), DropReason::TtlExceeded);
    let counters = bench.router.counters();
    assert_eq!((counters.originate_no_buffer, counters.icmp_errors, counters.originated), (1, 0, 0));
}

#[test]
fn an_error_to_an_unresolved_sender_is_held() {
    let mut bench = Bench::lab();
    bench.expect_drop(P1, &udp4_to([10, 10, 251, 9], NOWHERE, 64, b""), DropReason::NoRoute);
    let next_hop = NextHop { port: P1, addr: addr("10.10.251.9") };
    assert_eq!(bench.out.held[0].0, next_hop);
    assert_eq!(bench.out.held[0].1[..12], [[0; 6], R1_MAC].concat());
    assert_eq!(bench.out.events, [Event::Unresolved { next_hop, asker: Some(addr("10.10.251.2")) }]);
    assert_eq!(bench.router.counters().held, 1);
}

#[test]
fn what_found_no_route_is_charged_twice_even_where_nothing_is_said() {
    let mut bench = Bench::lab();
    for _ in 0..3 {
        bench.expect_drop(P1, &icmp4(3), DropReason::NoRoute);
    }
    assert_eq!(bench.router.counters().icmp_rate_limited, 0);
    for _ in 0..5 {
        bench.expect_drop(P1, &udp4_to(T1, NOWHERE, 64, b""), DropReason::NoRoute);
    }
    assert_eq!((bench.out.sent.len(), bench.router.counters().icmp_rate_limited), (1, 4));
    // The host's own packets are not limited.
    let mut bench = Bench::lab();
    let own = udp4_to([10, 10, 251, 2], NOWHERE, 64, b"");
    for _ in 0..20 {
        bench.expect_drop(PortId::HOST, &own[14..], DropReason::NoRoute);
    }
    assert_eq!(bench.router.counters().icmp_rate_limited, 0);
}

#[test]
fn an_error_takes_the_way_of_its_flow_among_several() {
    let hop = |port, via| RouteNextHop { port: Some(port), via: Some(addr(via)), weight: 1 };
    let hops = vec![hop(P1, "10.10.251.1"), hop(P2, "10.10.252.1")];
    let prefix = "198.51.100.0/24".parse().unwrap();
    let routes = [Route { prefix, kind: RouteKind::Unicast(hops), metric: 0, mtu: None }];
    let mut bench = Bench::new(&routes, Settings { icmp_total_per_s: 0, ..Settings::default() });
    let mut ports = [0; 2];
    for n in 1..=50 {
        let sender = [198, 51, 100, n];
        // What the far end of the flow sends to the sender, and our error about what it sent.
        let Verdict::Send(back) = bench.push(P1, &udp4_to(NOWHERE, sender, 64, b"")).verdict else {
            panic!()
        };
        bench.out.sent.clear();
        bench.expect_drop(P1, &udp4_to(sender, NOWHERE, 64, b""), DropReason::NoRoute);
        assert_eq!(bench.take_one().0, back, "{n}");
        ports[back.index()] += 1;
    }
    assert!(ports.iter().all(|count| *count > 5), "{ports:?}");
}

#[test]
fn an_error_is_no_larger_than_the_link_takes() {
    let mut ports = lab_ports();
    ports[0].addresses.truncate(1);
    ports[0].mtu = 300;
    let mut bench = Bench::with_ports(&ports, &[], Settings::default());
    bench.expect_drop(P1, &udp4_to(T1, NOWHERE, 64, &[7; 1000]), DropReason::NoRoute);
    assert_eq!(bench.take_one().1.len(), 14 + 300);
    // Options of the answer take the room that the quoted header would need.
    ports[0].mtu = 68;
    let mut bench = Bench::with_ports(&ports, &[], Settings::default());
    let mut frame = udp4_to(T1, NOWHERE, 64, b"");
    frame.splice(34..34, [&[7, 19, 20], &[1; 17][..]].concat());
    (frame[14], frame[17]) = (0x4a, 48);
    fix4(&mut frame);
    bench.expect_drop(P1, &frame, DropReason::NoRoute);
    assert!(bench.out.sent.is_empty());
    bench.expect_drop(P1, &udp4_to(T1, NOWHERE, 64, &[7; 40]), DropReason::NoRoute);
    assert_eq!(bench.take_one().1.len(), 14 + 68);
}
