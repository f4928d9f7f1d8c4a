//! IPv4 to the router's own addresses, answered by the router or by the host behind it (RFC 1122 section 3.2,
//! RFC 1812 sections 4.3.3 and 5.2.3).

use crate::packet::{self, BROADCAST, IPV4, Ip4, MF, UNKNOWN, eth, pattern, pseudo4, tcp};
use crate::scene::Scene;
use crate::stage::Stage;
use crate::stations::Where::{T1, T2};
use crate::stations::{router_mac, router4};

const ANSWERED: &str = "received 1, sent 1";
/// The host behind the host port answers.
const BY_THE_HOST: &str = "received 2, to_host 1, sent 1";
const TO_THE_HOST: &str = "received 1, to_host 1";

/// A header to the router.
fn to_us(stage: &Stage<'_>) -> Ip4 {
    Ip4 { dst: router4(T1), ..stage.ip4() }
}

fn broadcast_frame(stage: &mut Stage<'_>, packet: &[u8]) {
    let frame = eth(BROADCAST, stage.mac(T1), IPV4, packet);
    stage.frame(T1, &frame);
}

pub const SCENES: &[Scene] = &[
    Scene { name: "echo", act: |s| s.send4(&to_us(s).echo(b"hello")), moved: ANSWERED },
    Scene { name: "echo_without_data", act: |s| s.send4(&to_us(s).echo(&[])), moved: ANSWERED },
    Scene { name: "echo_of_a_full_frame", act: |s| s.send4(&to_us(s).echo(&pattern(1472))), moved: ANSWERED },
    Scene { name: "echo_of_odd_length", act: |s| s.send4(&to_us(s).echo(&pattern(777))), moved: ANSWERED },
    Scene {
        name: "echo_at_any_ttl",
        act: |s| s.send4(&Ip4 { ttl: 1, ..to_us(s) }.echo(b"ttl")),
        moved: ANSWERED,
    },
    Scene {
        name: "echo_at_ttl_0",
        act: |s| s.send4(&Ip4 { ttl: 0, ..to_us(s) }.echo(b"ttl")),
        moved: ANSWERED,
    },
    Scene {
        name: "echo_with_df",
        act: |s| s.send4(&Ip4 { fragment: packet::DF, ..to_us(s) }.echo(b"df")),
        moved: ANSWERED,
    },
    Scene {
        name: "echo_of_a_type_of_service",
        act: |s| s.send4(&Ip4 { tos: 0xb9, ..to_us(s) }.echo(b"tos")),
        moved: ANSWERED,
    },
    Scene {
        name: "echo_to_the_far_address",
        act: |s| s.send4(&Ip4 { dst: router4(T2), ..s.ip4() }.echo(b"far")),
        moved: ANSWERED,
    },
    Scene {
        name: "echo_from_the_other_subnet",
        act: |s| s.send4(&Ip4 { src: s.a4(T2), ..to_us(s) }.echo(b"asymmetric")),
        moved: ANSWERED,
    },
    Scene {
        name: "echo_without_a_way_back",
        act: |s| s.send4(&Ip4 { src: [192, 0, 2, 1], ..to_us(s) }.echo(b"lost")),
        moved: "received 1, no_route 1",
    },
    Scene {
        name: "echo_of_wrong_checksum",
        act: |s| {
            let mut packet = to_us(s).echo(b"wrong");
            packet[22] ^= 0x55;
            s.send4(&packet);
        },
        moved: "received 1, icmp_malformed 1",
    },
    Scene {
        name: "echo_with_a_code",
        act: |s| s.send4(&to_us(s).icmp(8, 1, [1, 2, 3, 4], b"code")),
        moved: ANSWERED,
    },
    Scene {
        name: "icmp_cut_short",
        act: |s| s.send4(&Ip4 { protocol: packet::ICMP, ..to_us(s) }.with(&[8, 0, 0xf7, 0xff])),
        moved: "received 1, icmp_malformed 1",
    },
    Scene {
        name: "echo_in_a_broadcast_frame",
        act: |s| broadcast_frame(s, &to_us(s).echo(b"broadcast frame")),
        moved: ANSWERED,
    },
    Scene {
        name: "echo_to_everybody",
        act: |s| broadcast_frame(s, &Ip4 { dst: [255; 4], ..s.ip4() }.echo(b"everybody")),
        moved: "received 1, broadcast 1",
    },
    Scene {
        name: "echo_to_the_subnet",
        act: |s| broadcast_frame(s, &Ip4 { dst: [10, 10, 251, 255], ..s.ip4() }.echo(b"everybody")),
        moved: "received 1, broadcast 1",
    },
    Scene {
        name: "echo_to_all_systems",
        act: |s| {
            let packet = Ip4 { dst: [224, 0, 0, 1], ..s.ip4() }.echo(b"all systems");
            let frame = eth([1, 0, 0x5e, 0, 0, 1], s.mac(T1), IPV4, &packet);
            s.frame(T1, &frame);
        },
        moved: "received 1, link_multicast 1",
    },
    Scene {
        name: "echo_in_two_fragments",
        act: |s| {
            let whole = to_us(s).echo(&pattern(2000));
            let body = &whole[20..];
            let ip = Ip4 { protocol: packet::ICMP, ..to_us(s) };
            s.send4(&Ip4 { fragment: MF, ..ip.clone() }.with(&body[..1480]));
            s.send4(&Ip4 { fragment: 185, ..ip }.with(&body[1480..]));
        },
        moved: "received 4, to_host 2, sent 2",
    },
    Scene {
        name: "fragments_in_reverse_order",
        act: |s| {
            let whole = to_us(s).echo(&pattern(2000));
            let body = &whole[20..];
            let ip = Ip4 { protocol: packet::ICMP, id: 77, ..to_us(s) };
            s.send4(&Ip4 { fragment: 185, ..ip.clone() }.with(&body[1480..]));
            s.send4(&Ip4 { fragment: MF, ..ip }.with(&body[..1480]));
        },
        moved: "received 4, to_host 2, sent 2",
    },
    Scene {
        name: "time_stamp_request",
        act: |s| s.send4(&to_us(s).icmp(13, 0, [1, 2, 3, 4], &[0; 12])),
        moved: BY_THE_HOST,
    },
    Scene {
        name: "address_mask_request",
        act: |s| s.send4(&to_us(s).icmp(17, 0, [1, 2, 3, 4], &[0; 4])),
        moved: TO_THE_HOST,
    },
    Scene {
        name: "an_echo_reply_that_nobody_asked_for",
        act: |s| s.send4(&to_us(s).icmp(0, 0, [0; 4], b"reply")),
        moved: TO_THE_HOST,
    },
    Scene {
        name: "a_redirect_is_not_followed",
        act: |s| {
            let quoted = Ip4::new(router4(T1), [10, 10, 252, 9]).udp(1, 2, b"quoted");
            s.send4(&to_us(s).icmp(5, 1, s.a4(T1), &quoted));
        },
        moved: TO_THE_HOST,
    },
    Scene {
        name: "udp_to_a_closed_port",
        act: |s| s.send4(&to_us(s).udp(5, 6, b"closed")),
        moved: BY_THE_HOST,
    },
    Scene {
        name: "udp_to_a_closed_port_of_the_far_address",
        act: |s| s.send4(&Ip4 { dst: router4(T2), ..s.ip4() }.udp(5, 6, b"closed")),
        moved: BY_THE_HOST,
    },
    Scene {
        name: "udp_to_a_closed_port_at_ttl_1",
        act: |s| s.send4(&Ip4 { ttl: 1, ..to_us(s) }.udp(5, 6, b"closed")),
        moved: BY_THE_HOST,
    },
    Scene {
        name: "a_large_datagram_to_a_closed_port",
        act: |s| s.send4(&to_us(s).udp(5, 6, &pattern(1472))),
        moved: BY_THE_HOST,
    },
    Scene {
        name: "udp_of_wrong_checksum",
        act: |s| {
            s.send4(
                &Ip4 { protocol: packet::UDP, ..to_us(s) }.with(&[0, 5, 0, 6, 0, 12, 0x12, 0x34, 1, 2, 3, 4]),
            )
        },
        moved: TO_THE_HOST,
    },
    Scene {
        name: "udp_to_a_closed_port_in_a_broadcast_frame",
        act: |s| broadcast_frame(s, &to_us(s).udp(5, 6, b"broadcast frame")),
        moved: "received 1, l2_broadcast 1",
    },
    Scene {
        name: "udp_to_everybody_on_a_closed_port",
        act: |s| broadcast_frame(s, &Ip4 { dst: [255; 4], ..s.ip4() }.udp(5, 6, b"everybody")),
        moved: TO_THE_HOST,
    },
    Scene {
        name: "tcp_to_a_closed_port",
        act: |s| {
            let ip = Ip4 { protocol: packet::TCP, ..to_us(s) };
            let segment = tcp(&pseudo4(ip.src, ip.dst, packet::TCP, 20), 5, 6, 2, &[], false);
            s.send4(&ip.with(&segment));
        },
        moved: BY_THE_HOST,
    },
    Scene {
        name: "an_unknown_protocol",
        act: |s| s.send4(&Ip4 { protocol: UNKNOWN, ..to_us(s) }.with(b"what")),
        moved: BY_THE_HOST,
    },
    Scene {
        name: "an_unknown_protocol_in_a_broadcast_frame",
        act: |s| broadcast_frame(s, &Ip4 { protocol: UNKNOWN, ..to_us(s) }.with(b"what")),
        moved: "received 1, l2_broadcast 1",
    },
    Scene {
        name: "an_unknown_protocol_to_the_subnet",
        act: |s| broadcast_frame(s, &Ip4 { dst: [10, 10, 251, 255], ..s.ip4() }.with(b"what")),
        moved: "received 1, broadcast 1",
    },
    Scene {
        name: "from_the_other_side",
        act: |s| {
            let packet = Ip4::new(s.a4(T2), router4(T2)).echo(b"t2");
            let frame = eth(router_mac(T2), s.mac(T2), IPV4, &packet);
            s.frame(T2, &frame);
        },
        moved: ANSWERED,
    },
];
