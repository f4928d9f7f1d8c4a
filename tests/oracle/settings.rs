//! Settings: each `--set` beside the sysctl whose meaning it has.

use crate::ip_route::{MANY, flow_of_a_port, note_shares, spread};
use crate::packet::{Ip4, Ip6, UNKNOWN};
use crate::scene::Scene;
use crate::stage::Stage;
use crate::stations::Where::T1;

/// How our own router is started.
pub const OPTIONS: &[&str] = &[
    "--set=redirects=off",
    "--set=icmp-interval=0",
    "--set=icmp6-interval=0",
    "--set=flow-hash=l3l4",
    "--set=directed-broadcast=on",
    "--set=router-alert=on",
];

/// The same of the kernel; what counts for a link and for all of them is set for both.
const SYSCTLS: &[&str] = &[
    "net/ipv4/conf/all/send_redirects=0",
    "net/ipv4/conf/eth-t1/send_redirects=0",
    "net/ipv4/icmp_ratelimit=0",
    "net/ipv6/icmp/ratelimit=0",
    "net/ipv4/fib_multipath_hash_policy=1",
    "net/ipv4/conf/all/bc_forwarding=1",
    "net/ipv4/conf/eth-t1/bc_forwarding=1",
];

/// Brings the kernel to what [`OPTIONS`] says.
pub fn prepare(stage: &Stage<'_>) {
    let lab = stage.lab();
    if !lab.is_userspace() {
        for sysctl in SYSCTLS {
            let (key, value) = sysctl.split_once('=').expect("KEY=VALUE");
            lab.succeed("router", &["sh", "-c", &format!("echo {value} > /proc/sys/{key}")]);
        }
    }
}

/// More errors than a sender gets where they are limited.
const ERRORS: usize = 12;
const TWELVE_ERRORS: &str = "received 12, ttl_exceeded 12, originated 12, sent 12";

pub const SCENES: &[Scene] = &[
    Scene {
        name: "no_redirects",
        act: |s| {
            let packet = Ip4 { dst: [10, 10, 251, 9], ..s.ip4() }.udp(5, 6, b"back out");
            s.send4(&packet);
        },
        moved: "received 1, sent 1",
    },
    Scene {
        name: "errors_without_limit",
        act: |s| {
            for _ in 0..ERRORS {
                s.send4(&Ip4 { ttl: 1, ..s.ip4() }.udp(5, 6, b"exceeded"));
            }
            s.until(T1, ERRORS);
        },
        moved: TWELVE_ERRORS,
    },
    Scene {
        name: "ipv6_errors_without_limit",
        act: |s| {
            for _ in 0..ERRORS {
                s.send6(&Ip6 { hops: 1, ..s.ip6() }.udp(5, 6, b"exceeded"));
            }
            s.until(T1, ERRORS);
        },
        moved: TWELVE_ERRORS,
    },
    Scene {
        name: "shares_by_ports",
        act: |s| {
            s.configure(&["route add 10.84.0.0/16 nexthop via 10.10.252.8 nexthop via 10.10.252.9"]);
            let taken = spread(s, 84, flow_of_a_port);
            note_shares(s, &taken, &[(8, 1), (9, 1)]);
        },
        moved: MANY,
    },
    Scene {
        name: "a_directed_broadcast_is_forwarded",
        act: |s| {
            let packet = Ip4 { dst: [10, 10, 252, 255], ..s.ip4() }.udp(5, 6, b"everybody there");
            s.send4(&packet);
        },
        moved: "received 1, sent 1",
    },
    Scene {
        name: "a_router_alert_for_a_listener",
        act: |s| s.send4(&Ip4 { options: vec![148, 4, 0, 0], ..s.ip4() }.udp(5, 6, b"alert")),
        moved: "received 1, to_host 1",
    },
    Scene {
        name: "an_ipv6_router_alert_for_a_listener",
        act: |s| s.send6(&s.ip6().extended(0, UNKNOWN, &[5, 2, 0, 0, 1, 0]).with(b"alert")),
        moved: "received 1, to_host 1",
    },
];
