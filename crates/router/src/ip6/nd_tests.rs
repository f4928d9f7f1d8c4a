use etherparse::{Icmpv6Slice, Ipv6Slice};
use nsrouter_wire::eth;
use nsrouter_wire::icmp;
use nsrouter_wire::nd;

use crate::testing::*;
use crate::*;

const OWN: &str = "fe80::1:2ff:fe03:401";

fn message(source: &str, destination: &str, hop_limit: u8, body: &[u8]) -> Vec<u8> {
    let (from, to) = (octets6(source), octets6(destination));
    let mut body = body.to_vec();
    icmp::v6_fill(&mut body, from.into(), to.into());
    let mut frame = Vec::new();
    from_t1().ipv6(from, to, hop_limit).write(&mut frame, 58.into(), &body).unwrap();
    if to[0] == 0xff {
        let mac = MacAddr::for_ipv6_group(to);
        eth::write(&mut frame, mac, MacAddr(T1_MAC), eth::TYPE_IPV6);
    }
    frame
}

fn neighbour(kind: u8, flags: u8, target: &str, option: Option<u8>) -> Vec<u8> {
    let mut body = [0; 32];
    nd::write_neighbour(
        &mut body,
        kind,
        flags,
        target.parse().unwrap(),
        option.unwrap_or(1),
        MacAddr(T1_MAC),
    );
    body[..if option.is_some() { 32 } else { 24 }].to_vec()
}

/// What an advertisement says: destination, flags, target, and whether it names our MAC address.
fn parse(frame: &[u8]) -> (String, u8, String, bool) {
    let ip = Ipv6Slice::from_slice(&frame[14..]).unwrap();
    let header = ip.header();
    assert_eq!(header.hop_limit(), 255);
    let body = ip.payload().payload;
    let icmp = Icmpv6Slice::from_slice(body).unwrap();
    assert!(icmp.is_checksum_valid(header.source(), header.destination()));
    assert_eq!(icmp.type_u8(), 136);
    let target = nd::target(body).unwrap();
    let named = body.get(24..).is_some_and(|option| option == [&[2, 1][..], &R1_MAC].concat());
    (header.destination_addr().to_string(), body[4], target.to_string(), named)
}

#[test]
fn a_solicitation_to_the_group_is_answered_with_override_and_address() {
    for (target, group) in [("fd00:251::2", "ff02::1:ff00:2"), (OWN, "ff02::1:ff03:401")] {
        let mut bench = Bench::lab();
        let frame = message("fd00:251::1", group, 255, &neighbour(135, 0, target, Some(1)));
        let done = bench.push(P1, &frame);
        assert_eq!(done.verdict, Verdict::Reply(P1));
        assert_eq!(done.bytes[..12], [T1_MAC, R1_MAC].concat());
        assert_eq!(parse(&done.bytes), ("fd00:251::1".to_owned(), 0xe0, target.to_owned(), true));
        let mac = Some(MacAddr(T1_MAC));
        let seen =
            Event::NeighbourSeen { port: P1, addr: addr("fd00:251::1"), mac, kind: Seen::Solicitation };
        assert_eq!(bench.out.events, [seen]);
    }
}

#[test]
fn a_solicitation_to_us_alone_is_answered_as_linux_does() {
    let mut bench = Bench::lab();
    let frame = message("fd00:251::1", "fd00:251::2", 255, &neighbour(135, 0, "fd00:251::2", None));
    // It named no address, but is known.
    assert_eq!(bench.push(P1, &frame).verdict, Verdict::Consumed);
    let (port, answer) = bench.take_one();
    assert_eq!((port, &answer[..6]), (P1, &T1_MAC[..]));
    assert_eq!(parse(&answer), ("fd00:251::1".to_owned(), 0xc0, "fd00:251::2".to_owned(), false));
    assert!(bench.out.events.is_empty(), "nothing is learned from the frame");
    let frame = message("fd00:251::1", "ff02::1:ff00:2", 255, &neighbour(135, 0, "fd00:251::2", None));
    assert_eq!(bench.push(P1, &frame).verdict, Verdict::Consumed);
    let (port, answer) = bench.take_one();
    assert_eq!((port, parse(&answer).1), (P1, 0xe0));
}

#[test]
fn who_is_not_known_and_names_no_address_is_asked_for_first() {
    let mut bench = Bench::lab();
    let next_hop = NextHop { port: P1, addr: addr("fd00:251::9") };
    let frame = message("fd00:251::9", "fd00:251::2", 255, &neighbour(135, 0, "fd00:251::2", None));
    assert_eq!(bench.push(P1, &frame).verdict, Verdict::Consumed);
    assert_eq!(bench.out.held.len(), 1);
    assert_eq!((bench.out.held[0].0, &bench.out.held[0].1[..6]), (next_hop, &[0; 6][..]));
    assert_eq!(bench.out.events, [Event::Unresolved { next_hop, asker: Some(addr("fd00:251::2")) }]);
    // To the group a solicitation must have the option.
    let frame = message("fd00:251::9", "ff02::1:ff00:2", 255, &neighbour(135, 0, "fd00:251::2", None));
    bench.expect_drop(P1, &frame, DropReason::NdMalformed);
}

#[test]
fn a_duplicate_probe_is_defended_to_all_nodes() {
    let mut bench = Bench::lab();
    let frame = message("::", "ff02::1:ff00:2", 255, &neighbour(135, 0, "fd00:251::2", None));
    assert_eq!(bench.push(P1, &frame).verdict, Verdict::Consumed);
    let (port, answer) = bench.take_one();
    assert_eq!(port, P1);
    assert_eq!(answer[..6], [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(parse(&answer), ("ff02::1".to_owned(), 0xa0, "fd00:251::2".to_owned(), true));
    let counters = bench.router.counters();
    assert_eq!((counters.consumed, counters.originated, counters.sent), (1, 1, 1));
}

#[test]
fn the_subnet_router_anycast_address_is_answered_for_without_override() {
    let mut bench = Bench::lab();
    let body = neighbour(135, 0, "fd00:251::", Some(1));
    let done = bench.push(P1, &message("fd00:251::1", "ff02::1:ff00:0", 255, &body));
    assert_eq!(done.verdict, Verdict::Reply(P1));
    assert_eq!(parse(&done.bytes), ("fd00:251::1".to_owned(), 0xc0, "fd00:251::".to_owned(), true));
    assert_eq!(done.bytes[22..38], octets6("fd00:251::2"), "from an address of our own");
}

#[test]
fn checks_of_rfc_4861_section_7_1() {
    let mut bench = Bench::lab();
    let good = neighbour(135, 0, "fd00:251::2", Some(1));
    let group = "ff02::1:ff00:2";
    let drop = |bench: &mut Bench, frame: &[u8]| bench.expect_drop(P1, frame, DropReason::NdMalformed);
    drop(&mut bench, &message("fd00:251::1", group, 254, &good));
    let mut code = good.clone();
    code[1] = 1;
    drop(&mut bench, &message("fd00:251::1", group, 255, &code));
    drop(&mut bench, &message("fd00:251::1", group, 255, &good[..20]));
    let mut zero = good.clone();
    zero[25] = 0;
    drop(&mut bench, &message("fd00:251::1", group, 255, &zero));
    drop(&mut bench, &message("fd00:251::1", group, 255, &neighbour(135, 0, "ff02::1", Some(1))));
    drop(&mut bench, &message("::", group, 255, &good));
    drop(&mut bench, &message("::", "fd00:251::2", 255, &neighbour(135, 0, "fd00:251::2", None)));
    let mut frame = message("fd00:251::1", group, 255, &good);
    frame[56] ^= 1;
    bench.expect_drop(P1, &frame, DropReason::IcmpMalformed);
    // For an address of another port: not ours on this link.
    let other = message("fd00:251::1", "ff02::1", 255, &neighbour(135, 0, "fd00:252::2", Some(1)));
    bench.expect_drop(P1, &other, DropReason::NdNotOurs);
    assert!(bench.out.events.is_empty() && bench.out.sent.is_empty());
}

#[test]
fn advertisements_are_reported() {
    let mut bench = Bench::lab();
    let body = neighbour(136, 0x60, "fd00:251::1", Some(2));
    assert_eq!(bench.push(P1, &message("fd00:251::1", OWN, 255, &body)).verdict, Verdict::Consumed);
    let kind = Seen::Advertisement { solicited: true, overrides: true };
    let mac = Some(MacAddr(T1_MAC));
    assert_eq!(bench.out.events, [Event::NeighbourSeen { port: P1, addr: addr("fd00:251::1"), mac, kind }]);
    let to_all = message("fd00:251::1", "ff02::1", 255, &body);
    bench.expect_drop(P1, &to_all, DropReason::NdMalformed);
    let ours = message("fd00:251::1", "ff02::1", 255, &neighbour(136, 0x20, "fd00:251::2", Some(2)));
    bench.out.events.clear();
    bench.expect_drop(P1, &ours, DropReason::MartianSource);
    assert!(matches!(bench.out.events[..], [Event::AddressConflict { .. }]));
}

#[test]
fn redirects_are_ignored_and_router_solicitations_learnt_from() {
    let mut bench = Bench::lab();
    bench.expect_drop(
        P1,
        &message("fe80::11", OWN, 255, &[vec![137], vec![0; 39]].concat()),
        DropReason::IcmpIgnored,
    );
    let mut rs = vec![133, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    rs.extend(T1_MAC);
    assert_eq!(bench.push(P1, &message("fe80::11", "ff02::2", 255, &rs)).verdict, Verdict::Consumed);
    assert!(matches!(bench.out.events[..], [Event::NeighbourSeen { kind: Seen::Solicitation, .. }]));
    bench.expect_drop(P1, &message("::", "ff02::2", 255, &rs), DropReason::NdMalformed);
}
