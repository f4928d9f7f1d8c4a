//! IPv4 forwarding: header checks, link-layer rules, martian addresses, TTL (RFC 1812 sections 4.2, 5.2 and
//! 5.3).

use crate::packet::{self, ARP, BROADCAST, DF, ICMP, IPV4, Ip4, Mac, eth, pattern};
use crate::scene::Scene;
use crate::stage::Stage;
use crate::stations::Where::{T1, T2};
use crate::stations::{router_mac, router4, station4};

const FORWARDED: &str = "received 1, sent 1";

/// An IPv4 packet from t1 in a frame to another MAC address than the router's.
fn to_mac(stage: &mut Stage<'_>, mac: Mac, packet: &[u8]) {
    let frame = eth(mac, stage.mac(T1), IPV4, packet);
    stage.frame(T1, &frame);
}

/// A packet from that source to t2.
fn from(stage: &mut Stage<'_>, source: packet::A4) {
    let packet = Ip4 { src: source, ..stage.ip4() }.udp(5, 6, b"source");
    stage.send4(&packet);
}

/// A packet to that destination.
fn to(stage: &mut Stage<'_>, destination: packet::A4) {
    let packet = Ip4 { dst: destination, ..stage.ip4() }.udp(5, 6, b"destination");
    stage.send4(&packet);
}

pub const SCENES: &[Scene] = &[
    Scene { name: "a_packet_is_forwarded", act: |s| s.send4(&s.ip4().udp(5, 6, b"hello")), moved: FORWARDED },
    Scene {
        name: "and_back",
        act: |s| {
            let packet = Ip4::new(s.a4(T2), s.a4(T1)).udp(5, 6, b"hello");
            let frame = eth(router_mac(T2), s.mac(T2), IPV4, &packet);
            s.frame(T2, &frame);
        },
        moved: FORWARDED,
    },
    // RFC 1812 section 5.2.2.
    Scene {
        name: "shorter_than_a_header",
        act: |s| s.send4(&s.ip4().with(&[])[..12]),
        moved: "received 1, ip4_short 1",
    },
    Scene {
        name: "wrong_checksum",
        act: |s| s.send4(&Ip4 { checksum: Some(0x1111), ..s.ip4() }.with(b"sum")),
        moved: "received 1, ip4_checksum 1",
    },
    Scene {
        name: "version_5",
        act: |s| s.send4(&Ip4 { version: 5, ..s.ip4() }.with(b"version")),
        moved: "received 1, ip4_version 1",
    },
    Scene {
        name: "header_length_4_words",
        act: |s| s.send4(&Ip4 { ihl: Some(4), ..s.ip4() }.with(b"header length")),
        moved: "received 1, ip4_header_length 1",
    },
    Scene {
        name: "header_length_beyond_the_frame",
        act: |s| s.send4(&Ip4 { ihl: Some(15), ..s.ip4() }.with(b"short")),
        moved: "received 1, ip4_header_length 1",
    },
    Scene {
        name: "total_length_below_the_header",
        act: |s| s.send4(&Ip4 { total: Some(19), ..s.ip4() }.with(b"total length")),
        moved: "received 1, ip4_total_length 1",
    },
    Scene {
        name: "total_length_beyond_the_frame",
        act: |s| s.send4(&Ip4 { total: Some(200), ..s.ip4() }.with(b"total length")),
        moved: "received 1, ip4_total_length 1",
    },
    Scene {
        name: "padding_is_trimmed",
        act: |s| s.send4(&[s.ip4().with(b"a"), vec![0x55; 30]].concat()),
        moved: FORWARDED,
    },
    Scene { name: "no_payload", act: |s| s.send4(&s.ip4().with(&[])), moved: FORWARDED },
    Scene {
        name: "type_of_service_is_kept",
        act: |s| s.send4(&Ip4 { tos: 0xbb, ..s.ip4() }.udp(5, 6, b"dscp and ecn")),
        moved: FORWARDED,
    },
    Scene {
        name: "identification_and_df_are_kept",
        act: |s| s.send4(&Ip4 { id: 0xbeef, fragment: DF, ..s.ip4() }.udp(5, 6, b"id")),
        moved: FORWARDED,
    },
    Scene {
        name: "reserved_flag_is_kept",
        act: |s| s.send4(&Ip4 { fragment: 0x8000, ..s.ip4() }.udp(5, 6, b"evil")),
        moved: FORWARDED,
    },
    Scene {
        name: "checksum_that_becomes_zero_or_ffff",
        act: |s| {
            // Identifications that bring the forwarded header's checksum through its corner (RFC 1624 section
            // 3).
            for id in [0u16, 0xffff] {
                for wanted in [0x0000u16, 0x0001, 0x00ff, 0x0100, 0xfeff, 0xff00] {
                    let plain = Ip4 { id, ..s.ip4() }.with(b"corner");
                    let now = u16::from_be_bytes([plain[10], plain[11]]);
                    let shift = u32::from(now) + u32::from(!wanted);
                    let shift = u16::try_from((shift & 0xffff) + (shift >> 16)).unwrap_or(0);
                    s.send4(&Ip4 { id: id ^ shift, ..s.ip4() }.with(b"corner"));
                }
            }
        },
        moved: "received 12, sent 12",
    },
    // RFC 1812 sections 3.3 and 5.3.4: what the link layer says.
    Scene {
        name: "frame_for_another_station",
        act: |s| to_mac(s, [2, 9, 9, 9, 9, 9], &s.ip4().udp(5, 6, b"not ours")),
        moved: "received 1, eth_not_ours 1",
    },
    Scene {
        name: "frame_for_the_router_s_other_port",
        act: |s| to_mac(s, router_mac(T2), &s.ip4().udp(5, 6, b"other port")),
        moved: "received 1, eth_not_ours 1",
    },
    Scene {
        name: "unicast_in_a_broadcast_frame",
        act: |s| to_mac(s, BROADCAST, &s.ip4().udp(5, 6, b"broadcast")),
        moved: "received 1, l2_broadcast 1",
    },
    Scene {
        name: "unicast_in_a_multicast_frame",
        act: |s| to_mac(s, [1, 0, 0x5e, 1, 2, 3], &s.ip4().udp(5, 6, b"multicast")),
        moved: "received 1, l2_broadcast 1",
    },
    Scene {
        name: "broadcast_frame_with_no_hops_left",
        act: |s| to_mac(s, BROADCAST, &Ip4 { ttl: 1, ..s.ip4() }.udp(5, 6, b"broadcast")),
        moved: "received 1, l2_broadcast 1",
    },
    Scene {
        name: "broadcast_frame_to_nowhere",
        act: |s| to_mac(s, BROADCAST, &Ip4 { dst: [10, 99, 0, 1], ..s.ip4() }.udp(5, 6, b"broadcast")),
        moved: "received 1, l2_broadcast 1",
    },
    Scene {
        name: "frame_from_a_group",
        act: |s| {
            let packet = s.ip4().udp(5, 6, b"from a group");
            s.frame(T1, &eth(router_mac(T1), [1, 2, 3, 4, 5, 6], IPV4, &packet));
        },
        moved: FORWARDED,
    },
    Scene {
        name: "frame_from_the_router_s_own_mac",
        act: |s| {
            let packet = s.ip4().udp(5, 6, b"from ourselves");
            s.frame(T1, &eth(router_mac(T1), router_mac(T1), IPV4, &packet));
        },
        moved: FORWARDED,
    },
    Scene {
        name: "unknown_ethertype",
        act: |s| {
            let frame = eth(router_mac(T1), s.mac(T1), 0x88b5, &pattern(60));
            s.frame(T1, &frame);
        },
        moved: "received 1, eth_type 1",
    },
    Scene {
        name: "ipv6_in_an_ipv4_frame",
        act: |s| s.send4(&s.ip6().udp(5, 6, b"mislabelled")),
        moved: "received 1, ip4_version 1",
    },
    Scene {
        name: "arp_too_short",
        act: |s| {
            let frame = eth(router_mac(T1), s.mac(T1), ARP, &pattern(20));
            s.frame(T1, &frame);
        },
        moved: "received 1, arp_malformed 1",
    },
    Scene {
        name: "tagged_for_a_vlan",
        act: |s| {
            let tagged = [&[0, 5, 8, 0][..], &s.ip4().udp(5, 6, b"vlan 5")].concat();
            let frame = eth(router_mac(T1), s.mac(T1), 0x8100, &tagged);
            s.frame(T1, &frame);
        },
        moved: "received 1, vlan 1",
    },
    Scene {
        name: "priority_tag_of_no_vlan",
        act: |s| {
            let tagged = [&[0x60, 0, 8, 0][..], &s.ip4().udp(5, 6, b"vlan 0")].concat();
            let frame = eth(router_mac(T1), s.mac(T1), 0x8100, &tagged);
            s.frame(T1, &frame);
        },
        moved: FORWARDED,
    },
    Scene {
        name: "priority_service_tag",
        act: |s| {
            let tagged = [&[0xe0, 0, 8, 0][..], &s.ip4().udp(5, 6, b"service tag")].concat();
            let frame = eth(router_mac(T1), s.mac(T1), 0x88a8, &tagged);
            s.frame(T1, &frame);
        },
        moved: FORWARDED,
    },
    Scene {
        name: "two_priority_tags",
        act: |s| {
            let tagged = [&[0x60, 0, 0x81, 0, 0x20, 0, 8, 0][..], &s.ip4().udp(5, 6, b"two tags")].concat();
            let frame = eth(router_mac(T1), s.mac(T1), 0x88a8, &tagged);
            s.frame(T1, &frame);
        },
        moved: FORWARDED,
    },
    Scene {
        name: "priority_tag_before_that_of_a_vlan",
        act: |s| {
            let tagged = [&[0x60, 0, 0x81, 0, 0, 5, 8, 0][..], &s.ip4().udp(5, 6, b"vlan 5")].concat();
            let frame = eth(router_mac(T1), s.mac(T1), 0x8100, &tagged);
            s.frame(T1, &frame);
        },
        moved: "received 1, vlan 1",
    },
    // RFC 1812 section 5.3.7.
    Scene { name: "from_loopback", act: |s| from(s, [127, 0, 0, 1]), moved: "received 1, martian_source 1" },
    Scene { name: "from_0_0_0_0", act: |s| from(s, [0; 4]), moved: "received 1, martian_source 1" },
    Scene { name: "from_0_0_0_1", act: |s| from(s, [0, 0, 0, 1]), moved: FORWARDED },
    Scene { name: "from_240_0_0_1", act: |s| from(s, [240, 0, 0, 1]), moved: FORWARDED },
    Scene { name: "from_169_254_1_1", act: |s| from(s, [169, 254, 1, 1]), moved: FORWARDED },
    Scene {
        name: "from_the_subnet_s_broadcast_address_back_out",
        act: |s| s.send4(&Ip4::new([10, 10, 251, 255], station4(T1, 8)).udp(5, 6, b"everybody")),
        moved: "received 1, martian_source 1",
    },
    Scene {
        name: "from_a_group_address",
        act: |s| from(s, [224, 0, 0, 9]),
        moved: "received 1, martian_source 1",
    },
    Scene {
        name: "from_the_broadcast_address",
        act: |s| from(s, [255; 4]),
        moved: "received 1, martian_source 1",
    },
    Scene {
        name: "from_a_subnet_s_broadcast_address",
        act: |s| from(s, [10, 10, 251, 255]),
        moved: FORWARDED,
    },
    Scene {
        name: "from_another_subnet_s_broadcast_address",
        act: |s| from(s, [10, 10, 252, 255]),
        moved: FORWARDED,
    },
    Scene { name: "from_a_subnet_s_number", act: |s| from(s, [10, 10, 251, 0]), moved: FORWARDED },
    Scene {
        name: "from_the_router_s_own_address",
        act: |s| from(s, router4(T1)),
        moved: "received 1, martian_source 1",
    },
    Scene {
        name: "from_the_router_s_other_address",
        act: |s| from(s, router4(T2)),
        moved: "received 1, martian_source 1",
    },
    Scene { name: "from_a_source_without_route_back", act: |s| from(s, [192, 0, 2, 1]), moved: FORWARDED },
    Scene { name: "from_the_destination_itself", act: |s| from(s, s.a4(T2)), moved: FORWARDED },
    Scene { name: "to_loopback", act: |s| to(s, [127, 0, 0, 1]), moved: "received 1, martian_destination 1" },
    Scene { name: "to_0_0_0_0", act: |s| to(s, [0; 4]), moved: "received 1, martian_destination 1" },
    Scene {
        name: "to_0_0_0_5",
        act: |s| to(s, [0, 0, 0, 5]),
        moved: "received 1, no_route 1, originated 1, sent 1",
    },
    Scene {
        name: "to_240_0_0_1",
        act: |s| to(s, [240, 0, 0, 1]),
        moved: "received 1, no_route 1, originated 1, sent 1",
    },
    Scene {
        name: "to_a_group_that_nobody_routes",
        act: |s| {
            let packet = Ip4 { dst: [239, 1, 2, 3], ..s.ip4() }.udp(5, 6, b"group");
            to_mac(s, [1, 0, 0x5e, 1, 2, 3], &packet);
        },
        moved: "received 1, multicast 1",
    },
    Scene {
        name: "to_a_group_of_the_link",
        act: |s| {
            let packet = Ip4 { dst: [224, 0, 0, 5], ttl: 1, ..s.ip4() }.udp(5, 6, b"group");
            to_mac(s, [1, 0, 0x5e, 0, 0, 5], &packet);
        },
        moved: "received 1, link_multicast 1",
    },
    Scene {
        name: "directed_broadcast_is_not_forwarded",
        act: |s| to(s, [10, 10, 252, 255]),
        moved: "received 1, to_host 1",
    },
    Scene {
        name: "directed_echo_is_not_forwarded",
        act: |s| s.send4(&Ip4 { dst: [10, 10, 252, 255], ..s.ip4() }.echo(b"smurf")),
        moved: "received 1, broadcast 1",
    },
    Scene {
        name: "to_a_subnet_s_number",
        act: |s| {
            s.show_questions();
            to(s, [10, 10, 252, 0]);
            s.sync();
        },
        moved: FORWARDED,
    },
    // RFC 1812 section 5.3.1.
    Scene {
        name: "ttl_2_goes_on_with_1",
        act: |s| s.send4(&Ip4 { ttl: 2, ..s.ip4() }.udp(5, 6, b"ttl")),
        moved: FORWARDED,
    },
    Scene {
        name: "ttl_255_goes_on_with_254",
        act: |s| s.send4(&Ip4 { ttl: 255, ..s.ip4() }.udp(5, 6, b"ttl")),
        moved: FORWARDED,
    },
    Scene {
        name: "ttl_1_is_exceeded",
        act: |s| s.send4(&Ip4 { ttl: 1, ..s.ip4() }.udp(5, 6, b"ttl")),
        moved: "received 1, ttl_exceeded 1, originated 1, sent 1",
    },
    Scene {
        name: "ttl_0_is_exceeded",
        act: |s| s.send4(&Ip4 { ttl: 0, ..s.ip4() }.udp(5, 6, b"ttl")),
        moved: "received 1, ttl_exceeded 1, originated 1, sent 1",
    },
    Scene {
        name: "no_route_is_said_before_the_ttl",
        act: |s| s.send4(&Ip4 { ttl: 1, dst: [10, 99, 0, 1], ..s.ip4() }.udp(5, 6, b"both")),
        moved: "received 1, no_route 1, originated 1, sent 1",
    },
    Scene {
        name: "udp_without_checksum_is_forwarded",
        act: |s| {
            let body = [0, 5, 0, 6, 0, 12, 0, 0, 1, 2, 3, 4];
            s.send4(&Ip4 { protocol: packet::UDP, ..s.ip4() }.with(&body));
        },
        moved: FORWARDED,
    },
    Scene {
        name: "udp_of_wrong_checksum_is_forwarded",
        act: |s| {
            let body = [0, 5, 0, 6, 0, 12, 0x12, 0x34, 1, 2, 3, 4];
            s.send4(&Ip4 { protocol: packet::UDP, ..s.ip4() }.with(&body));
        },
        moved: FORWARDED,
    },
    Scene {
        name: "icmp_that_is_cut_short_is_forwarded",
        act: |s| s.send4(&Ip4 { protocol: ICMP, ..s.ip4() }.with(&[8, 0])),
        moved: FORWARDED,
    },
    // RFC 1812 section 5.2.7.2.
    Scene {
        name: "redirect_to_a_neighbour_of_the_sender",
        act: |s| to(s, station4(T1, 8)),
        moved: "received 1, sent 2, originated 1",
    },
    Scene {
        name: "no_redirect_for_a_sender_beyond_the_link",
        act: |s| s.send4(&Ip4::new([192, 0, 2, 7], station4(T1, 8)).udp(5, 6, b"no redirect")),
        moved: FORWARDED,
    },
    Scene {
        name: "no_redirect_with_no_hops_left",
        act: |s| s.send4(&Ip4 { ttl: 1, dst: station4(T1, 8), ..s.ip4() }.udp(5, 6, b"ttl first")),
        moved: "received 1, ttl_exceeded 1, originated 1, sent 1",
    },
    Scene {
        name: "redirects_are_rare",
        act: |s| {
            for _ in 0..5 {
                to(s, station4(T1, 8));
            }
        },
        moved: "received 5, sent 6, originated 1",
    },
];
