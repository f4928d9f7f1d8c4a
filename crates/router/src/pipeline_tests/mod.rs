//! Frames of both IP versions through the whole pipeline.

mod icmp_error;
mod local;
mod redirect;

use etherparse::{Ipv4Slice, Ipv6Slice};
use nsrouter_wire::frame::PortId;
use nsrouter_wire::offload::{Gso, Offload, PendingChecksum};

use crate::testing::*;
use crate::*;

fn via(prefix: &str, port: PortId, gateway: Option<&str>) -> Route {
    let hop = RouteNextHop { port: Some(port), via: gateway.map(addr), weight: 1 };
    Route { prefix: prefix.parse().unwrap(), kind: RouteKind::Unicast(vec![hop]), metric: 0, mtu: None }
}

fn route(prefix: &str, kind: RouteKind) -> Route {
    Route { prefix: prefix.parse().unwrap(), kind, metric: 0, mtu: None }
}

#[test]
fn ipv4_is_forwarded_with_one_hop_less_and_new_addresses() {
    let mut bench = Bench::lab();
    let frame = udp4(64, b"payload");
    let done = bench.push(P1, &frame);
    assert_eq!(done.verdict, Verdict::Send(P2));
    let mut expected = frame.clone();
    expected[..6].copy_from_slice(&T2_MAC);
    expected[6..12].copy_from_slice(&R2_MAC);
    expected[22] = 63;
    fix4(&mut expected);
    assert_eq!(done.bytes, expected);
    let counters = bench.router.counters();
    assert_eq!((counters.received, counters.sent, counters.originated, counters.lookups), (1, 1, 0, 1));
    assert_eq!((counters.port(P1).rx_frames, counters.port(P1).rx_bytes), (1, frame.len() as u64));
    assert_eq!((counters.port(P2).tx_frames, counters.port(P2).tx_bytes), (1, frame.len() as u64));
    assert!(bench.out.events.is_empty());
}

#[test]
fn ipv6_is_forwarded_with_one_hop_less_and_new_addresses() {
    let mut bench = Bench::lab();
    let frame = udp6("fd00:251::1", "fd00:252::1", 64, b"payload");
    let done = bench.push(P1, &frame);
    assert_eq!(done.verdict, Verdict::Send(P2));
    let mut expected = frame.clone();
    expected[..6].copy_from_slice(&T2_MAC);
    expected[6..12].copy_from_slice(&R2_MAC);
    expected[21] = 63;
    assert_eq!(done.bytes, expected);
}

#[test]
fn ethernet_padding_is_trimmed() {
    let mut bench = Bench::lab();
    let mut frame = udp4(64, b"x");
    let bytes = frame.len();
    frame.resize(60, 0xee);
    assert_eq!(bench.push(P1, &frame).bytes.len(), bytes);
    let mut frame = udp6("fd00:251::1", "fd00:252::1", 64, b"");
    let bytes = frame.len();
    frame.resize(80, 0xee);
    assert_eq!(bench.push(P1, &frame).bytes.len(), bytes);
}

#[test]
fn ethernet_checks() {
    let mut bench = Bench::lab();
    let good = udp4(64, b"x");
    bench.expect_drop(P1, &good[..13], DropReason::EthShort);
    let mut other = good.clone();
    other[5] = 0x99;
    bench.expect_drop(P1, &other, DropReason::EthNotOurs);
    for (kind, reason) in
        [([0x81, 0], DropReason::Vlan), ([0x88, 0xa8], DropReason::Vlan), ([0x88, 0xcc], DropReason::EthType)]
    {
        let mut frame = good.clone();
        frame[12..14].copy_from_slice(&kind);
        bench.expect_drop(P1, &frame, reason);
    }
    // A tag cut short, of a VLAN, and of none.
    let tagged = |control: [u8; 2]| [&good[..12], &[0x81, 0], &control, &good[12..]].concat();
    bench.expect_drop(P1, &tagged([0x60, 0])[..17], DropReason::Vlan);
    bench.expect_drop(P1, &tagged([0, 1]), DropReason::Vlan);
    assert_eq!(bench.push(P1, &tagged([0x60, 0])), bench.push(P1, &good));
    bench.expect_drop(PortId(7), &good, DropReason::PortDown);
    let mut broadcast = good.clone();
    broadcast[..6].fill(0xff);
    bench.expect_drop(P1, &broadcast, DropReason::L2Broadcast);
    assert!(bench.out.sent.is_empty());
}

#[test]
fn rfc_1812_section_5_2_2_header_validation() {
    let mut bench = Bench::lab();
    let good = udp4(64, b"payload");
    // 1: room for a header.
    bench.expect_drop(P1, &good[..33], DropReason::Ip4Short);
    // 2: checksum.
    let mut frame = good.clone();
    frame[24] ^= 1;
    bench.expect_drop(P1, &frame, DropReason::Ip4Checksum);
    // 3: version.
    let mut frame = good.clone();
    frame[14] = 0x55;
    fix4(&mut frame);
    bench.expect_drop(P1, &frame, DropReason::Ip4Version);
    // 4: header length, too small and beyond the frame.
    let mut frame = good.clone();
    frame[14] = 0x44;
    bench.expect_drop(P1, &frame, DropReason::Ip4HeaderLength);
    let mut frame = good.clone();
    frame[14] = 0x4f;
    bench.expect_drop(P1, &frame, DropReason::Ip4HeaderLength);
    // 5: total length, under the header's and beyond the frame.
    for total in [19u16, good.len() as u16 - 13] {
        let mut frame = good.clone();
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        fix4(&mut frame);
        bench.expect_drop(P1, &frame, DropReason::Ip4TotalLength);
    }
    assert!(bench.out.sent.is_empty(), "none of these is answered");
}

#[test]
fn ipv6_header_validation() {
    let mut bench = Bench::lab();
    let good = udp6("fd00:251::1", "fd00:252::1", 64, b"payload");
    bench.expect_drop(P1, &good[..53], DropReason::Ip6Short);
    let mut frame = good.clone();
    frame[14] = 0x40;
    bench.expect_drop(P1, &frame, DropReason::Ip6Version);
    bench.expect_drop(P1, &good[..good.len() - 1], DropReason::Ip6PayloadLength);
}

#[test]
fn martians_of_ipv4_are_those_of_linux() {
    let mut bench = Bench::new(&[via("0.0.0.0/0", P2, Some("10.10.252.1"))], Settings::default());
    let t2 = [10, 10, 252, 1];
    for source in [[127, 0, 0, 1], [0, 0, 0, 0], [224, 0, 0, 5], [255, 255, 255, 255], [10, 10, 252, 2]] {
        bench.expect_drop(P1, &udp4_to(source, t2, 64, b""), DropReason::MartianSource);
    }
    for source in [[0, 0, 0, 1], [240, 0, 0, 1]] {
        assert_eq!(bench.push(P1, &udp4_to(source, t2, 64, b"")).verdict, Verdict::Send(P2));
    }
    let t1 = [10, 10, 251, 1];
    for destination in [[127, 0, 0, 1], [0, 0, 0, 0]] {
        bench.expect_drop(P1, &udp4_to(t1, destination, 64, b""), DropReason::MartianDestination);
    }
    bench.expect_drop(P1, &udp4_to(t1, [224, 0, 0, 251], 64, b""), DropReason::LinkMulticast);
    bench.expect_drop(P1, &udp4_to(t1, [239, 1, 2, 3], 64, b""), DropReason::Multicast);
    bench.expect_drop(P1, &udp4_to(t1, [255, 255, 255, 255], 64, b""), DropReason::Broadcast);
    bench.expect_drop(P1, &udp4_to(t1, [10, 10, 252, 255], 64, b""), DropReason::Broadcast);
    assert_eq!(bench.push(P1, &udp4_to(t1, [240, 0, 0, 1], 64, b"")).verdict, Verdict::Send(P2));
    assert!(bench.out.sent.is_empty());
}

#[test]
fn priority_tags_go_and_what_is_pending_moves_along() {
    let plain = udp4(64, b"pending");
    let tags = [0x88, 0xa8, 0xe0, 0, 0x81, 0, 0, 0];
    let tagged = [&plain[..12], &tags, &plain[12..]].concat();
    let pending = |start| Offload {
        checksum: Some(nsrouter_wire::offload::PendingChecksum { start, offset: 6 }),
        ..Offload::default()
    };
    let mut bench = Bench::lab();
    let expected = bench.push_offloaded(P1, &plain, pending(34));
    assert_eq!(expected.verdict, Verdict::Send(P2));
    assert_eq!(bench.push_offloaded(P1, &tagged, pending(42)), expected);
}

#[test]
fn scopes_of_ipv6() {
    let mut bench = Bench::lab();
    for source in ["ff02::1", "::1", "::"] {
        bench.expect_drop(P1, &udp6(source, "fd00:252::1", 64, b""), DropReason::MartianSource);
    }
    for destination in ["::1", "ff01::1", "ff00::1"] {
        bench.expect_drop(P1, &udp6("fd00:251::1", destination, 64, b""), DropReason::MartianDestination);
    }
    bench.expect_drop(P1, &udp6("fd00:251::1", "ff02::fb", 64, b""), DropReason::LinkMulticast);
    bench.expect_drop(P1, &udp6("fd00:251::1", "ff0e::1", 64, b""), DropReason::Multicast);
    assert_eq!(bench.push(P1, &udp6("::ffff:10.0.0.1", "fd00:252::1", 64, b"")).verdict, Verdict::Send(P2));
    assert!(bench.out.sent.is_empty());
    bench.expect_drop(P1, &udp6("fd00:251::1", "::", 64, b""), DropReason::NoRoute);
    assert_eq!(bench.take_one().1[54..56], [1, 0]);
    bench.expect_drop(P1, &udp6("fe80::11", "fd00:252::1", 64, b""), DropReason::BeyondScope);
    let (port, error) = bench.take_one();
    let ip = Ipv6Slice::from_slice(&error[14..]).unwrap();
    assert_eq!((port, ip.payload().payload[0], ip.payload().payload[1]), (P1, 1, 2));
    // A link-local source is answered from the link-local address.
    assert_eq!(ip.header().source_addr().to_string(), "fe80::1:2ff:fe03:401");
    assert_eq!(ip.header().destination_addr().to_string(), "fe80::11");
}

#[test]
fn a_link_local_destination_stays_on_its_link() {
    let mut bench = Bench::lab();
    let next_hop = NextHop { port: P1, addr: addr("fe80::99") };
    let done = bench.push(P1, &udp6("fd00:251::1", "fe80::99", 64, b""));
    assert_eq!(done.verdict, Verdict::Hold(next_hop));
    // The sender could have asked for it itself.
    assert_eq!(bench.take_one().1[54], 137);
    assert_eq!(bench.push(P1, &udp6("fe80::12", "fe80::11", 64, b"")).verdict, Verdict::Send(P1));
}

#[test]
fn route_types_and_what_they_answer() {
    let routes = [
        route("10.1.0.0/16", RouteKind::Blackhole),
        route("10.2.0.0/16", RouteKind::Unreachable),
        route("10.3.0.0/16", RouteKind::Prohibit),
        route("fd01::/64", RouteKind::Blackhole),
        route("fd02::/64", RouteKind::Unreachable),
        route("fd03::/64", RouteKind::Prohibit),
    ];
    let mut bench = Bench::new(&routes, Settings { icmp_interval_ms: 0, ..Settings::default() });
    let cases = [
        ([10, 1, 0, 1], "fd01::1", DropReason::Blackhole, None, None),
        ([10, 2, 0, 1], "fd02::1", DropReason::Unreachable, Some((3, 1)), Some((1, 0))),
        ([10, 3, 0, 1], "fd03::1", DropReason::Prohibited, Some((3, 13)), Some((1, 1))),
        ([10, 4, 0, 1], "fd04::1", DropReason::NoRoute, Some((3, 0)), Some((1, 0))),
    ];
    for (v4, v6, reason, answer4, answer6) in cases {
        bench.expect_drop(P1, &udp4_to([10, 10, 251, 1], v4, 64, b""), reason);
        let got = bench.out.sent.pop().map(|(_, frame)| (frame[34], frame[35]));
        assert_eq!(got, answer4, "{reason:?}");
        bench.expect_drop(P1, &udp6("fd00:251::1", v6, 64, b""), reason);
        let got = bench.out.sent.pop().map(|(_, frame)| (frame[54], frame[55]));
        assert_eq!(got, answer6, "{reason:?}");
    }
}

#[test]
fn ttl_one_is_answered_with_time_exceeded() {
    for ttl in [0, 1] {
        let mut bench = Bench::lab();
        let frame = udp4(ttl, b"payload");
        bench.expect_drop(P1, &frame, DropReason::TtlExceeded);
        let (port, error) = bench.take_one();
        assert_eq!(port, P1);
        assert_eq!(error[..12], [T1_MAC, R1_MAC].concat());
        let ip = Ipv4Slice::from_slice(&error[14..]).unwrap();
        assert_eq!(ip.header().source(), [10, 10, 251, 2]);
        assert_eq!(ip.header().destination(), [10, 10, 251, 1]);
        assert_eq!((ip.header().ttl(), ip.header().to_header().dscp.value() << 2), (64, 0xc0));
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        let message = ip.payload().payload;
        assert_eq!(message[..2], [11, 0]);
        assert_eq!(message[8..], frame[14..], "quoted as it came");
        assert!(nsrouter_wire::icmp::v4_is_valid(message));
        assert_eq!(bench.router.counters().icmp_errors, 1);

        let frame = udp6("fd00:251::1", "fd00:252::1", ttl, b"payload");
        bench.expect_drop(P1, &frame, DropReason::TtlExceeded);
        let (_, error) = bench.take_one();
        let ip = Ipv6Slice::from_slice(&error[14..]).unwrap();
        assert_eq!(ip.header().source_addr().to_string(), "fd00:251::2");
        assert_eq!(ip.payload().payload[..2], [3, 0]);
        assert_eq!(ip.payload().payload[8..], frame[14..]);
    }
}

#[test]
fn too_big_is_answered_with_the_mtu_of_the_next_hop() {
    let mut ports = lab_ports();
    ports[1].mtu = 1400;
    let mut bench = Bench::with_ports(&ports, &[], Settings::default());
    let mut frame = udp4(64, &[1; 1400]);
    frame[20] |= 0x40;
    fix4(&mut frame);
    bench.expect_drop(P1, &frame, DropReason::TooBig);
    let (_, error) = bench.take_one();
    assert_eq!(error[34..36], [3, 4]);
    assert_eq!(error[38..42], [0, 0, 0x05, 0x78]);
    assert_eq!(error.len(), 14 + 576);
    bench.expect_drop(P1, &udp6("fd00:251::1", "fd00:252::1", 64, &[1; 1400]), DropReason::TooBig);
    let (_, error) = bench.take_one();
    assert_eq!(error[54..56], [2, 0]);
    assert_eq!(error[58..62], 1400u32.to_be_bytes());
    assert_eq!(error.len(), 14 + 1280);
    // What just fits goes.
    assert_eq!(bench.push(P1, &udp4(64, &[1; 1372])).verdict, Verdict::Send(P2));
    assert_eq!(
        bench.push(P1, &udp6("fd00:251::1", "fd00:252::1", 64, &[1; 1352])).verdict,
        Verdict::Send(P2)
    );
}

#[test]
fn a_gso_packet_is_judged_by_its_segments_and_keeps_its_offload() {
    let mut frame = Vec::new();
    from_t1()
        .ipv4([10, 10, 251, 1], [10, 10, 252, 1], 64)
        .tcp(1, 2, 3, 4)
        .write(&mut frame, &[7; 20_000])
        .unwrap();
    frame[20] |= 0x40;
    fix4(&mut frame);
    let offload = |gso_size| Offload {
        checksum: Some(PendingChecksum { start: 34, offset: 16 }),
        gso: Gso::Tcp4 { ecn: false },
        gso_size,
        header_bytes: 54,
    };
    let mut bench = Bench::lab();
    let done = bench.push_offloaded(P1, &frame, offload(1460));
    assert_eq!((done.verdict, done.offload), (Verdict::Send(P2), offload(1460)));
    assert_eq!(done.bytes[34..], frame[34..], "the pending checksum is not touched");
    let done = bench.push_offloaded(P1, &frame, offload(1461));
    assert_eq!(done.verdict, Verdict::Drop(DropReason::TooBig));
    assert_eq!(bench.take_one().1[34..36], [3, 4]);
}

#[test]
fn an_unknown_next_hop_holds_the_frame_until_it_is_released_or_given_up() {
    for frame in [
        udp4_to([10, 10, 251, 1], [10, 10, 252, 77], 64, b"hold me"),
        udp6("fd00:251::1", "fd00:252::77", 64, b"hold me"),
    ] {
        let mut bench = Bench::lab();
        let is_v6 = frame[12] == 0x86;
        let next_hop = NextHop { port: P2, addr: addr(if is_v6 { "fd00:252::77" } else { "10.10.252.77" }) };
        let done = bench.push(P1, &frame);
        assert_eq!(done.verdict, Verdict::Hold(next_hop));
        assert_eq!(bench.out.events, [Event::Unresolved { next_hop, asker: None }]);
        assert_eq!(bench.router.counters().held, 1);
        assert_eq!(done.bytes[..12], [[0; 6], R2_MAC].concat());

        let mut bytes = done.bytes.clone();
        let len = bytes.len();
        let mut held = nsrouter_wire::frame::Frame::new(&mut bytes, 0, len, P1, Offload::default()).unwrap();
        let verdict = bench.router.release(&mut held, next_hop, &bench.tables);
        assert_eq!(verdict, Verdict::Drop(DropReason::NeighbourFailed), "not resolved yet");
        bench.router.counters().check_conservation().unwrap();
        assert_eq!(bench.router.counters().held, 0);

        bench.push(P1, &frame);
        let mac = MacAddr([2, 7, 7, 7, 7, 7]);
        let resolved = bench
            .tables
            .with_neighbours(NeighbourMap::new(3, Default::default(), &[(next_hop, mac, false)]).into());
        assert_eq!(bench.router.release(&mut held, next_hop, &resolved), Verdict::Send(P2));
        assert_eq!(held.data()[..6], mac.0);
        assert_eq!(bench.router.counters().port(P2).tx_frames, 1);
        bench.router.counters().check_conservation().unwrap();

        for reason in [DropReason::NeighbourTableFull, DropReason::NeighbourFailed] {
            bench.push(P1, &frame);
            let verdict =
                bench.router.unreachable(&mut held, reason, &bench.tables, bench.now, &mut bench.out);
            assert_eq!(verdict, Verdict::Drop(reason));
            bench.router.counters().check_conservation().unwrap();
            // Only who did not answer is told of, as in Linux `ip_finish_output2` and `neigh_invalidate`.
            assert_eq!(bench.out.sent.is_empty(), reason == DropReason::NeighbourTableFull);
        }
        let (port, error) = bench.take_one();
        let answer = if is_v6 { &error[54..56] } else { &error[34..36] };
        assert_eq!((port, answer), (P1, if is_v6 { &[1, 3][..] } else { &[3, 1][..] }));
    }
}

#[test]
fn a_gateway_is_the_next_hop_and_a_port_that_is_down_takes_its_routes_out() {
    let backup = Route { metric: 10, ..via("10.9.0.0/16", P1, Some("10.10.251.1")) };
    let routes = [via("10.9.0.0/16", P2, Some("10.10.252.1")), backup];
    let frame = udp4_to([10, 10, 251, 1], [10, 9, 1, 1], 64, b"");
    let mut bench = Bench::new(&routes, Settings { redirects: false, ..Settings::default() });
    let done = bench.push(P1, &frame);
    assert_eq!((done.verdict, &done.bytes[..6]), (Verdict::Send(P2), &T2_MAC[..]));
    let mut ports = lab_ports();
    ports[1].up = false;
    let mut bench = Bench::with_ports(&ports, &routes, Settings { redirects: false, ..Settings::default() });
    let done = bench.push(P1, &frame);
    assert_eq!((done.verdict, &done.bytes[..6]), (Verdict::Send(P1), &T1_MAC[..]));
    bench.expect_drop(P1, &udp4(64, b""), DropReason::NoRoute);
}

#[test]
fn a_stale_neighbour_is_reported_once() {
    let mut bench = Bench::lab();
    let next_hop = NextHop { port: P2, addr: addr("10.10.252.1") };
    let map = NeighbourMap::new(1, Default::default(), &[(next_hop, MacAddr(T2_MAC), true)]);
    bench.tables = bench.tables.with_neighbours(map.into());
    for _ in 0..3 {
        assert_eq!(bench.push(P1, &udp4(64, b"")).verdict, Verdict::Send(P2));
    }
    assert_eq!(bench.out.events, [Event::InUse(next_hop)]);
}

/// TCP in VXLAN from t1 to t2 over this family, `bytes` of payload, and its offload.
fn tcp_in_vxlan(is_v6: bool, bytes: usize, gso_size: u16) -> (Vec<u8>, Offload) {
    let mut inner = vec![8, 0, 0, 0, 0, 0, 7, 0];
    etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([192, 168, 77, 1], [192, 168, 77, 2], 64)
        .tcp(1, 2, 3, 4)
        .write(&mut inner, &vec![7; bytes])
        .unwrap();
    let mut frame = Vec::new();
    if is_v6 {
        from_t1().ipv6(octets6("fd00:251::1"), octets6("fd00:252::1"), 64)
    } else {
        from_t1().ipv4([10, 10, 251, 1], [10, 10, 252, 1], 64)
    }
    .udp(5, 4789)
    .write(&mut frame, &inner)
    .unwrap();
    let start = u16::try_from(frame.len() - bytes - 20).unwrap();
    let checksum = Some(PendingChecksum { start, offset: 16 });
    (frame, Offload { checksum, gso: Gso::Tcp4 { ecn: false }, gso_size, header_bytes: 0 })
}

#[test]
fn a_tunnelled_gso_packet_is_judged_by_its_segments_with_all_that_is_around_them() {
    // The outer headers, VXLAN, Ethernet, IPv4 and TCP: what is left of 1500 bytes.
    for (is_v6, room) in [(false, 1500 - 28 - 22 - 40), (true, 1500 - 48 - 22 - 40)] {
        let mut bench = Bench::lab();
        let (mut frame, offload) = tcp_in_vxlan(is_v6, 20_000, room);
        if !is_v6 {
            frame[20] |= 0x40;
            fix4(&mut frame);
        }
        let done = bench.push_offloaded(P1, &frame, offload);
        assert_eq!((done.verdict, done.offload), (Verdict::Send(P2), offload), "nothing is too big");
        assert!(bench.out.sent.is_empty(), "and nobody is told so");
        let done = bench.push_offloaded(P1, &frame, Offload { gso_size: room + 1, ..offload });
        assert_eq!(done.verdict, Verdict::Drop(DropReason::TooBig));
        let error = bench.take_one().1;
        if is_v6 {
            assert_eq!((error[54], &error[58..62]), (2, &[0, 0, 5, 220][..]), "the link's own MTU");
        } else {
            assert_eq!((&error[34..36], &error[40..42]), (&[3, 4][..], &[5, 220][..]));
        }
        // What is inside cannot be found, so nobody can say how large a segment is.
        let checksum = Some(PendingChecksum { start: 90, offset: 16 });
        let done = bench.push_offloaded(P1, &frame, Offload { checksum, ..offload });
        assert_eq!(done.verdict, Verdict::Drop(DropReason::BadOffload));
        assert!(bench.out.sent.is_empty());
    }
}

#[test]
fn the_segments_of_a_tunnelled_gso_packet_are_fragmented_where_they_may_be() {
    let mut bench = Bench::lab();
    let (mut frame, offload) = tcp_in_vxlan(false, 4000, 1411);
    frame[20] = 0;
    fix4(&mut frame);
    assert_eq!(bench.push_offloaded(P1, &frame, offload).verdict, Verdict::Consumed);
    let sent = std::mem::take(&mut bench.out.sent);
    // Two segments of two fragments each, and a short one.
    assert_eq!(sent.len(), 5);
    for (index, (_, fragment)) in sent.iter().enumerate() {
        let header = nsrouter_wire::ipv4::Header::parse(&fragment[14..]).unwrap();
        assert!(header.total_bytes() <= 1500);
        assert_eq!(header.more_fragments(), index == 0 || index == 2);
        assert_eq!(usize::from(header.identification()), index / 2);
    }
}

#[test]
fn gso_packets_of_more_than_64_kib_are_forwarded_whole() {
    let payload = vec![7; 150_000];
    let mut frame = Vec::new();
    from_t1().ipv4([10, 10, 251, 1], [10, 10, 252, 1], 64).tcp(1, 2, 3, 4).write(&mut frame, &[]).unwrap();
    frame[16..18].fill(0);
    fix4(&mut frame);
    frame.extend(&payload);
    let offload = |start, gso| Offload {
        checksum: Some(PendingChecksum { start, offset: 16 }),
        gso,
        gso_size: 1440,
        header_bytes: 0,
    };
    let mut bench = Bench::lab();
    let tcp4 = offload(34, Gso::Tcp4 { ecn: false });
    let done = bench.push_offloaded(P1, &frame, tcp4);
    assert_eq!((done.verdict, done.bytes.len(), done.offload), (Verdict::Send(P2), frame.len(), tcp4));
    let plain = Offload::default();
    let done = bench.push_offloaded(P1, &frame, plain);
    assert_eq!(done.verdict, Verdict::Drop(DropReason::Ip4TotalLength), "no other packet says zero");

    let mut frame = Vec::new();
    let (source, destination) = (octets6("fd00:251::1"), octets6("fd00:252::1"));
    from_t1().ipv6(source, destination, 64).tcp(1, 2, 3, 4).write(&mut frame, &[]).unwrap();
    frame[18..21].fill(0);
    let jumbo = [&[6, 0, 194, 4][..], &(8 + 20 + 150_000u32).to_be_bytes()].concat();
    frame.splice(54..54, jumbo);
    frame.extend(&payload);
    let tcp6 = offload(62, Gso::Tcp6 { ecn: false });
    let done = bench.push_offloaded(P1, &frame, tcp6);
    assert_eq!((done.verdict, done.bytes.len(), done.offload), (Verdict::Send(P2), frame.len(), tcp6));
    let done = bench.push_offloaded(P1, &frame[..frame.len() - 1], tcp6);
    assert_eq!(done.verdict, Verdict::Drop(DropReason::Ip6PayloadLength));
}

#[test]
fn an_mtu_too_small_for_ipv6_takes_it_off_that_port_and_touches_no_other() {
    let mut ports = lab_ports();
    let mut table = Rib::new(&ports, Settings::default()).unwrap();
    // A route that waits for its gateway's port.
    let hop = RouteNextHop { port: None, via: Some(addr("fd00:252::9")), weight: 1 };
    let far = Route {
        prefix: "fd05::/64".parse().unwrap(),
        kind: RouteKind::Unicast(vec![hop]),
        metric: 0,
        mtu: None,
    };
    table.configure(&[far]).unwrap();
    let mut bench =
        Bench::new(&[], Settings { icmp_interval_ms: 0, icmp6_interval_ms: 0, ..Settings::default() });
    let neighbours = bench.tables.neighbours.clone();
    for mtu in [576, 68, 1279, 40, 100_000] {
        ports[1].mtu = mtu;
        ports[0].addresses.push(format!("10.10.251.{}/24", mtu % 256).parse().unwrap());
        table.set_ports([P1, P2].into_iter().zip(&ports)).unwrap();
        bench.tables = table.tables().with_neighbours(neighbours.clone());
        let kept = mtu.clamp(68, 65_535);
        assert_eq!(bench.tables.port(P2).unwrap().mtu_bytes(), kept);
        // The other port's new address is there.
        assert_eq!(bench.tables.port(P1).unwrap().addresses().count(), ports[0].addresses.len());
        let ipv6 = udp6("fd00:251::1", "fd00:252::1", 64, b"");
        let from_t2 = [&R2_MAC[..], &ipv6[6..]].concat();
        if mtu >= 1280 {
            assert_eq!(bench.push(P1, &ipv6).verdict, Verdict::Send(P2));
            continue;
        }
        bench.expect_drop(P1, &udp4(64, &[1; 1400]), DropReason::TooBig);
        assert_eq!(bench.take_one().1[40..42], u16::try_from(kept).unwrap().to_be_bytes());
        for destination in ["fd00:252::1", "fd00:252::2", "fd05::1"] {
            bench.expect_drop(P1, &udp6("fd00:251::1", destination, 64, b""), DropReason::NoRoute);
            bench.out.sent.clear();
        }
        bench.expect_drop(P2, &from_t2, DropReason::Ip6Off);
        assert!(!bench.tables.is_up_for(NextHop { port: P2, addr: addr("fe80::1") }));
        // As packets that may be fragmented.
        let mut frame = udp4(64, &[1; 1400]);
        frame[20] = 0;
        fix4(&mut frame);
        assert_eq!(bench.push(P1, &frame).verdict, Verdict::Consumed);
        assert!(
            bench.out.sent.drain(..).all(|(port, piece)| port == P2 && piece.len() - 14 <= kept as usize)
        );
    }
    ports[1].mtu = 1280;
    table.set_ports([P1, P2].into_iter().zip(&ports)).unwrap();
    bench.tables = table.tables().with_neighbours(neighbours);
    assert_eq!(bench.push(P1, &udp6("fd00:251::1", "fd00:252::1", 64, b"")).verdict, Verdict::Send(P2));
    let gateway = NextHop { port: P2, addr: addr("fd00:252::9") };
    assert_eq!(bench.push(P1, &udp6("fd00:251::1", "fd05::1", 64, b"")).verdict, Verdict::Hold(gateway));
}

#[test]
fn a_route_s_own_mtu_is_kept_to() {
    let small = |prefix: &str, gateways: &[&str], mtu| {
        let hops =
            gateways.iter().map(|via| RouteNextHop { port: None, via: Some(addr(via)), weight: 1 }).collect();
        Route { prefix: prefix.parse().unwrap(), kind: RouteKind::Unicast(hops), metric: 0, mtu: Some(mtu) }
    };
    let routes = [
        small("10.1.0.0/16", &["10.10.252.1"], 1300),
        small("10.2.0.0/16", &["10.10.252.1", "10.10.252.9"], 600),
        // The link takes no more than this, whatever the route says.
        small("10.3.0.0/16", &["10.10.252.1"], 9000),
        small("fd01::/64", &["fd00:252::1"], 1400),
        // Linux lets IPv6 packets of 1280 bytes pass whatever a route says.
        small("fd02::/64", &["fd00:252::1"], 1000),
    ];
    let mut bench =
        Bench::new(&routes, Settings { icmp_interval_ms: 0, icmp6_interval_ms: 0, ..Settings::default() });
    for (network, mtu) in [(1, 1300), (2, 600), (3, 1500)] {
        let destination = [10, network, 0, 1];
        let of = |bytes: usize| udp4_to([10, 10, 251, 1], destination, 64, &vec![1; bytes - 28]);
        assert!(!matches!(bench.push(P1, &of(mtu)).verdict, Verdict::Drop(_)));
        bench.expect_drop(P1, &of(mtu + 1), DropReason::TooBig);
        let (_, error) = bench.take_one();
        assert_eq!(error[40..42], u16::try_from(mtu).unwrap().to_be_bytes());
        let mut whole = of(mtu + 1);
        whole[20] = 0;
        fix4(&mut whole);
        assert_eq!(bench.push(P1, &whole).verdict, Verdict::Consumed);
        let held = bench.out.held.drain(..).map(|(_, piece)| piece);
        let pieces: Vec<_> = bench.out.sent.drain(..).map(|(_, piece)| piece).chain(held).collect();
        assert!(pieces.len() == 2 && pieces.iter().all(|piece| piece.len() - 14 <= mtu), "{network}");
    }
    for (destination, mtu) in [("fd01::1", 1400), ("fd02::1", 1280)] {
        let of = |bytes: usize| udp6("fd00:251::1", destination, 64, &vec![1; bytes - 48]);
        assert_eq!(bench.push(P1, &of(mtu)).verdict, Verdict::Send(P2));
        bench.expect_drop(P1, &of(mtu + 1), DropReason::TooBig);
        let (_, error) = bench.take_one();
        assert_eq!(error[58..62], u32::try_from(mtu).unwrap().to_be_bytes());
    }
}

#[test]
fn an_ipv4_route_may_lead_to_an_ipv6_next_hop() {
    let hop = |via: &str| RouteNextHop { port: None, via: Some(addr(via)), weight: 1 };
    let route = |prefix: &str, via: &str| Route {
        prefix: prefix.parse().unwrap(),
        kind: RouteKind::Unicast(vec![hop(via)]),
        metric: 0,
        mtu: None,
    };
    let routes = [route("10.1.0.0/16", "fd00:252::1"), route("10.2.0.0/16", "fd00:252::9")];
    let mut bench = Bench::new(&routes, Settings::default());
    let done = bench.push(P1, &udp4_to([10, 10, 251, 1], [10, 1, 0, 1], 64, b"x"));
    assert_eq!(done.verdict, Verdict::Send(P2));
    assert_eq!(done.bytes[..14], [&T2_MAC[..], &R2_MAC, &[8, 0]].concat());
    let done = bench.push(P1, &udp4_to([10, 10, 251, 1], [10, 2, 0, 1], 64, b"x"));
    let next_hop = NextHop { port: P2, addr: addr("fd00:252::9") };
    assert_eq!((done.verdict, &done.bytes[12..14]), (Verdict::Hold(next_hop), &[8, 0][..]));
    assert_eq!(bench.out.events.pop(), Some(Event::Unresolved { next_hop, asker: None }));
}
