//! Addresses that come and go while the router runs: by `ip addr` on the router's port in kernel mode, and on
//! the host port in userspace mode.

use crate::common::wait_for;
use crate::packet::{ARP, BROADCAST, Ip4, Ip6, arp, eth};
use crate::scene::Scene;
use crate::stage::Stage;
use crate::stations::Where::T1;
use crate::stations::{ADDED, station4, station6};

const ANSWERED: &str = "received 1, sent 1";
const REDIRECTED: &str = "received 1, sent 2, originated 1";

/// `ip addr` with the address of [`ADDED`] on the first link, and the wait until it is in force.
fn address(stage: &Stage<'_>, verb: &str, is_v6: bool) {
    let lab = stage.lab();
    let device = if lab.is_userspace() { "nsr-host" } else { "eth-t1" };
    let (family, address, length, more) = if is_v6 {
        ("-6", std::net::Ipv6Addr::from(station6(T1, ADDED)).to_string(), 64, " nodad")
    } else {
        ("-4", std::net::Ipv4Addr::from(station4(T1, ADDED)).to_string(), 24, "")
    };
    let net = format!("{address}/{length}");
    lab.succeed("router", &["sh", "-c", &format!("ip addr {verb} {net} dev {device}{more}")]);
    let is_wanted = verb == "add";
    // An IPv6 address is the kernel's own a little after the command has ended (addrconf_dad_work).
    wait_for("the kernel has the address", || {
        let own = lab.succeed("router", &["ip", family, "route", "show", "table", "local"]);
        (own.split_whitespace().any(|word| word == address) == is_wanted).then_some(())
    });
    if lab.is_userspace() {
        wait_for("the router has the address", || {
            let port = lab.status()["engine"]["ports"][0].clone();
            let addresses = port["addresses"].as_array().expect("a list of addresses");
            (addresses.iter().any(|address| *address == net) == is_wanted).then_some(())
        });
    }
}

fn echo(stage: &mut Stage<'_>) {
    let packet = Ip4 { dst: station4(T1, ADDED), ..stage.ip4() }.echo(b"address");
    stage.send4(&packet);
}

fn echo6(stage: &mut Stage<'_>) {
    let packet = Ip6 { dst: station6(T1, ADDED), ..stage.ip6() }.echo(b"address");
    stage.send6(&packet);
}

fn ask(stage: &mut Stage<'_>) {
    let body = arp(1, (stage.mac(T1), stage.a4(T1)), ([0; 6], station4(T1, ADDED)));
    let frame = eth(BROADCAST, stage.mac(T1), ARP, &body);
    stage.frame(T1, &frame);
}

pub const SCENES: &[Scene] = &[
    Scene { name: "before_it_is_added", act: echo, moved: REDIRECTED },
    Scene {
        name: "an_added_address_is_ours",
        act: |s| {
            address(s, "add", false);
            echo(s);
        },
        moved: ANSWERED,
    },
    Scene { name: "arp_for_an_added_address", act: ask, moved: ANSWERED },
    Scene {
        name: "a_packet_from_an_added_address",
        act: |s| {
            let packet = Ip4 { src: station4(T1, ADDED), ..s.ip4() }.udp(5, 6, b"spoofed");
            s.send4(&packet);
        },
        moved: "received 1, martian_source 1",
    },
    Scene {
        name: "a_removed_address_is_a_station_s",
        act: |s| {
            address(s, "del", false);
            echo(s);
        },
        moved: REDIRECTED,
    },
    Scene { name: "arp_for_a_removed_address", act: ask, moved: "received 1, arp_not_ours 1" },
    Scene { name: "before_it_is_added_ipv6", act: echo6, moved: REDIRECTED },
    Scene {
        name: "an_added_ipv6_address_is_ours",
        act: |s| {
            address(s, "add", true);
            echo6(s);
        },
        moved: ANSWERED,
    },
    Scene {
        name: "a_removed_ipv6_address_is_a_station_s",
        act: |s| {
            address(s, "del", true);
            echo6(s);
        },
        moved: REDIRECTED,
    },
];
