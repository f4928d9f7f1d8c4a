//! Routes and addresses, in a lab with several addresses and subnets on a port, a /31, a /32 and routes
//! through gateways (RFC 1812 section 5.2.4, RFC 3021, RFC 4291): `tests/data/oracle/routes.toml`.

use crate::packet::{A4, A6, ARP, BROADCAST, IPV4, Ip4, Ip6, arp, eth};
use crate::scene::Scene;
use crate::stage::Stage;
use crate::stations::Where::{T1, T2};
use crate::stations::{router_mac, station_mac};

const FORWARDED: &str = "received 1, sent 1";
const REDIRECTED: &str = "received 1, sent 2, originated 1";
const EXCEEDED: &str = "received 1, ttl_exceeded 1, originated 1, sent 1";

/// The lab that these scenes are played in.
pub const OPTIONS: &[&str] =
    &["--topology", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/oracle/routes.toml")];

fn to(stage: &mut Stage<'_>, destination: A4) {
    let packet = Ip4 { dst: destination, ..stage.ip4() }.udp(5, 6, b"route");
    stage.send4(&packet);
}

fn to6(stage: &mut Stage<'_>, destination: A6) {
    let packet = Ip6 { dst: destination, ..stage.ip6() }.udp(5, 6, b"route");
    stage.send6(&packet);
}

fn echo_to(stage: &mut Stage<'_>, source: A4, destination: A4) {
    let packet = Ip4::new(source, destination).echo(b"address");
    stage.send4(&packet);
}

fn exceeded(stage: &mut Stage<'_>, source: A4) {
    let packet = Ip4 { ttl: 1, src: source, ..stage.ip4() }.udp(5, 6, b"exceeded");
    stage.send4(&packet);
}

fn ask(stage: &mut Stage<'_>, target: A4) {
    let body = arp(1, (stage.mac(T1), stage.a4(T1)), ([0; 6], target));
    let frame = eth(BROADCAST, stage.mac(T1), ARP, &body);
    stage.frame(T1, &frame);
}

/// From a station of t2 to anywhere.
fn from_t2(stage: &mut Stage<'_>, destination: A4) {
    let packet = Ip4::new(stage.a4(T2), destination).udp(5, 6, b"from t2");
    let frame = eth(router_mac(T2), stage.mac(T2), IPV4, &packet);
    stage.frame(T2, &frame);
}

/// fd00:20::n, fd00:50::n, fd00:50:1::n.
fn far6(second: u8, third: u8, n: u8) -> A6 {
    [0xfd, 0, 0, second, 0, third, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]
}

pub const SCENES: &[Scene] = &[
    Scene { name: "by_a_gateway", act: |s| to(s, [10, 50, 0, 1]), moved: FORWARDED },
    Scene { name: "by_the_longer_prefix", act: |s| to(s, [10, 50, 1, 1]), moved: FORWARDED },
    Scene { name: "by_the_host_route_back_out", act: |s| to(s, [10, 50, 1, 7]), moved: REDIRECTED },
    Scene { name: "by_a_gateway_of_another_subnet", act: |s| to(s, [10, 60, 0, 1]), moved: REDIRECTED },
    Scene {
        name: "beside_every_prefix",
        act: |s| to(s, [10, 51, 0, 1]),
        moved: "received 1, no_route 1, originated 1, sent 1",
    },
    Scene { name: "from_beyond_by_a_gateway_here", act: |s| from_t2(s, [10, 50, 1, 7]), moved: FORWARDED },
    Scene { name: "an_error_by_a_gateway", act: |s| exceeded(s, [10, 50, 0, 77]), moved: EXCEEDED },
    Scene {
        name: "an_error_by_a_gateway_of_the_second_subnet",
        act: |s| exceeded(s, [10, 60, 0, 77]),
        moved: EXCEEDED,
    },
    Scene { name: "ipv6_by_a_gateway", act: |s| to6(s, far6(0x50, 0, 1)), moved: FORWARDED },
    Scene { name: "ipv6_by_the_longer_prefix", act: |s| to6(s, far6(0x50, 1, 1)), moved: FORWARDED },
    Scene { name: "ipv6_by_the_host_route_back_out", act: |s| to6(s, far6(0x50, 1, 7)), moved: FORWARDED },
    // Several addresses and subnets on a port.
    Scene {
        name: "echo_to_the_second_address",
        act: |s| echo_to(s, s.a4(T1), [10, 10, 251, 3]),
        moved: FORWARDED,
    },
    Scene {
        name: "echo_to_the_second_subnet_s_address",
        act: |s| echo_to(s, [10, 20, 0, s.n], [10, 20, 0, 2]),
        moved: FORWARDED,
    },
    Scene { name: "echo_across_subnets", act: |s| echo_to(s, s.a4(T1), [10, 20, 0, 2]), moved: FORWARDED },
    Scene { name: "an_error_to_the_first_subnet", act: |s| exceeded(s, s.a4(T1)), moved: EXCEEDED },
    Scene { name: "an_error_to_the_second_subnet", act: |s| exceeded(s, [10, 20, 0, s.n]), moved: EXCEEDED },
    Scene { name: "a_redirect_across_subnets_of_a_port", act: |s| to(s, [10, 20, 0, 9]), moved: REDIRECTED },
    Scene { name: "arp_for_the_second_address", act: |s| ask(s, [10, 10, 251, 3]), moved: FORWARDED },
    Scene { name: "arp_for_the_second_subnet_s_address", act: |s| ask(s, [10, 20, 0, 2]), moved: FORWARDED },
    Scene {
        name: "arp_asks_in_the_second_subnet_s_name",
        act: |s| {
            s.show_questions();
            from_t2(s, [10, 20, 0, s.n]);
        },
        moved: FORWARDED,
    },
    Scene {
        name: "the_second_subnet_s_broadcast_address",
        act: |s| to(s, [10, 20, 0, 255]),
        moved: "received 1, to_host 1",
    },
    Scene {
        name: "from_our_second_address",
        act: |s| echo_to(s, [10, 10, 251, 3], [10, 10, 252, 9]),
        moved: "received 1, martian_source 1",
    },
    Scene {
        name: "ipv6_echo_to_the_second_address",
        act: |s| {
            let packet = Ip6 { dst: [0xfd, 0, 2, 0x51, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3], ..s.ip6() }
                .echo(b"second");
            s.send6(&packet);
        },
        moved: FORWARDED,
    },
    Scene {
        name: "ipv6_error_to_the_second_subnet",
        act: |s| {
            let packet = Ip6 { hops: 1, src: far6(0x20, 0, s.n), ..s.ip6() }.udp(5, 6, b"second");
            s.send6(&packet);
        },
        moved: EXCEEDED,
    },
    // RFC 3021.
    Scene { name: "echo_on_a_31", act: |s| echo_to(s, [10, 30, 0, 1], [10, 30, 0, 0]), moved: FORWARDED },
    Scene { name: "forwarded_to_a_31", act: |s| from_t2(s, [10, 30, 0, 1]), moved: FORWARDED },
    Scene { name: "an_error_to_a_31", act: |s| exceeded(s, [10, 30, 0, 1]), moved: EXCEEDED },
    Scene {
        name: "arp_on_a_31",
        act: |s| {
            let sender = (station_mac(T1, 1), [10, 30, 0, 1]);
            let frame = eth(BROADCAST, sender.0, ARP, &arp(1, sender, ([0; 6], [10, 30, 0, 0])));
            s.frame(T1, &frame);
        },
        moved: FORWARDED,
    },
    // An address of no subnet.
    Scene { name: "echo_to_a_32", act: |s| echo_to(s, s.a4(T1), [10, 40, 0, 1]), moved: FORWARDED },
    Scene { name: "arp_for_a_32_of_the_other_port", act: |s| ask(s, [10, 40, 0, 1]), moved: FORWARDED },
    Scene {
        name: "beside_a_32",
        act: |s| to(s, [10, 40, 0, 2]),
        moved: "received 1, no_route 1, originated 1, sent 1",
    },
];
