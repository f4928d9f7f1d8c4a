//! IPv4 options as Linux treats them (RFC 791 section 3.1, RFC 1812 section 5.2.4 and 5.3.13).

use crate::packet::{Ip4, pattern};
use crate::scene::Scene;
use crate::stage::Stage;
use crate::stations::Where::{T1, T2};
use crate::stations::{SILENT, router4, station4};

const FORWARDED: &str = "received 1, sent 1";
const PROBLEM: &str = "received 1, ip4_options 1, originated 1, sent 1";

/// The options, ended and padded to words.
fn padded(options: &[u8]) -> Vec<u8> {
    let mut all = options.to_vec();
    all.resize(options.len().next_multiple_of(4), 0);
    all
}

fn send(stage: &mut Stage<'_>, options: &[u8]) {
    let packet = Ip4 { options: padded(options), ..stage.ip4() }.udp(5, 6, b"options");
    stage.send4(&packet);
}

fn echo(stage: &mut Stage<'_>, options: &[u8]) {
    let packet = Ip4 { options: padded(options), dst: router4(T1), ..stage.ip4() }.echo(b"options");
    stage.send4(&packet);
}

/// An option of that kind, length and pointer, with as many zero bytes as the length says.
fn slots(kind: u8, len: u8, pointer: u8) -> Vec<u8> {
    let mut option = vec![kind, len, pointer];
    option.resize(usize::from(len).max(3), 0);
    option
}

/// A time stamp option; `flag` includes the overflow count in its upper half.
fn stamps(len: u8, pointer: u8, flag: u8, entries: &[u8]) -> Vec<u8> {
    let mut option = vec![68, len, pointer, flag];
    option.extend(entries);
    option.resize(usize::from(len).max(4), 0);
    option
}

pub const SCENES: &[Scene] = &[
    Scene { name: "record_route_is_filled_in", act: |s| send(s, &slots(7, 15, 4)), moved: FORWARDED },
    Scene {
        name: "record_route_continues",
        act: |s| {
            let mut option = slots(7, 15, 8);
            option[3..7].copy_from_slice(&[9, 9, 9, 9]);
            send(s, &option);
        },
        moved: FORWARDED,
    },
    Scene { name: "record_route_that_is_full", act: |s| send(s, &slots(7, 7, 8)), moved: FORWARDED },
    Scene {
        name: "record_route_after_a_no_operation",
        act: |s| send(s, &[&[1][..], &slots(7, 7, 4)].concat()),
        moved: FORWARDED,
    },
    Scene {
        name: "record_route_and_back",
        act: |s| {
            let packet =
                Ip4 { options: padded(&slots(7, 11, 4)), ..Ip4::new(s.a4(T2), s.a4(T1)) }.udp(5, 6, b"rr");
            let frame =
                crate::packet::eth(crate::stations::router_mac(T2), s.mac(T2), crate::packet::IPV4, &packet);
            s.frame(T2, &frame);
        },
        moved: FORWARDED,
    },
    Scene { name: "record_route_pointer_too_small", act: |s| send(s, &slots(7, 11, 3)), moved: PROBLEM },
    Scene { name: "record_route_pointer_without_room", act: |s| send(s, &slots(7, 11, 9)), moved: PROBLEM },
    Scene { name: "record_route_too_short", act: |s| send(s, &[7, 2, 0, 0]), moved: PROBLEM },
    Scene { name: "record_route_beyond_the_header", act: |s| send(s, &[7, 11, 4, 0]), moved: PROBLEM },
    Scene {
        name: "two_record_routes",
        act: |s| send(s, &[slots(7, 7, 4), slots(7, 7, 4)].concat()),
        moved: PROBLEM,
    },
    Scene { name: "time_stamp_is_filled_in", act: |s| send(s, &stamps(12, 5, 0, &[])), moved: FORWARDED },
    Scene {
        name: "time_stamp_with_address_is_filled_in",
        act: |s| send(s, &stamps(20, 5, 1, &[])),
        moved: FORWARDED,
    },
    Scene {
        name: "time_stamp_asked_of_us",
        act: |s| send(s, &stamps(12, 5, 3, &router4(T1))),
        moved: FORWARDED,
    },
    Scene {
        name: "time_stamp_asked_of_our_other_address",
        act: |s| send(s, &stamps(12, 5, 3, &router4(T2))),
        moved: FORWARDED,
    },
    Scene {
        name: "time_stamp_asked_of_another",
        act: |s| send(s, &stamps(12, 5, 3, &[10, 10, 252, 77])),
        moved: FORWARDED,
    },
    Scene {
        name: "time_stamp_full_counts_overflow",
        act: |s| send(s, &stamps(8, 9, 0, &[1, 2, 3, 4])),
        moved: FORWARDED,
    },
    Scene {
        name: "time_stamp_overflow_runs_over",
        act: |s| send(s, &stamps(8, 9, 0xf0, &[1, 2, 3, 4])),
        moved: PROBLEM,
    },
    Scene { name: "time_stamp_of_unknown_flag", act: |s| send(s, &stamps(12, 5, 2, &[])), moved: FORWARDED },
    Scene { name: "time_stamp_too_short", act: |s| send(s, &[68, 3, 5, 0]), moved: PROBLEM },
    Scene { name: "time_stamp_pointer_too_small", act: |s| send(s, &stamps(12, 4, 0, &[])), moved: PROBLEM },
    Scene { name: "time_stamp_without_room", act: |s| send(s, &stamps(8, 7, 0, &[])), moved: PROBLEM },
    Scene {
        name: "time_stamp_with_address_without_room",
        act: |s| send(s, &stamps(8, 5, 1, &[])),
        moved: PROBLEM,
    },
    Scene {
        name: "loose_source_route_to_us_is_not_followed",
        act: |s| {
            let mut option = slots(131, 7, 4);
            option[3..7].copy_from_slice(&s.a4(T2));
            let packet = Ip4 { options: padded(&option), dst: router4(T1), ..s.ip4() }.udp(5, 6, b"lsrr");
            s.send4(&packet);
        },
        moved: "received 1, ip4_source_route 1",
    },
    Scene {
        name: "loose_source_route_on_its_way",
        act: |s| {
            let mut option = slots(131, 7, 4);
            option[3..7].copy_from_slice(&station4(T2, 8));
            send(s, &option);
        },
        moved: "received 1, ip4_source_route 1",
    },
    Scene {
        name: "strict_source_route_on_its_way",
        act: |s| {
            let mut option = slots(137, 7, 4);
            option[3..7].copy_from_slice(&station4(T2, 8));
            send(s, &option);
        },
        moved: "received 1, ip4_source_route 1",
    },
    Scene {
        name: "source_route_at_its_end",
        act: |s| send(s, &slots(131, 7, 8)),
        moved: "received 1, ip4_source_route 1",
    },
    Scene { name: "source_route_pointer_too_small", act: |s| send(s, &slots(131, 7, 2)), moved: PROBLEM },
    Scene { name: "source_route_too_short", act: |s| send(s, &[131, 2, 0, 0]), moved: PROBLEM },
    Scene { name: "router_alert_is_forwarded", act: |s| send(s, &[148, 4, 0, 0]), moved: FORWARDED },
    Scene { name: "router_alert_too_short", act: |s| send(s, &[148, 3, 0, 0]), moved: PROBLEM },
    Scene { name: "no_operations_and_end", act: |s| send(s, &[1, 1, 1, 0]), moved: FORWARDED },
    Scene { name: "garbage_after_the_end", act: |s| send(s, &[0, 7, 3, 99]), moved: FORWARDED },
    Scene { name: "an_unknown_option_is_forwarded", act: |s| send(s, &[0x9e, 4, 1, 2]), moved: FORWARDED },
    Scene { name: "an_unknown_option_of_no_length", act: |s| send(s, &[0x9e, 0, 1, 2]), moved: PROBLEM },
    Scene { name: "an_unknown_option_of_length_one", act: |s| send(s, &[0x9e, 1, 1, 2]), moved: PROBLEM },
    Scene { name: "an_unknown_option_beyond_the_header", act: |s| send(s, &[0x9e, 9, 1, 2]), moved: PROBLEM },
    Scene { name: "an_option_without_its_length", act: |s| send(s, &[1, 1, 1, 0x9e]), moved: PROBLEM },
    Scene {
        name: "security_and_stream_identifier",
        act: |s| send(s, &[130, 3, 1, 136, 4, 1, 2]),
        moved: FORWARDED,
    },
    Scene { name: "forty_bytes_of_options", act: |s| send(s, &slots(7, 39, 4)), moved: FORWARDED },
    Scene {
        name: "the_problem_of_a_broadcast_is_not_told",
        act: |s| {
            let packet = Ip4 { options: padded(&slots(7, 11, 3)), dst: [10, 10, 252, 255], ..s.ip4() };
            s.send4(&packet.udp(5, 6, b"everybody"));
        },
        moved: "received 1, ip4_options 1",
    },
    Scene {
        name: "commercial_security",
        act: |s| send(s, &[134, 10, 0, 0, 0, 1, 1, 4, 0, 1]),
        moved: FORWARDED,
    },
    Scene {
        name: "the_problem_of_a_later_fragment_is_not_told",
        act: |s| {
            let packet = Ip4 { options: vec![7, 11, 4, 0], fragment: 9, ..s.ip4() }.with(&pattern(16));
            s.send4(&packet);
        },
        moved: "received 1, ip4_options 1",
    },
    Scene {
        name: "exceeded_with_record_route",
        act: |s| {
            let packet = Ip4 { options: padded(&slots(7, 11, 4)), ttl: 1, ..s.ip4() }.udp(5, 6, b"exceeded");
            s.send4(&packet);
        },
        moved: "received 1, ttl_exceeded 1, originated 1, sent 1",
    },
    Scene {
        name: "exceeded_with_time_stamp",
        act: |s| {
            let packet =
                Ip4 { options: padded(&stamps(20, 5, 1, &[])), ttl: 1, ..s.ip4() }.udp(5, 6, b"exceeded");
            s.send4(&packet);
        },
        moved: "received 1, ttl_exceeded 1, originated 1, sent 1",
    },
    Scene {
        name: "exceeded_with_router_alert",
        act: |s| {
            let packet = Ip4 { options: vec![148, 4, 0, 0], ttl: 1, ..s.ip4() }.udp(5, 6, b"exceeded");
            s.send4(&packet);
        },
        moved: "received 1, ttl_exceeded 1, originated 1, sent 1",
    },
    Scene {
        name: "no_route_with_options",
        act: |s| {
            let packet =
                Ip4 { options: padded(&slots(7, 11, 4)), dst: [10, 99, 0, 1], ..s.ip4() }.udp(5, 6, b"rr");
            s.send4(&packet);
        },
        moved: "received 1, no_route 1, originated 1, sent 1",
    },
    Scene {
        name: "exceeded_with_record_route_and_time_stamp",
        act: |s| {
            let options = padded(&[slots(7, 15, 4), stamps(20, 5, 0, &[])].concat());
            s.send4(&Ip4 { options, ttl: 1, ..s.ip4() }.udp(5, 6, &pattern(600)));
        },
        moved: "received 1, ttl_exceeded 1, originated 1, sent 1",
    },
    Scene {
        name: "exceeded_with_full_record_route",
        act: |s| s.send4(&Ip4 { options: padded(&slots(7, 7, 4)), ttl: 1, ..s.ip4() }.udp(5, 6, b"full")),
        moved: "received 1, ttl_exceeded 1, originated 1, sent 1",
    },
    Scene {
        name: "exceeded_with_half_an_entry_left",
        act: |s| s.send4(&Ip4 { options: padded(&slots(7, 9, 4)), ttl: 1, ..s.ip4() }.udp(5, 6, b"half")),
        moved: "received 1, ttl_exceeded 1",
    },
    Scene {
        name: "exceeded_with_full_time_stamp",
        act: |s| {
            let options = stamps(8, 9, 0xe0, &[1, 2, 3, 4]);
            s.send4(&Ip4 { options, ttl: 1, ..s.ip4() }.udp(5, 6, b"full"));
        },
        moved: "received 1, ttl_exceeded 1, originated 1, sent 1",
    },
    Scene {
        name: "exceeded_with_time_stamp_asked_of_us",
        act: |s| {
            let mut options = stamps(20, 5, 3, &router4(T1));
            options[12..16].copy_from_slice(&router4(T2));
            s.send4(&Ip4 { options, ttl: 1, ..s.ip4() }.udp(5, 6, b"asked"));
        },
        moved: "received 1, ttl_exceeded 1, originated 1, sent 1",
    },
    Scene {
        name: "exceeded_with_time_stamp_asked_of_another",
        act: |s| {
            let options = stamps(12, 5, 3, &[10, 10, 252, 77]);
            s.send4(&Ip4 { options, ttl: 1, ..s.ip4() }.udp(5, 6, b"asked"));
        },
        moved: "received 1, ttl_exceeded 1, originated 1, sent 1",
    },
    Scene {
        name: "exceeded_with_record_route_by_the_way_back",
        act: |s| {
            let packet = Ip4 { options: padded(&slots(7, 11, 4)), ttl: 1, ..Ip4::new(s.a4(T2), s.a4(T2)) };
            s.send4(&packet.udp(5, 6, b"asymmetric"));
        },
        moved: "received 1, ttl_exceeded 1, originated 1, sent 1",
    },
    Scene {
        name: "host_unreachable_with_record_route",
        act: |s| {
            let packet = Ip4 { options: padded(&slots(7, 19, 4)), dst: station4(T2, SILENT), ..s.ip4() };
            s.send4(&packet.udp(5, 6, b"nobody"));
            s.until(T1, 1);
        },
        moved: "received 1, neighbour_failed 1, originated 1, sent 1",
    },
    Scene {
        name: "a_closed_port_with_record_route",
        act: |s| {
            let packet = Ip4 { options: padded(&slots(7, 15, 4)), dst: router4(T1), ..s.ip4() };
            s.send4(&packet.udp(5, 6, b"closed"));
        },
        moved: "received 2, to_host 1, sent 1",
    },
    Scene {
        name: "time_stamp_asked_of_nobody",
        act: |s| send(s, &stamps(12, 5, 3, &[0, 0, 0, 0])),
        moved: FORWARDED,
    },
    Scene {
        name: "time_stamp_asked_of_a_broadcast_address",
        act: |s| send(s, &stamps(12, 5, 3, &[10, 10, 252, 255])),
        moved: FORWARDED,
    },
    Scene {
        name: "echo_with_half_an_entry_left",
        act: |s| echo(s, &slots(7, 9, 4)),
        moved: "received 1, ip4_options 1",
    },
    Scene { name: "echo_with_record_route", act: |s| echo(s, &slots(7, 15, 4)), moved: FORWARDED },
    Scene { name: "echo_with_full_record_route", act: |s| echo(s, &slots(7, 7, 8)), moved: FORWARDED },
    Scene { name: "echo_with_time_stamp", act: |s| echo(s, &stamps(12, 5, 0, &[])), moved: FORWARDED },
    Scene {
        name: "echo_with_time_stamp_and_address",
        act: |s| echo(s, &stamps(36, 5, 1, &[])),
        moved: FORWARDED,
    },
    Scene { name: "echo_with_router_alert", act: |s| echo(s, &[148, 4, 0, 0]), moved: FORWARDED },
    Scene { name: "echo_with_an_unknown_option", act: |s| echo(s, &[0x9e, 4, 1, 2]), moved: FORWARDED },
    Scene { name: "echo_with_malformed_options", act: |s| echo(s, &[7, 11, 4, 0]), moved: PROBLEM },
    Scene {
        name: "redirected_with_record_route",
        act: |s| {
            let packet =
                Ip4 { options: padded(&slots(7, 11, 4)), dst: station4(T1, 8), ..s.ip4() }.udp(5, 6, b"rr");
            s.send4(&packet);
        },
        moved: "received 1, sent 2, originated 1",
    },
];
