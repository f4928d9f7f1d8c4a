//! Routes that come and go while the router runs, by `ip route` in its namespace: kinds of routes, metrics,
//! next hops on the link, several next hops and their shares, links that go down (RFC 1812 sections 5.2.4 and
//! 5.2.7.1, RFC 2992).

use std::collections::BTreeMap;

use crate::common::wait_for;
use crate::packet::{A4, A6, IPV4, IPV6, Ip4, Ip6, eth};
use crate::scene::Scene;
use crate::stage::Stage;
use crate::stations::Where::{T1, T2};
use crate::stations::{router_mac, station_mac};

const FORWARDED: &str = "received 1, sent 1";
const BOTH_FORWARDED: &str = "received 2, sent 2";
const NO_ROUTE: &str = "received 1, no_route 1, originated 1, sent 1";
const UNREACHABLE: &str = "received 1, unreachable_route 1, originated 1, sent 1";
const PROHIBITED: &str = "received 1, prohibited 1, originated 1, sent 1";

fn to(stage: &mut Stage<'_>, destination: A4) {
    let packet = Ip4 { dst: destination, ..stage.ip4() }.udp(5, 6, b"route");
    stage.send4(&packet);
}

/// fd77:SECOND::n.
fn far6(second: u8, n: u8) -> A6 {
    [0xfd, 0x77, 0, second, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]
}

fn to6(stage: &mut Stage<'_>, destination: A6) {
    let packet = Ip6 { dst: destination, ..stage.ip6() }.udp(5, 6, b"route");
    stage.send6(&packet);
}

/// Flows of a share: enough that chance alone moves it by less than a quarter of what is allowed.
const FLOWS: u16 = 10_000;
/// How the counters move by [`spread`].
pub const MANY: &str = "received 10000, sent 10000";
const TWICE_MANY: &str = "received 20000, sent 20000";
/// How far a share may be off, in parts of a hundred of all flows: 5% of a half.
const OFF_PERCENT: f64 = 2.5;

/// Which station of t2 got each flow. Flow f is the packet to 10.SECOND.f, or to fd77:SECOND::f.
pub type Taken = BTreeMap<u16, u8>;

fn flow4(stage: &Stage<'_>, second: u8, flow: u16) -> Vec<u8> {
    let [high, low] = flow.to_be_bytes();
    let packet = Ip4 { dst: [10, second, high, low], ..stage.ip4() }.udp(5, 6, &flow.to_be_bytes());
    eth(router_mac(T1), stage.mac(T1), IPV4, &packet)
}

fn flow6(stage: &Stage<'_>, second: u8, flow: u16) -> Vec<u8> {
    let mut dst = far6(second, 0);
    dst[14..].copy_from_slice(&flow.to_be_bytes());
    let packet = Ip6 { dst, ..stage.ip6() }.udp(5, 6, &flow.to_be_bytes());
    eth(router_mac(T1), stage.mac(T1), IPV6, &packet)
}

/// Flows of one destination that differ in the port that they come from.
pub fn flow_of_a_port(stage: &Stage<'_>, second: u8, flow: u16) -> Vec<u8> {
    let packet = Ip4 { dst: [10, second, 0, 1], ..stage.ip4() }.udp(flow, 6, &flow.to_be_bytes());
    eth(router_mac(T1), stage.mac(T1), IPV4, &packet)
}

/// Sends a packet of each flow and sees who gets it.
pub fn spread(
    stage: &mut Stage<'_>,
    second: u8,
    packet_of: impl Fn(&Stage<'_>, u8, u16) -> Vec<u8>,
) -> Taken {
    let mut taken = Taken::new();
    stage.gather();
    for first in (0..FLOWS).step_by(100) {
        for flow in first..first + 100 {
            let frame = packet_of(stage, second, flow);
            stage.frame(T1, &frame);
        }
        stage.sync();
    }
    for frame in stage.gathered() {
        let (station, flow) =
            (frame[5], u16::from_be_bytes([frame[frame.len() - 2], frame[frame.len() - 1]]));
        assert_eq!(frame[..6], station_mac(T2, station), "to a station of t2");
        assert_eq!(taken.insert(flow, station), None, "each packet is forwarded once");
    }
    taken
}

/// Notes for each of these stations whether it got as many parts of all flows as its weight says.
pub fn note_shares(stage: &mut Stage<'_>, taken: &Taken, weights: &[(u8, u8)]) {
    let total: f64 = weights.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let flows = taken.len();
    for (station, weight) in weights {
        let got = u32::try_from(taken.values().filter(|n| *n == station).count()).expect("few");
        let percent = f64::from(got) * 100.0 / f64::from(FLOWS);
        let wanted = f64::from(*weight) * 100.0 / total;
        let words = if (percent - wanted).abs() <= OFF_PERCENT {
            format!("its {wanted:.0}%")
        } else {
            format!("{percent:.2}% in place of {wanted:.0}%")
        };
        stage.note(T2, format!("t2.{station} gets {words} of {flows} flows"));
    }
}

fn multipath(second: u8, weights: &[(u8, u8)]) -> String {
    let hops: String = weights
        .iter()
        .map(|(station, weight)| format!(" nexthop via 10.10.252.{station} weight {weight}"))
        .collect();
    format!("10.{second}.0.0/16{hops}")
}

fn shares(stage: &mut Stage<'_>, second: u8, weights: &[(u8, u8)]) {
    stage.configure(&[&format!("route add {}", multipath(second, weights))]);
    let taken = spread(stage, second, flow4);
    note_shares(stage, &taken, weights);
}

/// Of the flows of three next hops, those that move when one of them is taken out.
fn lose_a_hop(stage: &mut Stage<'_>, second: u8, lost: u8) {
    let all = [(7, 1), (8, 1), (9, 1)];
    stage.configure(&[&format!("route add {}", multipath(second, &all))]);
    let before = spread(stage, second, flow4);
    let left: Vec<(u8, u8)> = all.into_iter().filter(|(station, _)| *station != lost).collect();
    stage.configure(&[&format!("route replace {}", multipath(second, &left))]);
    let after = spread(stage, second, flow4);
    note_shares(stage, &after, &left);
    let moved = before.iter().filter(|(flow, station)| after.get(flow) != Some(station));
    let others = moved.filter(|(_, station)| **station != lost).count();
    stage.note(T2, format!("flows of other next hops {}", if others == 0 { "stay" } else { "move too" }));
}

/// Both ways on a link, the worse one of them for when the better one is gone.
fn fall_back(stage: &mut Stage<'_>, family: &str, better: &str, worse: &str, send: fn(&mut Stage<'_>)) {
    // The better one first: of routes with equal metrics it is the last one added that wins.
    stage.configure(&[&format!("{family}route add {better}"), &format!("{family}route add {worse}")]);
    send(stage);
    stage.sync();
    stage.configure(&[&format!("{family}route del {better}")]);
    send(stage);
}

/// The second link goes down, `act` is done, and it comes up again.
fn while_down(stage: &mut Stage<'_>, act: impl FnOnce(&mut Stage<'_>)) {
    set_link(stage, false);
    act(stage);
    set_link(stage, true);
}

fn set_link(stage: &mut Stage<'_>, up: bool) {
    let lab = stage.lab();
    let state = if up { "up" } else { "down" };
    lab.succeed("router", &["ip", "link", "set", "eth-t2", state]);
    if up && !lab.is_userspace() {
        // Linux forgets a link's IPv6 addresses when it goes down (keep_addr_on_down).
        lab.succeed("router", &["ip", "addr", "replace", "fd00:252::2/64", "dev", "eth-t2", "nodad"]);
        // It is the kernel's own a little after the command has ended (addrconf_dad_work).
        wait_for("the kernel has its address again", || {
            let own = lab.succeed("router", &["ip", "-6", "route", "show", "table", "local"]);
            own.contains(" fd00:252::2 ").then_some(())
        });
    }
    if lab.is_userspace() {
        wait_for("the router knows the link's state", || {
            (lab.status()["engine"]["ports"][1]["up"] == up).then_some(())
        });
    }
}

pub const SCENES: &[Scene] = &[
    Scene {
        name: "a_route_is_added",
        act: |s| {
            s.configure(&["route add 10.77.0.0/16 via 10.10.252.8"]);
            to(s, [10, 77, 0, 1]);
        },
        moved: FORWARDED,
    },
    Scene {
        name: "a_longer_one_within_it",
        act: |s| {
            s.configure(&["route add 10.77.7.0/24 via 10.10.252.9"]);
            to(s, [10, 77, 7, 1]);
            to(s, [10, 77, 8, 1]);
        },
        moved: BOTH_FORWARDED,
    },
    Scene {
        name: "a_route_is_replaced",
        act: |s| {
            s.configure(&["route replace 10.77.7.0/24 via 10.10.252.10"]);
            to(s, [10, 77, 7, 1]);
        },
        moved: FORWARDED,
    },
    Scene {
        name: "a_blackhole_within_a_route",
        act: |s| {
            s.configure(&["route add blackhole 10.77.1.0/24"]);
            to(s, [10, 77, 1, 1]);
        },
        moved: "received 1, blackhole 1",
    },
    Scene {
        name: "unreachable_within_a_route",
        act: |s| {
            s.configure(&["route add unreachable 10.77.2.0/24"]);
            to(s, [10, 77, 2, 1]);
        },
        moved: UNREACHABLE,
    },
    Scene {
        name: "prohibited_within_a_route",
        act: |s| {
            s.configure(&["route add prohibit 10.77.3.0/24"]);
            to(s, [10, 77, 3, 1]);
        },
        moved: PROHIBITED,
    },
    Scene {
        name: "a_route_is_removed",
        act: |s| {
            s.configure(&["route del 10.77.0.0/16"]);
            to(s, [10, 77, 0, 1]);
        },
        moved: NO_ROUTE,
    },
    Scene {
        name: "ipv6_route_is_added",
        act: |s| {
            s.configure(&["-6 route add fd77::/32 via fd00:252::8"]);
            to6(s, far6(0, 1));
        },
        moved: FORWARDED,
    },
    Scene {
        name: "ipv6_blackhole_within_a_route",
        act: |s| {
            s.configure(&["-6 route add blackhole fd77::1:0/112"]);
            let mut dst = far6(0, 1);
            dst[13] = 1;
            to6(s, dst);
        },
        moved: "received 1, blackhole 1",
    },
    Scene {
        name: "ipv6_unreachable",
        act: |s| {
            s.configure(&["-6 route add unreachable fd77:2::/32"]);
            to6(s, far6(2, 1));
        },
        moved: UNREACHABLE,
    },
    Scene {
        name: "ipv6_prohibited",
        act: |s| {
            s.configure(&["-6 route add prohibit fd77:3::/32"]);
            to6(s, far6(3, 1));
        },
        moved: PROHIBITED,
    },
    Scene {
        name: "ipv6_route_is_removed",
        act: |s| {
            s.configure(&["-6 route del fd77::/32"]);
            to6(s, far6(0, 1));
        },
        moved: NO_ROUTE,
    },
    // Metrics: the lowest wins, and the next one steps in.
    Scene {
        name: "the_lower_metric_wins_until_it_is_gone",
        act: |s| {
            let (better, worse) =
                ("10.70.0.0/24 via 10.10.252.9 metric 10", "10.70.0.0/24 via 10.10.252.8 metric 20");
            fall_back(s, "", better, worse, |s| to(s, [10, 70, 0, 1]));
        },
        moved: BOTH_FORWARDED,
    },
    Scene {
        name: "a_refusal_behind_a_route",
        act: |s| {
            let (better, worse) = ("10.70.1.0/24 via 10.10.252.9", "prohibit 10.70.1.0/24 metric 20");
            fall_back(s, "", better, worse, |s| to(s, [10, 70, 1, 1]));
        },
        moved: "received 2, prohibited 1, originated 1, sent 2",
    },
    Scene {
        name: "ipv6_lower_metric_wins_until_it_is_gone",
        act: |s| {
            let (better, worse) =
                ("fd77:70::/32 via fd00:252::9 metric 10", "fd77:70::/32 via fd00:252::8 metric 20");
            fall_back(s, "-6 ", better, worse, |s| to6(s, far6(0x70, 1)));
        },
        moved: BOTH_FORWARDED,
    },
    // Next hops that are on the link whatever the subnets say.
    Scene {
        name: "destinations_on_the_link",
        act: |s| {
            s.configure(&["route add 10.71.0.0/24 dev eth-t2"]);
            s.show_questions();
            to(s, [10, 71, 0, s.n]);
        },
        moved: FORWARDED,
    },
    Scene {
        name: "a_gateway_of_no_subnet_on_the_link",
        act: |s| {
            s.configure(&["route add 10.72.0.0/24 via 10.99.9.8 dev eth-t2 onlink"]);
            to(s, [10, 72, 0, 1]);
        },
        moved: FORWARDED,
    },
    Scene {
        name: "next_hops_on_both_links",
        act: |s| {
            s.configure(&[
                "route add 10.74.0.0/24 via 10.99.9.8 dev eth-t2 onlink metric 5",
                "route add 10.74.0.0/24 via 10.99.9.7 dev eth-t1 onlink metric 6",
            ]);
            to(s, [10, 74, 0, 1]);
        },
        moved: FORWARDED,
    },
    // Several next hops.
    Scene { name: "equal_shares", act: |s| shares(s, 80, &[(8, 1), (9, 1)]), moved: MANY },
    Scene {
        name: "equal_shares_of_four",
        act: |s| shares(s, 81, &[(6, 1), (7, 1), (8, 1), (9, 1)]),
        moved: MANY,
    },
    Scene { name: "weighted_shares", act: |s| shares(s, 82, &[(7, 3), (8, 2), (9, 1)]), moved: MANY },
    Scene {
        name: "ipv6_equal_shares",
        act: |s| {
            s.configure(&["-6 route add fd77:78::/32 nexthop via fd00:252::8 nexthop via fd00:252::9"]);
            let taken = spread(s, 0x78, flow6);
            note_shares(s, &taken, &[(8, 1), (9, 1)]);
        },
        moved: MANY,
    },
    Scene {
        name: "flows_of_one_pair_of_addresses_stay_together",
        act: |s| {
            s.configure(&["route add 10.84.0.0/16 nexthop via 10.10.252.8 nexthop via 10.10.252.9"]);
            let taken = spread(s, 84, flow_of_a_port);
            let mut stations: Vec<u8> = taken.values().copied().collect();
            stations.dedup();
            s.note(T2, format!("{} of the stations gets them all", stations.len()));
        },
        moved: MANY,
    },
    Scene { name: "the_flows_of_a_middle_hop_alone_move", act: |s| lose_a_hop(s, 85, 8), moved: TWICE_MANY },
    Scene { name: "the_flows_of_the_first_hop_alone_move", act: |s| lose_a_hop(s, 86, 7), moved: TWICE_MANY },
    // Links.
    Scene {
        name: "a_link_that_goes_down_takes_its_subnet_out",
        act: |s| {
            while_down(s, |s| {
                s.send4(&s.ip4().udp(5, 6, b"down"));
                s.until(T1, 1);
            });
        },
        moved: NO_ROUTE,
    },
    Scene {
        name: "a_link_that_goes_down_takes_its_ipv6_subnet_out",
        act: |s| {
            while_down(s, |s| {
                s.send6(&s.ip6().udp(5, 6, b"down"));
                s.until(T1, 1);
            });
        },
        moved: NO_ROUTE,
    },
    Scene {
        name: "a_link_that_goes_down_leaves_the_next_metric",
        act: |s| {
            s.configure(&[
                "route add 10.75.0.0/24 via 10.10.252.9 metric 10",
                "route add 10.75.0.0/24 via 10.10.251.9 metric 20",
            ]);
            while_down(s, |s| {
                to(s, [10, 75, 0, 1]);
                // The redirect and the packet.
                s.until(T1, 2);
            });
        },
        moved: "received 1, originated 1, sent 2",
    },
    Scene {
        name: "a_link_that_comes_up_again",
        act: |s| {
            while_down(s, |_| ());
            s.send4(&s.ip4().udp(5, 6, b"up"));
            s.send6(&s.ip6().udp(5, 6, b"up"));
        },
        moved: BOTH_FORWARDED,
    },
];
