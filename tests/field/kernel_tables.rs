//! Links, addresses, routes and next hops as ip(8) changes them while the router runs.

use std::fmt::Write;

use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::getppid;

use crate::common::{BACKENDS, BOTH, Case, Lab, USERSPACE, describe, wait_for};

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
        name: "nothing_is_wrong_with_a_lab_that_was_just_made",
        modes: USERSPACE,
        programs: &["ping"],
        body: nothing_wrong,
    },
    Case {
        name: "what_is_not_taken_over_is_named_until_it_goes",
        modes: &["userspace"],
        programs: &["ip"],
        body: lacking,
    },
    Case {
        name: "an_mtu_too_small_for_ipv6_is_taken_while_the_router_runs",
        modes: INTERFACES,
        programs: &["ip", "ping"],
        body: low_mtu,
    },
    Case { name: "a_route_s_own_mtu_is_kept_to", modes: BOTH, programs: &["ip", "ping"], body: route_mtu },
    Case {
        name: "an_ipv4_route_leads_to_an_ipv6_next_hop",
        modes: BOTH,
        programs: &["ip", "ping"],
        body: other_family,
    },
    Case {
        name: "a_host_s_link_that_is_down_is_another_thing_than_a_port_that_is",
        modes: BACKENDS,
        programs: &["ip", "ping"],
        body: carrier,
    },
    Case {
        name: "a_host_s_tap_device_that_is_deleted_takes_its_port_out",
        modes: &["userspace:tap"],
        programs: &["ip", "ping"],
        body: deleted_tap,
    },
    Case {
        name: "a_port_made_anew_is_named",
        modes: &["userspace", "userspace:xdp"],
        programs: &["ip"],
        body: made_anew,
    },
    Case {
        name: "the_host_port_goes_down_and_up_and_away_and_the_router_goes_on",
        modes: &["userspace", "userspace:tap"],
        programs: &["ip", "ping"],
        body: host_port,
    },
];

/// Modes in which the router's end of a link is an interface.
const INTERFACES: &[&str] = &["kernel", "userspace", "userspace:xdp"];

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

/// Many more changes than the kernel keeps for the engine, which does not read meanwhile: in the end it knows
/// what the kernel knows, whether the changes undid each other or not.
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
    router(lab, &format!("-6 route add fd00:99::/64 via fd00:252::1 dev {} expires 4", to_t2(lab)));
    wait_until_it_answers(lab, "fd00:99::1");
    wait_until_it_is_gone(lab, "fd00:99::1");
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
    // A neighbour with an entry is not asked: a host that does not answer ARP can be reached.
    lab.succeed("t2", &["ip", "link", "set", "t2-eth0", "arp", "off"]);
    let mac = lab.succeed("t2", &["cat", "/sys/class/net/t2-eth0/address"]);
    let gateway = lab.succeed("router", &["cat", "/sys/class/net/eth-t2/address"]);
    set("replace", &format!(" lladdr {} nud permanent", mac.trim()));
    let gateway = ["ip", "neigh", "replace", "10.10.252.2", "lladdr", gateway.trim(), "dev", "t2-eth0"];
    lab.succeed("t2", &gateway);
    wait_until_it_answers(lab, "10.10.252.77");
}

fn nothing_wrong(lab: &Lab) {
    for address in ["10.10.252.1", "fd00:252::1"] {
        wait_until_it_answers(lab, address);
    }
    assert_eq!(troubles(lab), [] as [&str; 0]);
    assert!(port_is_up(lab, "eth-t1") && port_is_up(lab, "eth-t2"));
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

/// What ping in t1 prints.
fn ping(lab: &Lab, arguments: &[&str]) -> String {
    let output = lab.exec("t1", &[&["ping", "-n"], arguments].concat());
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Pings until ping prints this.
fn wait_for_ping(lab: &Lab, arguments: &[&str], words: &str) {
    wait_for(&format!("ping {} prints `{words}`", arguments.join(" ")), || {
        ping(lab, arguments).contains(words).then_some(())
    });
}

fn port_is_up(lab: &Lab, name: &str) -> bool {
    let status = lab.status();
    let ports = status["engine"]["ports"].as_array().unwrap();
    ports.iter().find(|port| port["name"] == name).unwrap()["up"].as_bool().unwrap()
}

fn low_mtu(lab: &Lab) {
    let mtu = |bytes: u32| {
        let words = |name: &'static str| ["ip", "link", "set", name, "mtu"].map(str::to_owned);
        for (node, name) in [("t2", "t2-eth0"), ("router", "eth-t2")] {
            let words = [words(name).as_slice(), &[bytes.to_string()]].concat();
            lab.succeed(node, &words.iter().map(String::as_str).collect::<Vec<_>>());
        }
    };
    wait_until_it_answers(lab, "fd00:252::1");
    mtu(576);
    // Fragments both ways, and the truth for who does not want any.
    let whole = ["-q", "-M", "dont", "-c", "2", "-i", "0.2", "-W", "1", "-s", "1400", "10.10.252.1"];
    wait_for_ping(lab, &whole, " 2 received");
    wait_for_ping(lab, &["-M", "do", "-c", "2", "-i", "0.2", "-W", "1", "-s", "1400", "10.10.252.1"], "576");
    wait_until_it_is_gone(lab, "fd00:252::1");
    // The other port changes as ever.
    let other = if lab.is_userspace() { "nsr-host" } else { "eth-t1" };
    router(lab, &format!("addr add 10.10.251.9/24 dev {other}"));
    wait_until_it_answers(lab, "10.10.251.9");
    router(lab, "link set eth-t1 down");
    wait_for("t2 is told", || {
        let output = lab.exec("t2", &["ping", "-n", "-c", "1", "-W", "1", "10.10.251.1"]);
        String::from_utf8_lossy(&output.stdout).contains("Net Unreachable").then_some(())
    });
    router(lab, "link set eth-t1 up");
    wait_for_ping(lab, &whole, " 2 received");
    if lab.is_userspace() {
        assert_eq!(lab.status()["engine"]["ports"][1]["mtu"], 576);
    } else {
        // Linux forgets what addresses a link without IPv6 had.
        router(lab, "addr add fd00:251::2/64 dev eth-t1 nodad");
    }
    mtu(1500);
    lab.succeed("t2", &["ip", "addr", "add", "fd00:252::1/64", "dev", "t2-eth0", "nodad"]);
    lab.succeed("t2", &["ip", "route", "add", "default", "via", "fd00:252::2"]);
    if !lab.is_userspace() {
        router(lab, "addr add fd00:252::2/64 dev eth-t2 nodad");
    }
    wait_until_it_answers(lab, "fd00:252::1");
}

fn route_mtu(lab: &Lab) {
    let dev = to_t2(lab);
    for address in ["10.53.0.1/32", "fd00:53::1/128", "10.54.0.1/32"] {
        lab.succeed("t2", &["ip", "addr", "add", address, "dev", "lo"]);
    }
    router(lab, &format!("route add 10.53.0.0/24 via 10.10.252.1 dev {dev} mtu 1300"));
    router(lab, &format!("-6 route add fd00:53::/64 via fd00:252::1 dev {dev} mtu 1300"));
    let hop = format!("nexthop via 10.10.252.1 dev {dev}");
    router(lab, &format!("route add 10.54.0.0/24 mtu lock 900 {hop} {hop} weight 2"));
    for (address, mtu) in
        [("10.53.0.1", "mtu = 1300"), ("fd00:53::1", "mtu=1300"), ("10.54.0.1", "mtu = 900")]
    {
        wait_for_ping(lab, &["-M", "do", "-c", "1", "-W", "1", "-s", "1372", address], mtu);
    }
    wait_for_ping(lab, &["-q", "-M", "dont", "-c", "1", "-W", "1", "-s", "1372", "10.53.0.1"], " 1 received");
    router(lab, &format!("route replace 10.53.0.0/24 via 10.10.252.1 dev {dev}"));
    lab.succeed("t1", &["ip", "route", "flush", "cache"]);
    wait_for_ping(lab, &["-q", "-M", "do", "-c", "1", "-W", "1", "-s", "1372", "10.53.0.1"], " 1 received");
}

fn other_family(lab: &Lab) {
    lab.succeed("t2", &["ip", "addr", "add", "10.99.3.1/32", "dev", "lo"]);
    router(lab, &format!("route add 10.99.3.0/24 via inet6 fd00:252::1 dev {}", to_t2(lab)));
    wait_until_it_answers(lab, "10.99.3.1");
    // A neighbour that is asked for first.
    router(lab, &format!("route replace 10.99.3.0/24 via inet6 fd00:252::7 dev {}", to_t2(lab)));
    wait_until_it_is_gone(lab, "10.99.3.1");
    lab.succeed("t2", &["ip", "addr", "add", "fd00:252::7/64", "dev", "t2-eth0", "nodad"]);
    wait_until_it_answers(lab, "10.99.3.1");
}

fn carrier(lab: &Lab) {
    let is_interface = !lab.mode.contains("tap");
    for address in ["10.10.252.1", "fd00:252::1"] {
        wait_until_it_answers(lab, address);
    }
    lab.succeed("t2", &["ip", "link", "set", "t2-eth0", "down"]);
    let patient = ["-c", "2", "-i", "0.2", "-W", "4"];
    wait_for_ping(lab, &[patient.as_slice(), &["10.10.252.1"]].concat(), "Host Unreachable");
    wait_for_ping(lab, &[patient.as_slice(), &["fd00:252::1"]].concat(), "Address unreachable");
    if lab.is_userspace() {
        assert!(!port_is_up(lab, "eth-t2") && port_is_up(lab, "eth-t1"), "{}", lab.dump());
    }
    if is_interface {
        router(lab, "link set eth-t2 down");
        wait_for_ping(lab, &["-c", "1", "-W", "1", "10.10.252.1"], "Net Unreachable");
        router(lab, "link set eth-t2 up");
    }
    lab.succeed("t2", &["ip", "link", "set", "t2-eth0", "up"]);
    lab.succeed("t2", &["ip", "route", "add", "default", "via", "10.10.252.2"]);
    wait_until_it_answers(lab, "10.10.252.1");
    if lab.is_userspace() {
        assert!(port_is_up(lab, "eth-t2"), "{}", lab.dump());
    }
}

fn deleted_tap(lab: &Lab) {
    wait_until_it_answers(lab, "10.10.252.1");
    lab.succeed("t2", &["ip", "link", "del", "t2-eth0"]);
    wait_for_trouble(lab, "port eth-t2 was deleted");
    assert!(!port_is_up(lab, "eth-t2"));
    wait_for_ping(lab, &["-c", "1", "-W", "1", "10.10.252.1"], "Net Unreachable");
}

fn made_anew(lab: &Lab) {
    router(lab, "link del eth-t2");
    wait_for_trouble(lab, "port eth-t2 was deleted");
    router(lab, "link add eth-t2 type veth peer name another");
    wait_for_trouble(lab, "port eth-t2 was made anew");
    assert!(!port_is_up(lab, "eth-t2"));
}

fn host_port(lab: &Lab) {
    let all = ["10.10.252.1", "fd00:252::1"];
    router(lab, "link set nsr-host down");
    wait_for_trouble(lab, "the host port went down");
    all.iter().for_each(|address| wait_until_it_answers(lab, address));
    router(lab, "link set nsr-host up");
    wait_for_trouble(lab, "the host port is up again");
    for address in all {
        wait_until_it_answers(lab, address);
        wait_for("the router's programs are back", || {
            lab.exec("router", &["ping", "-n", "-c", "1", "-W", "1", address]).status.success().then_some(())
        });
    }
    router(lab, "link del nsr-host");
    wait_for_trouble(lab, "the host port was deleted");
    for address in all {
        wait_until_it_answers(lab, address);
    }
    assert_eq!(
        lab.status()["engine"]["ports"][0]["addresses"].as_array().unwrap().len(),
        2,
        "{}",
        lab.dump()
    );
}
