//! Neighbour discovery: who is answered, who is learned, who is asked (RFC 4861, 4862).

use crate::arp::elsewhere;
use crate::packet::{A6, IPV6, Ip6, Mac, eth, group_mac, solicited_node};
use crate::question::advertisement;
use crate::scene::Scene;
use crate::stage::Stage;
use crate::stations::Where::{T1, T2};
use crate::stations::{near6, router_mac, router6, station6};

const ANSWERED: &str = "received 1, sent 1";
const NOTED: &str = "received 1, consumed 1";
const ND_MALFORMED: &str = "received 1, nd_malformed 1";

const ALL_NODES: A6 = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ALL_ROUTERS: A6 = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// A packet from t2 to this scene's station at t1, which shows where the router thinks that it is.
fn call6(stage: &mut Stage<'_>) {
    stage.settle();
    // The answers to what was said before are not to be taken for this packet.
    stage.sync();
    let before = stage.count(T1);
    let packet = Ip6::new(stage.a6(T2), stage.a6(T1)).udp(5, 6, b"where are you");
    let frame = eth(router_mac(T2), stage.mac(T2), IPV6, &packet);
    stage.frame(T2, &frame);
    stage.until(T1, before + 1);
}

/// A neighbour solicitation; an option is added as it is.
fn solicitation(source: A6, destination: A6, target: A6, option: &[u8]) -> Ip6Message {
    Ip6Message {
        ip: Ip6 { hops: 255, ..Ip6::new(source, destination) },
        kind: 135,
        code: 0,
        rest: [0; 4],
        body: [&target[..], option].concat(),
    }
}

/// An ICMPv6 message that a scene may spoil.
struct Ip6Message {
    ip: Ip6,
    kind: u8,
    code: u8,
    rest: [u8; 4],
    body: Vec<u8>,
}

impl Ip6Message {
    fn bytes(&self) -> Vec<u8> {
        self.ip.icmp(self.kind, self.code, self.rest, &self.body)
    }
}

fn link_option(kind: u8, mac: Mac) -> Vec<u8> {
    [&[kind, 1][..], &mac].concat()
}

/// A right solicitation for `target` to its group.
fn ask6(stage: &Stage<'_>, target: A6) -> Ip6Message {
    solicitation(stage.a6(T1), solicited_node(target), target, &link_option(1, stage.mac(T1)))
}

fn send6(stage: &mut Stage<'_>, message: &Ip6Message) {
    let mac = if message.ip.dst[0] == 0xff { group_mac(message.ip.dst) } else { router_mac(T1) };
    let frame = eth(mac, stage.mac(T1), IPV6, &message.bytes());
    stage.frame(T1, &frame);
}

/// An advertisement of this scene's station from its new place.
fn announce6(stage: &mut Stage<'_>, destination: A6, flags: u8) {
    let mac = elsewhere(stage);
    let packet = advertisement(stage.a6(T1), destination, flags, Some(mac));
    let to = if destination[0] == 0xff { group_mac(destination) } else { router_mac(T1) };
    stage.frame(T1, &eth(to, mac, IPV6, &packet));
}

pub const SCENES: &[Scene] = &[
    // RFC 4861 section 7.2.4.
    Scene { name: "solicitation_is_answered", act: |s| send6(s, &ask6(s, router6(T1)[0])), moved: ANSWERED },
    Scene {
        name: "solicitation_for_the_link_local_address",
        act: |s| send6(s, &ask6(s, router6(T1)[1])),
        moved: ANSWERED,
    },
    Scene {
        name: "solicitation_from_a_link_local_address",
        act: |s| {
            let target = router6(T1)[0];
            send6(s, &solicitation(near6(s.n), solicited_node(target), target, &link_option(1, s.mac(T1))));
        },
        moved: ANSWERED,
    },
    Scene {
        name: "unicast_solicitation_is_answered",
        act: |s| {
            let target = router6(T1)[0];
            send6(s, &solicitation(s.a6(T1), target, target, &link_option(1, s.mac(T1))));
        },
        moved: ANSWERED,
    },
    Scene {
        name: "unicast_solicitation_without_option",
        act: |s| {
            s.show_questions();
            let target = router6(T1)[0];
            send6(s, &solicitation(s.a6(T1), target, target, &[]));
        },
        moved: "received 1, consumed 1, originated 1, sent 1",
    },
    Scene {
        name: "solicitation_of_a_zero_address",
        act: |s| {
            let target = router6(T1)[0];
            send6(s, &solicitation(s.a6(T1), solicited_node(target), target, &link_option(1, [0; 6])));
        },
        moved: ND_MALFORMED,
    },
    Scene {
        name: "solicitation_without_option",
        act: |s| {
            s.show_questions();
            let target = router6(T1)[0];
            send6(s, &solicitation(s.a6(T1), solicited_node(target), target, &[]));
        },
        moved: ND_MALFORMED,
    },
    Scene {
        name: "solicitation_without_option_from_a_neighbour",
        act: |s| {
            call6(s);
            let target = router6(T1)[0];
            send6(s, &solicitation(s.a6(T1), solicited_node(target), target, &[]));
        },
        moved: "received 2, sent 2, consumed 1, originated 1",
    },
    Scene {
        name: "solicitation_for_the_far_address",
        act: |s| send6(s, &ask6(s, router6(T2)[0])),
        moved: "received 1, nd_not_ours 1",
    },
    Scene {
        name: "solicitation_for_another",
        act: |s| {
            let target = router6(T1)[0];
            send6(
                s,
                &solicitation(s.a6(T1), solicited_node(target), station6(T1, 9), &link_option(1, s.mac(T1))),
            );
        },
        moved: "received 1, nd_not_ours 1",
    },
    Scene {
        name: "probe_for_our_address_is_answered",
        act: |s| send6(s, &solicitation([0; 16], solicited_node(router6(T1)[0]), router6(T1)[0], &[])),
        moved: "received 1, consumed 1, originated 1, sent 1",
    },
    Scene {
        name: "probe_for_another",
        act: |s| send6(s, &solicitation([0; 16], solicited_node(router6(T1)[0]), station6(T1, 9), &[])),
        moved: "received 1, nd_malformed 1",
    },
    // Section 7.1.1.
    Scene {
        name: "probe_with_a_source_option",
        act: |s| {
            send6(
                s,
                &solicitation(
                    [0; 16],
                    solicited_node(router6(T1)[0]),
                    router6(T1)[0],
                    &link_option(1, s.mac(T1)),
                ),
            )
        },
        moved: ND_MALFORMED,
    },
    Scene {
        name: "probe_to_one_address",
        act: |s| send6(s, &solicitation([0; 16], router6(T1)[0], router6(T1)[0], &[])),
        moved: ND_MALFORMED,
    },
    Scene {
        name: "solicitation_of_hop_limit_254",
        act: |s| {
            let mut message = ask6(s, router6(T1)[0]);
            message.ip.hops = 254;
            send6(s, &message);
        },
        moved: ND_MALFORMED,
    },
    Scene {
        name: "solicitation_of_code_1",
        act: |s| {
            let mut message = ask6(s, router6(T1)[0]);
            message.code = 1;
            send6(s, &message);
        },
        moved: ND_MALFORMED,
    },
    Scene {
        name: "solicitation_cut_short",
        act: |s| {
            let mut message = ask6(s, router6(T1)[0]);
            message.body.truncate(12);
            send6(s, &message);
        },
        moved: ND_MALFORMED,
    },
    Scene {
        name: "solicitation_of_wrong_checksum",
        act: |s| {
            let mut bytes = ask6(s, router6(T1)[0]).bytes();
            bytes[42] ^= 0x55;
            let frame = eth(group_mac(solicited_node(router6(T1)[0])), s.mac(T1), IPV6, &bytes);
            s.frame(T1, &frame);
        },
        moved: "received 1, icmp_malformed 1",
    },
    Scene {
        name: "solicitation_for_a_group",
        act: |s| {
            let target = router6(T1)[0];
            send6(s, &solicitation(s.a6(T1), solicited_node(target), ALL_NODES, &link_option(1, s.mac(T1))));
        },
        moved: ND_MALFORMED,
    },
    Scene {
        name: "solicitation_with_an_option_of_no_length",
        act: |s| {
            let mut message = ask6(s, router6(T1)[0]);
            message.body[17] = 0;
            send6(s, &message);
        },
        moved: ND_MALFORMED,
    },
    Scene {
        name: "solicitation_with_an_option_beyond_its_end",
        act: |s| {
            let mut message = ask6(s, router6(T1)[0]);
            message.body[17] = 2;
            send6(s, &message);
        },
        moved: ND_MALFORMED,
    },
    Scene {
        name: "solicitation_with_an_unknown_option",
        act: |s| {
            let mut message = ask6(s, router6(T1)[0]);
            message.body.extend([0xee, 1, 1, 2, 3, 4, 5, 6]);
            send6(s, &message);
        },
        moved: ANSWERED,
    },
    Scene {
        name: "solicitation_with_extra_flags",
        act: |s| {
            let mut message = ask6(s, router6(T1)[0]);
            message.rest = [0xff; 4];
            send6(s, &message);
        },
        moved: ANSWERED,
    },
    // What the router learns over IPv6.
    Scene {
        name: "a_station_is_solicited_once",
        act: |s| {
            s.show_questions();
            call6(s);
            call6(s);
        },
        moved: "received 2, sent 2",
    },
    Scene {
        name: "who_solicited_us_needs_not_be_solicited",
        act: |s| {
            s.show_questions();
            send6(s, &ask6(s, router6(T1)[0]));
            call6(s);
        },
        moved: "received 2, sent 2",
    },
    Scene {
        name: "an_advertisement_of_nobody_we_know_is_not_learned",
        act: |s| {
            s.show_questions();
            announce6(s, ALL_NODES, 0x20);
            call6(s);
        },
        moved: "received 2, consumed 1, sent 1",
    },
    Scene {
        name: "an_advertisement_that_overrides_updates",
        act: |s| {
            call6(s);
            s.move_station(T1, s.n, elsewhere(s));
            announce6(s, ALL_NODES, 0x20);
            call6(s);
        },
        moved: "received 3, consumed 1, sent 2",
    },
    Scene {
        name: "an_advertisement_that_does_not_override",
        act: |s| {
            call6(s);
            announce6(s, ALL_NODES, 0);
            call6(s);
        },
        moved: "received 3, consumed 1, sent 2",
    },
    Scene {
        name: "a_solicited_advertisement_to_everybody_is_malformed",
        act: |s| {
            call6(s);
            announce6(s, ALL_NODES, 0x60);
            call6(s);
        },
        moved: "received 3, nd_malformed 1, sent 2",
    },
    Scene {
        name: "a_solicitation_of_another_place_updates",
        act: |s| {
            call6(s);
            s.move_station(T1, s.n, elsewhere(s));
            let target = router6(T1)[0];
            send6(s, &solicitation(s.a6(T1), solicited_node(target), target, &link_option(1, elsewhere(s))));
            call6(s);
        },
        moved: "received 3, sent 3",
    },
    Scene {
        name: "an_advertisement_of_our_own_address",
        act: |s| {
            let packet = advertisement(router6(T1)[0], ALL_NODES, 0x20, Some(s.mac(T1)));
            s.frame(T1, &eth(group_mac(ALL_NODES), s.mac(T1), IPV6, &packet));
        },
        moved: "received 1, martian_source 1",
    },
    Scene {
        name: "a_router_solicitation_without_advertisements_configured",
        act: |s| {
            let message = Ip6 { hops: 255, ..Ip6::new(near6(s.n), ALL_ROUTERS) }.icmp(
                133,
                0,
                [0; 4],
                &link_option(1, s.mac(T1)),
            );
            s.frame(T1, &eth(group_mac(ALL_ROUTERS), s.mac(T1), IPV6, &message));
        },
        moved: NOTED,
    },
    Scene {
        name: "a_neighbour_redirect_is_not_followed",
        act: |s| {
            let body = [&near6(9)[..], &station6(T2, 9)].concat();
            let message =
                Ip6 { hops: 255, ..Ip6::new(near6(s.n), router6(T1)[1]) }.icmp(137, 0, [0; 4], &body);
            s.frame(T1, &eth(router_mac(T1), s.mac(T1), IPV6, &message));
        },
        moved: "received 1, icmp_ignored 1",
    },
    Scene {
        name: "a_link_local_station_is_solicited",
        act: |s| {
            s.show_questions();
            let packet = Ip6::new(near6(s.n), router6(T1)[1]).echo(b"near");
            s.frame(T1, &eth(router_mac(T1), s.mac(T1), IPV6, &packet));
        },
        moved: ANSWERED,
    },
    Scene {
        name: "the_source_of_a_solicitation_for_an_answer",
        act: |s| {
            s.show_questions();
            let packet = Ip6::new(s.a6(T1), router6(T1)[0]).echo(b"who is it");
            s.frame(T1, &eth(router_mac(T1), s.mac(T1), IPV6, &packet));
        },
        moved: ANSWERED,
    },
];
