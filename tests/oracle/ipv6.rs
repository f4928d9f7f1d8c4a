//! IPv6: forwarding, scopes, extension headers and errors (RFC 8200, 4443, 4291). The second link takes 1,400
//! bytes.

use nsrouter_wire::offload::{Gso, Offload, PendingChecksum};

use crate::packet::{
    self, A6, BROADCAST, FRAGMENT, ICMPV6, IPV6, Ip6, Mac, NO_NEXT, UDP, eth, group_mac, pattern, pseudo6,
    tcp,
};
use crate::scene::Scene;
use crate::stage::Stage;
use crate::stations::Where::{T1, T2};
use crate::stations::{SILENT, near6, router_mac, router6, station6};

const FORWARDED: &str = "received 1, sent 1";
const EXCEEDED: &str = "received 1, ttl_exceeded 1, originated 1, sent 1";
const IN_SILENCE: &str = "received 1, ttl_exceeded 1";
const TOO_BIG: &str = "received 1, too_big 1, originated 1, sent 1";
const MARTIAN: &str = "received 1, martian_source 1";
const NO_ROUTE: &str = "received 1, no_route 1, originated 1, sent 1";

/// Both ends of the second link.
pub fn prepare(stage: &Stage<'_>) {
    stage.narrow(1400);
}

const DOCUMENTATION: A6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const NOWHERE: A6 = [0xfd, 0, 0, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const LOOPBACK: A6 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const MAPPED: A6 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 10, 252, 9];
const ALL_NODES: A6 = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn group(scope: u8) -> A6 {
    [0xff, scope, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34]
}

fn to_mac(stage: &mut Stage<'_>, mac: Mac, packet: &[u8]) {
    let frame = eth(mac, stage.mac(T1), IPV6, packet);
    stage.frame(T1, &frame);
}

fn to_group(stage: &mut Stage<'_>, packet: &[u8]) {
    let group: A6 = packet[24..40].try_into().expect("an address");
    to_mac(stage, group_mac(group), packet);
}

fn from(stage: &mut Stage<'_>, source: A6) {
    let packet = Ip6 { src: source, ..stage.ip6() }.udp(5, 6, b"source");
    stage.send6(&packet);
}

fn to(stage: &mut Stage<'_>, destination: A6) {
    let packet = Ip6 { dst: destination, ..stage.ip6() }.udp(5, 6, b"destination");
    stage.send6(&packet);
}

fn last_hop(stage: &Stage<'_>) -> Ip6 {
    Ip6 { hops: 1, ..stage.ip6() }
}

fn icmp_with_no_hops_left(stage: &mut Stage<'_>, kind: u8) {
    let packet = last_hop(stage).icmp(kind, 0, [0; 4], &last_hop(stage).udp(1, 2, b"quoted"));
    stage.send6(&packet);
}

/// A UDP datagram behind an extension header.
fn behind(ip: &Ip6, kind: u8, body: &[u8]) -> Vec<u8> {
    let datagram = packet::udp(&pseudo6(ip.src, ip.dst, UDP, 16), 5, 6, b"extended");
    ip.extended(kind, UDP, body).with(&datagram)
}

/// A fragment: `offset` in bytes, more to come or not.
fn fragment(ip: &Ip6, upper: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (offset | u16::from(more)).to_be_bytes();
    Ip6 { next: FRAGMENT, extensions: vec![upper, 0, high, low, 0, 0, 0, 7], upper, ..ip.clone() }
        .with(payload)
}

fn tcp6(stage: &mut Stage<'_>, payload_bytes: usize, gso_size: u16) {
    let ip = Ip6 { upper: packet::TCP, ..stage.ip6() };
    let pseudo = pseudo6(ip.src, ip.dst, packet::TCP, 20 + payload_bytes);
    let packet = ip.with(&tcp(&pseudo, 5, 6, 0x18, &pattern(payload_bytes), true));
    let frame = eth(router_mac(T1), stage.mac(T1), IPV6, &packet);
    let checksum = Some(PendingChecksum { start: 54, offset: 16 });
    let gso = Gso::Tcp6 { ecn: false };
    stage.offloaded(T1, &frame, Offload { checksum, gso, gso_size, header_bytes: 74 });
}

pub const SCENES: &[Scene] = &[
    Scene { name: "a_packet_is_forwarded", act: |s| s.send6(&s.ip6().udp(5, 6, b"hello")), moved: FORWARDED },
    Scene {
        name: "and_back",
        act: |s| {
            let packet = Ip6::new(s.a6(T2), s.a6(T1)).udp(5, 6, b"hello");
            let frame = eth(router_mac(T2), s.mac(T2), IPV6, &packet);
            s.frame(T2, &frame);
        },
        moved: FORWARDED,
    },
    Scene {
        name: "class_and_flow_label_are_kept",
        act: |s| s.send6(&Ip6 { class: 0xbb, flow: 0x12345, ..s.ip6() }.udp(5, 6, b"flow")),
        moved: FORWARDED,
    },
    Scene {
        name: "hop_limit_2_goes_on_with_1",
        act: |s| s.send6(&Ip6 { hops: 2, ..s.ip6() }.udp(5, 6, b"hops")),
        moved: FORWARDED,
    },
    Scene {
        name: "hop_limit_255_goes_on_with_254",
        act: |s| s.send6(&Ip6 { hops: 255, ..s.ip6() }.udp(5, 6, b"hops")),
        moved: FORWARDED,
    },
    Scene {
        name: "hop_limit_1_is_exceeded",
        act: |s| s.send6(&last_hop(s).udp(5, 6, b"hops")),
        moved: EXCEEDED,
    },
    Scene {
        name: "hop_limit_0_is_exceeded",
        act: |s| s.send6(&Ip6 { hops: 0, ..s.ip6() }.udp(5, 6, b"hops")),
        moved: EXCEEDED,
    },
    Scene {
        name: "shorter_than_a_header",
        act: |s| s.send6(&s.ip6().with(&[])[..30]),
        moved: "received 1, ip6_short 1",
    },
    Scene {
        name: "version_4",
        act: |s| s.send6(&Ip6 { version: 4, ..s.ip6() }.with(b"version")),
        moved: "received 1, ip6_version 1",
    },
    Scene {
        name: "payload_beyond_the_frame",
        act: |s| s.send6(&Ip6 { payload: Some(200), ..s.ip6() }.with(b"length")),
        moved: "received 1, ip6_payload_length 1",
    },
    Scene {
        name: "padding_is_trimmed",
        act: |s| s.send6(&[s.ip6().with(b"a"), vec![0x55; 30]].concat()),
        moved: FORWARDED,
    },
    Scene {
        name: "no_payload",
        act: |s| s.send6(&Ip6 { upper: NO_NEXT, ..s.ip6() }.with(&[])),
        moved: FORWARDED,
    },
    Scene {
        name: "frame_for_another_station",
        act: |s| to_mac(s, [2, 9, 9, 9, 9, 9], &s.ip6().udp(5, 6, b"not ours")),
        moved: "received 1, eth_not_ours 1",
    },
    Scene {
        name: "unicast_in_a_broadcast_frame",
        act: |s| to_mac(s, BROADCAST, &s.ip6().udp(5, 6, b"broadcast")),
        moved: "received 1, l2_broadcast 1",
    },
    Scene {
        name: "unicast_in_a_multicast_frame",
        act: |s| to_mac(s, group_mac(ALL_NODES), &s.ip6().udp(5, 6, b"multicast")),
        moved: "received 1, l2_broadcast 1",
    },
    // RFC 4291 section 2.
    Scene { name: "from_loopback", act: |s| from(s, LOOPBACK), moved: MARTIAN },
    Scene { name: "from_no_address", act: |s| from(s, [0; 16]), moved: MARTIAN },
    Scene {
        name: "from_no_address_back_out",
        act: |s| s.send6(&Ip6::new([0; 16], station6(T1, 8)).udp(5, 6, b"nobody")),
        moved: MARTIAN,
    },
    Scene {
        name: "no_redirect_to_a_source_of_the_other_link",
        act: |s| s.send6(&Ip6::new(s.a6(T2), station6(T1, 8)).udp(5, 6, b"asymmetric")),
        moved: FORWARDED,
    },
    Scene { name: "from_a_group", act: |s| from(s, group(0xe)), moved: MARTIAN },
    Scene { name: "from_a_mapped_address", act: |s| from(s, MAPPED), moved: FORWARDED },
    Scene {
        name: "from_a_link_local_address",
        act: |s| from(s, near6(s.n)),
        moved: "received 1, beyond_scope 1, originated 1, sent 1",
    },
    Scene { name: "from_a_source_without_route_back", act: |s| from(s, DOCUMENTATION), moved: FORWARDED },
    Scene { name: "from_the_router_s_own_address", act: |s| from(s, router6(T1)[0]), moved: FORWARDED },
    Scene { name: "from_the_destination_itself", act: |s| from(s, s.a6(T2)), moved: FORWARDED },
    Scene { name: "to_loopback", act: |s| to(s, LOOPBACK), moved: "received 1, martian_destination 1" },
    Scene { name: "to_no_address", act: |s| to(s, [0; 16]), moved: NO_ROUTE },
    Scene { name: "to_a_mapped_address", act: |s| to(s, MAPPED), moved: NO_ROUTE },
    Scene {
        name: "to_another_s_link_local_address",
        act: |s| to(s, near6(s.n)),
        moved: "received 1, sent 2, originated 1",
    },
    Scene {
        name: "to_the_other_port_s_link_local_address",
        act: |s| to(s, router6(T2)[1]),
        moved: "received 1, sent 2, originated 1",
    },
    Scene {
        name: "to_a_global_group",
        act: |s| to_group(s, &Ip6 { dst: group(0xe), ..s.ip6() }.udp(5, 6, b"group")),
        moved: "received 1, multicast 1",
    },
    Scene {
        name: "to_a_group_of_the_link",
        act: |s| to_group(s, &Ip6 { dst: group(2), ..s.ip6() }.udp(5, 6, b"group")),
        moved: "received 1, link_multicast 1",
    },
    Scene {
        name: "to_a_group_of_the_interface",
        act: |s| to_group(s, &Ip6 { dst: group(1), ..s.ip6() }.udp(5, 6, b"group")),
        moved: "received 1, martian_destination 1",
    },
    Scene {
        name: "to_a_group_of_no_scope",
        act: |s| to_group(s, &Ip6 { dst: group(0), ..s.ip6() }.udp(5, 6, b"group")),
        moved: "received 1, martian_destination 1",
    },
    // RFC 4443 section 3.
    Scene { name: "no_route", act: |s| to(s, NOWHERE), moved: NO_ROUTE },
    Scene {
        name: "no_route_is_said_before_the_hop_limit",
        act: |s| s.send6(&Ip6 { dst: NOWHERE, ..last_hop(s) }.udp(5, 6, b"both")),
        moved: NO_ROUTE,
    },
    Scene {
        name: "no_route_for_a_link_local_source",
        act: |s| s.send6(&Ip6::new(near6(s.n), NOWHERE).udp(5, 6, b"near")),
        moved: NO_ROUTE,
    },
    Scene {
        name: "an_error_leaves_by_the_way_back",
        act: |s| s.send6(&Ip6 { src: station6(T2, s.n), ..last_hop(s) }.udp(5, 6, b"asymmetric")),
        moved: EXCEEDED,
    },
    Scene {
        name: "an_error_without_a_way_back",
        act: |s| s.send6(&Ip6 { src: DOCUMENTATION, ..last_hop(s) }.udp(5, 6, b"lost")),
        moved: IN_SILENCE,
    },
    Scene {
        name: "exceeded_to_the_other_port_s_link_local_address",
        act: |s| s.send6(&Ip6 { dst: router6(T2)[1], ..last_hop(s) }.udp(5, 6, b"elsewhere")),
        moved: EXCEEDED,
    },
    Scene {
        name: "exceeded_from_a_link_local_source",
        act: |s| s.send6(&Ip6 { src: near6(s.n), ..last_hop(s) }.udp(5, 6, b"near")),
        moved: EXCEEDED,
    },
    Scene {
        name: "a_large_packet_is_quoted_in_part",
        act: |s| s.send6(&last_hop(s).udp(5, 6, &pattern(1452))),
        moved: EXCEEDED,
    },
    Scene {
        name: "class_of_an_error",
        act: |s| s.send6(&Ip6 { class: 0xbb, flow: 0x54321, ..last_hop(s) }.udp(5, 6, b"class")),
        moved: EXCEEDED,
    },
    Scene {
        name: "address_unreachable_when_resolution_fails",
        act: |s| {
            s.show_questions();
            to(s, station6(T2, SILENT));
            to(s, station6(T2, SILENT));
            s.until(T1, 2);
        },
        moved: "received 2, neighbour_failed 2, originated 2, sent 2",
    },
    // Section 2.4 (e).
    Scene { name: "about_unreachable", act: |s| icmp_with_no_hops_left(s, 1), moved: IN_SILENCE },
    Scene { name: "about_an_unknown_error", act: |s| icmp_with_no_hops_left(s, 77), moved: IN_SILENCE },
    Scene { name: "about_a_redirect", act: |s| icmp_with_no_hops_left(s, 137), moved: IN_SILENCE },
    Scene { name: "about_an_echo_request", act: |s| icmp_with_no_hops_left(s, 128), moved: EXCEEDED },
    Scene { name: "about_an_unknown_message", act: |s| icmp_with_no_hops_left(s, 200), moved: EXCEEDED },
    Scene {
        name: "about_icmp_without_a_type",
        act: |s| s.send6(&Ip6 { upper: ICMPV6, ..last_hop(s) }.with(&[])),
        moved: IN_SILENCE,
    },
    Scene {
        name: "about_a_first_fragment",
        act: |s| s.send6(&fragment(&last_hop(s), UDP, 0, true, &pattern(64))),
        moved: EXCEEDED,
    },
    Scene {
        name: "about_a_later_fragment",
        act: |s| s.send6(&fragment(&last_hop(s), UDP, 64, false, &pattern(64))),
        moved: EXCEEDED,
    },
    Scene {
        name: "about_an_error_behind_an_extension",
        act: |s| {
            let ip = last_hop(s);
            let message = packet::icmp(&pseudo6(ip.src, ip.dst, ICMPV6, 8), 1, 0, [0; 4], &[]);
            s.send6(&ip.extended(60, ICMPV6, &[1, 4, 0, 0, 0, 0]).with(&message));
        },
        moved: IN_SILENCE,
    },
    Scene {
        name: "about_a_broadcast_frame",
        act: |s| to_mac(s, BROADCAST, &last_hop(s).udp(5, 6, b"broadcast")),
        moved: "received 1, l2_broadcast 1",
    },
    // RFC 4443 section 2.4 (f): Linux grants a /64 four a second, six at once.
    Scene {
        name: "six_errors_at_once_to_one_destination",
        act: |s| {
            for n in 0..10 {
                s.send6(&last_hop(s).udp(5, n, b"burst"));
            }
        },
        moved: "received 10, ttl_exceeded 10, originated 6, sent 6",
    },
    // RFC 8200 section 5.
    Scene { name: "exactly_the_mtu", act: |s| s.send6(&s.ip6().with(&pattern(1360))), moved: FORWARDED },
    Scene { name: "one_byte_more", act: |s| s.send6(&s.ip6().with(&pattern(1361))), moved: TOO_BIG },
    Scene {
        name: "too_big_is_not_limited",
        act: |s| {
            for n in 0..12 {
                s.send6(&s.ip6().udp(5, n, &pattern(1400)));
            }
        },
        moved: "received 12, too_big 12, originated 12, sent 12",
    },
    Scene {
        name: "no_too_big_about_an_error",
        act: |s| s.send6(&s.ip6().icmp(1, 0, [0; 4], &pattern(1400))),
        moved: "received 1, too_big 1",
    },
    Scene {
        name: "too_big_about_a_fragment",
        act: |s| s.send6(&fragment(&s.ip6(), UDP, 64, true, &pattern(1400))),
        moved: TOO_BIG,
    },
    Scene {
        name: "no_hops_left_comes_before_too_big",
        act: |s| s.send6(&last_hop(s).udp(5, 6, &pattern(1400))),
        moved: EXCEEDED,
    },
    Scene { name: "a_gso_packet_of_small_segments", act: |s| tcp6(s, 10_000, 1340), moved: FORWARDED },
    Scene { name: "a_gso_packet_of_large_segments", act: |s| tcp6(s, 10_000, 1400), moved: TOO_BIG },
    // RFC 8200 section 4: extension headers.
    Scene {
        name: "hop_by_hop_padding_is_forwarded",
        act: |s| s.send6(&behind(&s.ip6(), 0, &[1, 4, 0, 0, 0, 0])),
        moved: FORWARDED,
    },
    Scene {
        name: "hop_by_hop_router_alert_is_forwarded",
        act: |s| s.send6(&behind(&s.ip6(), 0, &[5, 2, 0, 0, 1, 0])),
        moved: FORWARDED,
    },
    Scene {
        name: "hop_by_hop_option_to_skip",
        act: |s| s.send6(&behind(&s.ip6(), 0, &[0x1e, 4, 1, 2, 3, 4])),
        moved: FORWARDED,
    },
    Scene {
        name: "hop_by_hop_option_to_discard",
        act: |s| s.send6(&behind(&s.ip6(), 0, &[0x5e, 4, 1, 2, 3, 4])),
        moved: FORWARDED,
    },
    Scene {
        name: "hop_by_hop_option_to_report",
        act: |s| s.send6(&behind(&s.ip6(), 0, &[0x9e, 4, 1, 2, 3, 4])),
        moved: FORWARDED,
    },
    Scene {
        name: "hop_by_hop_option_beyond_its_header",
        act: |s| s.send6(&behind(&s.ip6(), 0, &[0x1e, 40, 1, 2, 3, 4])),
        moved: FORWARDED,
    },
    Scene {
        name: "destination_options_are_not_ours",
        act: |s| s.send6(&behind(&s.ip6(), 60, &[0x9e, 4, 1, 2, 3, 4])),
        moved: FORWARDED,
    },
    Scene {
        name: "a_routing_header_is_not_ours",
        act: |s| s.send6(&behind(&s.ip6(), 43, &[0, 1, 0, 0, 0, 0])),
        moved: FORWARDED,
    },
    Scene {
        name: "a_fragment_is_forwarded",
        act: |s| s.send6(&fragment(&s.ip6(), UDP, 64, false, &pattern(64))),
        moved: FORWARDED,
    },
    Scene {
        name: "a_header_chain_that_is_cut_off",
        act: |s| s.send6(&Ip6 { upper: 60, ..s.ip6() }.with(&[UDP, 9, 0, 0])),
        moved: FORWARDED,
    },
    Scene {
        name: "an_unknown_next_header_is_forwarded",
        act: |s| s.send6(&s.ip6().with(b"unknown")),
        moved: FORWARDED,
    },
    // RFC 4861 section 8.
    Scene {
        name: "redirect_to_a_neighbour_of_the_sender",
        act: |s| to(s, station6(T1, 8)),
        moved: "received 1, sent 2, originated 1",
    },
    Scene {
        name: "no_redirect_for_a_sender_beyond_the_link",
        act: |s| s.send6(&Ip6::new(DOCUMENTATION, station6(T1, 8)).udp(5, 6, b"no redirect")),
        moved: FORWARDED,
    },
];
