//! ARP: who is answered, who is learned, who is asked (RFC 826, 5227).

use crate::packet::{A4, ARP, BROADCAST, IPV4, Ip4, Mac, arp, eth};
use crate::scene::Scene;
use crate::stage::Stage;
use crate::stations::Where::{T1, T2};
use crate::stations::{SILENT, router_mac, router4, station_mac, station4};

const ANSWERED: &str = "received 1, sent 1";
const NOTED: &str = "received 1, consumed 1";
const ARP_NOT_OURS: &str = "received 1, arp_not_ours 1";
const ARP_MALFORMED: &str = "received 1, arp_malformed 1";

/// An ARP packet in a broadcast frame from this scene's station.
fn arp_frame(stage: &mut Stage<'_>, body: &[u8]) {
    let frame = eth(BROADCAST, stage.mac(T1), ARP, body);
    stage.frame(T1, &frame);
}

/// Asks who has `target`, in the name of `sender`.
fn ask(stage: &mut Stage<'_>, sender: A4, target: A4) {
    let body = arp(1, (stage.mac(T1), sender), ([0; 6], target));
    arp_frame(stage, &body);
}

/// A request for the router's address that is altered before it is sent.
fn altered(stage: &mut Stage<'_>, alter: fn(&mut Vec<u8>)) {
    let mut body = arp(1, (stage.mac(T1), stage.a4(T1)), ([0; 6], router4(T1)));
    alter(&mut body);
    arp_frame(stage, &body);
}

/// A packet from t2 to this scene's station at t1, which shows where the router thinks that it is.
fn call4(stage: &mut Stage<'_>) {
    stage.settle();
    // The answers to what was said before are not to be taken for this packet.
    stage.sync();
    let before = stage.count(T1);
    let packet = Ip4::new(stage.a4(T2), stage.a4(T1)).udp(5, 6, b"where are you");
    let frame = eth(router_mac(T2), stage.mac(T2), IPV4, &packet);
    stage.frame(T2, &frame);
    stage.until(T1, before + 1);
}

/// Where a station went.
pub fn elsewhere(stage: &Stage<'_>) -> Mac {
    [2, 0x53, 0, 0, 0, stage.n]
}

/// An ARP packet of this scene's station from its new place.
fn announce4(stage: &mut Stage<'_>, operation: u16, to: Mac, target: (Mac, A4)) {
    let mac = elsewhere(stage);
    let body = arp(operation, (mac, stage.a4(T1)), target);
    stage.frame(T1, &eth(to, mac, ARP, &body));
}

pub const SCENES: &[Scene] = &[
    // RFC 826; arp_ignore 0.
    Scene { name: "arp_request_is_answered", act: |s| ask(s, s.a4(T1), router4(T1)), moved: ANSWERED },
    Scene {
        name: "arp_request_for_the_far_address",
        act: |s| ask(s, s.a4(T1), router4(T2)),
        moved: ANSWERED,
    },
    Scene {
        name: "arp_request_for_another",
        act: |s| ask(s, s.a4(T1), station4(T1, 9)),
        moved: ARP_NOT_OURS,
    },
    Scene {
        name: "arp_request_for_another_beyond_the_router",
        act: |s| ask(s, s.a4(T1), station4(T2, 9)),
        moved: ARP_NOT_OURS,
    },
    Scene {
        name: "arp_request_for_loopback",
        act: |s| ask(s, s.a4(T1), [127, 0, 0, 1]),
        moved: ARP_NOT_OURS,
    },
    Scene { name: "arp_request_for_a_group", act: |s| ask(s, s.a4(T1), [224, 0, 0, 1]), moved: ARP_NOT_OURS },
    Scene {
        name: "arp_request_for_the_broadcast_address",
        act: |s| ask(s, s.a4(T1), [10, 10, 251, 255]),
        moved: ARP_NOT_OURS,
    },
    Scene {
        name: "arp_request_from_another_subnet",
        act: |s| ask(s, [192, 0, 2, 9], router4(T1)),
        moved: ANSWERED,
    },
    Scene {
        name: "arp_request_from_the_far_subnet",
        act: |s| ask(s, s.a4(T2), router4(T1)),
        moved: ANSWERED,
    },
    Scene {
        name: "arp_request_from_our_own_address",
        act: |s| ask(s, router4(T1), router4(T1)),
        moved: "received 1, martian_source 1",
    },
    Scene {
        name: "arp_request_from_our_address_for_another",
        act: |s| ask(s, router4(T1), station4(T1, 9)),
        moved: "received 1, martian_source 1",
    },
    Scene {
        name: "arp_request_from_loopback",
        act: |s| ask(s, [127, 0, 0, 1], router4(T1)),
        moved: ARP_MALFORMED,
    },
    Scene {
        name: "arp_request_from_a_group",
        act: |s| ask(s, [224, 0, 0, 1], router4(T1)),
        moved: ARP_MALFORMED,
    },
    Scene {
        name: "arp_request_from_the_broadcast_address",
        act: |s| ask(s, [255; 4], router4(T1)),
        moved: ARP_MALFORMED,
    },
    Scene {
        name: "arp_request_from_a_subnet_s_broadcast_address",
        act: |s| ask(s, [10, 10, 251, 255], router4(T1)),
        moved: ANSWERED,
    },
    Scene {
        name: "arp_request_in_a_unicast_frame",
        act: |s| {
            let body = arp(1, (s.mac(T1), s.a4(T1)), (router_mac(T1), router4(T1)));
            s.frame(T1, &eth(router_mac(T1), s.mac(T1), ARP, &body));
        },
        moved: ANSWERED,
    },
    Scene {
        name: "arp_request_in_another_s_frame",
        act: |s| {
            let body = arp(1, (s.mac(T1), s.a4(T1)), ([0; 6], router4(T1)));
            s.frame(T1, &eth([2, 9, 9, 9, 9, 9], s.mac(T1), ARP, &body));
        },
        moved: "received 1, eth_not_ours 1",
    },
    Scene {
        name: "arp_sender_differs_from_the_frame_s",
        act: |s| {
            let body = arp(1, (elsewhere(s), s.a4(T1)), ([0; 6], router4(T1)));
            arp_frame(s, &body);
        },
        moved: ANSWERED,
    },
    Scene {
        name: "arp_sender_is_a_group",
        act: |s| {
            let body = arp(1, ([1, 2, 3, 4, 5, 6], s.a4(T1)), ([0; 6], router4(T1)));
            arp_frame(s, &body);
        },
        moved: ARP_MALFORMED,
    },
    Scene { name: "arp_with_padding", act: |s| altered(s, |body| body.resize(46, 0x55)), moved: ANSWERED },
    Scene { name: "arp_cut_short", act: |s| altered(s, |body| body.truncate(27)), moved: ARP_MALFORMED },
    Scene { name: "arp_of_another_hardware", act: |s| altered(s, |body| body[1] = 7), moved: ARP_MALFORMED },
    Scene { name: "arp_of_ieee802_hardware", act: |s| altered(s, |body| body[1] = 6), moved: ANSWERED },
    Scene { name: "arp_of_another_protocol", act: |s| altered(s, |body| body[3] = 1), moved: ARP_MALFORMED },
    Scene {
        name: "arp_of_another_hardware_length",
        act: |s| altered(s, |body| body[4] = 8),
        moved: ARP_MALFORMED,
    },
    Scene {
        name: "arp_of_another_protocol_length",
        act: |s| altered(s, |body| body[5] = 16),
        moved: ARP_MALFORMED,
    },
    Scene {
        name: "arp_of_an_unknown_operation",
        act: |s| altered(s, |body| body[7] = 9),
        moved: ARP_MALFORMED,
    },
    // RFC 5227.
    Scene { name: "arp_probe_for_our_address", act: |s| ask(s, [0; 4], router4(T1)), moved: ANSWERED },
    Scene { name: "arp_probe_for_another", act: |s| ask(s, [0; 4], s.a4(T1)), moved: ARP_NOT_OURS },
    Scene { name: "arp_announcement_of_another", act: |s| ask(s, s.a4(T1), s.a4(T1)), moved: NOTED },
    // What the router learns, and where it sends afterwards.
    Scene {
        name: "a_station_is_asked_for_once",
        act: |s| {
            s.show_questions();
            call4(s);
            call4(s);
        },
        moved: "received 2, sent 2",
    },
    Scene {
        name: "frames_wait_in_order",
        act: |s| {
            s.show_questions();
            for n in 0..6 {
                let packet = Ip4::new(s.a4(T2), s.a4(T1)).udp(5, n, b"in order");
                let frame = eth(router_mac(T2), s.mac(T2), IPV4, &packet);
                s.frame(T2, &frame);
            }
        },
        moved: "received 6, sent 6",
    },
    Scene {
        name: "who_asked_us_needs_not_be_asked",
        act: |s| {
            s.show_questions();
            ask(s, s.a4(T1), router4(T1));
            call4(s);
        },
        moved: "received 2, sent 2",
    },
    Scene {
        name: "an_announcement_of_nobody_we_know_is_not_learned",
        act: |s| {
            s.show_questions();
            announce4(s, 1, BROADCAST, ([0; 6], s.a4(T1)));
            call4(s);
        },
        moved: "received 2, consumed 1, sent 1",
    },
    Scene {
        name: "a_reply_that_nobody_asked_for_is_not_learned",
        act: |s| {
            s.show_questions();
            announce4(s, 2, router_mac(T1), (router_mac(T1), router4(T1)));
            call4(s);
        },
        moved: "received 2, consumed 1, sent 1",
    },
    Scene {
        name: "an_announcement_updates",
        act: |s| {
            call4(s);
            s.move_station(T1, s.n, elsewhere(s));
            announce4(s, 1, BROADCAST, ([0; 6], s.a4(T1)));
            call4(s);
        },
        moved: "received 3, consumed 1, sent 2",
    },
    Scene {
        name: "a_gratuitous_reply_updates",
        act: |s| {
            call4(s);
            s.move_station(T1, s.n, elsewhere(s));
            announce4(s, 2, BROADCAST, (elsewhere(s), s.a4(T1)));
            call4(s);
        },
        moved: "received 3, consumed 1, sent 2",
    },
    Scene {
        name: "a_request_to_us_updates_after_the_lock_time",
        act: |s| {
            ask(s, s.a4(T1), router4(T1));
            call4(s);
            s.move_station(T1, s.n, elsewhere(s));
            announce4(s, 1, BROADCAST, ([0; 6], router4(T1)));
            call4(s);
        },
        moved: "received 4, sent 4",
    },
    Scene {
        name: "of_two_replies_the_first_counts",
        act: |s| {
            call4(s);
            announce4(s, 2, router_mac(T1), (router_mac(T1), router4(T1)));
            call4(s);
        },
        moved: "received 3, consumed 1, sent 2",
    },
    Scene {
        name: "a_question_is_asked_three_times",
        act: |s| {
            s.show_questions();
            let packet = Ip4::new(station4(T2, 9), station4(T1, SILENT + 1)).udp(5, 6, b"nobody");
            let frame = eth(router_mac(T2), station_mac(T2, 9), IPV4, &packet);
            s.frame(T2, &frame);
            s.until(T2, 1);
        },
        moved: "received 1, neighbour_failed 1, originated 1, sent 1",
    },
    Scene {
        name: "the_sender_of_a_request_for_an_answer",
        act: |s| {
            s.show_questions();
            let packet = Ip4::new(s.a4(T1), router4(T2)).echo(b"from the far address");
            s.frame(T1, &eth(router_mac(T1), s.mac(T1), IPV4, &packet));
        },
        moved: ANSWERED,
    },
    Scene {
        name: "an_answer_to_a_packet_from_a_group_mac",
        act: |s| {
            s.show_questions();
            let packet = Ip4::new(s.a4(T1), router4(T1)).echo(b"not taken from the frame");
            s.frame(T1, &eth(router_mac(T1), [3, 3, 3, 3, 3, 3], IPV4, &packet));
        },
        moved: ANSWERED,
    },
];
