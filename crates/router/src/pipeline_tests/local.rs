use etherparse::{Icmpv4Slice, Icmpv6Slice, Ipv4Slice, Ipv6Slice};
use nsrouter_wire::icmp;
use nsrouter_wire::offload::{Offload, PendingChecksum};

use crate::testing::*;
use crate::*;

fn with_host() -> Bench {
    Bench::new(&[], Settings { host_port: true, ..Settings::default() })
}

fn ping4(destination: [u8; 4], ttl: u8) -> Vec<u8> {
    let mut frame = Vec::new();
    from_t1()
        .ipv4([10, 10, 251, 1], destination, ttl)
        .icmpv4_echo_request(7, 1)
        .write(&mut frame, b"odd payload")
        .unwrap();
    frame
}

fn ping6(source: &str, destination: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    from_t1()
        .ipv6(octets6(source), octets6(destination), 1)
        .icmpv6_echo_request(7, 1)
        .write(&mut frame, b"odd payload")
        .unwrap();
    frame
}

#[test]
fn echo_is_answered_at_any_ttl_for_every_address_of_ours() {
    for destination in [[10, 10, 251, 2], [10, 10, 252, 2]] {
        let mut bench = Bench::lab();
        let frame = ping4(destination, 1);
        let done = bench.push(P1, &frame);
        assert_eq!(done.verdict, Verdict::Reply(P1));
        assert_eq!(done.bytes[..12], [T1_MAC, R1_MAC].concat());
        let ip = Ipv4Slice::from_slice(&done.bytes[14..]).unwrap();
        assert_eq!((ip.header().source(), ip.header().destination()), (destination, [10, 10, 251, 1]));
        assert_eq!(ip.header().ttl(), 64);
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        let reply = Icmpv4Slice::from_slice(ip.payload().payload).unwrap();
        assert_eq!((reply.type_u8(), reply.code_u8(), reply.payload()), (0, 0, &b"odd payload"[..]));
        assert!(icmp::v4_is_valid(ip.payload().payload));
        let counters = bench.router.counters();
        assert_eq!((counters.received, counters.sent, counters.port(P1).tx_frames), (1, 1, 1));
    }
}

#[test]
fn echo6_is_answered_for_global_link_local_and_group_addresses() {
    let own = "fe80::1:2ff:fe03:401";
    for (source, destination, from) in [
        ("fd00:251::1", "fd00:251::2", "fd00:251::2"),
        ("fd00:251::1", "fd00:252::2", "fd00:252::2"),
        ("fe80::11", own, own),
        ("fe80::11", "ff02::1", own),
        ("fe80::11", "ff02::2", own),
        ("fd00:251::1", "ff02::1", "fd00:251::2"),
    ] {
        let mut bench = Bench::lab();
        let done = bench.push(P1, &ping6(source, destination));
        assert_eq!(done.verdict, Verdict::Reply(P1), "{destination}");
        let ip = Ipv6Slice::from_slice(&done.bytes[14..]).unwrap();
        let header = ip.header();
        assert_eq!(header.source_addr().to_string(), from);
        assert_eq!(header.destination_addr().to_string(), source);
        assert_eq!(header.hop_limit(), 64);
        let reply = Icmpv6Slice::from_slice(ip.payload().payload).unwrap();
        assert_eq!((reply.type_u8(), reply.payload()), (129, &b"odd payload"[..]));
        assert!(reply.is_checksum_valid(header.source(), header.destination()));
    }
}

#[test]
fn echo_with_a_pending_checksum_is_answered_with_a_complete_one() {
    let mut bench = Bench::lab();
    let mut frame = ping4([10, 10, 251, 2], 64);
    frame[36..38].fill(0);
    let pending = Offload { checksum: Some(PendingChecksum { start: 34, offset: 2 }), ..Offload::default() };
    let done = bench.push_offloaded(P1, &frame, pending);
    assert_eq!((done.verdict, done.offload), (Verdict::Reply(P1), Offload::default()));
    assert!(icmp::v4_is_valid(&done.bytes[34..]));

    let mut frame = ping6("fd00:251::1", "fd00:251::2");
    let bytes = (frame.len() - 54) as u32;
    let pseudo = nsrouter_wire::checksum::Sum::new()
        .pseudo_ipv6(octets6("fd00:251::1"), octets6("fd00:251::2"), 58, bytes)
        .fold();
    frame[56..58].copy_from_slice(&pseudo.to_be_bytes());
    let pending = Offload { checksum: Some(PendingChecksum { start: 54, offset: 2 }), ..Offload::default() };
    let done = bench.push_offloaded(P1, &frame, pending);
    assert_eq!((done.verdict, done.offload), (Verdict::Reply(P1), Offload::default()));
    let reply = Icmpv6Slice::from_slice(&done.bytes[54..]).unwrap();
    assert!(reply.is_checksum_valid(octets6("fd00:251::2"), octets6("fd00:251::1")));
}

#[test]
fn an_echo_with_extension_headers_is_for_the_host_if_there_is_one() {
    let mut frame = ping6("fd00:251::1", "fd00:251::2");
    frame.splice(54..54, [58, 0, 1, 4, 0, 0, 0, 0]);
    frame[19] += 8;
    frame[20] = 60;
    assert_eq!(with_host().push(P1, &frame).verdict, Verdict::ToHost);
    let done = Bench::lab().push(P1, &frame);
    assert_eq!(done.verdict, Verdict::Reply(P1));
    let ip = Ipv6Slice::from_slice(&done.bytes[14..]).unwrap();
    assert_eq!(ip.payload().ip_number.0, 58);
    let reply = Icmpv6Slice::from_slice(ip.payload().payload).unwrap();
    assert!(reply.is_checksum_valid(ip.header().source(), ip.header().destination()));
}

#[test]
fn a_wrong_icmp_checksum_is_not_answered() {
    let mut bench = Bench::lab();
    let mut frame = ping4([10, 10, 251, 2], 64);
    *frame.last_mut().unwrap() ^= 1;
    bench.expect_drop(P1, &frame, DropReason::IcmpMalformed);
    let mut frame = ping6("fd00:251::1", "fd00:251::2");
    *frame.last_mut().unwrap() ^= 1;
    bench.expect_drop(P1, &frame, DropReason::IcmpMalformed);
}

#[test]
fn echo_to_everybody_is_not_answered() {
    let mut bench = with_host();
    bench.expect_drop(P1, &ping4([10, 10, 251, 255], 64), DropReason::Broadcast);
    bench.expect_drop(P1, &ping4([255, 255, 255, 255], 64), DropReason::Broadcast);
    bench.expect_drop(P1, &ping4([224, 0, 0, 1], 64), DropReason::LinkMulticast);
}

#[test]
fn what_the_router_does_not_answer_goes_to_the_host_with_its_offload() {
    let mut bench = with_host();
    let mut frame = Vec::new();
    from_t1()
        .ipv4([10, 10, 251, 1], [10, 10, 251, 2], 64)
        .tcp(1, 2, 3, 4)
        .write(&mut frame, b"data")
        .unwrap();
    let pending = Offload {
        checksum: Some(PendingChecksum { start: 34, offset: 16 }),
        header_bytes: 54,
        ..Offload::default()
    };
    let done = bench.push_offloaded(P1, &frame, pending);
    assert_eq!((done.verdict, done.bytes.as_slice()), (Verdict::ToHost, &frame[14..]));
    let shifted = PendingChecksum { start: 20, offset: 16 };
    assert_eq!(done.offload, Offload { checksum: Some(shifted), header_bytes: 40, ..pending });
    let counters = bench.router.counters();
    assert_eq!((counters.to_host, counters.sent), (1, 0));
    assert_eq!((counters.host.tx_frames, counters.host.tx_bytes), (1, frame.len() as u64 - 14));

    let done = bench.push(P1, &udp6("fd00:251::1", "fd00:251::2", 64, b""));
    assert_eq!(done.verdict, Verdict::ToHost);
    // Fragments too: the host reassembles.
    let mut fragment = udp4_to([10, 10, 251, 1], [10, 10, 251, 2], 64, b"xxxxxxxx");
    fragment[20] = 0x20;
    fix4(&mut fragment);
    assert_eq!(bench.push(P1, &fragment).verdict, Verdict::ToHost);
    // But nothing that came in a frame to everybody, of which the host would know nothing.
    let unicast4 = udp4_to([10, 10, 251, 1], [10, 10, 251, 2], 64, b"");
    for mut frame in [unicast4, fragment, udp6("fd00:251::1", "fd00:251::2", 64, b"")] {
        frame[..6].fill(0xff);
        bench.expect_drop(P1, &frame, DropReason::L2Broadcast);
    }
    // The host has no link-local address: that one is the router's alone.
    bench.expect_drop(P1, &udp6("fe80::11", "fe80::1:2ff:fe03:401", 64, b""), DropReason::PortUnreachable);
    assert_eq!(bench.take_one().1[54..56], [1, 4]);
}

#[test]
fn without_a_host_port_services_are_unreachable() {
    let mut bench = Bench::lab();
    bench.expect_drop(P1, &udp4_to([10, 10, 251, 1], [10, 10, 252, 2], 1, b""), DropReason::PortUnreachable);
    let (_, error) = bench.take_one();
    assert_eq!(error[34..36], [3, 3]);
    assert_eq!(error[26..30], [10, 10, 252, 2], "from the address that was asked");
    let mut frame = Vec::new();
    from_t1().ipv4([10, 10, 251, 1], [10, 10, 251, 2], 64).write(&mut frame, 99.into(), &[0; 24]).unwrap();
    bench.expect_drop(P1, &frame, DropReason::ProtocolUnreachable);
    let (_, error) = bench.take_one();
    assert_eq!(error[34..36], [3, 2]);
    assert_eq!(error[38..42], [0; 4], "unused");
    let mut frame = Vec::new();
    from_t1()
        .ipv6(octets6("fd00:251::1"), octets6("fd00:251::2"), 64)
        .write(&mut frame, 99.into(), b"12345678")
        .unwrap();
    bench.expect_drop(P1, &frame, DropReason::ProtocolUnreachable);
    let (_, error) = bench.take_one();
    assert_eq!(error[54..56], [4, 1]);
    assert_eq!(error[58..62], 6u32.to_be_bytes(), "points at the next header octet");
    let mut fragment = udp4_to([10, 10, 251, 1], [10, 10, 251, 2], 64, b"xxxxxxxx");
    fragment[20] = 0x20;
    fix4(&mut fragment);
    bench.expect_drop(P1, &fragment, DropReason::LocalFragment);
    assert!(bench.out.sent.is_empty());
}

/// RFC 1624: the reply's checksum, updated for the type alone, is what full recomputation gives for every
/// checksum that a request can have.
#[test]
fn echo_update_equals_recomputation_for_every_checksum() {
    let mut bench = Bench::lab();
    let mut frame = ping4([10, 10, 251, 2], 64);
    let mut met = vec![false; 0x1_0000];
    for word in 0..=u16::MAX {
        // The identifier.
        frame[38..40].copy_from_slice(&word.to_be_bytes());
        icmp::v4_fill(&mut frame[34..]);
        let done = bench.push(P1, &frame);
        let message = &done.bytes[34..];
        let ours = u16::from_be_bytes([message[2], message[3]]);
        let theirs = pnet_packet::icmp::checksum(&pnet_packet::icmp::IcmpPacket::new(message).unwrap());
        assert_eq!(ours, theirs, "identifier {word:#x}");
        met[usize::from(ours)] = true;
    }
    assert_eq!(met.iter().filter(|is_met| **is_met).count(), 0xffff);
    assert!(met[0] && !met[0xffff], "the corner of ones' complement");
}
