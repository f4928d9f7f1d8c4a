//! Links, addresses, routes and next hops as ip(8) changes them while the router runs.

use std::fmt::Write;
use std::time::Duration;

use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::getppid;

use crate::common::{BACKENDS, BOTH, Case, Lab, describe, wait_for};

/// Cases beside the built-in lab.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "changes_that_the_kernel_could_not_tell_are_found_out",
        modes: &["userspace"],
        programs: &["ip", "ping"],
        body: overrun,
    },
    Case {
        name: "next_hop_objects_are_followed",
        modes: BACKENDS,
        programs: &["ip", "ping"],
        body: next_hop_objects,
    },
    Case {
        name: "a_route_with_a_lifetime_ends_in_time",
        modes: BOTH,
        programs: &["ip", "ping"],
        body: lifetime,
    },
    Case {
        name: "a_neighbour_set_by_hand_is_kept_to",
        modes: BOTH,
        programs: &["ip", "ping"],
        body: static_neighbour,
    },
    Case {
        name: "what_is_not_taken_over_is_named_until_it_goes",
        modes: &["userspace"],
        programs: &["ip"],
        body: lacking,
    },
];

/// Trials that make labs of their own.
pub(crate) fn trials() -> Vec<Trial> {
    Vec::new()
}

/// The interface by which routes of the router lead to t2.
fn to_t2(lab: &Lab) -> &'static str {
    if lab.is_userspace() { "nsr-host" } else { "eth-t2" }
}

fn router(lab: &Lab, words: &str) {
    let words: Vec<&str> = words.split_whitespace().collect();
    lab.succeed("router", &[&["ip"], words.as_slice()].concat());
}

/// Whether t2 answers t1 under this address, to one of two pings.
fn answers(lab: &Lab, address: &str) -> bool {
    lab.exec("t1", &["ping", "-n", "-q", "-c", "2", "-i", "0.2", "-W", "0.5", address]).status.success()
}

fn wait_until_it_answers(lab: &Lab, address: &str) {
    wait_for(&format!("{address} answers"), || answers(lab, address).then_some(()));
}

fn wait_until_it_is_gone(lab: &Lab, address: &str) {
    wait_for(&format!("{address} answers no more"), || (!answers(lab, address)).then_some(()));
}

fn troubles(lab: &Lab) -> Vec<String> {
    let status = lab.status();
    let troubles = status["engine"]["troubles"].as_array().unwrap();
    troubles.iter().map(|trouble| trouble.as_str().unwrap().to_owned()).collect()
}

fn wait_for_trouble(lab: &Lab, words: &str) {
    wait_for(&format!("`{words}` is told"), || {
        troubles(lab).iter().any(|trouble| trouble.contains(words)).then_some(())
    });
}

/// Many more changes than the kernel keeps for the engine, which does not read meanwhile: in the end it knows what the kernel
/// knows, whether the changes undid each other or not.
fn overrun(lab: &Lab) {
    const ROUTES: usize = 60_000;
    let folder = tempfile::tempdir().unwrap();
    let file = |verb: &str| {
        let mut lines = String::new();
        for i in 0..ROUTES {
            let (a, b, c) = (i >> 8 & 255, i & 255, (i >> 16) * 64);
            writeln!(lines, "route {verb} 20.{a}.{b}.{c}/26 via 10.10.252.1").unwrap();
        }
        let path = folder.path().join(verb);
        std::fs::write(&path, lines).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (add, del) = (file("add"), file("del"));
    let routes = || lab.status()["engine"]["routes"].as_u64().unwrap();
    lab.succeed("t2", &["ip", "addr", "add", "20.7.7.1/32", "dev", "lo"]);
    lab.succeed("t2", &["ip", "addr", "add", "20.255.0.1/32", "dev", "lo"]);
    let before = routes();
    for (changes, after) in [([&add, &del].as_slice(), 0), (&[&add, &del, &add], ROUTES)] {
        // The process that runs this test is the engine's.
        kill(getppid(), Signal::SIGSTOP).unwrap();
        let done: Vec<_> = changes.iter().map(|file| lab.exec("router", &["ip", "-batch", file])).collect();
        kill(getppid(), Signal::SIGCONT).unwrap();
        done.iter().for_each(|output| assert!(output.status.success(), "{}", describe(output)));
        // What comes after the changes is known when they are.
        router(lab, "route add 20.255.0.0/24 via 10.10.252.1");
        wait_until_it_answers(lab, "20.255.0.1");
        router(lab, "route del 20.255.0.0/24");
        let wanted = before + after as u64;
        wait_for("the router has the kernel's routes", || (routes() == wanted).then_some(()));
        assert_eq!(answers(lab, "20.7.7.1"), after > 0);
    }
    // It is told of changes as before.
    lab.succeed("router", &["ip", "-batch", &del]);
    wait_for("the router follows", || (routes() == before).then_some(()));
    // Nothing went down.
    assert!(!troubles(lab).iter().any(|trouble| trouble.contains("down")), "{:?}", troubles(lab));
}

fn next_hop_objects(lab: &Lab) {
    let dev = to_t2(lab);
    for address in ["10.51.0.1/32", "10.52.0.1/32", "fd00:51::1/128"] {
        lab.succeed("t2", &["ip", "addr", "add", address, "dev", "lo"]);
    }
    router(lab, &format!("nexthop add id 11 via 10.10.252.1 dev {dev}"));
    router(lab, &format!("nexthop add id 12 via 10.10.252.99 dev {dev}"));
    router(lab, &format!("nexthop add id 61 via fd00:252::1 dev {dev}"));
    router(lab, "route add 10.51.0.0/24 nhid 11");
    router(lab, "-6 route add fd00:51::/64 nhid 61");
    wait_until_it_answers(lab, "10.51.0.1");
    wait_until_it_answers(lab, "fd00:51::1");
    // The kernel tells of no IPv4 route that goes with its next hop.
    router(lab, "nexthop del id 11");
    router(lab, "nexthop del id 61");
    wait_until_it_is_gone(lab, "10.51.0.1");
    wait_until_it_is_gone(lab, "fd00:51::1");

    // Of a group, too, it tells no route when a member goes.
    router(lab, &format!("nexthop add id 11 via 10.10.252.1 dev {dev}"));
    router(lab, "nexthop add id 20 group 11/12");
    router(lab, "route add 10.51.0.0/24 nhid 20");
    router(lab, "nexthop del id 12");
    for _ in 0..6 {
        lab.succeed("t2", &["ip", "addr", "flush", "dev", "lo"]);
        lab.succeed("t2", &["ip", "addr", "add", "10.51.0.0/24", "dev", "lo"]);
    }
    for host in 1..9 {
        wait_until_it_answers(lab, &format!("10.51.0.{host}"));
    }
    // Routes that name nothing but the object.
    lab.succeed("router", &["sysctl", "-qw", "net.ipv4.nexthop_compat_mode=0"]);
    lab.succeed("t2", &["ip", "addr", "add", "10.52.0.1/32", "dev", "lo"]);
    router(lab, "route add 10.52.0.0/24 nhid 11");
    wait_until_it_answers(lab, "10.52.0.1");
    router(lab, &format!("nexthop replace id 11 via 10.10.252.99 dev {dev}"));
    wait_until_it_is_gone(lab, "10.52.0.1");
    router(lab, &format!("nexthop replace id 11 via 10.10.252.1 dev {dev}"));
    wait_until_it_answers(lab, "10.52.0.1");
    router(lab, "route del 10.52.0.0/24");
    wait_until_it_is_gone(lab, "10.52.0.1");
}

fn lifetime(lab: &Lab) {
    lab.succeed("t2", &["ip", "addr", "add", "fd00:99::1/128", "dev", "lo"]);
    router(lab, &format!("-6 route add fd00:99::/64 via fd00:252::1 dev {} expires 2", to_t2(lab)));
    wait_until_it_answers(lab, "fd00:99::1");
    std::thread::sleep(Duration::from_millis(2300));
    assert!(!answers(lab, "fd00:99::1"), "{}", lab.dump());
}

fn static_neighbour(lab: &Lab) {
    let set = |verb: &str, mac: &str| {
        router(lab, &format!("neigh {verb} 10.10.252.77{mac} dev eth-t2"));
    };
    lab.succeed("t2", &["ip", "addr", "add", "10.10.252.77/24", "dev", "t2-eth0"]);
    wait_until_it_answers(lab, "10.10.252.77");
    set("replace", " lladdr 02:00:00:00:00:99 nud permanent");
    wait_until_it_is_gone(lab, "10.10.252.77");
    // What the neighbour itself says of its address changes nothing.
    lab.exec("t2", &["ping", "-c", "1", "-W", "0.3", "-I", "10.10.252.77", "10.10.252.2"]);
    assert!(!answers(lab, "10.10.252.77"));
    set("del", "");
    wait_until_it_answers(lab, "10.10.252.77");
    // Nobody is asked who has an entry: a host that does not answer ARP can be reached.
    lab.succeed("t2", &["ip", "link", "set", "t2-eth0", "arp", "off"]);
    let mac = lab.succeed("t2", &["cat", "/sys/class/net/t2-eth0/address"]);
    let gateway = lab.succeed("router", &["cat", "/sys/class/net/eth-t2/address"]);
    set("replace", &format!(" lladdr {} nud permanent", mac.trim()));
    let gateway = ["ip", "neigh", "replace", "10.10.252.2", "lladdr", gateway.trim(), "dev", "t2-eth0"];
    lab.succeed("t2", &gateway);
    wait_until_it_answers(lab, "10.10.252.77");
}

fn lacking(lab: &Lab) {
    let link_local = "-6 route add fd00:98::/64 via fe80::1 dev nsr-host";
    for (add, words) in [
        ("route add 10.99.1.0/24 dev lo", "route 10.99.1.0/24 dev lo is not taken over"),
        ("route add 10.99.2.0/24 dev nsr-host", "route 10.99.2.0/24 dev nsr-host is not taken over"),
        ("route add 10.99.4.0/24 via 10.10.252.1 tos 0x10", "tos 0x10 is not taken over"),
        ("route add 10.99.5.0/24 via 10.10.252.1 table 100", "table 100 is not taken over"),
        (link_local, "route fd00:98::/64 via fe80::1 dev nsr-host is not taken over"),
        ("rule add to 10.99.0.0/16 lookup 100 priority 77", "rule 77 of `ip rule` is not followed"),
        ("-6 rule add to fd00:99::/64 lookup 100 priority 78", "rule 78 of `ip -6 rule` is not followed"),
    ] {
        router(lab, add);
        wait_for_trouble(lab, words);
        router(lab, &add.replacen(" add ", " del ", 1));
        wait_for(&format!("`{words}` is over"), || {
            (!troubles(lab).iter().any(|trouble| trouble.contains(words))).then_some(())
        });
    }
}
