//! IPv6 packets to the router itself: echo, closed ports, groups and anycast (RFC 8200, 4443, 4291).

use crate::packet::{
    self, A6, BROADCAST, FRAGMENT, ICMPV6, IPV6, Ip6, Mac, NO_NEXT, UDP, eth, group_mac, pattern, pseudo6,
    tcp,
};
use crate::scene::Scene;
use crate::stage::Stage;
use crate::stations::Where::{T1, T2};
use crate::stations::{near6, router6, station6};

const FORWARDED: &str = "received 1, sent 1";
const BY_THE_HOST: &str = "received 2, to_host 1, sent 1";

const DOCUMENTATION: A6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ALL_NODES: A6 = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ALL_ROUTERS: A6 = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

fn to_mac(stage: &mut Stage<'_>, mac: Mac, packet: &[u8]) {
    let frame = eth(mac, stage.mac(T1), IPV6, packet);
    stage.frame(T1, &frame);
}

fn to_group(stage: &mut Stage<'_>, packet: &[u8]) {
    let group: A6 = packet[24..40].try_into().expect("an address");
    to_mac(stage, group_mac(group), packet);
}

fn to_us(stage: &Stage<'_>) -> Ip6 {
    Ip6 { dst: router6(T1)[0], ..stage.ip6() }
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

pub const SCENES: &[Scene] = &[
    Scene { name: "echo", act: |s| s.send6(&to_us(s).echo(b"hello")), moved: FORWARDED },
    Scene {
        name: "echo_of_a_full_frame",
        act: |s| s.send6(&to_us(s).echo(&pattern(1452))),
        moved: FORWARDED,
    },
    Scene {
        name: "echo_at_any_hop_limit",
        act: |s| s.send6(&Ip6 { hops: 0, ..to_us(s) }.echo(b"hops")),
        moved: FORWARDED,
    },
    Scene {
        name: "echo_of_a_class",
        act: |s| s.send6(&Ip6 { class: 0xb9, flow: 0x777, ..to_us(s) }.echo(b"class")),
        moved: FORWARDED,
    },
    Scene {
        name: "echo_to_the_far_address",
        act: |s| s.send6(&Ip6 { dst: router6(T2)[0], ..s.ip6() }.echo(b"far")),
        moved: FORWARDED,
    },
    Scene {
        name: "echo_to_the_link_local_address",
        act: |s| s.send6(&Ip6::new(near6(s.n), router6(T1)[1]).echo(b"near")),
        moved: FORWARDED,
    },
    Scene {
        name: "echo_from_a_global_to_the_link_local_address",
        act: |s| s.send6(&Ip6 { dst: router6(T1)[1], ..s.ip6() }.echo(b"mixed")),
        moved: FORWARDED,
    },
    Scene {
        name: "echo_from_a_link_local_to_the_global_address",
        act: |s| s.send6(&Ip6 { src: near6(s.n), ..to_us(s) }.echo(b"mixed")),
        moved: FORWARDED,
    },
    Scene {
        name: "echo_from_the_other_subnet",
        act: |s| s.send6(&Ip6 { src: s.a6(T2), ..to_us(s) }.echo(b"asymmetric")),
        moved: FORWARDED,
    },
    Scene {
        name: "echo_without_a_way_back",
        act: |s| s.send6(&Ip6 { src: DOCUMENTATION, ..to_us(s) }.echo(b"lost")),
        moved: "received 1, no_route 1",
    },
    Scene {
        name: "echo_to_all_nodes",
        act: |s| to_group(s, &Ip6 { dst: ALL_NODES, ..s.ip6() }.echo(b"all nodes")),
        moved: FORWARDED,
    },
    Scene {
        name: "echo_to_all_routers",
        act: |s| to_group(s, &Ip6 { dst: ALL_ROUTERS, src: near6(s.n), ..s.ip6() }.echo(b"all routers")),
        moved: FORWARDED,
    },
    Scene {
        name: "echo_to_the_subnet_s_routers",
        act: |s| s.send6(&Ip6 { dst: station6(T1, 0), ..s.ip6() }.echo(b"anycast")),
        moved: FORWARDED,
    },
    Scene {
        name: "echo_of_wrong_checksum",
        act: |s| {
            let mut packet = to_us(s).echo(b"wrong");
            packet[42] ^= 0x55;
            s.send6(&packet);
        },
        moved: "received 1, icmp_malformed 1",
    },
    Scene {
        name: "echo_behind_destination_options",
        act: |s| {
            let ip = to_us(s);
            let message =
                packet::icmp(&pseudo6(ip.src, ip.dst, ICMPV6, 12), 128, 0, [0x7e, 0x57, 0, 1], b"opts");
            s.send6(&ip.extended(60, ICMPV6, &[1, 4, 0, 0, 0, 0]).with(&message));
        },
        moved: BY_THE_HOST,
    },
    Scene {
        name: "echo_in_two_fragments",
        act: |s| {
            let whole = to_us(s).echo(&pattern(2000));
            let body = &whole[40..];
            s.send6(&fragment(&to_us(s), ICMPV6, 0, true, &body[..1400]));
            s.send6(&fragment(&to_us(s), ICMPV6, 1400, false, &body[1400..]));
        },
        moved: "received 4, to_host 2, sent 2",
    },
    Scene {
        name: "udp_to_a_closed_port",
        act: |s| s.send6(&to_us(s).udp(5, 6, b"closed")),
        moved: BY_THE_HOST,
    },
    Scene {
        name: "udp_to_a_closed_port_of_the_link_local_address",
        act: |s| s.send6(&Ip6::new(near6(s.n), router6(T1)[1]).udp(5, 6, b"closed")),
        moved: "received 1, port_unreachable 1, originated 1, sent 1",
    },
    Scene {
        name: "udp_in_a_broadcast_frame_to_a_closed_port",
        act: |s| to_mac(s, BROADCAST, &to_us(s).udp(5, 6, b"closed")),
        moved: "received 1, l2_broadcast 1",
    },
    Scene {
        name: "tcp_to_a_closed_port",
        act: |s| {
            let ip = Ip6 { upper: packet::TCP, ..to_us(s) };
            s.send6(&ip.with(&tcp(&pseudo6(ip.src, ip.dst, packet::TCP, 20), 5, 6, 2, &[], false)));
        },
        moved: BY_THE_HOST,
    },
    Scene {
        name: "udp_to_the_anycast_address",
        act: |s| s.send6(&Ip6 { dst: station6(T1, 0), ..s.ip6() }.udp(5, 6, b"any")),
        moved: "received 1, port_unreachable 1, originated 1, sent 1",
    },
    Scene {
        name: "udp_from_a_link_local_address_to_a_closed_port",
        act: |s| s.send6(&Ip6 { src: near6(s.n), ..to_us(s) }.udp(5, 6, b"near")),
        moved: "received 1, port_unreachable 1, originated 1, sent 1",
    },
    Scene {
        name: "udp_of_wrong_checksum_to_the_link_local_address",
        act: |s| {
            let mut packet = Ip6::new(near6(s.n), router6(T1)[1]).udp(5, 6, b"wrong");
            packet[46] ^= 0x55;
            s.send6(&packet);
        },
        moved: "received 1, port_unreachable 1",
    },
    Scene {
        name: "udp_cut_short_to_the_link_local_address",
        act: |s| s.send6(&Ip6 { upper: UDP, ..Ip6::new(near6(s.n), router6(T1)[1]) }.with(&[0, 5, 0, 6])),
        moved: "received 1, port_unreachable 1",
    },
    Scene {
        name: "tcp_to_a_closed_port_of_the_link_local_address",
        act: |s| {
            let ip = Ip6 { upper: packet::TCP, class: 0xbb, ..Ip6::new(near6(s.n), router6(T1)[1]) };
            s.send6(&ip.with(&tcp(&pseudo6(ip.src, ip.dst, packet::TCP, 20), 5, 6, 2, &[], false)));
        },
        moved: FORWARDED,
    },
    Scene {
        name: "tcp_data_to_a_closed_port_of_the_link_local_address",
        act: |s| {
            let ip = Ip6 { upper: packet::TCP, ..Ip6::new(near6(s.n), router6(T1)[1]) };
            s.send6(&ip.with(&tcp(&pseudo6(ip.src, ip.dst, packet::TCP, 24), 5, 6, 0x18, b"data", false)));
        },
        moved: FORWARDED,
    },
    Scene {
        name: "tcp_reset_to_the_link_local_address",
        act: |s| {
            let ip = Ip6 { upper: packet::TCP, ..Ip6::new(near6(s.n), router6(T1)[1]) };
            s.send6(&ip.with(&tcp(&pseudo6(ip.src, ip.dst, packet::TCP, 20), 5, 6, 4, &[], false)));
        },
        moved: "received 1, port_unreachable 1",
    },
    Scene {
        name: "tcp_to_a_group",
        act: |s| {
            let ip = Ip6 { upper: packet::TCP, ..Ip6::new(near6(s.n), ALL_NODES) };
            to_group(s, &ip.with(&tcp(&pseudo6(ip.src, ip.dst, packet::TCP, 20), 5, 6, 2, &[], false)));
        },
        moved: "received 1, port_unreachable 1",
    },
    Scene {
        name: "an_unknown_next_header",
        act: |s| s.send6(&to_us(s).with(b"unknown")),
        moved: BY_THE_HOST,
    },
    Scene {
        name: "an_unknown_next_header_to_the_link_local_address",
        act: |s| s.send6(&Ip6::new(near6(s.n), router6(T1)[1]).with(b"unknown")),
        moved: "received 1, protocol_unreachable 1, originated 1, sent 1",
    },
    Scene {
        name: "no_next_header",
        act: |s| s.send6(&Ip6 { upper: NO_NEXT, ..to_us(s) }.with(&[])),
        moved: "received 1, to_host 1",
    },
    Scene {
        name: "an_unknown_destination_option",
        act: |s| s.send6(&behind(&to_us(s), 60, &[0x9e, 4, 1, 2, 3, 4])),
        moved: BY_THE_HOST,
    },
    Scene {
        name: "an_unknown_informational_message",
        act: |s| s.send6(&to_us(s).icmp(200, 0, [0; 4], b"what")),
        moved: "received 1, to_host 1",
    },
];
