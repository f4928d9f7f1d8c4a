//! ICMP errors of IPv4: when, with what source, what they quote, and about what never (RFC 792, RFC 1812
//! section 4.3.2).

use crate::packet::{self, A4, BROADCAST, IPV4, Ip4, MF, eth, pattern};
use crate::scene::Scene;
use crate::stage::Stage;
use crate::stations::Where::{T1, T2};
use crate::stations::{SILENT, router_mac, station4};

const EXCEEDED: &str = "received 1, ttl_exceeded 1, originated 1, sent 1";
/// Nothing is said about it.
const IN_SILENCE: &str = "received 1, ttl_exceeded 1";

/// A header from this scene's station with no hops left.
fn last_hop(stage: &Stage<'_>) -> Ip4 {
    Ip4 { ttl: 1, ..stage.ip4() }
}

/// A header from this scene's station to where no route leads.
fn no_route(stage: &Stage<'_>) -> Ip4 {
    Ip4 { dst: [10, 99, 0, 1], ..stage.ip4() }
}

fn icmp_with_no_hops_left(stage: &mut Stage<'_>, kind: u8) {
    let packet = last_hop(stage).icmp(kind, 0, [0; 4], &last_hop(stage).udp(1, 2, b"quoted"));
    stage.send4(&packet);
}

fn exceeded_from(stage: &mut Stage<'_>, source: A4) {
    let packet = Ip4 { src: source, ..last_hop(stage) }.udp(5, 6, b"source");
    stage.send4(&packet);
}

pub const SCENES: &[Scene] = &[
    // RFC 1812 section 4.3.2.3: as much as fits into 576 bytes.
    Scene {
        name: "a_large_packet_is_quoted_in_part",
        act: |s| s.send4(&last_hop(s).udp(5, 6, &pattern(1472))),
        moved: EXCEEDED,
    },
    Scene {
        name: "a_packet_of_548_bytes_is_quoted_whole",
        act: |s| s.send4(&last_hop(s).udp(5, 6, &pattern(520))),
        moved: EXCEEDED,
    },
    Scene {
        name: "padding_is_not_quoted",
        act: |s| s.send4(&[last_hop(s).with(b"a"), vec![0x55; 25]].concat()),
        moved: EXCEEDED,
    },
    // Section 4.3.2.5.
    Scene {
        name: "type_of_service_of_an_error",
        act: |s| s.send4(&Ip4 { tos: 0xff, ..last_hop(s) }.udp(5, 6, b"tos")),
        moved: EXCEEDED,
    },
    Scene {
        name: "type_of_service_of_another_error",
        act: |s| s.send4(&Ip4 { tos: 0x2a, ..last_hop(s) }.udp(5, 6, b"tos")),
        moved: EXCEEDED,
    },
    // Section 4.3.2.4: the source, on asymmetric routes too.
    Scene {
        name: "an_error_leaves_by_the_way_back",
        act: |s| exceeded_from(s, station4(T2, s.n)),
        moved: EXCEEDED,
    },
    Scene {
        name: "an_error_without_a_way_back",
        act: |s| exceeded_from(s, [192, 0, 2, 1]),
        moved: IN_SILENCE,
    },
    Scene { name: "an_error_to_0_0_0_1", act: |s| exceeded_from(s, [0, 0, 0, 1]), moved: IN_SILENCE },
    Scene { name: "an_error_to_240_0_0_1", act: |s| exceeded_from(s, [240, 0, 0, 1]), moved: IN_SILENCE },
    Scene {
        name: "an_error_to_a_subnet_s_broadcast_address",
        act: |s| exceeded_from(s, [10, 10, 251, 255]),
        moved: IN_SILENCE,
    },
    Scene {
        name: "no_route_is_net_unreachable",
        act: |s| s.send4(&Ip4 { dst: [10, 99, 0, 1], ..s.ip4() }.udp(5, 6, b"nowhere")),
        moved: "received 1, no_route 1, originated 1, sent 1",
    },
    Scene {
        name: "no_route_from_beyond_the_link",
        act: |s| s.send4(&Ip4::new([192, 0, 2, 1], [10, 99, 0, 1]).udp(5, 6, b"nowhere")),
        moved: "received 1, no_route 1",
    },
    Scene {
        name: "no_route_by_the_way_back",
        act: |s| s.send4(&Ip4::new(station4(T2, s.n), [10, 99, 0, 1]).udp(5, 6, b"nowhere")),
        moved: "received 1, no_route 1, originated 1, sent 1",
    },
    // Section 4.3.2.7: never about these.
    Scene { name: "about_unreachable", act: |s| icmp_with_no_hops_left(s, 3), moved: IN_SILENCE },
    Scene { name: "about_source_quench", act: |s| icmp_with_no_hops_left(s, 4), moved: IN_SILENCE },
    Scene { name: "about_a_redirect", act: |s| icmp_with_no_hops_left(s, 5), moved: IN_SILENCE },
    Scene { name: "about_time_exceeded", act: |s| icmp_with_no_hops_left(s, 11), moved: IN_SILENCE },
    Scene { name: "about_parameter_problem", act: |s| icmp_with_no_hops_left(s, 12), moved: IN_SILENCE },
    Scene { name: "about_an_unknown_icmp_type", act: |s| icmp_with_no_hops_left(s, 44), moved: IN_SILENCE },
    Scene { name: "about_an_unassigned_icmp_type", act: |s| icmp_with_no_hops_left(s, 7), moved: IN_SILENCE },
    Scene { name: "about_a_router_solicitation", act: |s| icmp_with_no_hops_left(s, 10), moved: IN_SILENCE },
    Scene { name: "about_a_time_stamp_request", act: |s| icmp_with_no_hops_left(s, 13), moved: EXCEEDED },
    Scene { name: "about_an_echo_reply", act: |s| icmp_with_no_hops_left(s, 0), moved: EXCEEDED },
    Scene { name: "about_an_echo_request", act: |s| icmp_with_no_hops_left(s, 8), moved: EXCEEDED },
    Scene {
        name: "about_icmp_without_a_type",
        act: |s| s.send4(&Ip4 { protocol: packet::ICMP, ..last_hop(s) }.with(&[])),
        moved: IN_SILENCE,
    },
    Scene {
        name: "about_a_first_fragment",
        act: |s| s.send4(&Ip4 { fragment: MF, ..last_hop(s) }.udp(5, 6, &pattern(64))),
        moved: EXCEEDED,
    },
    Scene {
        name: "about_a_later_fragment",
        act: |s| s.send4(&Ip4 { fragment: 9, ..last_hop(s) }.with(&pattern(64))),
        moved: IN_SILENCE,
    },
    Scene {
        name: "about_a_later_fragment_without_route",
        act: |s| s.send4(&Ip4 { fragment: 9, dst: [10, 99, 0, 1], ..s.ip4() }.with(&pattern(64))),
        moved: "received 1, no_route 1",
    },
    Scene {
        name: "about_an_icmp_error_without_route",
        act: |s| {
            let packet = Ip4 { dst: [10, 99, 0, 1], ..s.ip4() }.icmp(3, 1, [0; 4], &pattern(28));
            s.send4(&packet);
        },
        moved: "received 1, no_route 1",
    },
    Scene {
        name: "about_a_broadcast_frame",
        act: |s| {
            let packet = last_hop(s).udp(5, 6, b"everybody");
            s.frame(T1, &eth(BROADCAST, s.mac(T1), IPV4, &packet));
        },
        moved: "received 1, l2_broadcast 1",
    },
    Scene {
        name: "about_a_group",
        act: |s| {
            let packet = Ip4 { dst: [239, 1, 1, 1], ..last_hop(s) }.udp(5, 6, b"group");
            s.frame(T1, &eth([1, 0, 0x5e, 1, 1, 1], s.mac(T1), IPV4, &packet));
        },
        moved: "received 1, multicast 1",
    },
    // Linux icmp_ratelimit: a burst of six, then one a second, by destination.
    Scene {
        name: "six_errors_at_once_to_one_destination",
        act: |s| {
            for n in 0..10 {
                s.send4(&last_hop(s).udp(5, n, b"burst"));
            }
        },
        moved: "received 10, ttl_exceeded 10, originated 6, sent 6",
    },
    Scene {
        name: "errors_without_route_are_charged_twice",
        act: |s| {
            for n in 0..10 {
                s.send4(&no_route(s).udp(5, n, b"burst"));
            }
        },
        moved: "received 10, no_route 10, originated 2, sent 2",
    },
    Scene {
        name: "errors_without_route_after_others",
        act: |s| {
            for n in 0..2 {
                s.send4(&last_hop(s).udp(5, n, b"burst"));
            }
            for n in 2..10 {
                s.send4(&no_route(s).udp(5, n, b"burst"));
            }
        },
        moved: "received 10, ttl_exceeded 2, no_route 8, originated 4, sent 4",
    },
    Scene {
        name: "errors_after_others_without_route",
        act: |s| {
            s.send4(&no_route(s).udp(5, 0, b"burst"));
            for n in 1..10 {
                s.send4(&last_hop(s).udp(5, n, b"burst"));
            }
        },
        moved: "received 10, ttl_exceeded 9, no_route 1, originated 4, sent 4",
    },
    Scene {
        name: "what_is_never_told_is_charged_too",
        act: |s| {
            for _ in 0..3 {
                s.send4(&no_route(s).icmp(3, 1, [0; 4], &pattern(28)));
            }
            for n in 1..10 {
                s.send4(&last_hop(s).udp(5, n, b"burst"));
            }
        },
        moved: "received 12, ttl_exceeded 9, no_route 3, originated 2, sent 2",
    },
    Scene {
        name: "echo_is_not_limited",
        act: |s| {
            for n in 0..20 {
                s.send4(&Ip4 { dst: station4(T1, 2), ..s.ip4() }.echo(&[n]));
            }
        },
        moved: "received 20, sent 20",
    },
    Scene {
        name: "host_unreachable_when_resolution_fails",
        act: |s| {
            s.show_questions();
            for n in 0..3 {
                s.send4(&Ip4 { dst: station4(T2, SILENT), ..s.ip4() }.udp(5, n, b"nobody"));
            }
            s.until(T1, 3);
        },
        moved: "received 3, neighbour_failed 3, originated 3, sent 3",
    },
    Scene {
        name: "and_not_about_an_icmp_error",
        act: |s| {
            s.show_questions();
            s.send4(&Ip4 { dst: station4(T2, SILENT + 1), ..s.ip4() }.icmp(3, 1, [0; 4], &pattern(28)));
            s.send4(&Ip4 { dst: station4(T2, SILENT + 1), ..s.ip4() }.udp(5, 6, b"nobody"));
            s.until(T1, 1);
        },
        moved: "received 2, neighbour_failed 2, originated 1, sent 1",
    },
    Scene {
        name: "host_unreachable_on_the_own_link",
        act: |s| {
            s.show_questions();
            s.send4(&Ip4 { dst: station4(T1, SILENT + 2), ..s.ip4() }.udp(5, 6, b"nobody here"));
            s.until(T1, 2);
        },
        moved: "received 1, neighbour_failed 1, originated 2, sent 2",
    },
    Scene {
        name: "errors_from_the_other_side",
        act: |s| {
            let packet = Ip4 { ttl: 1, ..Ip4::new(s.a4(T2), s.a4(T1)) }.udp(5, 6, b"back");
            s.frame(T2, &eth(router_mac(T2), s.mac(T2), IPV4, &packet));
        },
        moved: EXCEEDED,
    },
];
