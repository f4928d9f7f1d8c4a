//! Fragmentation and path MTU of IPv4, GSO packets included: the second link takes 1,300 bytes (RFC 791
//! section 3.2, RFC 1191 section 4, RFC 1812 section 5.2.6).

use nsrouter_wire::offload::{Gso, Offload, PendingChecksum};

use crate::packet::{self, DF, IPV4, Ip4, MF, eth, pattern, pseudo4, tcp};
use crate::scene::Scene;
use crate::stage::Stage;
use crate::stations::Where::T1;
use crate::stations::router_mac;

const FORWARDED: &str = "received 1, sent 1";
const TOO_BIG: &str = "received 1, too_big 1, originated 1, sent 1";
const IN_TWO: &str = "received 1, consumed 1, originated 2, sent 2";

/// Both ends of the second link, as an administrator would.
pub fn prepare(stage: &Stage<'_>) {
    stage.narrow(1300);
}

/// Sends a GSO packet of TCP segments; the checksum is pending.
fn tcp4(stage: &mut Stage<'_>, fragment: u16, payload_bytes: usize, gso_size: u16) {
    let ip = Ip4 { fragment, protocol: packet::TCP, ..stage.ip4() };
    let pseudo = pseudo4(ip.src, ip.dst, packet::TCP, 20 + payload_bytes);
    let packet = ip.with(&tcp(&pseudo, 5, 6, 0x18, &pattern(payload_bytes), true));
    let frame = eth(router_mac(T1), stage.mac(T1), IPV4, &packet);
    let gso = if gso_size == 0 { Gso::None } else { Gso::Tcp4 { ecn: false } };
    let checksum = Some(PendingChecksum { start: 34, offset: 16 });
    stage.offloaded(T1, &frame, Offload { checksum, gso, gso_size, header_bytes: 54 });
}

/// Sends a GSO packet of UDP datagrams.
fn udp4(stage: &mut Stage<'_>, fragment: u16, payload_bytes: usize, gso_size: u16) {
    let ip = Ip4 { fragment, protocol: packet::UDP, ..stage.ip4() };
    let len = u16::try_from(8 + payload_bytes).expect("at most 64 KiB");
    let sum = !packet::checksum(&pseudo4(ip.src, ip.dst, packet::UDP, usize::from(len)), &[]);
    let mut body = [[0, 5], [0, 6], len.to_be_bytes(), sum.to_be_bytes()].concat();
    body.extend(pattern(payload_bytes));
    let frame = eth(router_mac(T1), stage.mac(T1), IPV4, &ip.with(&body));
    let checksum = Some(PendingChecksum { start: 34, offset: 6 });
    stage.offloaded(T1, &frame, Offload { checksum, gso: Gso::Udp, gso_size, header_bytes: 42 });
}

fn with_options(stage: &mut Stage<'_>, options: &[u8]) {
    let packet = Ip4 { options: options.to_vec(), ..stage.ip4() }.with(&pattern(1400));
    stage.send4(&packet);
}

pub const SCENES: &[Scene] = &[
    Scene { name: "exactly_the_mtu", act: |s| s.send4(&s.ip4().with(&pattern(1280))), moved: FORWARDED },
    Scene {
        name: "exactly_the_mtu_with_df",
        act: |s| s.send4(&Ip4 { fragment: DF, ..s.ip4() }.with(&pattern(1280))),
        moved: FORWARDED,
    },
    Scene { name: "one_byte_more", act: |s| s.send4(&s.ip4().with(&pattern(1281))), moved: IN_TWO },
    Scene { name: "a_full_frame", act: |s| s.send4(&s.ip4().udp(5, 6, &pattern(1472))), moved: IN_TWO },
    Scene {
        name: "one_byte_more_with_df",
        act: |s| s.send4(&Ip4 { fragment: DF, ..s.ip4() }.with(&pattern(1281))),
        moved: TOO_BIG,
    },
    Scene {
        name: "a_full_frame_with_df",
        act: |s| s.send4(&Ip4 { fragment: DF, ..s.ip4() }.udp(5, 6, &pattern(1472))),
        moved: TOO_BIG,
    },
    Scene {
        name: "too_big_is_not_limited",
        act: |s| {
            for id in 0..12 {
                s.send4(&Ip4 { fragment: DF, id, ..s.ip4() }.udp(5, 6, &pattern(1472)));
            }
        },
        moved: "received 12, too_big 12, originated 12, sent 12",
    },
    Scene {
        name: "no_hops_left_comes_before_too_big",
        act: |s| s.send4(&Ip4 { fragment: DF, ttl: 1, ..s.ip4() }.udp(5, 6, &pattern(1472))),
        moved: "received 1, ttl_exceeded 1, originated 1, sent 1",
    },
    Scene {
        name: "a_first_fragment_is_cut_again",
        act: |s| s.send4(&Ip4 { fragment: MF, ..s.ip4() }.with(&pattern(1480))),
        moved: IN_TWO,
    },
    Scene {
        name: "a_middle_fragment_is_cut_again",
        act: |s| s.send4(&Ip4 { fragment: MF | 185, ..s.ip4() }.with(&pattern(1480))),
        moved: IN_TWO,
    },
    Scene {
        name: "a_last_fragment_is_cut_again",
        act: |s| s.send4(&Ip4 { fragment: 185, ..s.ip4() }.with(&pattern(1403))),
        moved: IN_TWO,
    },
    Scene {
        name: "too_big_about_a_first_fragment",
        act: |s| s.send4(&Ip4 { fragment: DF | MF, ..s.ip4() }.with(&pattern(1480))),
        moved: TOO_BIG,
    },
    Scene {
        name: "no_too_big_about_a_later_fragment",
        act: |s| s.send4(&Ip4 { fragment: DF | 185, ..s.ip4() }.with(&pattern(1480))),
        moved: "received 1, too_big 1",
    },
    Scene {
        name: "no_too_big_about_an_icmp_error",
        act: |s| s.send4(&Ip4 { fragment: DF, ..s.ip4() }.icmp(3, 1, [0; 4], &pattern(1400))),
        moved: "received 1, too_big 1",
    },
    Scene {
        name: "a_router_alert_is_in_every_fragment",
        act: |s| with_options(s, &[148, 4, 0, 0]),
        moved: IN_TWO,
    },
    Scene {
        name: "a_recorded_route_is_in_the_first_fragment",
        act: |s| with_options(s, &[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        moved: IN_TWO,
    },
    Scene {
        name: "a_time_stamp_is_in_the_first_fragment",
        act: |s| with_options(s, &[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        moved: IN_TWO,
    },
    Scene {
        name: "options_that_are_copied_and_not",
        act: |s| with_options(s, &[7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 0x9e, 4, 1, 2, 0x1e, 4, 3, 4, 0]),
        moved: IN_TWO,
    },
    Scene {
        name: "type_of_service_is_in_every_fragment",
        act: |s| s.send4(&Ip4 { tos: 0xb9, ..s.ip4() }.with(&pattern(1400))),
        moved: IN_TWO,
    },
    Scene {
        name: "a_reserved_flag_when_cut",
        act: |s| s.send4(&Ip4 { fragment: 0x8000, ..s.ip4() }.with(&pattern(1400))),
        moved: IN_TWO,
    },
    Scene {
        name: "a_padded_frame_is_cut_without_its_padding",
        act: |s| s.send4(&[s.ip4().with(&pattern(1300)), vec![0x55; 30]].concat()),
        moved: IN_TWO,
    },
    // A frame whose checksum the sender left to its interface.
    Scene { name: "a_pending_checksum", act: |s| tcp4(s, DF, 100, 0), moved: FORWARDED },
    Scene {
        name: "a_pending_checksum_is_completed_before_cutting",
        act: |s| tcp4(s, 0, 1400, 0),
        moved: IN_TWO,
    },
    Scene { name: "a_pending_checksum_of_a_packet_too_big", act: |s| tcp4(s, DF, 1400, 0), moved: TOO_BIG },
    // A GSO packet is judged by its segments.
    Scene { name: "a_gso_packet_of_small_segments", act: |s| tcp4(s, DF, 12_000, 1260), moved: FORWARDED },
    Scene {
        name: "a_gso_packet_of_large_segments_with_df",
        act: |s| tcp4(s, DF, 14_600, 1460),
        moved: TOO_BIG,
    },
    Scene {
        name: "a_gso_packet_of_large_segments_without_df",
        act: |s| tcp4(s, 0, 2920, 1460),
        moved: "received 1, consumed 1, originated 4, sent 4",
    },
    Scene { name: "a_udp_gso_packet_of_small_datagrams", act: |s| udp4(s, 0, 6000, 1200), moved: FORWARDED },
    Scene {
        name: "a_udp_gso_packet_of_large_datagrams_with_df",
        act: |s| udp4(s, DF, 7000, 1400),
        moved: TOO_BIG,
    },
    Scene {
        name: "a_udp_gso_packet_of_large_datagrams_without_df",
        act: |s| udp4(s, 0, 2800, 1400),
        moved: "received 1, consumed 1, originated 4, sent 4",
    },
    Scene {
        name: "a_gso_packet_with_no_hops_left",
        act: |s| {
            let ip = Ip4 { ttl: 1, protocol: packet::TCP, ..s.ip4() };
            let pseudo = pseudo4(ip.src, ip.dst, packet::TCP, 20 + 5000);
            let packet = ip.with(&tcp(&pseudo, 5, 6, 0x18, &pattern(5000), true));
            let frame = eth(router_mac(T1), s.mac(T1), IPV4, &packet);
            let checksum = Some(PendingChecksum { start: 34, offset: 16 });
            let gso = Gso::Tcp4 { ecn: false };
            s.offloaded(T1, &frame, Offload { checksum, gso, gso_size: 1000, header_bytes: 54 });
        },
        moved: "received 1, ttl_exceeded 1, originated 1, sent 1",
    },
];
